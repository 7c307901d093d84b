"""The workbench's pages; `streamlit run workbench/app.py`."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import streamlit as st

HEADING = "What does this face model see, for whom does it fail, and what does a mask change?"
CAUTION = (
    "Labels are annotations, not identities. What a model reads as ethnicity or gender is a statistic of annotations, "
    "for audit and research only, never for deciding about a person."
)


def main() -> None:
    here = Path(__file__).parent
    # a picture of our own: for a named icon the browser would ask fonts.gstatic.com
    st.set_page_config("MaskMTL workbench", str(here / "icon.svg"), layout="wide")
    st.logo(str(here / "icon.svg"), size="large")
    st.html(here / "style.css")
    page = st.navigation(
        [
            st.Page("views/overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page("views/face.py", title="Face", icon=":material/face:", url_path="face"),
            st.Page("views/masks.py", title="Mask lab", icon=":material/masks:", url_path="masks"),
            st.Page("views/dataset.py", title="Data set", icon=":material/grid_view:", url_path="dataset"),
            st.Page("views/performance.py", title="Performance", icon=":material/speed:", url_path="performance"),
            st.Page("views/fairness.py", title="Fairness", icon=":material/balance:", url_path="fairness"),
            st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare"),
            st.Page("views/train.py", title="Train", icon=":material/model_training:", url_path="train"),
            st.Page("views/report.py", title="Report", icon=":material/description:", url_path="report"),
            st.Page("views/atlas.py", title="Atlas", icon=":material/map:", url_path="atlas"),
            st.Page("views/about.py", title="Limits of use", icon=":material/info:", url_path="limits"),
        ]
    )
    st.html(f'<p class="caution" role="note">{CAUTION}</p>')
    st.title(page.title if page.url_path else HEADING)
    with _starting():
        from workbench import address, resources, retrain, sessions
        from workbench.sidebar import sidebar
    sessions.enter()
    address.arrive(page.url_path)
    sidebar()
    with st.sidebar:
        retrain.sidebar_section(page.url_path)
    page.run()
    address.leave()
    resources.settle()


def _starting() -> AbstractContextManager[None]:
    """Says, once after the server's start, why the page is not whole yet: PyTorch takes seconds to load."""
    return nullcontext() if "workbench.sidebar" in sys.modules else st.spinner("The workbench starts …")


if __name__ == "__main__":  # worker processes import this file: they should neither run it nor load what it needs
    main()
