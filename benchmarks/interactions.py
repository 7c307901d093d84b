"""How long a page takes to come, and a click to be answered, over a run of a whole data set in a real Chromium.

A view: from the first byte of the server's answer until its title stands there, and until its script has ended, maps
and checks included. A click: from the click until the page's script has ended and two frames were drawn. Medians, and
the slowest, of several of each.
"""

import argparse
import os
import time
import urllib.parse
from collections.abc import Callable

import numpy as np
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from benchmarks.screenshots import VIEWS
from benchmarks.serving import workbench

WATCH = """() => {
  const log = window.states = [];
  const look = () => {
    const state = document.querySelector('[data-test-script-state]')?.dataset.testScriptState;
    if (state && state !== log.at(-1)?.state) log.push({state, at: performance.now()});
  };
  new MutationObserver(look).observe(document, {subtree: true, childList: true, attributes: true});
  document.addEventListener('pointerdown', () => { window.clicked = performance.now(); }, true);
}"""
ANSWERED = """() => {
  const after = window.states.filter(s => s.at >= window.clicked);
  const began = after.findIndex(s => s.state === 'running');
  const ended = began < 0 ? undefined : after.slice(began).find(s => s.state === 'notRunning');
  return after.at(-1)?.state === 'notRunning' && ended && ended.at - window.clicked;
}"""


def first_view(browser: Browser, url: str) -> tuple[float, float]:
    """Seconds until a view's title stands there and until all of it does, in a browser that has never been here."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(url, wait_until="commit")
    since = "(performance.now() - performance.getEntriesByType('navigation')[0].responseStart) / 1000"
    page.get_by_role("heading", level=1).first.wait_for()
    title = float(page.evaluate(since))
    page.locator("[data-test-script-state=notRunning]").wait_for(state="attached")
    whole = float(page.evaluate(since))
    context.close()
    return title, whole


def answered(page: Page, click: Callable[[], None]) -> float:
    """Milliseconds from the last click to the end of the script and two more frames."""
    click()
    spent = page.wait_for_function(ANSWERED).json_value()
    drawn = page.evaluate(
        "() => new Promise(done => { const t = performance.now(); "
        "requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - t))) })"
    )
    return float(spent) + float(drawn)


def options(page: Page, label: str, repeats: int) -> list[float]:
    """Times for the options of a select box, one after another."""
    times = []
    for i in range(repeats):
        box = page.get_by_role("combobox", name=label, exact=True)
        box.evaluate("e => e.scrollIntoView({block: 'center'})")  # at the very edge its list may not come
        box.click()
        found = page.get_by_role("option")
        found.first.wait_for()
        times.append(answered(page, found.nth((i + 1) % found.count()).click))
    return times


def buttons(page: Page, found: Locator, repeats: int) -> list[float]:
    return [answered(page, found.nth(i % found.count()).click) for i in range(1, repeats + 1)]


def measure(browser: Browser, url: str, source: str, split: str, repeats: int) -> None:
    for view in VIEWS:
        title, whole = np.transpose([first_view(browser, f"{url}/{view.replace('overview', '')}") for _ in range(3)])
        words = f"title {np.median(title):.1f} s, slowest {title.max():.1f}; whole {np.median(whole):.1f} s"
        print(f"first view of {view}: {words}, slowest {whole.max():.1f}", flush=True)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(600_000)
    started = time.monotonic()
    page.goto(f"{url}/dataset?" + urllib.parse.urlencode({"run": f"{source}|random|{split}|none,surgical|0"}))
    page.get_by_role("heading", name="Faces", exact=True).wait_for()
    shown = page.get_by_test_id("stMain").get_by_text(" of ").last.inner_text()
    page.locator("[data-test-script-state=notRunning]").wait_for(state="attached")
    print(f"run over the data set in {time.monotonic() - started:.0f} s: {shown}", flush=True)
    page.evaluate(WATCH)

    def tell(what: str, times: list[float]) -> None:
        print(f"{what}: median {np.median(times):.0f} ms, slowest {max(times):.0f} ms, n {len(times)}", flush=True)

    for label in ("Show", "Order", "Task", "Mask", "Gender", "Ethnicity"):
        tell(f"gallery, {label}", options(page, label, repeats))
    tell("gallery, next page", buttons(page, page.get_by_test_id("stNumberInputStepUp").last, repeats))
    to_view(page, "Performance")
    tell("performance, task", buttons(page, page.get_by_test_id("stMain").get_by_role("radio"), repeats))
    to_view(page, "Fairness")
    page.get_by_role("heading", name="Group by group").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for(state="attached")
    for label in ("Task", "Metric", "Grouping"):
        tell(f"fairness, {label}", options(page, label, repeats))


def to_view(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name, level=1).wait_for()
    page.wait_for_timeout(1000)  # the title comes first: the script may only begin
    page.locator("[data-test-script-state=notRunning]").wait_for(state="attached")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.interactions", description=__doc__)
    parser.add_argument("faces", help="a folder that maskmtl prepare made")
    parser.add_argument("--split", default="all")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--port", type=int, default=8622)
    args = parser.parse_args()
    with workbench(args.port) as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        measure(browser, url, os.path.abspath(args.faces), args.split, args.repeats)
        browser.close()


if __name__ == "__main__":
    main()
