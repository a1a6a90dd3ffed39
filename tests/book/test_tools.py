"""The book's own machinery: clean notebook outputs, figures that stay inside their element."""

import hashlib
import importlib.util
import io
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from nbformat import v4

BOOK = Path(__file__).resolve().parents[2] / "book"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_clean_keeps_what_a_reader_sees_and_nothing_else() -> None:
    out, err = (v4.new_output("stream", name=n, text=n) for n in ("stdout", "stderr"))
    shown = v4.new_code_cell("print(1)", outputs=[out, err], execution_count=1)
    shown.metadata.update(execution={"iopub.status.busy": "now"}, tags=["hide-output"])
    widget = v4.new_code_cell("slider", outputs=[out], execution_count=2)
    widget.metadata.tags = ["remove-output"]
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# T"), shown, widget])
    notebook.metadata.widgets = {"state": {}}
    notebook.metadata.language_info = {"name": "python", "version": "3.11.7"}

    load(BOOK / "_tools" / "execute.py").clean(notebook)

    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert [o.name for o in shown.outputs] == ["stdout"] and widget.outputs == []
    assert dict(shown.metadata) == {"tags": ["hide-output"]}
    assert [shown.execution_count, widget.execution_count] == [1, 2]


def test_a_figure_cannot_close_its_script_element() -> None:
    plotly_mime = load(BOOK / "_ext" / "plotly_mime.py")
    title = "</script><script>alert(1)</script>"
    figure = {"data": [], "layout": {"title": {"text": title}}, "config": {"server": "x"}}
    words = {"mystnb": {"image": {"alt": 'Two "lines" & a dot'}}}
    data = SimpleNamespace(mime_type=plotly_mime.MIME, content=figure, cell_metadata=words)
    (node,) = plotly_mime.PlotlyMime.handle_mime(None, data, inline=False)
    html = node.astext()
    assert 'role="img" aria-label="Two &quot;lines&quot; &amp; a dot"' in html
    assert html.count("</script>") == 1 and "<script>alert" in html
    stored = re.search(r'<script type="application/json">(.*)</script></div>$', html)
    assert stored
    assert json.loads(stored.group(1)) == {"data": [], "layout": {"title": {"text": title}}}


def test_other_outputs_are_left_to_myst_nb() -> None:
    handle = load(BOOK / "_ext" / "plotly_mime.py").PlotlyMime.handle_mime
    assert handle(None, SimpleNamespace(mime_type="text/html", content=""), False) is None


def answer(monkeypatch: pytest.MonkeyPatch, tool: ModuleType, pages: dict[str, bytes]) -> None:
    monkeypatch.setattr(
        tool.urllib.request, "urlopen", lambda address, timeout: io.BytesIO(pages[address])
    )


def test_pip_is_fetched_in_its_newest_version_and_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = load(BOOK / "_tools" / "install_pip.py")
    link = '<a href="../../files/pip-{}-py3-none-any.whl#sha256={}">pip</a>'
    good = hashlib.sha256(b"wheel").hexdigest()
    page = "".join(
        link.format(*found)
        for found in (("9.0.1", "0" * 64), ("26.10", good), ("26.3", "1" * 64))
    )
    pages = {
        "https://index.test/simple/pip/": page.encode(),
        "https://index.test/files/pip-26.10-py3-none-any.whl": b"wheel",
    }
    answer(monkeypatch, tool, pages)
    wheel = tool.fetch("https://index.test/simple", tmp_path)
    assert wheel.name == "pip-26.10-py3-none-any.whl" and wheel.read_bytes() == b"wheel"

    wheel.unlink()
    answer(monkeypatch, tool, dict.fromkeys(pages, b"other") | {next(iter(pages)): page.encode()})
    with pytest.raises(SystemExit, match=r"its SHA-256 is not"):
        tool.fetch("https://index.test/simple/", tmp_path)
    assert not list(tmp_path.iterdir())

    answer(monkeypatch, tool, dict.fromkeys(pages, b"no links here"))
    with pytest.raises(SystemExit, match="no pip wheel with a digest"):
        tool.fetch("https://index.test/simple", tmp_path)
