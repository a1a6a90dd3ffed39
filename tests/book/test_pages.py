"""The rendered book in a real browser: quiet, complete and alive without a network.

The book is built once into a temporary folder, warnings as errors, and opened in headless
Chromium both from a server on 127.0.0.1 and from the disk. Every request that would leave the
machine is refused and reported. Without Chromium these tests are skipped, except in CI, where that
is an error.
"""

import http.server
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

# one process builds the book and opens its pages
pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.xdist_group("book")]

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line for each on stderr."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session", params=["http", "file"])
def address(request: pytest.FixtureRequest, html: Path) -> Iterator[str]:
    """Return where the pages are: on a local server, then on the disk."""
    if request.param == "file":
        yield html.as_uri()
        return
    handler = partial(QuietHandler, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def every(outer: str, inner: str) -> str:
    """Return a script: does every `outer` element of the page hold an `inner` one?"""
    return f"[...document.querySelectorAll('{outer}')].every(e => e.querySelector('{inner}'))"


def open_quietly(watched: tuple[Page, list[str]], url: str) -> Page:
    """Open a page, wait until all of it is drawn, and see that nothing went wrong."""
    page, problems = watched
    page.goto(url, wait_until="load")
    page.wait_for_load_state("networkidle")
    # plotly and MathJax go on working after the load event
    page.wait_for_function(every("div.plotly-mime", ".main-svg"))
    page.wait_for_function(every(".math.notranslate", "mjx-container"))
    assert problems == []
    return page


def test_pages_that_are_no_chapters_open_quietly(
    html: Path, address: str, watched: tuple[Page, list[str]]
) -> None:
    pages = {str(path.relative_to(html)) for path in html.rglob("*.html")}
    chapters = {f"book/{stem}.html" for stem in CHAPTERS}
    assert chapters < pages
    for name in sorted(pages - chapters):
        if not name.startswith("_"):
            open_quietly(watched, f"{address}/{name}")


def test_a_shared_link_says_what_the_page_is(html: Path) -> None:
    said = []
    for stem in (*CHAPTERS, "index", "glossary"):
        head = (html / "book" / f"{stem}.html").read_text(encoding="utf-8").split("</head>")[0]
        said += re.findall(r'<meta name="description" content="([^"]{20,200})">', head)
        (picture,) = re.findall(r'property="og:image" content="https://.+/raw/main/(.+?)"', head)
        assert (ROOT / picture).is_file()
    assert len(set(said)) == len(CHAPTERS) + 2


@pytest.mark.parametrize("stem", CHAPTERS)
def test_a_chapter_opens_quietly_and_whole(
    html: Path, address: str, watched: tuple[Page, list[str]], stem: str
) -> None:
    page = open_quietly(watched, f"{address}/book/{stem}.html")
    broken = page.evaluate(
        "[...document.images].filter(i => i.complete && i.naturalWidth === 0).map(i => i.src)"
    )
    assert broken == []
    href = page.get_attribute("a.download", "href")
    assert href and (html / "book" / href).resolve().is_file()
    assert page.locator(".cell_output").count() >= 1
    for figure in page.locator(".js-plotly-plot").all():
        box = figure.bounding_box()
        assert box and box["height"] > 100 and box["width"] > 200


@pytest.mark.parametrize("stem", [stem for stem in CHAPTERS if stem[:2] in ("01", "07")])
def test_static_slider_moves_its_picture(
    address: str, watched: tuple[Page, list[str]], stem: str
) -> None:
    page = open_quietly(watched, f"{address}/book/{stem}.html")
    figure = page.locator(".cagc-slider").first
    slider, picture = figure.locator("input[type=range]"), figure.locator("img")
    slider.scroll_into_view_if_needed()

    def state() -> tuple[bytes, str | None, str]:
        readouts = figure.locator("dl").inner_text()
        return picture.screenshot(), slider.get_attribute("aria-valuetext"), readouts

    slider.focus()
    page.keyboard.press("Home")
    first = state()
    page.keyboard.press("ArrowRight")
    second = state()
    assert all(a != b for a, b in zip(first, second, strict=True)), "the arrow key changed nothing"

    box = slider.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, middle, steps=8)
    page.mouse.up()
    last = state()
    assert slider.input_value() == slider.get_attribute("max")
    assert all(a != b for a, b in zip(second, last, strict=True)), "dragging changed nothing"
    assert watched[1] == []


def test_bars_are_sorted_and_searched(
    address: str, watched: tuple[Page, list[str]]
) -> None:
    page = open_quietly(watched, f"{address}/book/09_what_content_awareness_buys.html")
    bars = page.locator("[data-explorer]").first
    before = bars.locator("li .name span:first-child").all_inner_texts()
    bars.locator("select").select_option(label="recall")
    after = bars.locator("li .name span:first-child").all_inner_texts()
    assert before != after and sorted(before) == sorted(after)
    bars.locator("input").fill("masks")
    left = bars.locator("li .name span:first-child").all_inner_texts()
    assert left and all("masks" in name for name in left) and len(left) < len(after)


def test_the_scoreboard_is_sorted_by_its_heads(
    address: str, watched: tuple[Page, list[str]]
) -> None:
    page = open_quietly(watched, f"{address}/book/10_the_scoreboard.html")
    board = page.locator("[data-sortable]").first

    def column(number: int) -> list[float]:
        cells = board.locator(f"tbody tr td:nth-child({number})").all_inner_texts()
        values = [float(cell.split()[0]) for cell in cells if cell]
        # what was not measured comes last
        assert all(cells[: len(values)])
        return values

    assert column(2) == sorted(column(2))
    recall = board.get_by_role("button", name="recall", exact=True)
    recall.focus()
    page.keyboard.press("Enter")
    assert column(5) == sorted(column(5), reverse=True)
    head = board.locator("th[aria-sort]")
    assert head.get_attribute("aria-sort") == "descending"
    # the head keeps the focus, so that a second press turns the order
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and column(5) == sorted(column(5))
    board.locator("select").select_option(label="cost")
    assert board.locator("th").all_inner_texts()[1].startswith("M MACs")
    board.locator("input").fill("portraits-11x")
    assert board.locator("tbody tr").count() == 1


def test_a_list_beside_a_slider_changes_the_picture(
    address: str, watched: tuple[Page, list[str]]
) -> None:
    page = open_quietly(watched, f"{address}/book/11_editing_with_a_smaller_network.html")
    figure = page.locator(".cagc-slider").last
    chosen, picture = figure.locator("select"), figure.locator("img")
    chosen.scroll_into_view_if_needed()
    before = picture.get_attribute("src")
    chosen.focus()
    page.keyboard.press("ArrowDown")
    assert picture.get_attribute("src") != before, "the arrow key changed nothing"
    assert chosen.input_value() in str(picture.get_attribute("alt"))
    figure.locator("input").focus()
    page.keyboard.press("Home")
    assert "strength -3" in str(picture.get_attribute("alt"))
    assert watched[1] == []
