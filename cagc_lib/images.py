"""Real images for training: rendered portraits or a folder, as a function of the position.

    source(position, count) -> [count, 3, R, R] in [-1, 1]: images position .. position + count - 1

A stream without state: resuming needs the position and nothing else, and two runs that share a
seed see the same images in the same order. Portraits never repeat unless `pool` limits how many
different ones there are (they are then kept in memory, 8 bits a channel). A folder is gone through
in a new order every epoch. Chapter 8.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .artefacts import atomic_write
from .portraits import render_portraits

ImageSource = Callable[[int, int], torch.Tensor]
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


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


class ImageFolder:
    """The images of a folder, cut to their central square and resized.

    Args:
        folder: searched for .png, .jpg, .jpeg, .webp and .bmp, also in folders inside.
        resolution: side in pixels.
        seed: decides the order.

    Raises:
        ValueError: no such folder, or no image in it.
    """

    def __init__(self, folder: str | Path, resolution: int, seed: int = 0) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f'data: got {str(folder)!r}, expected "portraits" or a folder')
        files = (f for f in folder.rglob("*") if f.suffix.lower() in EXTENSIONS)
        self.files = sorted(files)
        if not self.files:
            raise ValueError(f"data: no image in {folder}, expected {', '.join(EXTENSIONS)}")
        self.resolution, self.seed = resolution, seed

    def __call__(self, position: int, count: int) -> torch.Tensor:
        """Return images position .. position + count - 1 of the stream, [count, 3, R, R]."""
        numbers = [
            _shuffled(p, len(self.files), self.seed) for p in range(position, position + count)
        ]
        return _to_floats(torch.stack([self._read(self.files[n]) for n in numbers]))

    def _read(self, file: Path) -> torch.Tensor:
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(f"data: {file} is not a readable image ({error})") from error
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # cut first: resize(box=...) would mix in what lies outside the box. Pillow's bilinear
        # filter averages over all the pixels that shrink into one
        image = image.crop((left, top, left + side, top + side))
        image = image.resize([self.resolution] * 2, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


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
