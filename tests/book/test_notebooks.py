"""The committed notebooks are executed, clean, small, and in the book's chapter form."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY = CONFIG["repository"]["url"]
CARD_ROWS = ("Question", "You will be able to", "Minutes", "Artefacts", "Run it")
# Headings are the page's contents: they name what is found there, not what kind of cell follows.
GENERIC = {
    "Naively, in short cells", "The library's own source", "Own equals library", "The experiment",
    "Drag it", "Exercises", "Solution", "Introduction", "Results",
}
PICTURES = {"image/png", "image/jpeg", "application/vnd.plotly.v1+json"}
# figures that a reader moves describe themselves
ALIVE = re.compile("cagc-(slider|explorer|atlas)")
MAX_BYTES = 1_000_000
MAX_CELL_LINES = 25
# The set-up cell clones into Colab's own folder; nothing else may name a place on somebody's disk.
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|Users|work|tmp|content|usr|opt|mnt|var)/[\w.]")
ALLOWED_TAGS = {
    "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell",
    "nbval-ignore-output", "raises-exception",
}  # fmt: skip

by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in load(path).cells if cell.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


@by_notebook
def test_notebook_is_valid_and_small(path: Path) -> None:
    nbformat.validate(load(path))
    assert path.stat().st_size < MAX_BYTES
    ids = [cell.id for cell in load(path).cells]
    assert len(set(ids)) == len(ids)


@by_notebook
def test_notebook_was_executed_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@by_notebook
def test_outputs_are_clean(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            where = f"{cell.id}: {cell.source[:60]!r}"
            error = output.output_type == "error"
            assert not error or "raises-exception" in tags(cell), f"{where}: error output"
            assert output.get("name") != "stderr", f"{where}: stderr output"
            widget = "application/vnd.jupyter.widget-view+json"
            assert widget not in output.get("data", {}), f"{where}: a widget is stored; tag it"


@by_notebook
def test_metadata_is_bare(path: Path) -> None:
    notebook = load(path)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "mystnb", "jupyter"}, cell.id
        assert set(tags(cell)) <= ALLOWED_TAGS, cell.id


@by_notebook
def test_nothing_names_a_local_path(path: Path) -> None:
    for cell in load(path).cells:
        texts = [cell.source.replace("/content/cagc-book", "")]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
            texts += output.get("traceback", [])
        for text in texts:
            found = ABSOLUTE.search(text)
            assert not found, f"{cell.id}: {text[max(0, found.start() - 30) : found.end() + 30]!r}"


@by_notebook
def test_cells_are_short(path: Path) -> None:
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= MAX_CELL_LINES, cell.id


@by_notebook
def test_chapter_opens_with_its_card(path: Path) -> None:
    card, setup = load(path).cells[:2]
    number = path.stem.split("_")[0]
    assert card.source.startswith(f"# {int(number)} · "), "the title is '# N · Title'"
    for row in CARD_ROWS:
        assert re.search(rf"^\| \*\*{row}\*\* \| \S", card.source, re.M), f"no row {row!r}"
    assert re.search(r"\*\*Minutes\*\* \|.*CPU.*GPU", card.source)
    assert re.search(r"\*\*Artefacts\*\* \| in: .*out: ", card.source)
    colab = REPOSITORY.replace("//github.com", "//colab.research.google.com/github")
    assert f"[Open in Colab]({colab}/blob/main/book/{path.name})" in card.source
    assert f"[Download the notebook]({REPOSITORY}/raw/main/book/{path.name})" in card.source
    assert setup.cell_type == "code" and "hide-input" in tags(setup)
    assert f'"{REPOSITORY}"' in setup.source


@by_notebook
def test_headings_name_content_and_end_in_a_summary(path: Path) -> None:
    text = "\n".join(cell.source for cell in load(path).cells if cell.cell_type == "markdown")
    assert len(re.findall(r"^# ", text, re.M)) == 1
    headings = re.findall(r"^##+ (.+)$", text, re.M)
    assert not GENERIC & set(headings)
    assert len(set(headings)) == len(headings)
    sections = re.findall(r"^## (.+)$", text, re.M)
    assert len(sections) >= 4 and sections[-1] == "Summary"


@by_notebook
def test_a_chapter_shows_the_library_and_proves_its_own_code_equal(path: Path) -> None:
    source = "\n".join(cell.source for cell in code_cells(path))
    # the chapter of evidence builds nothing: it reads tables
    if not path.stem.startswith("09"):
        assert "inspect.getsource(" in source
        assert re.search(r"^ *assert |assert_close\(", source, re.M)
    assert re.search(r"(static_slider|explorer|sortable_table)\(", source)


@by_notebook
def test_exercises_stand_where_their_matter_was_taught(path: Path) -> None:
    """Not in a pile at the end; each has a solution, and its check was tried on other answers."""
    cells = load(path).cells
    starts = [i for i, c in enumerate(cells) if "{exercise-start}" in c.source]
    labels = re.findall(r"^:label: (ex-\d\d-[\w-]+)$", "\n".join(c.source for c in cells), re.M)
    solved = re.findall(r"\{solution-start\} (\S+)", "\n".join(c.source for c in cells))
    assert labels == solved and len(labels) == len(starts) >= 3
    assert starts[0] < 0.45 * len(cells)
    section, of_section = 0, []
    for i, cell in enumerate(cells):
        section += cell.cell_type == "markdown" and bool(re.search(r"^## ", cell.source, re.M))
        of_section += [section] * (i in starts)
    assert max(of_section.count(n) for n in of_section) <= 2, "more than two in one section"
    # one a check, on a cell that a page does not show
    tried = [c for c in cells if c.cell_type == "code" and ".tried(" in c.source]
    assert sum(c.source.count(".tried(") for c in tried) >= len(labels)
    assert all("remove-cell" in tags(c) for c in tried)


@by_notebook
def test_every_picture_has_a_caption_and_words(path: Path) -> None:
    names = []
    for cell in code_cells(path):
        if {"remove-output", "remove-cell"} & set(tags(cell)):
            continue
        shown = [output.get("data", {}) for output in cell.outputs]
        if not any(PICTURES & set(data) or ALIVE.search(data.get("text/html", "")[:60])
                   for data in shown):
            continue
        said = cell.metadata.get("mystnb", {})
        where = f"{cell.id}: {cell.source[-60:]!r}"
        assert len(said.get("figure", {}).get("caption", "")) >= 25, f"{where}: no caption"
        names.append(said["figure"].get("name", ""))
        assert re.fullmatch(rf"fig-{path.stem[:2]}-[a-z0-9-]+", names[-1]), f"{where}: {names[-1]}"
        if not ALIVE.search(str(shown)):
            assert len(said.get("image", {}).get("alt", "")) >= 25, f"{where}: no words"
    assert len(set(names)) == len(names)


def test_set_up_cells_are_identical() -> None:
    assert len({load(path).cells[1].source for path in NOTEBOOKS}) == 1


def test_contents_and_landing_page_name_every_notebook() -> None:
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    landing = (BOOK / "index.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f"book/{path.stem}\n" in contents
        assert f"]({path.name})" in landing
        assert f"book/{path.name})" in readme


def test_repository_address_is_the_same_everywhere() -> None:
    files = [*NOTEBOOKS, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CITATION.cff"]
    owner = REPOSITORY.removeprefix("https://github.com/").split("/")[0]
    for path in files:
        for found in re.findall(rf"github\.com/({owner}/[\w-]+)", path.read_text(encoding="utf-8")):
            assert f"https://github.com/{found}" == REPOSITORY, path.name


@pytest.mark.parametrize("number", ["01", "07"])
def test_ratio_slider_comes_live_and_static(number: str) -> None:
    path = next(BOOK.glob(f"{number}_*.ipynb"))
    live = [cell for cell in code_cells(path) if "pruning_ratio_slider(" in cell.source]
    static = [cell for cell in code_cells(path) if "\nstatic_slider(" in f"\n{cell.source}"]
    assert live and "remove-output" in tags(live[-1])
    assert static and "cagc-slider" in str(static[-1].outputs)


def test_chapter_11s_sliders_come_live_and_static_with_a_list() -> None:
    cells = code_cells(next(BOOK.glob("11_*.ipynb")))
    live = [cell for cell in cells if cell.source.startswith("live_slider(")]
    static = [cell for cell in cells if "\nstatic_slider(" in cell.source]
    assert len(live) == len(static) == 2
    assert all("remove-output" in tags(cell) for cell in live)
    assert all("<select" in str(cell.outputs) for cell in static)
