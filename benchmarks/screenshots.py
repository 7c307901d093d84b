"""Pictures of every view for docs/workbench.md, from a workbench that is running; the demo faces are on all of them."""

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

RUN = "run=demo%7Crandom%7Cunseen%7Cnone%2Csurgical%7C0"
VIEWS = {  # name: address, height at 1280 px, what to press first
    "overview": ("", 1100, ""),
    "face": ("face", 2300, ""),
    "masks": ("masks?lab_vary=Coverage&lab_task=ethnicity", 2300, ""),
    "dataset": (f"dataset?{RUN}&gallery_task=ethnicity&gallery_show=wrong&gallery_mask=surgical", 1900, ""),
    "performance": (f"performance?{RUN}&perf_task=ethnicity", 2000, ""),
    "fairness": (f"fairness?{RUN}", 1900, ""),
    "atlas": ("atlas?atlas_most=100&atlas_by=gender", 1500, "Make the atlas"),
    "compare": ("compare?compare_models=maskmtl-compact&compare_models=maskmtl-fig1", 1900, "Compare"),
    "train": ("train", 1500, ""),
    "report": (f"report?{RUN}", 1300, ""),
    "limits": ("limits", 900, ""),
}


def shoot(page: Page, address: str, press: str, path: Path) -> None:
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_timeout(2000)
    if press:
        page.get_by_test_id("stMain").get_by_role("button", name=press).click()
        page.get_by_role("button", name="Stop").wait_for()
        page.get_by_role("progressbar").wait_for(state="detached")
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")  # a chart's place
    page.wait_for_timeout(2500)
    if page.get_by_test_id("stException").count():
        raise RuntimeError(f"{address} should show no exception, got one")
    page.screenshot(path=path, type="jpeg", quality=72)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.screenshots", description=__doc__)
    parser.add_argument("url", help="of the workbench, e.g. http://127.0.0.1:8501")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--only", help="one view")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, (path, height, press) in VIEWS.items():
            if args.only in (None, name):
                tall = height if args.width > 700 else 1600
                page = browser.new_page(
                    viewport={"width": args.width, "height": tall}, color_scheme="dark" if args.dark else "light"
                )
                page.set_default_timeout(180_000)
                shoot(page, f"{args.url}/{path}", press, args.out / f"{name}.jpg")
                page.close()


if __name__ == "__main__":
    main()
