"""What every report says: its notice, its method, and what of the EU AI Act's Annex IV it can supply."""

from dataclasses import dataclass

NOTICE = (
    "Labels are annotations of pictures, not identities. An ethnicity read-out is for audit and research, never for "
    "deciding about a person: Article 5(1)(g) of the EU AI Act (Regulation 2024/1689) forbids systems that categorise "
    "persons one by one from their biometric data to infer their race, among others. All figures are of groups of "
    "faces, with their size and interval, and say nothing of one person."
)
BIAS = (
    "The range between best and worst group is never negative, and chance alone widens it, the more the smaller and "
    "the more numerous the groups are. So it is judged against the range that groups drawn at random would show."
)
UNSEEN = (
    "Groups that nobody annotated, and differences within a group, are not seen here.",
    "A group of which no gap was found may have one that this many faces can't show: see the smallest detectable gap.",
)


def method(level: float) -> tuple[tuple[str, str], ...]:
    """Term and account, for intervals at this level."""
    percent = f"{100 * level:g} %"
    return (
        (
            "Groups",
            "A face's group is its annotation, never a prediction; faces without it are in no comparison. Below 20 "
            "faces there are no figures and no test; below 100 intervals are wide, and marks hollow. A gap is a "
            "group minus all other faces of its grouping.",
        ),
        (
            f"Intervals ({percent})",
            "Shares such as accuracy: Wilson's score interval. Differences of shares: Newcombe's hybrid score "
            "interval, for faces bare and masked its paired form. All else: percentiles of the Poisson bootstrap "
            "over faces, which draws a face with all its answers, somewhat wider in small groups (Hesterberg 2015).",
        ),
        (
            "Expected by chance",
            f"The shaded band holds {percent} of a group's values when faces change places between groups at random "
            "(permutation): what a group of this size shows if groups make no difference.",
        ),
        (
            "Tests",
            "Gaps of shares: Fisher's exact test, mid-p, of many faces the score test. Masked against bare on the "
            "same faces: McNemar's exact test, mid-p. Ranges: their permutations. All else: the normal law with the "
            "larger of the bootstrap's and the permutations' standard error. All are two-sided but that of a range.",
        ),
        (
            "Many tests",
            "Accuracy and mean absolute error are the declared metrics, fixed before any result was seen: their p "
            "are adjusted by Holm's method over the groups of one question (one task, mask, grouping and kind of "
            "difference), which limits the chance of any false alarm among them. All other metrics are exploratory: "
            "Benjamini and Hochberg's method limits the share of false alarms among alarms.",
        ),
        (
            "Verdicts",
            f"'gap': the adjusted p is at most {1 - level:.2g}. 'no gap larger than' a margin: the interval lies "
            "within the margin, on both sides. 'not enough evidence': neither, which is not the same as no gap.",
        ),
        (
            "Smallest detectable gap",
            "The difference that one such test finds with a power of 80 %, before the correction for many tests.",
        ),
        (
            "Over groups",
            "Range: best minus worst group. Ratio: the smaller over the larger value. Mean of groups: each group "
            "counts once. Largest over mean error: the worst group's error over the geometric mean of all groups' "
            "errors (NIST). Equalized odds difference: the largest range of a class's true or false positive rate.",
        ),
        (
            "Calibration error",
            "Mean distance between confidence and accuracy in 15 bins of confidence, which chance inflates in small "
            "groups. Brier score: mean squared distance of the probabilities from the annotation, summed over classes.",
        ),
    )


@dataclass(frozen=True)
class Heading:
    """A heading of Annex IV: which sections of a report speak to it, and what no such report can supply."""

    number: int
    heading: str
    sections: tuple[str, ...]
    missing: str


ANNEX_IV = (
    Heading(
        1,
        "General description of the AI system",
        ("card", "provenance"),
        "The provider, how the system interacts with other hardware and software, the forms in which it is placed on "
        "the market, the hardware it runs on, its user interface and instructions for use.",
    ),
    Heading(
        2,
        "Elements of the AI system and the process of its development",
        ("data", "method", "groups", "card", "provenance"),
        "Beyond the validation and testing procedures of this audit: design choices and their reasons, architecture, "
        "where the training data come from and how they were labelled and cleaned, human oversight (Article 14), "
        "pre-determined changes, cybersecurity. The report has a date; the signature of those responsible is not in "
        "it.",
    ),
    Heading(
        3,
        "Monitoring, functioning and control, with the degrees of accuracy for specific persons or groups of persons",
        ("overall", "confusion", "groups", "masks", "age", "explanations", "limits"),
        "The accuracy to expect for an intended purpose, unintended outcomes and risks to health, safety and "
        "fundamental rights where the system is used, measures of human oversight, specifications of input data.",
    ),
    Heading(
        4,
        "Appropriateness of the performance metrics",
        ("method", "calibration"),
        "Whether these metrics are appropriate for a particular system and use.",
    ),
    Heading(
        5, "Risk management system (Article 9)", ("summary",), "The system itself: gaps found here are an input to it."
    ),
    Heading(6, "Changes made to the system through its lifecycle", ("provenance",), "All but versions and hashes."),
    Heading(7, "Harmonised standards applied", (), "All: none is claimed here."),
    Heading(8, "EU declaration of conformity (Article 47)", (), "All."),
    Heading(
        9,
        "Evaluating performance after placing on the market (Article 72), with the post-market monitoring plan",
        (),
        "All. The JSON beside this report can be compared with that of a later audit.",
    ),
)
