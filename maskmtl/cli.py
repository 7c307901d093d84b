"""The command `maskmtl`. Each command imports what it needs when it runs."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from maskmtl import __version__

Run = Callable[[argparse.Namespace], int | None]  # gives an exit code other than 0 where its answer is no
AddCommand = Callable[[str, Run, str], argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None, more: Callable[[AddCommand], None] = lambda command: None) -> int:
    """Run a command. 0: done. 1: its answer is no, or the machine failed it. 2: wrong input. 130: stopped.

    `more` adds commands of packages that stand above this one: analyses/cli.py.
    """
    args = _parser(more).parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, and cleans up
    try:
        return args.run(args) or 0
    except ValueError as error:
        print(f"maskmtl: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        print(f"maskmtl: {error.strerror or error}{file}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's own, which is not loaded for every command
            raise
        print("maskmtl: the GPU's memory ran out: try a smaller --batch-size, or --device cpu", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("maskmtl: stopped, nothing half-made was left", file=sys.stderr)
        return 130


def _parser(more: Callable[[AddCommand], None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "maskmtl", description="What does this face model see, and what does a mask change?"
    )
    parser.add_argument("--version", action="version", version=f"maskmtl {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    sub = command("prepare", _prepare, "read faces into a manifest, a pixel cache and landmarks")
    sub.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="UTKFace.tar.gz, a folder or ZIP of pictures, or a CSV with a column 'path'",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    sub.add_argument(
        "--align",
        action=argparse.BooleanOptionalAction,
        help="find and crop the face in each picture (default: unless the names are UTKFace's)",
    )
    sub.add_argument(
        "--size", type=int, default=200, help="side of the cached crops in px (default 200, UTKFace's own)"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of the protocol 'random' (default 0)")
    sub.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    sub.add_argument("--overwrite", action="store_true", help="replace a folder that prepare made before")

    sub = command("train", _train, "train a model on a prepared folder")
    sub.add_argument("faces", metavar="FACES", help="a prepared folder")
    sub.add_argument(
        "--run", type=Path, dest="folder", required=True, metavar="DIR", help="the run folder to make, or to resume"
    )
    sub.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped")
    sub.add_argument(
        "--recipe",
        metavar="NAME",
        help="start from a row of the paper's table (single, fixed, uncertainty, gradnorm, moo, pareto, hard, soft, "
        "hierarchical, maskmtl-bare, maskmtl), or from default, teacher, or paper, the paper's own settings",
    )
    add_machine(sub)
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    sub.add_argument("--encoder", help="fig1 (default), conv3, compact or resnet18", **given)
    sub.add_argument("--size", type=int, help="px of the pictures, for resnet18 (default 224)", **given)
    sub.add_argument(
        "--mirror", action="store_true", help="answer with the mean for a picture and its mirror image", **given
    )
    sub.add_argument("--sharing", help="hard, soft or hierarchical (default)", **given)
    sub.add_argument("--tie", type=float, help="weight of soft sharing's regulariser (default 1e-3)", **given)
    sub.add_argument("--balancing", help="how the tasks' losses are combined: fixed (default), gradnorm, ...", **given)
    sub.add_argument(
        "--no-nonlocal", dest="nonlocal_block", action="store_false", help="leave the non-local block out", **given
    )
    sub.add_argument("--channels", type=int, choices=(1, 3), help="1 grey, the paper's (default), or 3 colour", **given)
    sub.add_argument("--protocol", help="random (default) or parts", **given)
    sub.add_argument("--masks", type=names, help="comma-separated: none,surgical (default) trains on both", **given)
    sub.add_argument(
        "--bare", type=float, help="probability of a bare face among several masks (default: evenly)", **given
    )
    sub.add_argument("--teacher", help="a model whose answers for bare faces are learnt too (default: none)", **given)
    sub.add_argument(
        "--draws", type=int, help="different masks a face may wear (default 2); 0 draws a fresh one each epoch", **given
    )
    sub.add_argument("--epochs", type=int, help="passes over the faces (default 40)", **given)
    sub.add_argument("--patience", type=int, help="stop after so many epochs without a better one", **given)
    sub.add_argument("--batch-size", type=int, help="faces a step (default 32)", **given)
    sub.add_argument("--lr", type=float, help="learning rate of Adam (default 1e-3)", **given)
    sub.add_argument("--weight-decay", type=float, help="decoupled weight decay (default 0.05)", **given)
    sub.add_argument("--schedule", help="cosine (default) or constant", **given)
    sub.add_argument("--age-loss", help="l1_z (default), l1_years (the paper), mse_z, ... or distribution", **given)
    sub.add_argument("--fairness", help="balanced, group_dro or adversarial (default none)", **given)
    sub.add_argument("--mixup", type=float, help="alpha of mixing two faces of a batch (default 0: none)", **given)
    sub.add_argument("--average", type=float, help="decay of an average of the weights (default 0: none)", **given)
    sub.add_argument(
        "--no-augment", dest="augment", action="store_false", help="no mirroring, shifts or light changes", **given
    )
    sub.add_argument("--precision", help="fp32 (default) or bf16", **given)
    sub.add_argument("--seed", type=int, help="seed of everything random (default 0)", **given)

    sub = command("table", _table, "train the rows of the paper's table where they are missing, and print it")
    sub.add_argument("faces", metavar="FACES", type=Path, help="a prepared folder")
    sub.add_argument("--runs", type=Path, required=True, metavar="DIR", help="where the runs are, a folder each")
    sub.add_argument("--out", type=Path, metavar="DIR", help="write table.csv, table.md and table.html there")
    sub.add_argument("--recipes", type=names, metavar="NAMES", help="comma-separated (default: all rows)")
    sub.add_argument("--protocols", type=names, default=("random", "parts"), help="default random,parts")
    sub.add_argument("--seeds", type=names, default=("0",), help="comma-separated (default 0)")
    sub.add_argument("--no-train", action="store_true", help="show what is there")
    add_machine(sub)

    sub = command("runs", _runs, "list, compare, stop, resume, delete and export runs")
    actions = sub.add_subparsers(required=True, metavar="ACTION", dest="action")

    def action(name: str, text: str, *, several: bool = False, one: bool = False) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.add_argument("--runs", type=Path, metavar="DIR", help="their folder (default: $MASKMTL_RUNS, else runs/)")
        if one:
            made.add_argument("name", metavar="RUN", help="its name, id or folder")
        if several:
            made.add_argument("names", metavar="RUN", nargs="+", help="names, ids or folders")
        return made

    action("list", "all runs, newest first").add_argument("--json", action="store_true", help="as one JSON list")
    action("show", "a run's settings and epochs", one=True).add_argument(
        "--json", action="store_true", help="as one JSON object"
    )
    action("compare", "settings that differ, and the best epochs' validation figures", several=True).add_argument(
        "--json", action="store_true", help="as one JSON object"
    )
    action("stop", "ask a run to stop, or take it out of the queue", one=True)
    resume = action("resume", "go on with a stopped or failed run, in the background", one=True)
    add_machine(resume, "the run's own", "all but one")
    action("delete", "remove a run, its weights and all", one=True)
    add_machine(action("work", "train what is queued, until nothing is"), threads="all but one")
    made = action("export", "send a run to an MLflow server", one=True)
    made.add_argument("--mlflow", required=True, metavar="URI", help="of a tracking server, e.g. http://host:5000")
    made.add_argument("--experiment", default="maskmtl", help="default maskmtl")

    sub = command("predict", _predict, "write the predictions table of some faces")
    add_faces(sub)
    sub.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".parquet (long table) or .csv (one row a face and mask)",
    )
    sub.add_argument(
        "--draws",
        type=int,
        default=1,
        metavar="N",
        help="drawings of each mask, for the spread between them (default 1)",
    )

    sub = command("evaluate", _evaluate, "print a model's figures per mask")
    add_faces(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    sub = command("mask", _mask, "draw masks on faces, and say who got none")
    sub.add_argument(
        "faces", metavar="FACES", help="a picture, a prepared folder, a folder or archive of pictures, a CSV, or 'demo'"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="the folder to make; a run that was stopped there goes on")
    sub.add_argument("--sheet", type=Path, metavar="PNG", help="one picture of the first faces in every mask")
    sub.add_argument(
        "--kinds", type=names, default=("all",),
        help="all (default), or comma-separated kinds with colour, pattern and wear, e.g. surgical,cloth:checks:red",
    )  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, help="seed of the masks (default 0)")
    sub.add_argument("--format", default="png", help="png (default), or jpg at quality 95")
    sub.add_argument("--protocol", default="random", help="random (default) or parts, for a prepared folder")
    sub.add_argument("--split", default="all", help="all (default), train, val or test")
    sub.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    sub = command("models", _models, "list the models that come with the project")
    sub.add_argument("--json", action="store_true", help="print the cards as one JSON list")

    sub = command("publish", _publish, "copy a run's best weights, at half precision, into data/models")
    sub.add_argument("folder", type=Path, metavar="RUN", help="a run folder")
    sub.add_argument("name", metavar="NAME", help="the model's name")

    sub = command("demo", _demo, "make the composite demo faces again")
    sub.add_argument("faces", metavar="FACES", help="UTKFace as a prepared folder")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    sub.add_argument("--seed", type=int, default=0, help="seed of the composites (default 0)")
    more(command)
    return parser


def add_faces(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "faces", metavar="FACES", help="a prepared folder, a folder, ZIP or archive of pictures, a CSV, or 'demo'"
    )
    sub.add_argument(
        "--model", help="a name from `maskmtl models`, or a run's name or folder (default: the project's default model)"
    )
    sub.add_argument(
        "--masks",
        type=names,
        default=("none",),
        help="comma-separated (default none; of explain and atlas none,surgical)",
    )
    sub.add_argument("--protocol", default="random", help="random (default) or parts, for a prepared folder")
    sub.add_argument(
        "--split",
        default="unseen",
        help="unseen (default: no picture that the model has seen), all, train, val or test",
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of the masks (default 0)")
    sub.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def add_machine(
    sub: argparse.ArgumentParser, device: str = "the GPU where there is one", threads: str = "all cores"
) -> None:
    sub.add_argument("--device", help=f"cpu, cuda, ... (default: {device})")
    sub.add_argument("--threads", type=int, help=f"CPU threads (default: {threads})")


def use_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads should be at least 1, got {threads}")
        torch.set_num_threads(threads)


@contextmanager
def held() -> Iterator[Callable[[], bool]]:
    """Keep the first Ctrl-C or SIGTERM: gives what tells whether there was one. A second one ends at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {name: signal.signal(name, ask) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class Bar:
    """A progress bar on stderr, for callers that report (done, total)."""

    def __init__(self, text: str, unit: str = "face") -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=text, unit=unit, file=sys.stderr, disable=None, leave=False)

    def __call__(self, done: int, total: int | None) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def text(self, text: str) -> None:
        self._bar.set_description(text, refresh=False)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()


