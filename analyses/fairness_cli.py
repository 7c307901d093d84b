"""The commands about fairness: audit a predictions table, compare two models."""

import argparse
import json
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from maskmtl.cli import AddCommand, names
from maskmtl.files import write_atomic, write_text

MAPPING = "our column=theirs, again for each; several for probabilities: probabilities=p_male,p_female"


def add_commands(command: AddCommand) -> None:
    sub = command("audit", _audit, "measure gaps between groups and what masks change, with intervals and verdicts")
    sub.add_argument("predictions", type=Path, help="a table of `maskmtl predict`, or any model's: .parquet or .csv")
    add_reading(sub)
    add_questions(sub)
    sub.add_argument("--out", type=Path, metavar="FILE", help="write all figures to a .parquet or .csv")
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    sub = command("compare", _compare, "what a second model changes, face by face, for each group")
    sub.add_argument("first", type=Path, metavar="A", help="predictions of the model at hand")
    sub.add_argument("second", type=Path, metavar="B", help="predictions of the other, on the same faces")
    add_reading(sub)
    add_questions(sub)
    sub.add_argument("--out", type=Path, metavar="FILE", help="write the comparison: .html, .parquet or .csv")
    sub.add_argument(
        "--fail-if", action="append", default=[], metavar="CONDITION",
        help="end with code 1 where B minus A is so: 'worst_group_accuracy(gender) < -0.01'; may be given again",
    )  # fmt: skip
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    sub = command("report", _report, "write the fairness report of one model: a page of HTML, and the same as JSON")
    sub.add_argument("predictions", type=Path, help="a table of `maskmtl predict`, or any model's: .parquet or .csv")
    add_reading(sub)
    add_questions(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .html to write; .json goes beside it")
    sub.add_argument("--faces", metavar="NAME", help="the data set's name in the report (default: the table's)")
    sub.add_argument("--model", type=Path, metavar="DIR", help="the model's folder, for its card and hash")
    sub.add_argument("--atlas", type=Path, metavar="DIR", help="mean maps: what `maskmtl atlas` wrote")
    sub.add_argument("--explained", type=Path, metavar="DIR", help="reliance on the mask: what `maskmtl explain` wrote")
    sub.add_argument("--date", help="of the report (default: today)")


def add_reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--column", action="append", default=[], metavar="OURS=THEIRS", help=MAPPING)
    sub.add_argument("--task", help="the task of a table that has no column for it: gender, age, or a name of yours")
    sub.add_argument("--classes", type=names, default=(), help="the classes of that task, in order of index: no,yes")


def add_questions(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--by", type=names, default=None,
        help="groupings, comma-separated: tasks, age_band or columns, joined by * for their intersections "
        "(default: ethnicity, gender and age_band where the table has them, and ethnicity*gender)",
    )  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, help="of resampling (default 0)")
    sub.add_argument("--replicates", type=int, default=2000, help="of resampling (default 2000)")
    sub.add_argument("--level", type=float, default=0.95, help="of intervals; tests alarm at 1 - level (default 0.95)")
    sub.add_argument(
        "--margin", action="append", default=[], metavar="METRIC=X",
        help="the difference up to which groups count as served alike: accuracy=0.03; may be given again",
    )  # fmt: skip


def questions(args: argparse.Namespace, predictions: pd.DataFrame) -> dict:
    """What `audit` and `compare_models` are asked."""
    from analyses.fairness.samples import usual_groupings

    by = usual_groupings(predictions) if args.by is None else args.by
    return {
        "by": by, "seed": args.seed, "replicates": args.replicates, "level": args.level, "margins": margins(args.margin)
    }  # fmt: skip


