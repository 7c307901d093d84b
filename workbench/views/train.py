"""Runs: the one that is training, those that wait, and all there have been."""

import pandas as pd
import streamlit as st

from analyses.figures import curves_figure, loss_figure
from analyses.report.words import scale
from maskmtl.runs import Run
from maskmtl.tracking import export
from workbench import parts, resources
from workbench.address import kept
from workbench.retrain import (
    EVERY,
    STATE_WORDS,
    attempt,
    masks_in_words,
    offer_to_stop,
    open_comparison,
    runs,
    show_status,
    start_worker,
)

METRICS = {"accuracy": "Accuracy on validation", "mae": "Mean absolute error of age on validation, years"}


@st.fragment(run_every=EVERY)
def show_live(run_id: str, state: str) -> None:
    """Progress and curves of a run that trains; ends itself when the run does."""
    found, problem = resources.known_runs()
    run = next((run for run in found if run.id == run_id), None)
    if problem or run is None or run.state != state:  # the whole page tells
        st.rerun()
    if run.state == "queued":
        st.info("It waits for the run before it.")
        if st.button("Take it out of the queue", icon=":material/remove_circle:"):
            attempt(runs().stop, run.id)
        return
    show_status(run)
    offer_to_stop(run, "page")
    status = run.status()
    if status is not None and len(status.losses) > 1:
        parts.chart(loss_figure(status.losses, status.batches), f"Loss of {run.name} by batch", "train_losses")
    show_curves(run)


def show_curves(run: Run) -> None:
    """A figure per metric, over epochs."""
    metrics, best = run.metrics(), run.best()
    if metrics.empty:
        st.caption("Curves begin with the first whole epoch.")
        return
    kept_epoch = None if best is None else int(best["epoch"])
    left, right = st.columns(2, gap="medium")
    places = [left, right, left]
    loss = metrics[metrics["metric"] == "loss"]
    figures = [(curves_figure(loss, axis="Training loss", best=kept_epoch), "Training loss by epoch, per task", "loss")]
    for metric, name in METRICS.items():
        rows = metrics[(metrics["metric"] == metric) & (metrics["part"] == "val")]
        if len(rows):
            curves = curves_figure(rows, axis=name, best=kept_epoch, percent=metric == "accuracy")
            figures.append((curves, f"{name}, by epoch", metric))
    for place, (figure, alt, key) in zip(places, figures, strict=False):
        with place:
            parts.chart(figure, alt, f"train_{key}")
    st.caption("Upright: the epoch whose weights are kept. Validation chose it, so that its figures flatter.")


def overview(found: list[Run]) -> pd.DataFrame:
    """All runs in words."""
    rows = []
    for run in found:
        try:
            best, config = run.best(), run.config()
        except ValueError as error:
            rows.append({"run": run.name, "state": f"can’t be read\n{error}"})
            continue
        rows.append({
            "run": f"{run.name}\n{run.created[:16].replace('T', ' ')} UTC",
            "state": STATE_WORDS[run.state] + (f"\n{run.error}" if run.error else ""),
            "epochs": f"{len(run.lines())} of {config.epochs}",
            "sharing, balancing": f"{config.sharing}\n{config.balancing}",
            "faces": f"{resources.short(run.faces)}\n{masks_in_words(config)}",
            "variant of": resources.short(run.parent) or "–",
            "best on validation": "–" if best is None else figures(best),
        })  # fmt: skip
    return pd.DataFrame(rows).fillna("–")


def figures(line: dict) -> str:
    """An epoch's validation figures, the first mask in the first line."""
    words = []
    for mask, of_mask in line["val"].items():
        named = ((*name.rsplit("_", 1), value) for name, value in of_mask.items())
        values = ", ".join(f"{task} {scale(task, metric).value(value)}" for task, metric, value in named)
        words.append(f"{parts.mask_words(mask)}: {values}")
    return words[0] + ("\n" + "; ".join(words[1:]) if len(words) > 1 else "")


