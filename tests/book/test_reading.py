"""Can it be read? Every page at the width of a phone and of a laptop, in the light and in the dark.

`measure.js` says what a reader would stumble over: text below 11 pixels, legends on labels, cut
words, what sticks out of the page, pictures without words, bright boxes on a dark page.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("book")
MEASURE = (Path(__file__).parent / "measure.js").read_text(encoding="utf-8")
PAGES = sorted(p.stem for p in ROOT.glob("book/*") if p.suffix in (".ipynb", ".md"))
DRAWN = """() => {
    const every = (outer, inner) =>
        [...document.querySelectorAll(outer)].every((e) => e.querySelector(inner));
    return every("div.plotly-mime", ".main-svg") && every(".math.notranslate", "mjx-container");
}"""


@pytest.fixture(params=[390, 1280])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A page as wide as a phone, which is touched, or as a laptop."""
    size = {"width": request.param, "height": 844}
    context = browser.new_context(viewport=size, has_touch=request.param == 390)
    context.set_default_timeout(90_000)
    yield context.new_page()
    context.close()


def opened(page: Page, html: Path, stem: str) -> Page:
    page.goto((html / "book" / f"{stem}.html").as_uri())
    page.wait_for_load_state("networkidle")
    page.wait_for_function(DRAWN)
    # folded parts are read too
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    return page


@pytest.mark.parametrize("stem", PAGES)
def test_nothing_is_in_the_way_of_reading(html: Path, page: Page, stem: str) -> None:
    opened(page, html, stem)
    for theme in ("light", "dark"):
        page.evaluate("t => { document.documentElement.dataset.theme = t; }", theme)
        page.wait_for_timeout(200)
        problems = page.evaluate(f"({MEASURE})({str(theme == 'dark').lower()})")
        assert problems == [], f"{stem}, {theme}"


def test_a_finger_on_a_chart_scrolls_the_page(html: Path, browser: Browser) -> None:
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, is_mobile=True)
    page = opened(context.new_page(), html, "06_which_channels_matter")
    chart = page.locator(".js-plotly-plot").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    before = page.evaluate("scrollY")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger = context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})
        page.wait_for_timeout(20)

    touch("touchStart", {"x": x, "y": y})
    for step in range(1, 11):
        touch("touchMove", {"x": x, "y": y - 20 * step})
    touch("touchEnd")
    page.wait_for_function("y => scrollY > y", arg=before + 100)
    context.close()
