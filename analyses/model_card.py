"""A published model's card: its figures on faces it has not seen, per group, with licence and limits of use.

    python -m analyses.model_card NAME FACES

evaluates data/models/NAME on the test split of the prepared folder FACES, adds the figures to its model.json, and
writes README.md beside it (after Mitchell et al. 2019, Model Cards for Model Reporting).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.assessment import GROUPINGS, Assessment, assess, in_words
from analyses.fairness import group_table
from analyses.figures import mask_name
from maskmtl.checkpoint import CARD, load_model
from maskmtl.evaluation import choose, evaluate
from maskmtl.files import write_json, write_text
from maskmtl.manifest import load_faces
from maskmtl.networks import MaskMTL, count_values
from maskmtl.paths import MODELS

LICENCE = "Trained on UTKFace: non-commercial research only. The copyright of the photographs stays with their owners."
INTENDED = (
    "Research on multi-task networks and on masks; teaching; as the subject of fairness audits and explanations.",
    "Figures over groups of faces, with their intervals, never a statement about one person.",
)
FORBIDDEN = (
    "Deciding about, profiling, identifying or sorting persons by any of the three read-outs.",
    "Inferring ethnicity of individuals outside of auditing: the EU AI Act, Art. 5(1)(g), forbids some such uses.",
    "Verifying age for access, sale or safety: the error of a single face is far larger than the mean error.",
    "Any commercial use: the training pictures are licensed for non-commercial research.",
)
LIMITS = (
    "Labels are annotations: ages are mostly apparent ages, ethnicity and gender were ascribed by others, in two and"
    " five classes that do not describe identities. 'Others' collects what fits no other class.",
    "Masks are drawn, not worn. How far the figures hold for worn masks has not been measured.",
    "Grouping by UTKFace's labels inherits their errors; near-duplicates with conflicting labels are left out.",
    "Trained on one data set of aligned portraits; pictures taken otherwise may fare worse.",
)


def figures(assessment: Assessment) -> dict[str, Any]:
    """{mask: {'<task>_<metric>': {value, ci_low, ci_high, n}}} of the headline, for model.json."""
    result: dict[str, Any] = {}
    for row in assessment.overall.itertuples():
        if row.metric in ("accuracy", "mae"):
            entry = {"value": row.value, "ci_low": row.ci_low, "ci_high": row.ci_high, "n": row.n}
            result.setdefault(row.mask, {})[f"{row.task}_{row.metric}"] = entry
    return result


def write_card(name: str, faces: Path, *, seed: int = 0) -> Path:
    """Evaluate, and write both cards; returns the path of README.md."""
    model = load_model(name)
    training = model.card["training"]
    test = choose(load_faces(faces, training["protocol"]), name, "test")
    _, predictions = evaluate(model, test, masks=dict.fromkeys(["none", *training["masks"]]), seed=seed)
    assessment = assess(predictions, test.table, model.specs, seed=seed)
    card = {
        **model.card,
        "summary": _summary(model, assessment),
        "licence": LICENCE,
        "intended_use": list(INTENDED),
        "forbidden_use": list(FORBIDDEN),
        "test": {
            "protocol": training["protocol"],
            "mask_seed": seed,
            "faces": len(test),
            "figures": figures(assessment),
        },
    }
    write_json(MODELS / name / CARD, card)
    path = MODELS / name / "README.md"
    write_text(path, _markdown(model, card, assessment, test.table))
    return path


def _summary(model: MaskMTL, assessment: Assessment) -> str:
    parts = []
    for mask, of_mask in figures(assessment).items():
        values = [
            f"{key.split('_')[0]} {value['value']:.3f}"
            if key.endswith("accuracy")
            else f"age error {value['value']:.2f} years"
            for key, value in of_mask.items()
        ]
        parts.append(f"{mask_name(mask)}: {', '.join(values)}")
    colour = "grey" if model.input_channels == 1 else "colour"
    block = " and non-local block" if model.config["nonlocal_block"] else ""
    encoder = {"fig1": "figure 1 of the paper", "conv3": "the paper's three layers"}.get(
        model.config["encoder"], f"{model.config['encoder']} encoder"
    )
    network = f"{encoder}, {model.config['sharing']} sharing{block}, {model.input_size} px {colour}"
    return f"{network}; test {'; '.join(parts)}"


def _markdown(model: MaskMTL, card: dict[str, Any], assessment: Assessment, faces: pd.DataFrame) -> str:
    training, data, test = card["training"], card["data"], card["test"]
    masks = "; ".join(mask_name(mask) for mask in training["masks"])
    settings = json.dumps(training, indent=2)
    by_group = {by: group_table(assessment.predictions, faces, by, seed=test["mask_seed"]) for by in GROUPINGS}
    groups = "\n\n".join(
        f"### {title}, {task}\n\n{_table(_lines(by_group[by], by, task))}"
        for by, title in GROUPINGS.items()
        for task in assessment.tasks
    )
    return f"""# {model.name}

{card["summary"]}.

## Data and protocol

UTKFace, aligned and cropped, protocol `{training["protocol"]}`: {data["train"]:,} faces for training, {data["val"]:,}
for choosing the epoch, {test["faces"]:,} for the figures below, which the model has never seen. Near-duplicates stand
on one side of a split; those with conflicting annotations are left out. Faces wear: {masks}. `seen.npy` lists digests
of the pictures used for training and choosing, so that `maskmtl evaluate` can leave them out.

## Network and training

Encoder {count_values(model.encoder):,} values, whole network {count_values(model):,}. Chosen: epoch {card["epoch"]} of
{training["epochs"]}, by the validation split. Stored in half precision.

```json
{settings}
```

## Figures

On the test split, from `maskmtl evaluate FACES --model {model.name} --split test --masks {",".join(assessment.masks)}`
(mask seed {test["mask_seed"]}). Accuracy with Wilson intervals, mean absolute error in years with bootstrap intervals,
both at 95 %; a change is masked minus bare over the same faces.

{_table(_lines(assessment.overall, "faces", None))}

Groups are annotations, not identities. Groups of fewer than 20 faces are not judged.

{groups}

## Licence

{card["licence"]}

## Intended use

{_list(card["intended_use"])}

## Forbidden use

{_list(card["forbidden_use"])}

## Limits

{_list(LIMITS)}
"""


def _lines(table: pd.DataFrame, by: str, task: str | None) -> pd.DataFrame:
    tasks = [task] if task else list(table["task"].unique())
    parts = [in_words(table[table["task"] == t], by).assign(task=t) for t in tasks]
    words = pd.concat(parts, ignore_index=True)
    words = words.drop(columns=["task"]) if task else words.assign(group=words["task"]).drop(columns=["task"])
    return words.rename(columns={"group": by.replace("_", " ") if task else "task"})


def _table(frame: pd.DataFrame) -> str:
    """A Markdown table; a cell's second line, its interval, goes into brackets."""
    rows = [
        [str(cell).replace("\n", " (") + (")" if "\n" in str(cell) else "") for cell in row] for row in frame.values
    ]
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _list(items: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)


def main() -> None:
    parser = argparse.ArgumentParser("python -m analyses.model_card", description="Write a published model's cards.")
    parser.add_argument("name", help="a folder under data/models")
    parser.add_argument("faces", type=Path, help="the prepared folder with the model's data")
    args = parser.parse_args()
    print(write_card(args.name, args.faces))


if __name__ == "__main__":
    main()
