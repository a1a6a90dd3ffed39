"""Real images for training: portraits, a folder or a zip archive, as a function of the position.

    source(position, count) -> [count, 3, R, R] in [-1, 1]: images position .. position + count - 1

A stream without state: resuming needs the position and nothing else, and two runs that share a
seed see the same images in the same order. Portraits never repeat unless `pool` limits how many
different ones there are (they are then kept in memory, 8 bits a channel). Files are gone through in
a new order every epoch, and kept as well where they are small. Chapters 8 and 12.
"""

import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps

from ..checkpoints import atomic_write, reason_of
from ..networks import check
from .portraits.render import render_portraits

ImageSource = Callable[[int, int], torch.Tensor]
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# Pillow's modes that RGB can hold, all but their alpha; and those of grey in 16 bits
MODES, DEEP_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "PA", "RGBA"), ("I;16", "I;16B")
# decoding thousands of tiny files every epoch costs more than the training step; CIFAR-10 fits
KEPT_BYTES = 2**28
_say_once = lru_cache(lambda line: print(line, file=sys.stderr))
# opened for each process anew: a file that two share has one place to read from
_archive = lru_cache(maxsize=4)(lambda path, process: zipfile.ZipFile(path))


class RenderedPortraits:
    """Portraits drawn when they are asked for.

    Args:
        resolution: side in pixels.
        first_seed: image i of the stream is the portrait of seed first_seed + i.
        pool: how many different portraits there are, gone through in a new order every epoch;
            0 for no limit.
        seed: decides the order.
    """

    def __init__(self, resolution: int, first_seed: int = 0, pool: int = 0, seed: int = 0) -> None:
        self.resolution, self.first_seed = resolution, first_seed
        self.pool, self.seed = pool, seed
        self._kept: dict[int, torch.Tensor] = {}

    def __call__(self, position: int, count: int) -> torch.Tensor:
        """Return images position .. position + count - 1 of the stream, [count, 3, R, R]."""
        if not self.pool:
            first = self.first_seed + position
            return render_portraits(range(first, first + count), self.resolution).images
        numbers = [_shuffled(p, self.pool, self.seed) for p in range(position, position + count)]
        if missing := sorted({n for n in numbers if n not in self._kept}):
            portraits = render_portraits([self.first_seed + n for n in missing], self.resolution)
            self._kept.update(zip(missing, _to_bytes(portraits.images), strict=True))
        return _to_floats(torch.stack([self._kept[n] for n in numbers]))


