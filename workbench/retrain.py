"""Training from the sidebar: what to train, where it stands, and what happens when it is done."""

import time
from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from analyses.figures import mask_name
from maskmtl import queue
from maskmtl.balancing import BALANCINGS
from maskmtl.checkpoint import best_device, model_folder
from maskmtl.masks import MASKS, MIXED
from maskmtl.networks import SHARING, MaskMTL
from maskmtl.recipes import RECIPES, recipe
from maskmtl.runs import Run, Runs
from maskmtl.training import TrainConfig
from workbench import resources
from workbench.parts import capital, duration, mask_words, plain
from workbench.sidebar import current_name

LIKE = "as the chosen model"
EVERY = 1.0  # s between two looks at a run
STARTING = 20.0  # s that a worker may take before it is seen to run
WATCHED, FINISHED, LIVE = "train_watched", "train_finished", "train_live"
STATE_WORDS = {
    "queued": "waiting", "running": "running", "stopped": "stopped", "done": "done", "failed": "failed",
}  # fmt: skip


def runs() -> Runs:
    return Runs()


def sidebar_section(page: str) -> None:
    """The live state of training and the form; `page` is the address of the page beside it."""
    found, problem = resources.known_runs()
    if problem:
        st.error(plain(f"The runs can’t be listed: {problem}."))
        return
    _follow(page, found)
    st.session_state[LIVE] = any(run.active for run in found)
    if st.session_state[LIVE]:
        st.subheader("Training")
        _live(page)
        for run in found:
            if run.state == "running":
                offer_to_stop(run, "side")
    if finished := st.session_state.get(FINISHED):
        st.caption(f"{plain(finished.name)} is {STATE_WORDS[finished.state]}.")
        if finished.state == "done" and page != "compare" and st.button("Compare it", icon=":material/compare_arrows:"):
            open_comparison(finished)
    with st.expander("Retrain a variant", expanded=False, key="retrain"):
        _form()


def attempt(action: Callable[..., object], *args: object) -> bool:
    """Do what a button asks for; whether it went well. What went wrong is said."""
    try:
        action(*args)
    except (ValueError, OSError) as error:
        st.error(plain(f"That can’t be done: {error}."))
        return False
    return True


def _follow(page: str, found: list[Run]) -> None:
    """Notice runs that have just ended: whoever looks at one on the page Train sees the comparison with its parent."""
    watched: set[str] = st.session_state.setdefault(WATCHED, set())
    now = {run.id: run for run in found}
    for run_id in list(watched):
        run = now.get(run_id)
        if run is not None and run.active:
            continue
        watched.discard(run_id)
        if run is None:
            continue
        st.session_state[FINISHED] = run
        st.toast(f"{run.name}: {STATE_WORDS[run.state]}.", icon=":material/model_training:")
        if run.state == "done" and page == "train" and st.session_state.get("train_run") == run.id:
            open_comparison(run)
    watched |= {run.id for run in found if run.active}


@st.cache_resource
def _starts() -> dict[str, float]:
    """By device, when a worker was last started."""
    return {}


def start_worker(device: str, asked: bool = False) -> None:
    """See to it that a device's queue is worked on; unless `asked`, not while a worker may still be starting."""
    now, starts = time.monotonic(), _starts()
    if asked or now - starts.get(device, -STARTING) >= STARTING:
        starts[device] = now
        queue.start_worker(runs(), device)


def open_comparison(run: Run) -> None:
    st.session_state.pop(FINISHED, None)
    parent = resources.offered_as(run.parent) or resources.default_model()
    st.session_state["compare_models"] = [parent, str(run.folder)] if parent else [str(run.folder)]
    st.session_state["compare_go"] = True
    _turn_to("views/compare.py")


def _turn_to(view: str) -> None:
    """Go to another page. Where something is live on this one the browser must first have heard that it should ask no
    more for it: the answer to a late request would empty the new page."""
    if st.session_state.get(LIVE):
        time.sleep(EVERY)
    st.switch_page(view)


@st.fragment(run_every=EVERY)
def _live(page: str) -> None:
    found, problem = resources.known_runs()
    active = [run for run in found if run.active]
    running = [run for run in active if run.state == "running"]
    if problem or not active or st.session_state[WATCHED] - {run.id for run in active}:
        st.rerun()
    for device in {run.device for run in active} - {run.device for run in running}:
        attempt(start_worker, device)  # the machine may have been off, or a worker killed
    for run in running:
        show_status(run)
    waiting = len(active) - len(running)
    if waiting:
        st.caption(f"{waiting} waiting" if running else f"{waiting} waiting, starting …")
    if page == "train":
        st.caption("When it is done, the comparison with the model it is a variant of opens here.")
    else:
        st.page_link("views/train.py", label="Curves and queue", icon=":material/model_training:")


