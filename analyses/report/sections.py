"""The sections of a report in their order, each from its data to HTML; one without anything to say is left out."""

from collections.abc import Iterator, Mapping

import pandas as pd

from analyses.fairness.audit import GAP, UNCLEAR
from analyses.fairness.groups import FEW, MODERATE
from analyses.fairness.samples import ALL
from analyses.fairness.tables import BARE
from analyses.model_card import FORBIDDEN, INTENDED, LIMITS
from analyses.report import texts
from analyses.report.data import ReportData
from analyses.report.explanations import explanations
from analyses.report.findings import NO_GAP, TOO_FEW, comparisons, findings, in_brief, verdicts
from analyses.report.groups import CALIBRATION, LISTED, MOST, age, calibration, coupling, groups, masks
from analyses.report.markup import Html, folded, joined, listed, table, tag, terms
from analyses.report.words import DASH, SHARE, SPACE, capital, count, grouping_name, mask_name, metric_name, under


def summary(data: ReportData) -> Html:
    told = findings(data.audit, units=data.units)
    parts = [_headline(data), tag("h3", "The most important findings" if told else "Findings")]
    if told:
        parts.append(tag("ol", *(tag("li", finding.text) for finding in told), class_="findings"))
    parts.append(tag("p", in_brief(data.audit, data.units)))
    parts.append(tag("p", "A finding is about this model on these faces with these annotations; it names no cause."))
    if table_ := _outcomes(data):
        parts += [tag("h3", "How many comparisons ended how"), table_]
    return joined(*parts)


def _headline(data: ReportData) -> Html:
    rows = []
    for task in data.tasks:
        metric = data.headline(task)
        of = data.scale(task, metric)
        for row in data.rows(task=task, by=ALL, metric=metric, statistic="value").itertuples():
            rows.append((task, mask_name(row.mask), f"{metric_name(metric)} {of.cell(row)}", f"{row.n:,}"))
    return table(f"All faces, with intervals at {100 * data.level:g} %", ["task", "mask", "figure", "n"], rows, heads=2)


def _outcomes(data: ReportData) -> Html:
    compared = comparisons(data.audit)
    compared = compared[compared["declared"]]
    rows = []
    for (task, mask, statistic), of in compared.groupby(["task", "mask", "statistic"], sort=False):
        kind = "figures" if statistic == "gap" else "changes by the mask"
        counts = of["outcome"].value_counts()
        margin = data.scale(task, of["metric"].iloc[0]).margin(of["margin"].iloc[0])
        cells = [f"{counts.get(outcome, 0):,}" for outcome in (GAP, NO_GAP, UNCLEAR, TOO_FEW)]
        rows.append((task, mask_name(mask), kind, margin, *cells))
    if not rows:
        return Html()
    head = ["task", "mask", "compared", "margin", GAP, "no gap above margin", UNCLEAR, "too few faces"]
    exploratory = verdicts(data.audit, declared=False)
    tested = sum(exploratory.values()) - exploratory[TOO_FEW]
    more = (
        f"Of {count(tested, 'exploratory comparison')} of other metrics {exploratory[GAP]:,} show a gap."
        if tested
        else ""
    )
    return joined(table("Each group against all others, declared metrics", head, rows, heads=3), tag("p", more))


def faces(data: ReportData) -> Html:
    known = data.annotated
    labels = "; ".join(f"{task} {n:,}" for task, n in known.items())
    where = f"{data.faces}{f', split {data.split}' if data.split else ''}"
    n = len(data.answers.faces)
    worn = "; ".join(map(under, data.masks))
    parts = [tag("p", f"{count(n, 'face')} of {where}. Annotated: {labels}. Shown: {worn}.")]
    beside = []
    for by in data.groupings:
        sizes = data.groups[data.groups["by"] == by].pivot_table(
            index="group", columns="task", values="n", sort=False, aggfunc="first"
        )
        if sizes.empty:
            continue
        same = sizes.nunique(axis=1).le(1).all()
        columns = sizes.iloc[:, :1] if same else sizes
        head = [grouping_name(by), *(["n"] if same else [f"n, {task}" for task in columns])]
        rows = [
            (group, *(f"{int(n):,}" for n in row)) for group, row in zip(columns.index, columns.to_numpy(), strict=True)
        ]
        whole = table(f"Faces by {grouping_name(by)}", head, rows)
        name = f"Table: faces by {grouping_name(by)}, {len(rows)} groups"
        beside.append(whole if len(rows) <= MOST else folded(name, whole))
    parts.append(tag("div", *beside, class_="beside") if beside else Html())
    if data.groupings:
        few = f"Fewer than {FEW} annotated faces, so that nothing is said of them: {_names(data.too_few)}."
        wide = f"From {FEW} to {MODERATE - 1}, so that intervals are wide: {_names(data.few)}."
        parts += [tag("p", few), tag("p", wide)]
    return joined(*parts)