def _prepare(args: argparse.Namespace) -> None:
    from maskmtl.manifest import REJECTED
    from maskmtl.prepare import prepare

    with Bar("prepare") as bar:
        done = prepare(
            args.source, args.out, align=args.align, size=args.size, seed=args.seed, workers=args.workers,
            overwrite=args.overwrite, progress=bar,
        )  # fmt: skip
    print(f"{done.faces} faces in {args.out}")
    if done.rejected:
        print(f"{done.rejected} pictures were not taken; each stands with its reason in {args.out / REJECTED}")
    if done.template:
        print(f"{done.template} faces have no landmarks of their own: masks on them follow the mean face ('template')")
    if done.divided:
        print(f"{done.divided} faces have a near-duplicate in another of your splits: figures may flatter")
    if done.excluded:
        print(f"{done.excluded} faces are near-duplicates with conflicting annotations and stand in no split")


def _train(args: argparse.Namespace) -> int | None:
    import dataclasses

    from maskmtl.checkpoint import usable_device
    from maskmtl.manifest import load_faces
    from maskmtl.recipes import recipe
    from maskmtl.training import Progress, Stopped, TrainConfig, train, variants_folder

    use_threads(args.threads)
    changes = {f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig) if hasattr(args, f.name)}
    if args.resume:
        if changes or args.recipe:
            raise ValueError(
                f"--resume goes on with the run's own settings, got {sorted(changes) or ['recipe']} as well"
            )
        config = TrainConfig.from_json(_read_json(args.folder / "config.json"))
    else:
        start = recipe(args.recipe, usable_device(args.device)).config if args.recipe else TrainConfig()
        config = dataclasses.replace(start, **changes)
        if config.teacher and Path(config.teacher).is_dir():  # resumed from elsewhere it must be found as well
            config = dataclasses.replace(config, teacher=str(Path(config.teacher).resolve()))
    faces = load_faces(Path(args.faces), config.protocol)
    with Bar("draw") as drawing, Bar("train", unit="batch") as bar, held() as asked:
        record = _Record(args.folder, args.faces, args.device)

        def progress(p: Progress) -> None:
            record.begin()
            bar(p.done, p.total)

        try:
            with record:
                train(
                    faces, args.folder, None if args.resume else config, resume=args.resume, device=args.device,
                    cache=variants_folder(Path(args.faces)), stop=lambda: asked() or record.asked_to_stop(),
                    drawing=drawing, log=_log_epoch, progress=progress,
                )  # fmt: skip
        except Stopped as stopped:
            print(f"{stopped}; go on with --resume")
            return 130
    print(f"trained; the best epoch's weights and card are in {args.folder}")
    return None