class _Files:
    """Images of a source, cut to their central square, resized, and kept where they are small."""

    def __init__(
        self, source: Path, files: Sequence[Path | str], resolution: int, what: str
    ) -> None:
        self.source, self.files, self.resolution, self.what = source, files, resolution, what
        self._kept: dict[int, torch.Tensor] = {}
        self._keep = len(files) * 3 * resolution**2 <= KEPT_BYTES

    def __len__(self) -> int:
        return len(self.files)

    def images(self, numbers: Iterable[int]) -> torch.Tensor:
        """Return the images of these numbers, [N, 3, R, R] in [-1, 1]."""
        return _to_floats(torch.stack([self._image(n) for n in numbers]))

    def _image(self, number: int) -> torch.Tensor:
        if number in self._kept:
            return self._kept[number]
        file = self.files[number]
        if isinstance(file, str):
            file = zipfile.Path(_archive(self.source, os.getpid()), file)
        image = read_image(file, self.what, self.source)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # cut first: resize(box=...) would mix in what lies outside the box. Pillow's bilinear
        # filter averages over all the pixels that shrink into one
        image = image.crop((left, top, left + side, top + side))
        image = image.resize([self.resolution] * 2, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        if self._keep:
            self._kept[number] = pixels
        return pixels


class ImageFolder(_Files):
    """The images of a folder or a zip archive, cut to their central square and resized.

    Args:
        folder: searched for EXTENSIONS, also in folders inside and behind links, each once: one
            flat folder or one a class are the same. What is hidden, its name with a dot, is not
            looked at. Or an uncompressed zip archive of the same, as NVIDIA's dataset_tool's are.
        resolution: side in pixels.
        seed: decides the order.
        what: names the argument in errors.

    Raises:
        ValueError: neither, no image in it, a dead link, or an archive compressed or damaged.
    """

    def __init__(
        self, folder: str | Path, resolution: int, seed: int = 0, what: str = "data"
    ) -> None:
        super().__init__(Path(folder), _image_files(Path(folder), what), resolution, what)
        self.seed = seed

    def __call__(self, position: int, count: int) -> torch.Tensor:
        """Return images position .. position + count - 1 of the stream, [count, 3, R, R]."""
        places = range(position, position + count)
        return self.images(_shuffled(p, len(self.files), self.seed) for p in places)


class ClassFolders(_Files):
    """Labelled images: a folder that holds one folder a class, whose name is the class's.

    Args:
        folder: holds the class folders and no image of its own; they hold images and no folders
            of images. What is hidden, its name with a dot, is not looked at.
        resolution: side in pixels.
        classes: the classes wanted, in the order of their labels; None takes all, by name.
        what: names the argument in errors.

    Raises:
        ValueError: no such folder, no class folder, one that is missing or holds no image, or an
            image outside them or deeper inside.
    """

    def __init__(
        self, folder: str | Path, resolution: int, classes: Sequence[str] | None = None,
        what: str = "data",
    ) -> None:
        folder = Path(folder)
        check(folder.is_dir(), what, str(folder), "a folder of class folders")
        found = sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] != ".")
        if not found:
            raise ValueError(f"{what}: no class folder in {folder}, expected one a class")
        if loose := sorted(f for f in folder.iterdir() if _is_image(f.name)):
            raise ValueError(f"{what}: {loose[0]} is in no class, expected images in class folders")
        self.classes = tuple(found if classes is None else classes)
        files, labels = [], []
        for label, name in enumerate(self.classes):
            if name not in found:
                got = ", ".join(found)[:200]
                raise ValueError(f"{what}: no class folder {name!r} in {folder}, found {got}")
            own = _image_files(folder / name, what)
            if deep := [f for f in own if f.parent != folder / name]:
                got = f"{min(deep)} is in a folder inside that of a class"
                raise ValueError(f"{what}: {got}, expected it in {folder / name}")
            files += own
            labels += [label] * len(own)
        super().__init__(folder, files, resolution, what)
        self.labels = torch.tensor(labels)

    def __getitem__(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images [N, 3, R, R] in [-1, 1] and labels [N] of these numbers."""
        return self.images(numbers), self.labels[list(numbers)]


def read_image(path: Path | zipfile.Path, what: str, source: Path | None = None) -> Image.Image:
    """Read an image as RGB, upright as its camera says; of 16 bits a channel, the high byte.

    Args:
        path: the file.
        what: names the argument in errors.
        source: what the file is one of; that 16 bits are cut is said once of each, on stderr.

    Raises:
        ValueError: not a readable image, or one that RGB cannot hold.
        FileNotFoundError: no such file.
    """
    try:
        with path.open("rb") as file, Image.open(file) as opened:
            image, deep = _decode(opened, file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: no file {path}, expected an image") from None
    except Exception as error:
        # a decoder that meets a broken file raises what it likes, SyntaxError among them
        reason = reason_of(error).partition(" <")[0]
        if not reason.startswith("got "):
            raise ValueError(f"{what}: {path} is not a readable image ({reason})") from error
        raise ValueError(f"{what}: {path}: {reason}") from None
    if deep:
        _say_once(f"{what}: {source or path} has 16 bits a channel: the high 8 are read")
    return image


def _decode(opened: Image.Image, file: BinaryIO) -> tuple[Image.Image, bool]:
    """Decode to RGB, refusing what it cannot hold, and say whether channels had 16 bits."""
    # how the file holds its pixels, in Pillow's words; decoding forgets it
    offset, stored = opened.tile[0][2:4] if opened.tile else (0, "")
    deep = opened.format in ("PNG", "TIFF") and ";16" in str(stored)
    # where white is 0, Pillow leaves 16 bits a negative; an EPS it would have Ghostscript run
    negative = deep and getattr(opened, "tag_v2", {}).get(262) == 0
    if opened.format == "EPS" or negative or opened.mode not in MODES + DEEP_MODES * deep:
        raise ValueError(f"got {opened.format}, mode {opened.mode}, expected 8 or 16-bit channels")
    image = ImageOps.exif_transpose(opened)
    key = image.info.get("transparency")
    if image.mode in DEEP_MODES:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    least = 255
    if key is not None or image.mode.endswith("A"):
        if not isinstance(key, bytes | None):
            # one colour is transparent, given in the file's bits; the pixels have 8
            factor = 1 / 256 if deep else {"L;2": 85, "L;4": 17}.get(stored, 1)
            key = np.multiply(key, factor).astype(int).tolist()
            image.info["transparency"] = tuple(key) if isinstance(key, list) else key
        image = image.convert("RGBA")
        least, _ = image.getchannel("A").getextrema()
    elif opened.format == "BMP" and "BGRX" in stored:
        # X is unused, and 0, by the format; but some keep alpha there
        file.seek(offset)
        alpha = file.read(4 * image.width * image.height)[3::4]
        least = min(alpha) if any(alpha) else 255
    if least < 255:
        raise ValueError("got transparency, expected opaque pixels only")
    return image.convert("RGB"), deep


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in EXTENSIONS and not any(p[0] == "." for p in path.parts)


def _image_files(source: Path, what: str = "data") -> Sequence[Path | str]:
    """The images in a folder, or their names in a zip archive, at least one, sorted."""
    known = source.is_dir() or source.is_file()
    check(known, what, str(source), '"portraits", a folder or a zip')
    found = (_in_folder if source.is_dir() else _in_archive)(source, what)
    if not found:
        raise ValueError(f"{what}: no image in {source}, expected {', '.join(EXTENSIONS)}")
    return found


def image_sizes(source: Path) -> list[tuple[str, int]]:
    """The images of a folder or a zip archive, sorted: their names in it and their bytes."""
    files = _image_files(source)
    if source.is_dir():
        return [(f.relative_to(source).as_posix(), f.stat().st_size) for f in files]
    archive = _archive(source, os.getpid())
    return [(name, archive.getinfo(name).file_size) for name in files]


def _in_folder(folder: Path, what: str) -> list[Path]:
    found, seen, starts = [], set(), [folder]
    # os.walk follows no link: where links lead is walked afterwards, and no place twice
    for start in starts:
        for place, inner, names in os.walk(start):
            inner[:] = sorted(n for n in inner if n[0] != ".")
            if (real := os.path.realpath(place)) in seen:
                inner.clear()
                continue
            seen.add(real)
            found += [Path(place, n) for n in inner + names if _is_image(n)]
            starts += [Path(place, n) for n in inner if os.path.islink(os.path.join(place, n))]
    if odd := [f for f in found if not f.is_file()]:
        raise ValueError(f"{what}: {min(odd)} is a dead link or no file, expected an image")
    return sorted(found)


def _in_archive(path: Path, what: str) -> list[str]:
    _archive.cache_clear()
    try:
        entries = _archive(path, os.getpid()).infolist()
    except Exception as error:
        raise ValueError(f"{what}: {path} is no whole zip archive ({reason_of(error)})") from error
    images, left = [e for e in entries if _is_image(e.filename)], path.stat().st_size
    for e in images:
        # a compressed one could unfold to any size, and overlapping ones to many times the archive
        left -= e.file_size
        plain = e.filename.isprintable() and not e.flag_bits & 1 and left >= 0
        if not plain or e.compress_type != zipfile.ZIP_STORED or e.compress_size != e.file_size:
            got = f"a {'compressed' if plain else 'damaged or encrypted'} {e.filename[:99]!r}"
            raise ValueError(f"{what}: {path}: got {got}, expected images stored as they are")
    return sorted({e.filename for e in images}, key=PurePosixPath)


def image_source(
    data: str, resolution: int, first_seed: int = 0, pool: int = 0, flip: bool = False,
    seed: int = 0, what: str = "data",
) -> ImageSource:
    """Open a stream of real images.

    Args:
        data: "portraits", or the path of a folder or a zip archive of images.
        resolution: side in pixels.
        first_seed: seed of the first portrait.
        pool: number of different portraits, 0 for no limit.
        flip: mirror every other image, chosen by its position.
        seed: decides order and flips.
        what: names the argument in errors.

    Returns:
        A function (position, count) -> images [count, 3, R, R] in [-1, 1].

    Raises:
        ValueError: no such folder or archive, or no image in it.
    """
    if data == "portraits":
        source: ImageSource = RenderedPortraits(resolution, first_seed, pool, seed)
    else:
        source = ImageFolder(data, resolution, seed, what)
    if not flip:
        return source

    def flipped(position: int, count: int) -> torch.Tensor:
        images = source(position, count)
        draws = [mixed_seed(seed, 1, position + i) % 2 for i in range(count)]
        chosen = torch.tensor(draws, dtype=torch.bool)[:, None, None, None]
        return torch.where(chosen, images.flip(3), images)

    return flipped


def mixed_seed(*parts: int) -> int:
    """Mix integers >= 0 into one 32-bit seed, so that neighbouring steps share nothing."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def save_sheet(images: torch.Tensor, path: str | Path, columns: int = 8) -> None:
    """Write images side by side as one PNG, whole or not at all.

    Args:
        images: [N, 3, R, R] in [-1, 1]; values outside are clipped.
        path: the PNG file; its folder must exist.
        columns: images in a row.
    """
    rows = -(-len(images) // columns)
    side = images.shape[-1]
    sheet = torch.full((rows * columns, 3, side, side), 255, dtype=torch.uint8)
    sheet[: len(images)] = _to_bytes(images.detach().float().cpu())
    sheet = sheet.view(rows, columns, 3, side, side).permute(0, 3, 1, 4, 2)
    picture = Image.fromarray(sheet.reshape(rows * side, columns * side, 3).numpy())
    atomic_write(path, lambda file: picture.save(file, format="PNG"))


def _shuffled(position: int, size: int, seed: int) -> int:
    """Return which of `size` images comes at this position of an endless shuffled stream."""
    epoch, place = divmod(position, size)
    return int(_order(epoch, size, seed)[place])


@lru_cache(maxsize=4)
def _order(epoch: int, size: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(mixed_seed(seed, 2, epoch))
    return torch.randperm(size, generator=draw)


def _to_bytes(images: torch.Tensor) -> torch.Tensor:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _to_floats(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1
