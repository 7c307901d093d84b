"""What a person does about groups: audit the demo faces, take the report home; audit another tool's table."""

import json

import numpy as np
import pandas as pd
import pytest

from analyses.fairness.audit import COLUMNS

SIZES = [1280, 400]


def no_sideways_scrolling(page) -> bool:
    script = "e => e.scrollWidth <= e.clientWidth && document.documentElement.scrollWidth <= innerWidth"
    return bool(page.get_by_test_id("stMain").evaluate(script))


def choose(page, field: str, option: str) -> None:
    box = page.get_by_role("combobox", name=field)
    box.evaluate("e => e.scrollIntoView({block: 'center'})")  # at the very edge its list has no room to open
    box.fill(option)
    box.press("Enter")


@pytest.mark.parametrize("width", SIZES)
def test_from_the_demo_faces_to_a_report(page, server, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{server}/fairness")
    page.get_by_role("button", name="Run the demo faces").click()
    page.get_by_role("button", name="All figures (CSV)").wait_for()
    assert page.get_by_text("less often than all others").count() >= 1
    page.get_by_role("heading", name="What a mask changes").wait_for()
    page.locator(".st-key-fair_own .js-plotly-plot").wait_for()
    if width == 1280:  # a narrow page has no field to type into
        choose(page, "Task", "Gender")
        page.get_by_label("accuracy, % of gender by ethnicity").first.wait_for()
    assert no_sideways_scrolling(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="All figures (CSV)").click()
    table = pd.read_csv(download.value.path())
    assert tuple(table.columns) == COLUMNS and set(table["mask"]) == {"none", "surgical"}

    if width == 400:
        page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("link", name="Report").click()
    page.get_by_role("button", name="Report (HTML)").wait_for()
    if width == 400:
        page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
    preview = page.frame_locator("iframe")
    preview.get_by_role("heading", name="Fairness report").wait_for()
    preview.get_by_role("navigation", name="Contents").get_by_role("link", name="Limits").evaluate("e => e.click()")
    assert preview.get_by_role("heading", name="Fairness report").count() == 1  # it stayed the report
    with page.expect_download() as download:
        page.get_by_role("button", name="The same as JSON").click()
    content = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert content["n"] == 450 and len(content["audit"]) == len(table)
    assert no_sideways_scrolling(page)


def test_another_tools_table(page, server):
    rng = np.random.default_rng(0)
    sex = np.repeat(["male", "female"], 200)
    guess = np.where(rng.random(400) < np.where(sex == "female", 0.3, 0.02), "male", sex)
    data = pd.DataFrame({"label": sex, "guess": guess}).to_csv(index=False).encode()
    page.goto(f"{server}/fairness")
    page.get_by_role("radio", name="A predictions table").click()
    page.locator("input[type=file]").set_input_files({"name": "theirs.csv", "mimeType": "text/csv", "buffer": data})
    page.get_by_text("Choose under Columns which column holds the annotation and the answer.").wait_for()
    choose(page, "Annotation", "label")
    choose(page, "Answer", "guess")
    page.get_by_text("Say under Columns which task the answers are of.").wait_for()
    page.get_by_role("textbox", name="Name of the task").fill("gender")
    page.get_by_role("textbox", name="Name of the task").press("Enter")
    page.get_by_text("faces annotated “female”").first.wait_for()
    assert page.get_by_text("Traceback").count() == 0
