"""The live slider in a real JupyterLab: dragging it re-renders the picture through the kernel."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from playwright.sync_api import Page

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "test"
CODE = """
import numpy as np
from cagc_lib.figures import pruning_ratio_slider


def render(ratio):
    return np.full((32, 32, 3), int(255 * ratio), np.uint8), {"MACs": f"{1 - ratio:.0%}"}


pruning_ratio_slider(render, [0.0, 0.3, 0.7])
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """Start JupyterLab on a notebook with one slider; return the notebook's address."""
    notebook = v4.new_notebook(cells=[v4.new_code_cell(CODE.strip())])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "slider.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "HOME": "home"}
    settings = {name: str(tmp_path / folder) for name, folder in folders.items()}
    command = [
        str(Path(sys.executable).with_name("jupyter-lab")), "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={tmp_path}",
    ]  # fmt: skip
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path,
            env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server)
            yield f"http://127.0.0.1:{port}/lab/tree/slider.ipynb?token={TOKEN}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Return when the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except urllib.error.URLError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not answer at {address} within {seconds:.0f} s")


def test_live_slider_moves_its_picture(lab: str, watched: tuple[Page, list[str]]) -> None:
    page, problems = watched
    page.goto(lab)
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    picture = page.locator(".jp-OutputArea img").first
    picture.wait_for()
    before = picture.get_attribute("src")
    handle = page.locator(".noUi-handle").first
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('.jp-OutputArea img').src !== before", arg=before
    )
    page.locator(".jp-OutputArea", has_text="MACs: 70%").first.wait_for()
    assert [problem for problem in problems if problem.startswith("asked for")] == []