def held_against(run: Run) -> str:
    """What `open_comparison` holds a run against, as the pages call it; '' where there is nothing but itself."""
    name = resources.offered_as(run.parent) or resources.default_model()
    return "" if name == str(run.folder) else resources.offered_models().get(name, "")


def show_run(run: Run) -> None:
    with st.container(horizontal=True):
        if run.state in ("stopped", "failed") and st.button("Resume", type="primary", icon=":material/play_arrow:"):
            attempt(resume, run)
        other = held_against(run) if run.has_model() else ""
        if other and st.button(f"Compare with {other}", icon=":material/compare_arrows:", key="train_compare"):
            open_comparison(run)
        if run.has_model() and st.button("Use this model", icon=":material/check:", on_click=_use, args=(run,)):
            st.toast(f"{run.name} is the model of all pages now.")
        if run.state != "running":
            with st.popover("Delete …", icon=":material/delete:"):
                st.markdown(f"Delete **{parts.plain(run.name)}**, its weights and all? This can't be undone.")
                if st.button("Delete it", key=f"delete_{run.id}") and attempt(runs().delete, run.id):
                    st.rerun()
        with st.popover("To MLflow …", icon=":material/upload:"):
            offer_export(run)
    if run.error:
        st.error(parts.plain(f"It failed: {run.error}."))
    if run.active:
        show_live(run.id, run.state)
    else:
        show_curves(run)
    with st.expander("Settings"):
        config = {name: str(value) for name, value in vars(run.config()).items()}
        about = {"folder": str(run.folder), "faces": run.faces, "device": run.device, "variant of": run.parent or "–"}
        parts.table(
            pd.DataFrame({"setting": [*about, *config], "value": [*about.values(), *config.values()]}),
            label=f"Settings of {run.name}",
        )
    with st.container(horizontal=True):
        parts.csv("Curves (CSV)", f"{run.name}-curves.csv", run.metrics)


def offer_export(run: Run) -> None:
    """Parameters, curves and files for a team's own tracker."""
    uri = st.text_input("Tracking server or store", key="mlflow_uri", placeholder="http://host:5000").strip()
    experiment = st.text_input("Experiment", "maskmtl", key="mlflow_experiment").strip()
    if st.button("Export", disabled=not (uri and experiment), key="mlflow_export"):
        with st.spinner("Sending parameters, curves and files …"):
            if attempt(export, run, uri, experiment):
                st.success("MLflow has the run. Exported again, it gets what is new.")


def resume(run: Run) -> None:
    runs().resume(run.id)
    start_worker(run.device, asked=True)
    st.rerun()


def _use(run: Run) -> None:
    st.session_state["model"] = str(run.folder)


def page() -> None:
    st.markdown("Variants of a model: what trains now, what waits, and what has been.")
    found, problem = resources.known_runs()
    if problem:  # the sidebar says so
        return
    if not found:
        st.info(
            "Nothing has been trained yet. Open ‘Retrain a variant’ in the sidebar, choose what to change, and press "
            "Train. It goes on when you close this page.", icon=":material/arrow_back:",
        )  # fmt: skip
        return
    names = {run.id: run for run in found}
    active = [run.id for run in found if run.state == "running"] or [run.id for run in found if run.state == "queued"]
    chosen = kept(
        st.selectbox, "Run", list(names), index=list(names).index((active or list(names))[0]), key="train_run",
        usual=[],  # which runs now is another one tomorrow
        format_func=lambda run_id: f"{names[run_id].name}, {STATE_WORDS[names[run_id].state]}",
    )  # fmt: skip
    attempt(show_run, names[chosen])
    st.header("All runs")
    parts.table(overview(found), label="All runs, newest first")
    st.caption(
        "Best on validation: mean absolute error of age, accuracy of gender and ethnicity, of the epoch that was kept. "
        "Figures for a verdict come from faces the model has not seen: page Data set or Compare."
    )


page()
