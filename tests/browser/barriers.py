"""What keeps somebody from reading a page, by axe-core."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
OF_STREAMLIT = {
    "aria-allowed-attr", "nested-interactive",  # its expanders and multiselects
    "scrollable-region-focusable",  # its sidebar
}  # fmt: skip


def barriers(page: Page) -> list[tuple[str, str, str]]:
    """Rule, element and reason of each serious violation on the page as it stands, but for Streamlit's own."""
    return [
        (found["id"], node["target"], node["failureSummary"])
        for found in Axe().run(page).response["violations"]
        if found["impact"] in SERIOUS and found["id"] not in OF_STREAMLIT
        for node in found["nodes"]
    ]
