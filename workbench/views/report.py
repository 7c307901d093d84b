"""The fairness report: a look at it, and the file."""

import json
from base64 import b64encode
from datetime import date

import streamlit as st

from analyses.report import page_and_json
from analyses.report.gather import gather
from workbench import parts, resources
from workbench.audited import audited, choose_groupings, choose_source

HEIGHT = 900  # px of the preview


def page() -> None:
    st.markdown(
        "The audit as one file for others: findings in words, figures with intervals, method, limits, and an index to "
        "what the EU AI Act’s Annex IV asks. It opens without a network and prints. No photograph is in it."
    )
    source = choose_source()
    if source is None:
        return
    by = choose_groupings(source)
    audit = audited(source, by)
    if audit is None:
        return
    name = st.text_input("Name of the faces in the report", source.faces, key=f"report_faces_{hash(source.key)}")
    today, model = date.today().isoformat(), str(audit["model"].iloc[0])
    own = source.predictions
    own = own[own["model"] == model] if "model" in own and own["model"].nunique() > 1 else own

    def make() -> tuple[str, str]:
        settings = {"by": list(by), "seed": 0, **source.settings}
        data = gather(own, audit, faces=name, date=today, settings=settings, model=source.model)
        html, content = page_and_json(data)
        return html, json.dumps(content, allow_nan=False)

    try:
        with st.spinner("Writing …"):
            html, content = resources.remember("report", (source.key, by, model, name, today), make)
    except ValueError as error:
        st.error(parts.plain(f"The report can't be written: {error}."))
        return
    with st.container(horizontal=True):
        parts.download("Report (HTML)", "fairness-report.html", lambda: html, "text/html", f"{model} {name}")
        parts.download(
            "The same as JSON", "fairness-report.json", lambda: content, "application/json", f"{model} {name}"
        )
    st.caption(
        "Mean maps and reliance on the mask come with the command: `maskmtl report predictions.parquet --atlas DIR "
        "--explained DIR --out report.html`."
    )
    # as a document of its own: what is inlined would share the workbench's origin, and its links would lead there
    st.iframe(f"data:text/html;base64,{b64encode(html.encode()).decode()}", height=HEIGHT, alt="The report")


page()
