"""The paper's tables 2 and 3 and figures 2 and 3 from a run of ours, as one page.

    python -m analyses.paper_page MODEL FACES --out DIR [--mask mixed] [--split test]

MODEL is a name or a run folder, FACES a prepared folder. DIR gets page.html, confusion.csv and per_class.csv. Figures
come from the test split; faces are shown from the composite demo set alone, which are pictures of nobody.
"""

import argparse
import base64
import html
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from analyses.assessment import Assessment, assess, scores_in_words
from analyses.attribution import explain
from analyses.figures import map_overlay, map_scale, mask_name
from maskmtl.checkpoint import load_model
from maskmtl.dataset import wear
from maskmtl.evaluation import choose, evaluate
from maskmtl.files import write_text
from maskmtl.inference import predict, to_input
from maskmtl.manifest import Faces, load_faces, open_faces
from maskmtl.metrics import wilson
from maskmtl.networks import MaskMTL
from maskmtl.page import html_page, html_table
from maskmtl.tasks import Classes

# Table 3 as printed: precision, recall, F1 on masked faces
PAPER_TABLE_3 = {
    ("ethnicity", "white"): (0.90, 0.72, 0.80),
    ("ethnicity", "black"): (0.63, 0.90, 0.74),
    ("ethnicity", "asian"): (0.78, 0.85, 0.82),
    ("ethnicity", "indian"): (0.66, 0.77, 0.71),
    ("ethnicity", "others"): (0.66, 0.26, 0.37),
    ("gender", "male"): (0.81, 0.96, 0.88),
    ("gender", "female"): (0.94, 0.75, 0.84),
}
CONTRADICTION = (
    "The paper's Tables 2 and 3 do not agree with its Table 1. Two cells of Table 2 are garbled in the text; read as "
    "W-W 1651 and M-M 2657 both matrices hold 5,305 faces and give all of Table 3, and then gender accuracy is .860 "
    "and ethnicity .752, where Table 1 says .8913 and .7927. 5,305 is a fifth of the 26,522 faces of the authors' "
    "notebook, not the part II that the text names as its test split."
)
SHOWN, CASES = 6, 4  # faces with maps; successes and failures a task


def pick(predictions: pd.DataFrame, task: str, classes: bool, *, right: bool) -> list[str]:
    """Ids of the faces that a task reads best or worst: by the answer's probability, or by the error."""
    rows = predictions[(predictions["task"] == task) & predictions["y_true"].notna()]
    wrong = (rows["y_true"] - rows["y_pred"]).abs()
    if not classes:
        return list(rows["face_id"].iloc[np.argsort(wrong.to_numpy(), kind="stable")[:: 1 if right else -1][:CASES]])
    rows = rows[(wrong == 0) == right]
    sure = rows["probabilities"].map(max).to_numpy()
    return list(rows["face_id"].iloc[np.argsort(-sure, kind="stable")[:CASES]])


def _image(picture: np.ndarray, text: str) -> str:
    done, data = cv2.imencode(".png", picture[..., ::-1])
    assert done
    source = base64.b64encode(data.tobytes()).decode()
    shown = html.escape(text)
    return f'<figure><img src="data:image/png;base64,{source}" alt="{shown}"><figcaption>{shown}</figcaption></figure>'


def confusion_tables(found: Assessment) -> Iterator[str]:
    for task, of_mask in found.confusions.items():
        names = found.class_names(task)
        for mask, counts in of_mask.items():
            n, hits = int(counts.sum()), int(np.trace(counts))
            low, high = wilson(hits, n)
            yield f"<h3>{task}, {mask_name(mask)}: accuracy {hits / n:.4f} ({low:.4f}–{high:.4f}), n {n:,}</h3>"
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            rows = [
                [name, *(f"{count:,} ({share:.0%})" for count, share in zip(*pair, strict=True))]
                for name, pair in zip(names, zip(counts, shares, strict=True), strict=True)
            ]
            yield html_table(["annotated \\ predicted", *names], rows)


def class_tables(found: Assessment) -> Iterator[str]:
    for (task, mask), scores in found.per_class.groupby(["task", "mask"], sort=False):
        yield f"<h3>{task}, {mask_name(str(mask))}</h3>"
        rows = []
        for row in scores_in_words(scores).itertuples():
            printed = PAPER_TABLE_3[str(task), row[1]]
            rows.append([row[1], *(f"{p:.0%} → {o}" for p, o in zip(printed, row[2:5], strict=True)), row[5]])
        yield html_table(["class", "precision", "recall", "F1", "n"], rows)