class _Record:
    """What the index of runs learns of a training, from its first batch on: before, it may still be refused.

    That the index can't be written is no reason to lose a training: a warning says so.
    """

    def __init__(self, folder: Path, faces: str, device: str | None) -> None:
        from maskmtl.runs import Every, Runs

        self._what, self._begun = (folder, faces, device or ""), False
        self._runs, self._look, self._stack = Runs(), Every(1.0), ExitStack()
        self._run: Any = None

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            with self._warning():
                self._run = self._stack.enter_context(self._runs.recorded(*self._what))

    def asked_to_stop(self) -> bool:
        return self._run is not None and self._look() and self._runs.asked_to_stop(self._run)

    def __enter__(self) -> "_Record":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from maskmtl.training import Stopped

        with self._warning(), self._stack:
            failed = isinstance(error, Exception) and not isinstance(error, Stopped)
            if self._run is not None and (failed or error is None):
                self._runs.finish(self._run, error)

    @contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            print(f"maskmtl: the index of runs does not know of this run: {error}", file=sys.stderr)


def _runs(args: argparse.Namespace) -> None:
    from maskmtl import runs as index

    runs = index.Runs(args.runs)
    if args.action == "list":
        _list_runs(runs.all(), as_json=args.json)
    elif args.action == "show":
        _show_run(runs.get(args.name), as_json=args.json)
    elif args.action == "compare":
        settings, figures = index.compare([runs.get(name) for name in args.names])
        if args.json:
            print(json.dumps({"settings": json.loads(settings.to_json()), "val": json.loads(figures.to_json())}))
            return
        print("Settings that differ\n", settings.to_string() if len(settings) else "none", sep="")
        print("\nThe best epoch on val; n faces of val\n", figures.round(3).to_string(), sep="")
    elif args.action == "work":
        from maskmtl.queue import work

        use_threads(args.threads)
        with held() as asked:
            work(runs, args.device or "", threads=args.threads, stop=asked, log=partial(_log_run, sys.stdout))
    elif args.action == "export":
        from maskmtl.tracking import export

        print(f"MLflow run {export(runs.get(args.name), args.mlflow, args.experiment)} in {args.mlflow}")
    else:
        _change_run(args, runs)


