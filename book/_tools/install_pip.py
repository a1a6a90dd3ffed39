"""Put pip into an environment that was made without it: plain Debian's Python has no ensurepip.

    python3 book/_tools/install_pip.py .venv

This Python's own pip does it where there is one. Otherwise the newest wheel of the package index
(PIP_INDEX_URL, or PyPI) is fetched, checked against the digest the index gives, and run from the
file to install itself. Called by the Makefile.
"""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path


def newest_wheel(index: str) -> tuple[str, str]:
    """Return the address and the SHA-256 of the newest pip wheel of a simple index (PEP 503)."""
    page = urllib.parse.urljoin(index.rstrip("/") + "/", "pip/")
    with urllib.request.urlopen(page, timeout=60) as answer:
        links = re.findall(
            r'href="([^"#]*/pip-(\d+(?:\.\d+)+)-py3-none-any\.whl)#sha256=([0-9a-f]{64})"',
            answer.read().decode(),
        )
    if not links:
        raise SystemExit(f"{page}: no pip wheel with a digest there")
    link, _, digest = max(links, key=lambda found: [int(part) for part in found[1].split(".")])
    return urllib.parse.urljoin(page, link), digest


def fetch(index: str, folder: Path) -> Path:
    """Fetch the newest wheel into a folder; a wrong digest ends the program."""
    address, digest = newest_wheel(index)
    with urllib.request.urlopen(address, timeout=60) as answer:
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != digest:
        raise SystemExit(f"{address}: its SHA-256 is not {digest}")
    path = folder / address.rsplit("/", 1)[1]
    path.write_bytes(wheel)
    return path


def main() -> None:
    """Install with what there is."""
    python = Path(sys.argv[1]) / "bin" / "python"
    if importlib.util.find_spec("pip"):
        own = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"]
        subprocess.run(own, check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch(os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple"), Path(folder))
        itself = [python, "-m", "pip", "install", "--quiet", "--no-index", wheel]
        subprocess.run(itself, check=True, env=os.environ | {"PYTHONPATH": str(wheel)})


if __name__ == "__main__":
    main()