def attention(model: MaskMTL, demo: Faces, mask: str) -> Iterator[str]:
    """Figure 2: a map per task for a few faces, bare and masked on one scale."""
    rows = np.linspace(0, len(demo) - 1, SHOWN).round().astype(int)
    for i in rows:
        name = str(demo.table["face_id"].iloc[i])
        variants = [demo.images[i], wear(demo.images[i], demo.landmarks.points[i], name, mask, 0)]
        maps = explain(model, to_input(np.stack(variants), model), method="hirescam")
        cells = []
        for task, values in maps.values.items():
            scale = map_scale(*values)
            for variant, of_variant, worn in zip(variants, values, ("bare", mask), strict=True):
                cells.append(_image(map_overlay(variant, of_variant, scale=scale), f"{task}, {worn}"))
        yield f'<div class="faces">{"".join(cells)}</div>'
    yield f"<p>HiResCAM at {html.escape(', '.join(sorted(set(maps.layers.values()))))}.</p>"


def cases(model: MaskMTL, demo: Faces, mask: str) -> Iterator[str]:
    """Figure 3: what the model reads best and worst among the demo faces."""
    predictions = predict(model, demo, masks=[mask], seed=0)
    place = {face_id: i for i, face_id in enumerate(demo.table["face_id"])}
    for task, spec in model.specs.items():
        target = spec.target
        classes = isinstance(target, Classes)
        of_task = predictions[predictions["task"] == task].set_index("face_id")
        for right in (True, False):
            yield f"<h3>{task}: {'success' if right else 'failure'}</h3>"
            cells = []
            for face_id in pick(predictions, task, classes, right=right):
                i, row = place[face_id], of_task.loc[face_id]
                names = target.names if isinstance(target, Classes) else ()
                read, label = (names[int(v)] if names else f"{v:.0f} years" for v in (row["y_pred"], row["y_true"]))
                worn = wear(demo.images[i], demo.landmarks.points[i], str(face_id), mask, 0)
                cells.append(_image(worn, f"read {read}, annotated {label}"))
            yield f'<div class="faces">{"".join(cells)}</div>' if cells else "<p>None among the demo faces.</p>"


_STYLE = (
    ".faces{display:flex;flex-wrap:wrap;gap:.6rem;margin-bottom:1rem}figure{margin:0;width:9rem}"
    "img{width:100%;display:block}figcaption{font-size:.85rem}"
)


def page(model: MaskMTL, found: Assessment, demo: Faces, mask: str, split: str) -> str:
    sections = [
        ("Table 2: confusion matrices", confusion_tables(found)),
        ("Table 3: precision, recall and F1, paper → ours", class_tables(found)),
        ("Figure 2: where each task looks", attention(model, demo, mask)),
        ("Figure 3: success and failure", cases(model, demo, mask)),
    ]
    shown = f"Faces of the {html.escape(split)} split, mask: {html.escape(mask_name(mask))}."
    introduction = f"""<p>{shown} {CONTRADICTION}</p>
<p>Maps show association in this model, not a cause. Faces shown are composites and show nobody; the model may have seen
their sources. Labels are annotations, not identities. The ethnicity head is for audit and research, never for deciding
about a person.</p>"""
    body = [f"<h2>{title}</h2>\n" + "\n".join(parts) for title, parts in sections]
    return html_page(f"The paper's tables and figures from {model.name}", "\n".join([introduction, *body]), _STYLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("faces", metavar="FACES", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--mask", default="mixed")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    model = load_model(args.model)
    faces = choose(load_faces(args.faces, model.card["training"]["protocol"]), args.model, args.split)
    _, predictions = evaluate(model, faces, masks=[args.mask])
    found = assess(predictions, faces.table, model.specs)
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "confusion.csv", found.confusion_table().to_csv(index=False))
    write_text(args.out / "per_class.csv", found.per_class.to_csv(index=False))
    write_text(args.out / "page.html", page(model, found, open_faces("demo"), args.mask, args.split))
    print(args.out / "page.html")


if __name__ == "__main__":
    main()