def _names(groups: pd.DataFrame) -> str:
    names = [f"{row.group} ({grouping_name(row.by)}, n {row.n:,})" for row in groups.head(LISTED).itertuples()]
    more = len(groups) - len(names)
    return "; ".join(names) + (f"; and {more:,} more, see the tables" if more > 0 else "") if names else "none"


def overall(data: ReportData) -> Html:
    parts = []
    for task in data.tasks:
        own = data.rows(task=task, by=ALL, statistic="value")
        cells = {(row.metric, row.mask): row for row in own.itertuples()}
        rows = []
        for metric in own["metric"].unique():
            of = data.scale(task, metric)
            shown = [cells.get((metric, mask)) for mask in data.masks]
            rows.append(
                (
                    metric_name(metric),
                    *(f"{of.cell(row)}, n{SPACE}{row.n:,}" if row and row.n else DASH for row in shown),
                )
            )
        parts += [tag("h3", capital(task)), table(f"{task}, all faces", ["metric", *map(mask_name, data.masks)], rows)]
    return joined(*parts)


def confusion(data: ReportData) -> Html:
    parts = []
    for task, mask, names, counts in data.confusions:
        n = int(counts.sum())
        support = counts.sum(axis=1)
        rows = []
        for i, name in enumerate(names):
            shares = counts[i] / max(support[i], 1)
            cells = [
                tag("td", f"{k:,}", tag("small", f" {SHARE.value(share)}") if support[i] else "", style=_tint(share))
                for k, share in zip(counts[i], shares, strict=True)
            ]
            rows.append((name, *cells, f"{support[i]:,}"))
        caption = f"{task}, {mask_name(mask)}: rows annotated, columns predicted, n {n:,}"
        parts.append(table(caption, ["annotated \\ predicted", *names, "n"], rows))
    if not parts:
        return Html()
    return joined(tag("p", "Faces, and their share of the row. The darker, the larger the share."), *parts)


def _tint(share: float) -> str:
    """Pale enough for black text."""
    level = [round(255 - share * (255 - full)) for full in (120, 180, 225)]
    return f"background:rgb({level[0]},{level[1]},{level[2]})"


def unexamined(data: ReportData) -> list[tuple[str, str]]:
    """What the report has no section on and why, each with the command that makes it, if there is one."""
    items: list[tuple[str, str]] = []
    if bare := [task for task in data.tasks if not data.annotated[task]]:
        items.append(
            (f"Performance of {', '.join(bare)}: no face has the annotation, so that no answer is judged.", "")
        )
    if not data.groupings:
        items.append(("Groups: the audit was asked for none.", ""))
    if data.masks == [BARE]:
        items.append(("Masks: all answers are of bare faces, so that nothing is said of what a mask changes.", ""))
    elif BARE not in data.masks:
        items.append(("What a mask changes: there are no answers to bare faces to compare with.", ""))
    if not data.annotated.get("age"):
        items.append(("Error at 18 and 25: there is no annotated task 'age'.", ""))
    classes = [task for task in data.tasks if data.headline(task) == "accuracy" and data.annotated[task]]
    if without := [task for task in classes if not len(data.rows(task=task, metric=CALIBRATION[0]))]:
        items.append((f"Calibration of {', '.join(without)}: the answers come without probabilities.", ""))
    if data.atlas is None:
        command = f"maskmtl atlas FACES --model {data.model} --out DIR"
        items.append(("Where the model looks in each group: no maps were made.", command))
    if data.leakage is None:
        command = f"maskmtl explain FACES --model {data.model} --out DIR"
        items.append(("Whether answers rest on the mask: not measured.", command))
    if data.card is None:
        items.append(("Model card: none was given, so that training data, licence and intended use are unknown.", ""))
    return items