def show_status(run: Run) -> None:
    """Progress with time left."""
    status = run.status()
    if status is None:
        st.progress(0.0, f"{run.name}: starting …")
    elif status.phase == "preparing":
        of_all = f" of {status.batches:,}" if status.batches else ""
        read = f", {status.batch:,}{of_all} pictures" if status.batch else ""
        done = status.batch / status.batches if status.batches else 0.0
        st.progress(min(done, 1.0), f"{run.name}: preparing the faces{read} …")
    else:
        done = (status.epoch - 1 + status.batch / max(status.batches, 1)) / status.epochs
        left = "" if status.left is None else f", {duration(status.left)} left"
        st.progress(min(done, 1.0), f"{run.name}: epoch {status.epoch} of {status.epochs}{left}")
        st.caption(f"Loss {status.loss:.3f}")


def offer_to_stop(run: Run, where: str) -> None:
    """A button; `where` tells it from others. In a live part it is not heard while the page is at work."""
    stop = st.button("Stop training", key=f"stop_{where}_{run.id}", help=run.name, icon=":material/stop_circle:")
    if stop and attempt(runs().stop, run.id):
        st.toast(f"{run.name} stops after this batch; whole epochs are kept.")


def _form() -> None:
    """What to train. The settings of the recipe that are not asked for stay as they are."""
    name, model = current_name(), resources.model_or_none(current_name())
    own = _own_config(model)
    start = st.selectbox(
        "Settings of", [*([LIKE] if own else []), *RECIPES], key="train_recipe", persist_state="session",
        help="The chosen model, a row of the paper's table, or one of the project's own recipes. Weights begin anew; "
        "the result is compared with the chosen model.",
    )  # fmt: skip
    config = own if start == LIKE and own else recipe(str(start), best_device()).config
    asked = f"{start}_{name}" if start == LIKE else start  # other settings to start from are other fields
    with st.form("train_form", border=False):
        sharing = st.selectbox("Sharing", SHARING, SHARING.index(config.sharing), key=f"train_sharing_{asked}")
        balancing = st.selectbox(
            "Balancing", BALANCINGS, BALANCINGS.index(config.balancing), key=f"train_balancing_{asked}",
            help="How the losses of the tasks are weighed: fixed, GradNorm, MGDA, PCGrad and more.",
        )  # fmt: skip
        names = ["none", MIXED, *MASKS]
        masks = st.multiselect(
            "Masks", [*names, *(mask for mask in config.masks if mask not in names)], default=list(config.masks),
            format_func=mask_words, accept_new_options=True, key=f"train_masks_{asked}",
            help="Each face wears one of these per epoch.",
        )  # fmt: skip
        faces = st.text_input(
            "Faces", "demo", key="train_faces",
            help="demo, or a folder on this machine: made by `maskmtl prepare`, or of pictures with annotations.",
        ).strip()  # fmt: skip
        faces = faces if faces == "demo" else resources.typed(faces)
        epochs = st.number_input("Epochs", 1, 1000, config.epochs, key=f"train_epochs_{asked}")
        seed = st.number_input("Seed", 0, 999_999, config.seed, key=f"train_seed_{asked}")
        called = st.text_input("Name", key="train_name", placeholder="a name for the run").strip()
        pressed = st.form_submit_button("Train", type="primary", icon=":material/model_training:", width="stretch")
    if pressed:
        changes = {
            "sharing": sharing, "balancing": balancing, "masks": tuple(masks), "epochs": int(epochs), "seed": int(seed)
        }  # fmt: skip
        _order(config, changes, faces, called, name)


def _order(config: TrainConfig, changes: dict, faces: str, called: str, parent: str) -> None:
    """Queue it, or say what is wrong."""
    masks = changes["masks"]
    bare = config.bare if "none" in masks and len(masks) > 1 else None
    problem = resources.folder_problem(faces) if faces != "demo" else None
    try:
        if problem:
            raise ValueError(problem.removesuffix("."))
        if not masks:
            raise ValueError("choose at least one mask, or bare faces")
        config = replace(config, **changes, bare=bare)
        run = runs().add(config, faces, name=called, parent=parent)
        start_worker(run.device, asked=True)
    except (ValueError, OSError) as error:
        st.error(plain(f"This can't be trained: {error}."))
        return
    st.session_state.setdefault(WATCHED, set()).add(run.id)
    st.session_state["train_run"] = run.id
    _turn_to("views/train.py")


def _own_config(model: MaskMTL | None) -> TrainConfig | None:
    """The settings that the chosen model was trained with, where its card tells them; without a teacher that is not
    here, as a card does not say where it lay."""
    try:
        config = TrainConfig.from_json({} if model is None else model.card["training"])
    except (KeyError, TypeError, ValueError):
        return None
    try:
        if config.teacher:
            model_folder(config.teacher)
    except ValueError:
        st.caption(plain(f"Its teacher, {config.teacher}, is not here: a variant learns from the labels alone."))
        return replace(config, teacher="")
    return config


def masks_in_words(config: TrainConfig) -> str:
    return "; ".join(capital(mask_name(mask)) for mask in config.masks)
