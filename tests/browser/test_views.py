"""Every view at both widths, light and dark: it comes up, fits, keeps quiet in the console, and can be read by all."""

import pytest

VIEWS = {
    "": "What does this face model see",
    "face": "Face",
    "masks": "Mask lab",
    "dataset": "Data set",
    "performance": "Performance",
    "fairness": "Fairness",
    "atlas": "Atlas",
    "compare": "Compare",
    "train": "Train",
    "report": "Report",
    "limits": "Limits of use",
}
UNCOVERED = """e => {
  const {x, y} = e.getBoundingClientRect();
  return e.contains(document.elementFromPoint(x + 20, y + 5));
}"""

REACHED = """() => {
  const focused = document.activeElement;
  if (focused !== document.body) focused.dataset.reached = 'yes';
  return focused !== document.body;
}"""
UNREACHED = """() => [...document.querySelectorAll('button, a[href], input, select, textarea, [tabindex]')]
  .filter(e => e.tabIndex >= 0 && !e.disabled && e.role !== 'radio' && !e.dataset.reached)
  .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))
  .map(e => e.outerHTML.slice(0, 200))"""


def settled(page):
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(500)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("view", VIEWS)
def test_view(page, server, errors, view, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if width == 400 else "light")
    page.goto(f"{server}/{view}")
    page.get_by_role("heading", level=1).filter(has_text=VIEWS[view]).wait_for()
    settled(page)
    page.locator(".caution").filter(has_text="never for deciding about a person").wait_for()
    assert page.locator(".caution").evaluate(UNCOVERED)
    assert page.get_by_test_id("stException").count() == 0
    script = "e => e.scrollWidth <= e.clientWidth && document.documentElement.scrollWidth <= innerWidth"
    assert page.get_by_test_id("stMain").evaluate(script)
    assert not [message.text for message in errors]


@pytest.mark.parametrize("view", VIEWS)
def test_keyboard(page, server, view):
    """Tab leads to all that can be pressed or filled in; within a group of choices the arrows do."""
    page.goto(f"{server}/{view}")
    page.get_by_role("heading", level=1).filter(has_text=VIEWS[view]).wait_for()
    settled(page)
    page.keyboard.press("Tab")
    while page.evaluate(REACHED):
        page.keyboard.press("Tab")
    assert page.evaluate("document.querySelectorAll('[data-reached]').length") > len(VIEWS)
    assert not page.evaluate(UNREACHED)
    page.goto("about:blank")  # test_view has read it


def test_run_by_keyboard(page, server):
    page.goto(f"{server}/dataset")
    settled(page)
    focused = "document.activeElement.innerText.trim()"
    for wanted, press in (("Demo faces", "ArrowRight"), ("A folder", "ArrowLeft")):
        while not page.evaluate(focused).endswith(wanted):
            page.keyboard.press("Tab")
        page.keyboard.press(press)
        page.keyboard.press("Space")
        settled(page)
    assert page.get_by_role("radio", name="Demo faces").is_checked()
    while not page.evaluate(focused).endswith("Run"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Results").wait_for()
