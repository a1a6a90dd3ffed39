"""What a file's own bookkeeping says of it, looked at before anything in it is read.

    .pt:          a zip archive: an end record, stored entries, among them data.pkl and version
    .safetensors: the length of the header, and in the header where every tensor ends

So a download that was cut off is named as one, and an archive that would unfold to more than its
file is refused. Nothing is unpacked here. Chapter 12.
"""

import re
import zipfile
from pathlib import Path

# safetensors reads no longer header
_MAX_HEADER_BYTES = 100_000_000
_END = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d{1,18}\s*,\s*(\d{1,18})\s*\]')


def check_zip(path: Path) -> None:
    """Raise a ValueError unless a file that begins a zip archive is one that torch.save may write.

    Raises:
        ValueError: cut off, of another program, compressed, or of entries that overlap.
    """
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"got {size} bytes that begin a zip archive but lack its end, expected a whole file "
            "(cut off?)"
        )
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    # a compressed entry could unfold to any size; torch.save never compresses
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("got a compressed archive, expected one of torch.save")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("got an archive of overlapping entries, expected separate ones")
    names = {entry.filename for entry in entries}
    folder = entries[0].filename.partition("/")[0] if entries else ""
    if not {f"{folder}/data.pkl", f"{folder}/version"} <= names:
        raise ValueError("got a zip archive that torch.save did not write, expected one of its")


def safetensors_cut_off(path: Path) -> str | None:
    """Say it if a safetensors file is shorter than its header wants; None if it is not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            return None
        header = file.read(length)
    # looked for rather than parsed: the header of a damaged file may be any text
    ends = (int(end[1]) for end in _END.finditer(header))
    expected = 8 + length + max(ends, default=0)
    if size >= expected:
        return None
    more = "" if len(header) == length else " or more"
    return f"cut off: got {size} bytes, expected {expected}{more}"