def _change_run(args: argparse.Namespace, runs: Any) -> None:
    run = runs.get(args.name)
    if args.action == "resume":
        from maskmtl.queue import start_worker

        use_threads(args.threads)
        runs.resume(run.id, args.device or "")
        start_worker(runs, runs.get(run.id).device, args.threads)
    else:
        getattr(runs, args.action)(run.id)
    done = {"stop": "asked to stop", "resume": "queued", "delete": "deleted"}[args.action]
    print(f"{run.name}: {done}")


def _log_run(terminal: TextIO, run: Any, line: dict[str, Any]) -> None:
    _log_epoch(line)  # the worker's own output goes to the run's log
    with redirect_stdout(terminal):
        print(run.name, end=": ")
        _log_epoch(line)


def _list_runs(runs: Sequence[Any], *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps([{**asdict(run), "folder": str(run.folder)} for run in runs], indent=2))
        return
    if not runs:
        print("no runs yet: train one with `maskmtl train`, or on the page Train of the workbench")
    for run in runs:
        lines = run.lines()
        epochs = f"epoch {len(lines)}" if lines else "no epoch yet"
        reason = f": {run.error}" if run.error else ""
        print(f"{run.name}  {run.state}{reason}  {epochs}  on {run.faces}  {run.created}")


