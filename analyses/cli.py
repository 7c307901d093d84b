"""The command `maskmtl` with all its commands: those of maskmtl/cli.py and the analyses'."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from analyses import fairness_cli
from maskmtl import cli
from maskmtl.cli import AddCommand, Bar, add_faces, names, open_faces_and_model


def main(argv: Sequence[str] | None = None) -> int:
    """As maskmtl.cli.main."""
    return cli.main(argv, _add_commands)


def _add_commands(command: AddCommand) -> None:
    sub = command("explain", _explain, "measure where a model looks: energy and worth of each region of the face")
    _add_faces_and_out(sub)
    sub.add_argument(
        "--methods", type=names, default=("hirescam",), help="comma-separated (default hirescam); 'all' for every one"
    )
    sub.add_argument(
        "--by", type=names, default=(), help="groups of the mask's leakage: ethnicity,gender,age_band,mask"
    )
    sub.add_argument("--maps", action="store_true", help="keep the raw maps too, in DIR/maps")

    sub = command("atlas", _atlas, "average a model's maps by group, bare and masked, and test what each mask changes")
    _add_faces_and_out(sub)
    sub.add_argument("--by", default="ethnicity", help="ethnicity (default), gender, age_band or a column of the faces")
    sub.add_argument("--method", default="hirescam", help="default hirescam")

    sub = command("reference", _reference, "record how a model fares on faces, for the cohort card of the page Face")
    sub.add_argument("model", help="a name from `maskmtl models`, or a run's name or folder")
    sub.add_argument("faces", type=Path, metavar="PREPARED", help="the prepared folder it was trained on")
    sub.add_argument("--split", default="test", help="whose faces to record: test (default) or val")
    fairness_cli.add_commands(command)


def _add_faces_and_out(sub: argparse.ArgumentParser) -> None:
    add_faces(sub)
    sub.set_defaults(masks=("none", "surgical"))
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _reference(args: argparse.Namespace) -> None:
    from analyses.reference import FILE, make_reference
    from maskmtl.checkpoint import load_model, model_folder
    from maskmtl.evaluation import choose
    from maskmtl.manifest import load_faces

    if args.split not in ("test", "val"):
        raise ValueError(f"split should be 'test' or 'val', got {args.split!r}")
    model = load_model(args.model)
    faces = load_faces(args.faces, model.card.get("training", {}).get("protocol", "random"))
    unseen = choose(faces, args.model, args.split)
    with Bar("reference") as bar:
        found = make_reference(
            model, faces.in_split("train"), faces.in_split("val"), unseen, split=args.split, progress=bar
        )
    folder = model_folder(args.model)
    found.save(folder, model)
    print(f"{len(unseen)} faces of {args.split} on record in {folder / FILE}")


def _explain(args: argparse.Namespace) -> None:
    from analyses.attribution import METHODS, Attribution
    from analyses.explanation import explain_faces
    from maskmtl.files import write_atomic

    methods = tuple(METHODS) if args.methods == ("all",) else args.methods
    if unknown := [method for method in methods if method not in METHODS]:
        raise ValueError(f"methods should be among {sorted(METHODS)} or 'all', got {unknown[0]!r}")
    model, faces = open_faces_and_model(args)
    maps = args.out / "maps"
    _make(maps if args.maps else args.out)

    def keep(method: str, mask: str, first: int, found: Attribution) -> None:
        found.save(maps / f"{method}-{mask.replace(':', '-')}-{first:06d}.safetensors")

    with Bar("explain") as bar:
        found = explain_faces(
            model, faces, masks=args.masks, methods=methods, seed=args.seed, keep=keep if args.maps else None,
            progress=bar,
        )  # fmt: skip
    found.save(args.out)
    if args.maps:  # which face a row of the files is of
        write_atomic(maps / "faces.csv", partial(faces.table[["face_id"]].to_csv, index_label="row"))
    summary, leaks = found.summary(), found.leakage(args.by)
    if args.json:
        _print_json(found.about, args.out, regions=summary, leakage=leaks)
        return
    print(
        f"{model.name} on {len(faces)} faces of {faces.name}, {args.split}, mask seed {args.seed}; tables in {args.out}"
    )
    for (task, method, mask), of_map in summary.groupby(["task", "method", "mask"], sort=False):
        words = ", ".join(f"{row.region} {row.share:.0%} ({row.lift:.1f})" for row in of_map.itertuples())
        print(f"{task}, {method}, {mask}: {words}; n {of_map['n'].max()}")
    if len(leaks):
        print("share of positive energy (lift: share / area). The mask itself, lift and loss of score without it:")
        print(leaks.to_string(index=False, float_format="{:.3f}".format))


def _atlas(args: argparse.Namespace) -> None:
    from analyses.attribution.atlas import atlas

    model, faces = open_faces_and_model(args)
    _make(args.out)
    with Bar("atlas") as bar:
        found = atlas(model, faces, masks=args.masks, by=args.by, method=args.method, seed=args.seed, progress=bar)
    found.save(args.out)
    table = found.table()
    if args.json:
        _print_json(found.about, args.out, maps=table)
        return
    print(f"{model.name} on {len(faces)} faces of {faces.name} by {args.by}; atlas in {args.out}")
    print("found: share of the pixels in which masked differ from bare faces at a false discovery rate of 5 %")
    print(table.dropna().to_string(index=False, float_format="{:.2f}".format))


def _make(folder: Path) -> None:
    """The folder and its parents, before hours of work; ValueError where a file stands in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"out should be a folder, got {str(folder)!r}: a file stands there") from error


def _print_json(about: dict[str, Any], out: Path, **tables: pd.DataFrame) -> None:
    """One object: what was asked, where it was written, and tables as lists of rows, with null for NaN."""
    rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    print(json.dumps({**about, "out": str(out), **rows}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
