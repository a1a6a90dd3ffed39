"""Sheets of images, masks laid over them, parsing maps in colour: tensors in, pictures out.

Images are [N, 3, H, W] in [-1, 1] everywhere, so `mask_overlay` and `parsing_images` can be shown
by `show_images` like any other batch. Nothing is computed from them. Used by every chapter.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

# One colour for each of the 19 CelebAMask-HQ classes; background is dark grey.
CLASS_COLOURS = (
    "#2b2b2b", "#e8b796", "#6b3e26", "#8a5436", "#3d7ea6", "#56b4e9", "#222f5b",
    "#d98c6a", "#c97b5a", "#f0e442", "#f3cfae", "#9e2a2b", "#cc5a71", "#b03a5b",
    "#c9a17f", "#ffd23f", "#009e73", "#4a2c12", "#cc79a7",
)  # fmt: skip
# A caption must be this large, in pixels, on a phone that is as wide as this inside its margins.
SMALLEST, PHONE = 12, 350
INK = "#7f7f7f"


def image_grid(images: Tensor, columns: int = 8, scale: int = 1, gap: int = 2) -> np.ndarray:
    """Place a batch of images row by row on one white sheet.

    Args:
        images: [N, 3, H, W], float; values outside [-1, 1] are shown as the nearest shade.
        columns: images in a row; the last row may be shorter.
        scale: each pixel becomes a square of this many pixels.
        gap: white pixels between images, after scaling.

    Returns:
        [rows * (H * scale + gap) - gap, ..., 3], uint8.

    Raises:
        ValueError: the batch is not [N, 3, H, W] with N >= 1, or a size is not positive.
    """
    fits = images.ndim == 4 and images.shape[1] == 3 and images.shape[0] > 0
    check(fits, "images", f"shape {list(images.shape)}", "[N, 3, H, W], N >= 1")
    sizes, fits = f"{columns}, {scale}, {gap}", columns >= 1 and scale >= 1 and gap >= 0
    check(fits, "columns, scale, gap", sizes, ">= 1, >= 1, >= 0")
    pixels = (images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    pixels = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
    pixels = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    n, h, w, _ = pixels.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = torch.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255).to(torch.uint8)
    for i in range(n):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = pixels[i]
    return sheet.numpy()


def show_images(
    images: Tensor, columns: int = 8, scale: int = 1, gap: int = 2,
    row_captions: Sequence[str] = (), column_captions: Sequence[str] = (), colours: int = 128,
) -> Image.Image:
    """Return a captioned sheet that a notebook displays when it is a cell's last value.

    What is no picture is transparent, and captions are of a grey that reads on a light and on a
    dark page; they are as large as it takes to be read when a phone shrinks the sheet.

    Args:
        images, columns, scale, gap: as for `image_grid`.
        row_captions: written above the rows, as many as there are rows; empty for none.
        column_captions: written above the columns, as many as `columns`; empty for none.
        colours: of the pictures together, 2 to 200, which keeps notebooks small.

    Raises:
        ValueError: the batch has a wrong shape, the number of captions does not match or there are
            too many colours.
    """
    sheet = Image.fromarray(image_grid(images, columns, scale, gap))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    for name, captions, count in (
        ("row_captions", row_captions, rows), ("column_captions", column_captions, columns),
    ):
        check(len(captions) in (0, count), name, len(captions), f"{count}")
        # Pillow's own font has no other letters, and would draw boxes
        check(all(map(str.isascii, captions)), name, list(captions), "ASCII letters")
    check(2 <= colours <= 200, "colours", colours, "2..200")
    font = ImageFont.load_default(size=max(13, round(sheet.width / PHONE * SMALLEST)))
    # a little bold, or a phone that shrinks the sheet shows thin letters only
    line, bold = round(1.5 * font.size), font.size / 38
    cell_h, cell_w = images.shape[2] * scale + gap, images.shape[3] * scale + gap
    heads = [_wrapped(text, font, cell_w - 4) for text in column_captions]
    top = line * max((len(head) for head in heads), default=0)
    row_h = cell_h + (line if row_captions else 0)
    size = (sheet.width, top + rows * row_h - gap)
    page, ink = Image.new("RGB", size), Image.new("L", size)
    pictures, draw = Image.new("1", size), ImageDraw.Draw(ink)
    for column, head in enumerate(heads):
        for place, text in enumerate(reversed(head)):
            middle = column * cell_w + (cell_w - gap) / 2
            where = middle, top - place * line - line / 2
            draw.text(where, text, 255, font, anchor="mm", stroke_width=bold)
    for row in range(rows):
        y = top + row * row_h
        if row_captions:
            draw.text((0, y + line / 2), row_captions[row], 255, font, "lm", stroke_width=bold)
            y += line
        for column in range(min(columns, len(images) - row * columns)):
            left, upper = column * cell_w, row * cell_h
            box = (left, upper, left + cell_w - gap, upper + cell_h - gap)
            page.paste(sheet.crop(box), (left, y))
            pictures.paste(1, (left, y, left + cell_w - gap, y + cell_h - gap))
    return _on_glass(page, pictures, ink, colours)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a text between words where it is wider than that many pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _on_glass(
    page: Image.Image, pictures: Image.Image, ink: Image.Image, colours: int
) -> Image.Image:
    """Reduce pictures to a palette; what is none is transparent but for the ink, in grey."""
    reduced = page.quantize(colours, kmeans=1, dither=Image.Dither.NONE)
    palette = (reduced.getpalette() or [])[: 3 * colours]
    palette += [0] * (3 * colours - len(palette))
    shades = 16  # of the ink's edges
    index = np.asarray(reduced).copy()
    outside = ~np.asarray(pictures)
    index[outside] = colours + (np.asarray(ink)[outside].astype(int) * (shades - 1) + 127) // 255
    glass = Image.fromarray(index.astype(np.uint8), "P")
    glass.putpalette(palette + list(ImageColor.getrgb(INK)) * shades)
    alphas = [round(255 * i / (shades - 1)) for i in range(shades)]
    glass.info["transparency"] = bytes([255] * colours + alphas)
    return glass


def mask_overlay(
    images: Tensor, mask: Tensor, colour: str = "#d55e00", opacity: float = 0.5
) -> Tensor:
    """Tint what a content mask leaves out.

    Args:
        images: [N, 3, H, W], float, in [-1, 1].
        mask: [N, 1, H, W], bool; True is content and keeps its colours.
        colour: the tint, "#rrggbb".
        opacity: of the tint, in [0, 1].

    Returns:
        [N, 3, H, W], float, in [-1, 1].

    Raises:
        ValueError: the mask is not boolean or its shape does not fit the images'.
    """
    expected = f"torch.bool {[images.shape[0], 1, *images.shape[2:]]}"
    got = f"{mask.dtype} {list(mask.shape)}"
    check(got == expected, "mask", got, expected)
    tint = _rgb(colour).to(images).view(1, 3, 1, 1)
    return torch.where(mask, images, images * (1 - opacity) + tint * opacity)


def parsing_images(parsing: Tensor) -> Tensor:
    """Colour a parsing map, one fixed colour for each of the 19 classes.

    Args:
        parsing: [N, H, W], int64, in 0..18.

    Returns:
        [N, 3, H, W], float, in [-1, 1].

    Raises:
        ValueError: the map has another shape or class.
    """
    low, high, last = int(parsing.min()), int(parsing.max()), len(CLASS_COLOURS) - 1
    got = f"shape {list(parsing.shape)}, values {low}..{high}"
    check(parsing.ndim == 3 and 0 <= low <= high <= last, "parsing", got, f"[N, H, W] in 0..{last}")
    table = torch.stack([_rgb(colour) for colour in CLASS_COLOURS])
    return table[parsing.cpu()].permute(0, 3, 1, 2)


def encoded(picture: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    """Encode a picture, PIL or [H, W, 3] uint8, as Pillow's `kind`; a ValueError for another."""
    if isinstance(picture, np.ndarray):
        fits = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        check(fits, "picture", f"{picture.dtype} {list(picture.shape)}", "uint8 [H, W, 3]")
        picture = Image.fromarray(picture)
    fits = isinstance(picture, Image.Image)
    check(fits, "picture", type(picture).__name__, "a PIL image or an array")
    buffer = io.BytesIO()
    mode = "RGBA" if "transparency" in picture.info else "RGB"
    picture.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def check(fits: bool, name: str, got: object, expected: str) -> None:
    """Raise a one-line ValueError, "name: got ..., expected ...", unless the value fits."""
    if not fits:
        raise ValueError(f"{name}: got {got}, expected {expected}")


def _rgb(colour: str) -> Tensor:
    return torch.tensor(ImageColor.getrgb(colour)) / 127.5 - 1