def _show_run(run: Any, *, as_json: bool) -> None:
    from dataclasses import asdict

    about = {**asdict(run), "folder": str(run.folder), "config": asdict(run.config()), "best": run.best()}
    if as_json:
        print(json.dumps(about, indent=2))
        return
    for key, value in about.items():
        if key not in ("config", "best"):
            print(f"{key}: {value}")
    for key, value in about["config"].items():
        print(f"  {key}: {value}")
    for line in run.lines():
        _log_epoch(line)


def _table(args: argparse.Namespace) -> int | None:
    from maskmtl import table
    from maskmtl.splits import PROTOCOLS
    from maskmtl.training import Progress, Stopped

    use_threads(args.threads)
    for protocol in args.protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocols should be of {list(PROTOCOLS)}, got {protocol!r}")
    if not all(seed.isdecimal() for seed in args.seeds):
        raise ValueError(f"seeds should be whole numbers, got {','.join(args.seeds)}")
    entries = table.plan(args.recipes, args.protocols, [int(seed) for seed in args.seeds])

    def log(name: str, line: dict[str, Any]) -> None:
        print(name, end=": ")
        _log_epoch(line)

    with held() as asked, Bar("draw") as drawing, Bar("table", unit="batch") as bar:

        def progress(name: str, p: Progress) -> None:
            bar.text(name)
            bar(p.done, p.total)

        try:
            found = table.make(
                args.faces, args.runs, entries, device=args.device, train_missing=not args.no_train,
                drawing=drawing, progress=progress, log=log, stop=asked,
            )  # fmt: skip
        except Stopped as stopped:
            print(f"{stopped}; the same command goes on from here")
            return 130
    if found.empty:
        raise ValueError(f"runs should hold rows of the table, got none of them in {str(args.runs)!r}")
    if args.out is not None:
        table.write(found, args.out)
    print(table.markdown(found))
    return None


def _log_epoch(line: dict[str, Any]) -> None:
    figures = "; ".join(
        f"{mask}: "
        + ", ".join(f"{name} {value:.3f}" if value < 1 else f"{name} {value:.2f}" for name, value in f.items())
        for mask, f in line["val"].items()
    )
    print(f"epoch {line['epoch']} ({line['seconds']} s) {figures}", flush=True)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"run should have a readable {path.name}, got {str(path)!r}: {error}") from error


def open_faces_and_model(args: argparse.Namespace) -> tuple[Any, Any]:
    from maskmtl.checkpoint import DEFAULT_MODEL, load_model
    from maskmtl.dataset import check_masks
    from maskmtl.evaluation import choose
    from maskmtl.manifest import open_faces

    check_masks(args.masks)
    name = args.model or DEFAULT_MODEL
    model = load_model(name, args.device)
    with Bar("open") as bar:
        faces = open_faces(args.faces, args.protocol, progress=bar)
    if len(faces.rejected):
        print(
            f"{len(faces.rejected)} pictures were not taken, the first: {faces.rejected.iloc[0].to_dict()}",
            file=sys.stderr,
        )
    return model, choose(faces, name, args.split)


def _predict(args: argparse.Namespace) -> None:
    from maskmtl.files import write_atomic
    from maskmtl.inference import predict, predict_draws, wide

    if args.out.suffix not in (".parquet", ".csv"):
        raise ValueError(f"out should end in .parquet or .csv, got {str(args.out)!r}")
    if args.draws > 1 and args.out.suffix == ".csv":
        raise ValueError(f"out should end in .parquet for several draws, got {str(args.out)!r}")
    model, faces = open_faces_and_model(args)
    with Bar("predict") as bar:
        common = {"masks": args.masks, "seed": args.seed, "progress": bar}
        several = args.draws != 1
        table = predict_draws(model, faces, args.draws, **common) if several else predict(model, faces, **common)
    if args.out.suffix == ".csv":
        write_atomic(args.out, lambda partial: wide(table, model.specs).to_csv(partial, index=False))
    else:
        write_atomic(args.out, lambda partial: table.to_parquet(partial, index=False))
    print(f"{len(faces)} faces, masks {', '.join(args.masks)}: {len(table)} predictions in {args.out}")