def _unexamined(data: ReportData) -> Html:
    items = unexamined(data)
    told = (joined(text, *([" To make it: ", tag("code", command)] if command else [])) for text, command in items)
    return listed(told) if items else Html()


def limits(data: ReportData) -> list[str]:
    n = count(len(data.answers.faces), "face")
    own = LIMITS if data.card is not None else ("Labels are annotations, with the errors of those who made them.",)
    drawn = (
        [] if data.card is not None or data.masks == [BARE] else ["Whether masks were worn or drawn is not known here."]
    )
    return [
        *own,
        *drawn,
        f"All figures come from {n}; other faces, cameras and light may give others.",
        texts.BIAS,
        *texts.UNSEEN,
    ]


def provenance(data: ReportData) -> Html:
    hashes = data.hashes or {"predictions": "not given"}
    parts = [
        terms(
            [("model", data.model), ("faces", data.faces), ("split", data.split or "not stated"), ("date", data.date)]
        ),
        table("SHA-256", ["of", "digest"], [(name, tag("code", digest)) for name, digest in hashes.items()]),
    ]
    for caption, values in (("Settings", data.settings), ("Versions", data.versions)):
        if values:
            parts.append(table(caption, ["name", "value"], values.items()))
    return joined(*parts)


def card(data: ReportData) -> Html:
    if data.card is None:
        return Html()
    training = data.card.get("training", {})
    settings = [(name, _plain(value)) for name, value in training.items()] if isinstance(training, Mapping) else []
    parts = [
        tag("p", data.card.get("summary", "No summary.")),
        tag("p", tag("b", "Licence: "), data.card.get("licence", "not stated")),
        tag("h3", "Intended use"),
        listed(data.card.get("intended_use", INTENDED)),
        tag("h3", "Forbidden use"),
        listed(data.card.get("forbidden_use", FORBIDDEN)),
    ]
    if settings:
        parts.append(folded("Table: training", table("Training", ["setting", "value"], settings)))
    return joined(*parts)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else DASH if value is None else str(value)


def annex_iv(there: Mapping[str, str]) -> Html:
    """`there`: the sections of this report, id to title."""
    rows = []
    for heading in texts.ANNEX_IV:
        links = [tag("a", there[name], href=f"#{name}") for name in heading.sections if name in there]
        inner = joined(*(joined(", " if i else "", link) for i, link in enumerate(links))) if links else "nothing"
        rows.append((f"{heading.number}. {heading.heading}", inner, heading.missing))
    note = (
        "Technical documentation of a high-risk system under Article 11 has the headings of Annex IV. This report is a "
        "part of such documentation at most; whether the system is one that needs it is not decided here. Headings are "
        "shortened."
    )
    return joined(tag("p", note), table("Headings of Annex IV", ["heading", "in this report", "not in it"], rows))


TITLES = {
    "summary": "Summary",
    "data": "Data and groups",
    "overall": "Performance over all faces",
    "confusion": "Confusion matrices",
    "groups": "Groups compared",
    "masks": "Masked against bare",
    "age": "Age: error at 18 and 25",
    "calibration": "Calibration",
    "coupling": "Do the heads fail together",
    "explanations": "Where the model looks",
    "unexamined": "Not examined",
    "limits": "Limits",
    "method": "Method",
    "provenance": "Provenance",
    "card": "Model card",
    "annex-iv": "Index to Annex IV of the EU AI Act",
}


def sections(data: ReportData) -> Iterator[tuple[str, str, Html]]:
    """Id, title and body of each section that has something to say."""
    labelled = any(data.annotated.values())
    made = {
        "summary": summary(data),
        "data": faces(data),
        "overall": overall(data) if labelled else Html(),
        "confusion": confusion(data),
        "groups": groups(data) if labelled else Html(),
        "masks": masks(data),
        "age": age(data),
        "calibration": calibration(data),
        "coupling": coupling(data),
        "explanations": explanations(data),
        "unexamined": _unexamined(data),
        "limits": listed(limits(data)),
        "method": terms(texts.method(data.level)),
        "provenance": provenance(data),
        "card": card(data),
    }
    there = {name: TITLES[name] for name, body in made.items() if body}
    for name in there:
        yield name, TITLES[name], made[name]
    yield "annex-iv", TITLES["annex-iv"], annex_iv(there)
