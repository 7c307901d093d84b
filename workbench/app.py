"""The workbench's pages; `streamlit run workbench/app.py`."""

from pathlib import Path

import streamlit as st


def main() -> None:
    from workbench import address, resources, retrain, sessions
    from workbench.sidebar import caution, sidebar

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
    sessions.enter()
    address.arrive(page.url_path)
    sidebar()
    with st.sidebar:
        retrain.sidebar_section(page.url_path)
    caution()
    page.run()
    address.leave()
    resources.settle()


if __name__ == "__main__":  # worker processes import this file: they should neither run it nor load what it needs
    main()
