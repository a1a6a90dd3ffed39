"""Masks made from masks, and masks painted by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cagc_lib.content import (
    check_source,
    complement,
    content_source,
    dilation,
    everything,
    following,
    intersection,
    union,
    watches_a_generator,
)
from cagc_lib.content.masks import PaintedMask

IMAGES = torch.zeros(2, 3, 8, 8)


def fixed(seed: int):
    """A source with a random mask of its own."""
    mask = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) > 0.5
    return lambda images: mask


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_sets_of_pixels_obey_the_laws_of_sets(a: int, b: int, c: int) -> None:
    x, y, z = fixed(a), fixed(b), fixed(c)
    equal = torch.equal
    assert equal(union(x, y)(IMAGES), union(y, x)(IMAGES))
    assert equal(complement(complement(x))(IMAGES), x(IMAGES))
    assert equal(
        complement(union(x, y))(IMAGES), intersection(complement(x), complement(y))(IMAGES)
    )
    assert equal(
        intersection(x, union(y, z))(IMAGES), union(intersection(x, y), intersection(x, z))(IMAGES),
    )
    assert equal(union(x)(IMAGES), x(IMAGES))
    assert intersection(x, complement(x))(IMAGES).sum() == 0
    assert union(x, everything)(IMAGES).all()


@given(st.integers(0, 99), st.integers(1, 3))
def test_a_dilation_reaches_its_radius_and_no_further(seed: int, radius: int) -> None:
    x = fixed(seed)
    dots = intersection(x, fixed(seed + 1), fixed(seed + 2), fixed(seed + 3))
    wide = dilation(dots, radius)(IMAGES)
    for n, _, row, column in torch.cartesian_prod(*map(torch.arange, (2, 1, 8, 8))).tolist():
        rows = slice(max(0, row - radius), row + radius + 1)
        near = dots(IMAGES)[n, 0, rows, max(0, column - radius) : column + radius + 1]
        assert wide[n, 0, row, column] == near.any()
    wider = dilation(dots, radius + 1)
    assert torch.equal(dilation(dilation(dots, 1), radius)(IMAGES), wider(IMAGES))


def test_what_is_no_source_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"^dilation: got <class 'str'>, expected a source"):
        dilation("hair", 1)
    with pytest.raises(ValueError, match=r"^radius: got 0, expected an integer >= 1$"):
        dilation(everything, 0)
    with pytest.raises(ValueError, match=r"^union: got no source, expected at least one$"):
        union()
    with pytest.raises(ValueError, match=r"^complement: got <class 'str'>, expected a source"):
        complement("hair")
    with pytest.raises(ValueError, match=r"^union: got <class 'torch.Tensor'>, exp") as info:
        union(everything, IMAGES > 0)
    assert "\n" not in str(info.value) and len(str(info.value)) < 120
    with pytest.raises(ValueError, match=r"^content: got <class 'NoneType'>, expected .*source$"):
        check_source(None)
    check_source(everything)
    with pytest.raises(ValueError, match="content mask must have dtype"):
        union(everything, lambda images: images)(IMAGES)


class Watching:
    """A source that watches a generator."""

    def __init__(self, g: object) -> None:
        self.g = g

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return everything(images)

    def following(self, g: object) -> "Watching":
        return Watching(g)


def test_a_source_watches_a_generator_if_a_part_of_it_does() -> None:
    assert watches_a_generator(Watching("a"))
    assert watches_a_generator(union(everything, complement(Watching("a"))))
    assert not watches_a_generator(union(everything, complement(everything)))
    assert not watches_a_generator(None)


def test_a_combination_follows_a_generator() -> None:
    source = following(intersection(everything, complement(Watching("a"))), "b")
    assert source.sources[0] is everything
    assert source.sources[1].sources[0].g == "b"
    assert source(IMAGES).sum() == 0
    assert following(None, "b") is None


def test_a_painted_mask_is_the_same_in_every_image(tmp_path: Path) -> None:
    picture = np.zeros((32, 32), np.uint8)
    picture[8:24, 16:] = 255
    Image.fromarray(picture).save(tmp_path / "mask.png")
    source = content_source("painted", mask=tmp_path / "mask.png")
    mask = source(torch.zeros(3, 3, 32, 32))
    assert torch.equal(mask[0, 0], torch.from_numpy(picture > 0))
    assert torch.equal(mask, mask[:1].expand(3, -1, -1, -1))
    half = source(torch.zeros(1, 3, 16, 16))
    assert torch.equal(half[0, 0], torch.from_numpy(picture > 0)[::2, ::2])
    assert source(torch.zeros(1, 3, 96, 96)).float().mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(4, 4), r"got a Tensor of torch.float32 \[4, 4\], expected a bool tensor"),
        (torch.ones(1, 4, 4, dtype=torch.bool), r"got a Tensor of torch.bool \[1, 4, 4\]"),
        (np.ones((64, 64), bool), r"got a ndarray of bool \[64, 64\], expected a bool tensor"),
        ([[True, False]] * 64, r"got a list, expected a bool tensor \[H, W\] or a file$"),
        (torch.ones(4, 4, dtype=torch.bool), "got all of 4 x 4 pixels content, expected a part"),
        (torch.zeros(4, 4, dtype=torch.bool), "got none of 4 x 4 pixels content, expected a part"),
    ],
)
def test_a_mask_that_says_nothing_is_refused(mask: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^painted mask: {message}") as info:
        PaintedMask(mask)
    assert "\n" not in str(info.value)


def test_a_mask_is_not_stretched() -> None:
    mask = torch.zeros(17, 91, dtype=torch.bool)
    mask[:8] = True
    source = PaintedMask(mask)
    assert source(torch.zeros(1, 3, 34, 182)).float().mean() == pytest.approx(8 / 17, abs=0.02)
    message = r"^painted mask: got \[17, 91\], expected the ratio of the images' \[64, 64\]$"
    with pytest.raises(ValueError, match=message):
        source(torch.zeros(1, 3, 64, 64))
    # nor is it lost in images that are too small for it
    mask = torch.zeros(512, 512, dtype=torch.bool)
    mask[200, 200] = True
    source = PaintedMask(mask)
    assert source(torch.zeros(1, 3, 512, 512)).sum() == 1
    with pytest.raises(ValueError, match=r"^painted mask: got none of 64 x 64 pixels content"):
        source(torch.zeros(1, 3, 64, 64))


def test_a_file_that_would_be_misread_or_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("LA", (8, 8), (255, 0)).save(path)
    with pytest.raises(ValueError, match=r"^painted mask: .*mask.png: got transparency, expected"):
        PaintedMask(path)
    path.write_text("no")
    with pytest.raises(ValueError, match=r"^painted mask: .*mask.png is not a readable image"):
        PaintedMask(path)
    with pytest.raises(FileNotFoundError, match=r"^painted mask: no file .*absent.png, expected"):
        PaintedMask(tmp_path / "absent.png")
