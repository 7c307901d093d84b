"""The fairness report of the demo faces in a real browser: from a file, on a screen, a phone and paper."""

import itertools

import pytest

from analyses.fairness import audit
from analyses.report import ReportData, write_report
from maskmtl.checkpoint import DEFAULT_MODEL, available_models, load_model
from maskmtl.inference import predict

WIDTHS = (1280, 400)
A4 = 930  # px of a page between its margins, at 96 px an inch

CONTRASTS = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number)
  const light = ([r, g, b]) => [.2126, .7152, .0722].reduce((sum, share, i) => {
    const c = [r, g, b][i] / 255
    return sum + share * (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  }, 0)
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor)
      if (color.length < 4 || color[3] > 0) return color
    }
    return [255, 255, 255]
  }
  const found = new Set()
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue
    const style = getComputedStyle(e)
    const fore = rgb(e.namespaceURI.includes('svg') ? style.fill : style.color), back = behind(e)
    const [low, high] = [light(fore), light(back)].sort((a, b) => a - b)
    const ratio = (high + .05) / (low + .05)
    if (ratio < 4.5) found.add(`${e.tagName} ${fore} on ${back}: ${ratio.toFixed(2)}`)
  }
  return [...found]
}"""


@pytest.fixture(scope="module")
def written(demo_faces, tmp_path_factory):
    if not available_models():
        pytest.skip("there is no model in data/models")
    predictions = predict(load_model(DEFAULT_MODEL), demo_faces, masks=("none", "surgical"))
    found = audit(predictions, by=["ethnicity", "gender", "age_band", "ethnicity*gender"], replicates=200)
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(ReportData(predictions, found, "composite demo faces", "2026-11-25", split="all"), path)
    return path


@pytest.fixture(params=WIDTHS)
def page(request, browser, written):
    """The report at a width; afterwards it must have asked for nothing else and have had nothing to say."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(written.as_uri())
    yield page
    context.close()
    assert [url for url in asked if not url.startswith("data:")] == [written.as_uri()]
    assert not said


def test_layout(page, tmp_path):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("summary").evaluate_all("all => all.forEach(e => e.click())")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = """all => all.filter(e => [...e.querySelectorAll('text')].some(t => {
      const box = t.getBBox()
      return box.x < -1 || box.x + box.width > e.clientWidth + 1
    })).map(e => e.querySelector('title').textContent)"""
    assert page.locator("svg.chart").evaluate_all(cut) == []
    assert page.locator("svg.chart text").first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 12
    page.screenshot(path=tmp_path / "report.png", full_page=True)


def test_names_headings_and_contrast(page):
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => +e.tagName[1])")
    assert levels[0] == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    charts = page.locator("svg:not(svg svg):not([aria-hidden])")
    assert charts.count() == page.get_by_role("img").count() > 10
    assert all(page.get_by_role("img").evaluate_all("all => all.map(e => !!e.querySelector('title').textContent)"))
    heads = """all => all.every(
      e => e.caption && e.tHead && [...e.querySelectorAll('tbody tr')].every(row => row.cells[0].scope === 'row')
    )"""
    assert page.locator("table").evaluate_all(heads)
    assert page.evaluate(CONTRASTS) == []


def test_keyboard(page):
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the report")
    assert skip.evaluate("e => e === document.activeElement && e.getBoundingClientRect().left >= 0")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    details = page.locator("details").first
    details.locator("summary").press("Enter")
    assert details.evaluate("e => e.open")
    links = page.locator("nav a").evaluate_all("all => all.map(e => e.getAttribute('href'))")
    assert all(page.locator(link).count() == 1 for link in links)


def test_paper(page, tmp_path):
    folded = page.locator("details table")
    seen = "all => all.filter(e => e.checkVisibility()).length"
    assert folded.count() > 10 and folded.evaluate_all(seen) == 0
    page.emulate_media(media="print")
    assert folded.evaluate_all(seen) == folded.count()
    assert page.locator("figure").evaluate_all("all => Math.max(...all.map(e => e.offsetHeight))") < A4
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
