"""Files that are not here yet: fetched once, kept in a cache, checked before every use.

    an entry of data/manifest.json -> a file in the cache whose SHA-256 is the entry's

A download that was cut off goes on where it stopped, by an HTTP range and only if the server still
has the same file; it gets its final name once its size and hash are right. Where the manifest knows
no hash, the file is used only if the caller trusts it. Nothing is ever fetched but a network asked
for by name. Chapter 13.
"""

import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .files import file_sha256, needing, reason_of

_BLOCK_BYTES = 2**20
_TIMEOUT_S = 60


def cache_dir() -> Path:
    """The folder of downloaded models: $CAGC_LIB_CACHE, else the platform's usual place."""
    if chosen := os.environ.get("CAGC_LIB_CACHE"):
        return Path(chosen)
    usual = {"darwin": (None, "Library/Caches"), "win32": ("LOCALAPPDATA", "AppData/Local")}
    variable, folder = usual.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    base = variable and os.environ.get(variable)
    return Path(base or Path.home() / folder) / "cagc-lib"


def fetched(entry: dict[str, Any], trust: bool = False) -> Path:
    """Find what an entry of the manifest describes in the cache, or download it there.

    Raises:
        ValueError: another size or hash than expected; a hash that is not known, without trust.
        OSError: the file could not be fetched: no network, a connection cut off, a full disk.
    """
    path = cache_dir() / entry["file"]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _fetch(entry, path)
        try:
            _check(entry, part, trust=True)
        except ValueError:
            # what came is not what was asked for; going on from it would end there again
            part.unlink()
            raise
        part.replace(path)
    _check(entry, path, trust)
    return path


def _check(entry: dict[str, Any], path: Path, trust: bool) -> None:
    name, size = entry["name"], path.stat().st_size
    if size != entry.get("bytes", size):
        raise ValueError(f"{name}: {path} has {size} bytes, expected {entry['bytes']}")
    expected = entry.get("sha256")
    if expected is None and trust:
        return
    digest = file_sha256(path)
    if expected is None:
        got = f"its SHA-256 is not known, {path} has {digest}"
        raise ValueError(f"{name}: {got}; expected trust=True (--trust) to load it all the same")
    if digest != expected:
        raise ValueError(f"{name}: {path} has SHA-256 {digest}, expected {expected}")


def _fetch(entry: dict[str, Any], path: Path) -> Path:
    """Download a model beside its place in the cache and return the file, not yet checked."""
    name, url = entry["name"], entry.get("url")
    if url is None:
        raise ValueError(
            f"{name}: its address is not known; get it from {entry['source']} and give its path"
        )
    address = urllib.parse.urlsplit(url)
    if address.scheme != "https":
        raise ValueError(f"{name}: got address {url}, expected one that begins with https")
    part = path.with_name(f"{path.name}.part")
    try:
        if address.hostname == "drive.google.com":
            _fetch_from_drive(name, urllib.parse.parse_qs(address.query)["id"][0], part)
        elif not part.exists() or part.stat().st_size != entry.get("bytes"):
            _fetch_by_http(entry, part)
    except (OSError, HTTPException) as error:
        raise OSError(
            f"{name}: cannot download {url} ({reason_of(error)}); with a network, the same call "
            "goes on where it stopped"
        ) from None
    return part


def _fetch_by_http(entry: dict[str, Any], part: Path) -> None:
    # the server's mark of this very content, so that two versions are never glued together
    mark = part.with_name(f"{part.name}.etag")
    have = part.stat().st_size if part.exists() and mark.exists() else 0
    headers = {"User-Agent": "cagc-lib"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text()}
    try:
        response = _open(urllib.request.Request(entry["url"], headers=headers))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise OSError(f"the server answers {error.code} {error.reason}") from None
        # nothing lies beyond what is here, and it did not pass as whole: start again
        mark.unlink()
        return _fetch_by_http(entry, part)
    with response:
        sent = response.headers["Content-Range"] or ""
        if response.status == 206 and not sent.startswith(f"bytes {have}-"):
            raise OSError(f"the server sends {sent!r}, expected what follows byte {have}")
        have = have if response.status == 206 else 0
        length = response.headers["Content-Length"]
        total = have + int(length) if length else entry.get("bytes")
        if entry.get("bytes", total) != total:
            raise OSError(f"the server has {total} bytes, expected {entry['bytes']}")
        # a weak mark, W/"...", may stay the same where the bytes change
        mark.unlink(missing_ok=True)
        if (etag := response.headers["ETag"] or "").startswith('"'):
            mark.write_text(etag)
        with part.open("ab" if have else "wb") as file, tqdm(
            desc=entry["name"], total=total, initial=have, unit="B", unit_scale=True
        ) as bar:
            while block := response.read(_BLOCK_BYTES):
                bar.update(file.write(block))
    if total not in (None, part.stat().st_size):
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")
    mark.unlink(missing_ok=True)


def _open(request: urllib.request.Request) -> Any:
    response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    if urllib.parse.urlsplit(response.url).scheme != "https":
        response.close()
        raise OSError(f"the server leads to {response.url}, expected an address with https")
    return response


def _fetch_from_drive(name: str, identifier: str, part: Path) -> None:
    with needing(f"{name}: Google Drive", "gdown"):
        import gdown
    if part.exists():
        return
    try:
        # gdown keeps its own half-written file beside this one
        done = gdown.download(id=identifier, output=str(part), resume=True)
    except Exception as error:
        # its errors have types of its own, and texts of many lines
        raise OSError(" ".join(str(error).split())) from None
    if not done or not part.exists():
        raise OSError("gdown fetched nothing")
