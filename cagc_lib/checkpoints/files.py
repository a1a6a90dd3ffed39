"""What all readers and writers of files share: one way to write, hashes, kinds, short reasons.

`atomic_write` writes beside the target and renames, so that a file is the old one or the whole new
one. `file_kind` tells a format from a file's first bytes, never from its name. Chapter 13.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_LEGACY_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_EXPECTED = "a safetensors file of this project, a rosinality/CAGC .pt or an NVIDIA .pkl"


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def atomic_write(path: str | Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that nobody ever sees half of it.

    The content goes to a temporary file in the same folder, to the disk, and then under its name.

    Args:
        path: the target; its folder must exist.
        data: the content, or a function that writes it to the open file it is given.

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: the disk is full or the folder cannot be written to; the old file is untouched.
            It names the file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: no folder {path.parent}, expected an existing one")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        try:
            with temporary.open("xb") as file:
                if callable(data):
                    data(file)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk says inside the block into a one-line OSError that names the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save has words of its own for a full disk; what the disk said lies beneath
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        if cause is None:
            raise
        raise OSError(f"{path}: cannot be written ({reason_of(cause)})") from None


def remove_temporaries(path: Path) -> None:
    """Remove what a killed `atomic_write` to this path left; its name may be a glob pattern."""
    for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 8}.tmp"):
        left.unlink(missing_ok=True)


def reason_of(error: BaseException) -> str:
    """Say in one short line why something failed; never in none."""
    cause = getattr(error, "reason", None) or error
    text = str(getattr(cause, "strerror", None) or cause).strip()
    return text.partition("\n")[0][:200] or type(error).__name__


@contextlib.contextmanager
def needing(what: str, install: str) -> Iterator[None]:
    """Turn the failure of an import inside the block into a one-line ValueError.

    Args:
        what: what needs the package, such as 'content source "bisenet"'.
        install: what pip installs it by.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        # a torchvision built for another torch raises RuntimeError
        raise ValueError(
            f"{what} needs {install.replace(' ', ' and ')} ({reason_of(error)}); "
            f"expected it to be there: pip install {install}"
        ) from None


def one_line(path: Path, error: object) -> str:
    """Prefix the path; names out of a file may hold line ends or control characters."""
    text = str(error)
    text = text if text.startswith(f"{path}:") else f"{path}: {text}"
    return "".join(c if c.isprintable() else " " for c in text)[: len(str(path)) + 400]


def file_kind(path: Path) -> str:
    """Tell "safetensors", "torch" or "pickle" from a file's first bytes."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        got = "a folder" if path.is_dir() else "a pipe or a device"
        raise ValueError(f"{path}: got {got}, expected {_EXPECTED}")
    with path.open("rb") as file:
        head = file.read(16)
    # first: the length of safetensors' header may begin with any other format's first byte
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= path.stat().st_size - 8:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", _LEGACY_TORCH)):
        return "torch"
    if head.startswith(b"\x80"):
        return "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    got = f"a file that starts with {head[:8]!r}" if head else "an empty file"
    raise ValueError(f"{path}: got {got}, expected {_EXPECTED}")