def _evaluate(args: argparse.Namespace) -> None:
    from maskmtl.evaluation import evaluate

    model, faces = open_faces_and_model(args)
    with Bar("evaluate") as bar:
        figures, _ = evaluate(model, faces, masks=args.masks, seed=args.seed, progress=bar)
    result = {"model": model.name, "faces": faces.name, "split": args.split, "seed": args.seed, "masks": figures}
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{model.name} on {faces.name}, {args.split}, mask seed {args.seed}")
    for mask, of_mask in figures.items():
        scores = {name: value for name, value in of_mask.items() if name != "n" and not name.endswith("_n")}
        words = ", ".join(f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in scores.items())
        print(f"{mask}: {words}, n {of_mask['n']}")


def _mask(args: argparse.Namespace) -> None:
    from maskmtl import masking
    from maskmtl.manifest import open_faces
    from maskmtl.sources import is_image

    masks = masking.parse_masks(args.kinds)
    settings = masking.settings_of(masks, args.seed, args.format)
    if args.out is None and args.sheet is None:
        raise ValueError("mask should have --out DIR, --sheet PNG or both, got neither")
    if args.sheet is not None and args.sheet.suffix.lower() != ".png":
        raise ValueError(f"sheet should end in .png, got {str(args.sheet)!r}")
    if args.workers < 1:
        raise ValueError(f"workers should be at least 1, got {args.workers}")
    if args.out is not None:
        masking.check_out(args.out, settings)
    path = Path(args.faces)
    with Bar("open") as bar:
        if path.is_file() and is_image(path.name):
            faces, found = masking.open_picture(path)
            if not found:
                print(f"no face was found in {path}: its middle is taken for one", file=sys.stderr)
        elif args.out is None:
            faces = open_faces(args.faces, args.protocol, progress=bar)
        else:
            faces = masking.open_source(
                args.faces, args.out, protocol=args.protocol, workers=args.workers, progress=bar
            )
    faces = masking.choose(faces, args.split)
    result: dict[str, Any] = {"masks": masks, "seed": args.seed}
    if args.sheet is not None:
        masking.write_sheet(faces, args.sheet, masks, args.seed)
        result["sheet"] = str(args.sheet)
    if args.out is not None:
        # a Ctrl-C that comes inside a pool's locks can leave it waiting for ever: it is kept until a chunk is done
        def progress(done: int, total: int | None) -> None:
            bar(done, total)
            if asked():
                raise KeyboardInterrupt

        with Bar("mask") as bar, held() as asked:
            try:
                table = masking.mask_faces(
                    faces, args.out, masks=masks, seed=args.seed, picture=args.format, workers=args.workers,
                    progress=progress,
                )  # fmt: skip
            except KeyboardInterrupt:
                print("maskmtl: the same command goes on from here", file=sys.stderr)
                raise
        result |= {"out": str(args.out), **masking.report(table)}
    if args.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    if args.sheet is not None:
        print(f"sheet in {args.sheet}")
    if args.out is not None:
        print(f"{result['masked']} of {result['overlays']} overlays on {result['faces']} faces in {args.out}")
        for reason, n in result["reasons"].items():
            print(f"{n} failed: {reason}")
        print(masking.audit_text(masking.audit(table)))


def _models(args: argparse.Namespace) -> None:
    from maskmtl.checkpoint import available_models

    cards = available_models()
    if args.json:
        print(json.dumps(cards, indent=2))
        return
    for card in cards:
        print(f"{card['name']}: {card.get('summary', 'no summary')}")
    if not cards:
        print("no model in data/models: train one with `maskmtl train`, then `maskmtl publish`")


def _publish(args: argparse.Namespace) -> None:
    from maskmtl.checkpoint import publish

    print(f"published to {publish(args.folder, args.name)}")


def _demo(args: argparse.Namespace) -> None:
    from maskmtl.composites import make_demo
    from maskmtl.manifest import load_faces

    with Bar("demo", unit="composite") as bar:
        table = make_demo(load_faces(Path(args.faces), "random"), args.out, seed=args.seed, progress=bar)
    print(f"{len(table)} composite faces in {args.out}")


if __name__ == "__main__":
    sys.exit(main())
