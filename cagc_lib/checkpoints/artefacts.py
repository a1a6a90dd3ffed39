"""The named files in `data/` and their manifest.

`data/manifest.json` lists every artefact the repository ships: name, file, SHA-256, size, the exact
command that made it, licence. A name is looked up with `artefact_path`, which returns the file only
if its hash is the manifest's; an installed package brings the portraits' networks and fetches the
others. The same manifest names the models of others, for `model_path`. Chapter 13.
"""

import json
import re
from pathlib import Path
from typing import Any

from filelock import FileLock

from .downloads import fetched
from .files import atomic_write, file_sha256

MANIFEST = "manifest.json"
REPOSITORY = "https://github.com/cagc-book/cagc-book/raw/main/data"
_ENTRY_KEYS = {"name": str, "file": str, "sha256": str, "bytes": int, "how": str, "licence": str}
_MODEL_KEYS = {"name": str, "file": str, "licence": str, "source": str}
# what nobody has published about a model is absent, never a guess
_OPTIONAL_KEYS = {"url": str, "sha256": str, "bytes": int, "kind": str}


def data_dir() -> Path:
    """The folder of shipped artefacts: inside an installed package, else beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data"
    return installed if installed.is_dir() else package.parent / "data"


def manifest() -> dict[str, dict[str, Any]]:
    """The shipped artefacts: name -> {"name", "file", "sha256", "bytes", "how", "licence", ...}.

    Raises:
        ValueError: the manifest is not what this file writes.
    """
    return _entries("artefacts", _ENTRY_KEYS)


def named_models() -> dict[str, dict[str, Any]]:
    """The models of others: name -> {"name", "file", "licence", "source", ...}.

    "file" is their name in the cache, "source" says who published them. "url", "sha256" and "bytes"
    are there where they are known; "kind" where it is no generator.

    Raises:
        ValueError: the manifest's list is malformed.
    """
    return _entries("models", _MODEL_KEYS)


def _entries(section: str, keys: dict[str, type]) -> dict[str, dict[str, Any]]:
    path = data_dir() / MANIFEST
    if not path.exists():
        return {}
    try:
        entries = ({"models": []} | json.loads(path.read_text(encoding="utf-8")))[section]
        for entry in entries:
            kinds = keys | {key: kind for key, kind in _OPTIONAL_KEYS.items() if key in entry}
            wrong = [key for key, kind in kinds.items() if type(entry.get(key)) is not kind]
            if wrong:
                raise ValueError(f"entry {entry.get('name')!r} lacks a proper {wrong[0]}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not an artefact manifest: {error}") from None
    return {entry["name"]: entry for entry in entries}


def artefact_path(name: str) -> Path:
    """Find a shipped artefact and check that it is the one the manifest describes.

    Args:
        name: "portraits", "portraits-11x", "portraits-parser", ...

    Returns:
        The file's path, in the cache if it had to be fetched from the repository.

    Raises:
        ValueError: unknown name, or a file whose hash is not the manifest's.
        OSError: the file is not here and could not be fetched.
    """
    entry = _named(name, manifest(), "artefact")
    path = data_dir() / entry["file"]
    if not path.is_file():
        return fetched(entry | {"url": f"{REPOSITORY}/{entry['file']}"})
    if (digest := file_sha256(path)) != entry["sha256"]:
        raise ValueError(
            f"artefact {name!r}: {path} has SHA-256 {digest}, expected {entry['sha256']}"
        )
    return path


def model_path(name: str, trust: bool = False) -> Path:
    """Find a model of `named_models()` in the cache, or download it there, and check it.

    `trust` accepts one whose hash is not known, never one whose hash differs. A ValueError for an
    unknown name; further errors as of `downloads.fetched`.
    """
    return fetched(_named(name, named_models(), "model"), trust)


def _named(name: str, entries: dict[str, dict[str, Any]], what: str) -> dict[str, Any]:
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise ValueError(f"{what}: got {name!r}, expected one of: {known}")
    return entries[name]


def write_manifest_entry(
    file: str | Path, how: str, licence: str = "CC-BY-4.0", **extra: Any
) -> dict[str, Any]:
    """Record a file of `data/` in the manifest under its stem and return the entry.

    Args:
        file: the artefact; it must lie directly in `data_dir()`.
        how: the exact command that made it.
        licence: an SPDX identifier.
        extra: further JSON values, such as a measured quality.

    Raises:
        ValueError: the file lies elsewhere.
        FileNotFoundError: no such file.
    """
    path = Path(file).resolve()
    if path.parent != data_dir().resolve():
        raise ValueError(f"artefact: got {file}, expected a file in {data_dir()}")
    entry = {
        "name": path.stem, "file": path.name, "sha256": file_sha256(path),
        "bytes": path.stat().st_size, "how": how, "licence": licence,
    }
    if clash := sorted(set(extra) & set(entry)):
        raise ValueError(f"artefact: got {clash} as extra values, expected other names")
    listed = data_dir() / MANIFEST
    # two trainings may end at the same moment
    with FileLock(listed.with_suffix(".lock")):
        entries = manifest() | {path.stem: entry | extra}
        listing = {"artefacts": [entries[name] for name in sorted(entries)]}
        if models := list(named_models().values()):
            listing["models"] = models
        atomic_write(listed, (json.dumps(listing, indent=2) + "\n").encode())
    return entry | extra


def new_artefact_path(name: str) -> Path:
    """Return where an artefact of this name is to be written; a ValueError for an unfit name."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"register: got {name!r}, expected small letters, digits and hyphens")
    return data_dir() / f"{name}.safetensors"
