"""Real images for training: rendered portraits or a folder, as a function of the position.

    source(position, count) -> [count, 3, R, R] in [-1, 1]: images position .. position + count - 1

A stream without state: resuming needs the position and nothing else, and two runs that share a
seed see the same images in the same order. Portraits never repeat unless `pool` limits how many
different ones there are (they are then kept in memory, 8 bits a channel). A folder is gone through
in a new order every epoch, its files kept as well where they are small. Chapters 8 and 11.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ..checkpoints import atomic_write, reason_of
from .portraits.render import render_portraits

ImageSource = Callable[[int, int], torch.Tensor]
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# decoding thousands of tiny files every epoch costs more than the training step; CIFAR-10 fits
KEPT_BYTES = 2**28


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
        positions = range(position, position + count)
        if not self.pool:
            return self._render([self.first_seed + p for p in positions])
        numbers = [_shuffled(p, self.pool, self.seed) for p in positions]
        if missing := sorted({n for n in numbers if n not in self._kept}):
            images = self._render([self.first_seed + n for n in missing])
            self._kept.update(zip(missing, _to_bytes(images), strict=True))
        return _to_floats(torch.stack([self._kept[n] for n in numbers]))

    def _render(self, seeds: list[int]) -> torch.Tensor:
        return render_portraits(seeds, self.resolution).images


class _Files:
    """Image files, cut to their central square, resized, and kept where they are small."""

    def __init__(self, files: list[Path], resolution: int) -> None:
        self.files, self.resolution = files, resolution
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
        image = self._read(self.files[number])
        if self._keep:
            self._kept[number] = image
        return image

    def _read(self, file: Path) -> torch.Tensor:
        image = read_image(file, "data")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # cut first: resize(box=...) would mix in what lies outside the box. Pillow's bilinear
        # filter averages over all the pixels that shrink into one
        image = image.crop((left, top, left + side, top + side))
        image = image.resize([self.resolution] * 2, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class ImageFolder(_Files):
    """The images of a folder, cut to their central square and resized.

    Args:
        folder: searched for .png, .jpg, .jpeg, .webp and .bmp, also in folders inside: one flat
            folder or one a class are the same. What is hidden, its name with a dot, is not looked
            at.
        resolution: side in pixels.
        seed: decides the order.

    Raises:
        ValueError: no such folder, or no image in it.
    """

    def __init__(self, folder: str | Path, resolution: int, seed: int = 0) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f'data: got {str(folder)!r}, expected "portraits" or a folder')
        super().__init__(image_files(folder), resolution)
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

    Raises:
        ValueError: no such folder, no class folder, one that is missing or holds no image, or an
            image outside them or deeper inside.
    """

    def __init__(
        self, folder: str | Path, resolution: int, classes: Sequence[str] | None = None
    ) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f"data: got {str(folder)!r}, expected a folder of class folders")
        found = sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] != ".")
        if not found:
            raise ValueError(f"data: no class folder in {folder}, expected one a class")
        if loose := sorted(f for f in folder.glob("[!.]*") if f.suffix.lower() in EXTENSIONS):
            raise ValueError(f"data: {loose[0]} is in no class, expected images in class folders")
        self.classes = tuple(found if classes is None else classes)
        files, labels = [], []
        for label, name in enumerate(self.classes):
            if name not in found:
                raise ValueError(
                    f"data: no class folder {name!r} in {folder}, found {', '.join(found)[:200]}"
                )
            own = image_files(folder / name)
            if deep := [f for f in own if f.parent != folder / name]:
                raise ValueError(
                    f"data: {min(deep)} is in a folder inside that of a class, expected it in "
                    f"{folder / name}"
                )
            files += own
            labels += [label] * len(own)
        super().__init__(files, resolution)
        self.labels = torch.tensor(labels)

    def __getitem__(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images [N, 3, R, R] in [-1, 1] and labels [N] of these numbers."""
        return self.images(numbers), self.labels[list(numbers)]


def read_image(path: Path, what: str) -> Image.Image:
    """Read an image file as RGB, upright as its camera says.

    Args:
        path: the file.
        what: names the argument in errors.

    Raises:
        ValueError: not a readable image, or one that 8 bits of RGB cannot hold.
        FileNotFoundError: no such file.
    """
    try:
        with Image.open(path) as opened:
            lost = _lost(opened)
            image = opened if lost else ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError:
        raise
    except Exception as error:
        # a decoder that meets a broken file raises what it likes, SyntaxError among them
        reason = reason_of(error)
        raise ValueError(f"{what}: {path} is not a readable image ({reason})") from error
    if lost:
        raise ValueError(
            f"{what}: {path}: got {lost}, expected 8 bits a channel and no transparency"
        )
    return image


def _lost(image: Image.Image) -> str:
    """Name what conversion to RGB would clip or drop; "" if nothing."""
    if image.mode in ("RGBA", "LA"):
        # an alpha channel that is opaque everywhere says nothing
        least, _ = image.getchannel("A").getextrema()
        return "" if least == 255 else "transparency"
    if "transparency" in image.info:
        return "transparency"
    eight_bits = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
    return "" if image.mode in eight_bits else f"mode {image.mode}"


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and those inside it, at least one, sorted, without what is hidden."""
    found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in EXTENSIONS)
    found = [f for f in found if not any(p[0] == "." for p in f.relative_to(folder).parts)]
    if not found:
        raise ValueError(f"data: no image in {folder}, expected {', '.join(EXTENSIONS)}")
    return found


def image_source(
    data: str, resolution: int, first_seed: int = 0, pool: int = 0, flip: bool = False,
    seed: int = 0,
) -> ImageSource:
    """Open a stream of real images.

    Args:
        data: "portraits", or the path of a folder of images.
        resolution: side in pixels.
        first_seed: seed of the first portrait.
        pool: number of different portraits, 0 for no limit.
        flip: mirror every other image, chosen by its position.
        seed: decides order and flips.

    Returns:
        A function (position, count) -> images [count, 3, R, R] in [-1, 1].

    Raises:
        ValueError: no such folder, or no image in it.
    """
    if data == "portraits":
        source: ImageSource = RenderedPortraits(resolution, first_seed, pool, seed)
    else:
        source = ImageFolder(data, resolution, seed)
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