def margins(texts: list[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError as error:
            raise ValueError(f"margin should read like accuracy=0.03, got {text!r}") from error
    return found


def read(path: Path, args: argparse.Namespace) -> pd.DataFrame:
    from analyses.fairness.tables import parse_mapping, read_predictions

    return read_predictions(path, parse_mapping(args.column), task=args.task, classes=args.classes)


def _audit(args: argparse.Namespace) -> None:
    from analyses.fairness import audit

    _check_out(args.out, (".parquet", ".csv"))
    predictions = read(args.predictions, args)
    found = audit(predictions, **questions(args, predictions))
    if args.out is not None:
        _write(found, args.out)
    if args.json:
        print(json.dumps({"audit": _records(found)}, indent=2))
        return
    print(_in_words(found))
    if args.out is not None:
        print(f"{len(found):,} figures in {args.out}")


def _report(args: argparse.Namespace) -> None:
    from analyses.fairness import audit
    from analyses.report import check_path, write_report
    from analyses.report.gather import gather

    check_path(args.out)
    predictions = read(args.predictions, args)
    asked = questions(args, predictions)
    found = audit(predictions, **asked)
    settings = {key: value for key, value in asked.items() if value not in (None, (), [], {})}
    data = gather(
        predictions, found, faces=args.faces or args.predictions.stem, date=args.date or date.today().isoformat(),
        level=args.level, settings=settings, model=args.model, files={"predictions": args.predictions},
        atlas=args.atlas, explained=args.explained,
    )  # fmt: skip
    write_report(data, args.out)
    print(f"report in {args.out}, the same as JSON in {args.out.with_suffix('.json').name}")


LINES = 12  # gaps that are printed
WORDS = {
    "value": "",
    "gap": ", against all others",
    "change": ", masked minus bare",
    "change_gap": ", masked minus bare against all others",
    "range": ", best minus worst group",
}


def _in_words(found: pd.DataFrame) -> str:
    from analyses.fairness.audit import GAP
    from analyses.fairness.metrics import DECLARED

    main = found["metric"].isin(DECLARED) & found["statistic"].isin(["value", "change"])
    lines = [_line(row) for row in found[main & (found["by"] == "all")].itertuples()]
    tested = found[found["verdict"] != ""]
    for verdict, n in tested["verdict"].value_counts().items():
        lines.append(f"{n:,} of {len(tested):,} comparisons: {verdict}")
    gaps = tested[(tested["verdict"] == GAP) & (tested["family"] == "declared")].sort_values("p_adjusted")
    harm = gaps[(gaps["statistic"] == "range") | ((gaps["value"] < 0) == (gaps["better"] == "higher"))]
    lines += [f"gap: {_line(row)}, adjusted p {row.p_adjusted:.2g}" for row in harm.head(LINES).itertuples()]
    if len(harm) > LINES:
        lines.append(f"and {len(harm) - LINES:,} more gaps of the declared family to someone's harm: see --out")
    return "\n".join(lines)


def _line(row: Any) -> str:
    sign = "" if row.statistic in ("value", "range") else "+"
    interval = "" if row.ci_low != row.ci_low else f" ({row.ci_low:{sign}.3f} to {row.ci_high:{sign}.3f})"
    group = "" if row.by == "all" else f", {row.by} {row.group}"
    about = f"{row.task} {row.metric}, {row.mask}{group}{WORDS[row.statistic]}"
    return f"{about}: {row.value:{sign}.3f}{interval}, n {row.n:,}"


def _compare(args: argparse.Namespace) -> int:
    from analyses.fairness.conditions import Condition
    from analyses.fairness.models import common, compare_models

    _check_out(args.out, (".html", ".parquet", ".csv"))
    conditions = [Condition.parse(text) for text in args.fail_if]
    first, second = read(args.first, args), read(args.second, args)
    shared = common(first, second)
    for condition in conditions:
        condition.check(shared.lacking)
    found = compare_models(first, second, **questions(args, first))
    broken = {condition.text: condition.holds(found) for condition in conditions}
    if args.out is not None and args.out.suffix == ".html":
        from analyses.report.comparison import comparison_page

        write_text(args.out, comparison_page(found, broken, date.today().isoformat()))
    elif args.out is not None:
        _write(found, args.out)
    failed = {text: rows for text, rows in broken.items() if len(rows)}
    if args.json:
        rows = {text: _records(rows) for text, rows in broken.items()}
        print(json.dumps({"faces": asdict(shared), "comparison": _records(found), "fail_if": rows}, indent=2))
    else:
        print(f"{found['model'].iloc[0]}\n{shared}\n{_in_words(found).replace(', masked minus bare', '')}")
        for text, rows in broken.items():
            print(f"{'FAILED' if len(rows) else 'passed'}: {text}")
            for row in rows.itertuples():
                interval = "" if pd.isna(row.ci_low) else f" ({row.ci_low:+.4f} to {row.ci_high:+.4f})"
                where = f"{row.task} {row.metric}, {row.mask}, {row.by} {row.group}"
                print(f"  {where}: {row.value:+.4f}{interval}, n {row.n:,}")
    return 1 if failed else 0


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(rows.to_json(orient="records"))


def _check_out(out: Path | None, suffixes: tuple[str, ...]) -> None:
    if out is not None and out.suffix not in suffixes:
        raise ValueError(f"out should end in {' or '.join(suffixes)}, got {str(out)!r}")


def _write(table: pd.DataFrame, out: Path) -> None:
    write_atomic(out, partial(table.to_csv if out.suffix == ".csv" else table.to_parquet, index=False))
