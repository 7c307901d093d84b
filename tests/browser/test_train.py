"""A person retrains from the sidebar: the page is reloaded, the run stopped and resumed, the new model compared."""

import re


def fill(page, role: str, name: str, value: str) -> None:
    box = page.get_by_role(role, name=name)
    box.fill(value)
    box.press("Tab")


def test_retrain_reload_stop_resume_compare(page, server):
    page.goto(f"{server}/limits")
    page.get_by_text("Retrain a variant").click()
    start = page.get_by_role("combobox", name="Settings of")
    start.fill("maskmtl-bare")  # the paper's encoder: an epoch on the demo faces takes seconds
    start.press("Enter")
    page.get_by_role("spinbutton", name="Epochs").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()
    fill(page, "spinbutton", "Epochs", "2")
    fill(page, "textbox", "Name", "variant")
    page.get_by_role("button", name="Train", exact=True).click()

    page.get_by_role("heading", name="Train", exact=True).wait_for()
    main = page.get_by_test_id("stMain")
    main.get_by_role("button", name="Stop training").wait_for()
    page.reload()
    main.get_by_role("button", name="Stop training").click()
    main.get_by_role("button", name="Resume").click()
    compared = page.get_by_role("heading", name="What variant (run) changes against maskmtl-compact")
    compared.wait_for(timeout=300_000)  # it opens by itself; two epochs and two models' answers on a busy core
    page.wait_for_timeout(2000)  # what the page before still asked for has come by now
    assert compared.is_visible()
    page.wait_for_url(re.compile(r"/compare\?.*variant"))
    page.get_by_role("combobox", name="Model", exact=True).click()
    assert page.get_by_role("option", name="variant (run)").count() == 1
