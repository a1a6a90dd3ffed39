"""Edits: a step where it was asked for, no pixel outside the content, the same in a student."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cagc_lib.checkpoints import load_generator
from cagc_lib.content import GeneratorFeatures, everything
from cagc_lib.editing import (
    Directions,
    confine_edit,
    edit,
    edit_mask,
    pca_directions,
    transfer_directions,
)
from cagc_lib.networks import Generator, SNGANGenerator

seeds = st.integers(0, 2**16)


def normal(seed: int, *shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def some_directions(layers: tuple[int, ...] = (1, 3)) -> Directions:
    vectors = torch.linalg.qr(normal(7, 4, 4)).Q[:2]
    spread = torch.tensor([0.5, 2.0]).double()
    return Directions("own", ("a", "b"), vectors, spread, layers, torch.zeros(2))


def bright(images: torch.Tensor) -> torch.Tensor:
    return images.mean(1, keepdim=True) > 0


@given(seeds, st.integers(0, 1), st.floats(-5, 5))
def test_a_step_is_as_long_as_it_says(seed: int, index: int, strength: float) -> None:
    ws, d = normal(seed, 3, 5, 4), some_directions()
    before = ws.clone()
    moved = edit(ws, d, index, strength) - ws
    assert torch.equal(ws, before)
    step = (strength * d.spread[index] * d.vectors[index]).expand(3, 2, 4)
    torch.testing.assert_close(moved[:, [1, 3]], step)
    assert moved[:, [0, 2, 4]].eq(0).all()
    torch.testing.assert_close(edit(edit(ws, d, index, strength), d, index, -strength), ws)


def test_each_sample_may_have_its_own_strength() -> None:
    ws, d = normal(0, 3, 5, 4), some_directions()
    each = edit(ws, d, 1, torch.tensor([-1.0, 0.0, 2.0]))
    for i, strength in enumerate((-1.0, 0.0, 2.0)):
        torch.testing.assert_close(each[i : i + 1], edit(ws[i : i + 1], d, 1, strength))


@given(seeds)
def test_no_pixel_outside_the_content_changes(seed: int) -> None:
    original, edited = normal(seed, 2, 3, 8, 8), normal(seed + 1, 2, 3, 8, 8)
    mask = edit_mask(original, edited, bright)
    assert torch.equal(mask, bright(original) | bright(edited))
    confined = confine_edit(original, edited, bright)
    outside = ~mask.expand(-1, 3, -1, -1)
    assert torch.equal(confined[outside], original[outside])
    assert torch.equal(confined[~outside], edited[~outside])
    assert torch.equal(confine_edit(original, edited, everything), edited)
    assert torch.equal(confine_edit(original, original, bright), original)


def turned(g: Generator) -> tuple[Generator, torch.Tensor]:
    """A generator whose w's are the given one's, times a matrix, and that matrix."""
    other = copy.deepcopy(g)
    matrix = torch.eye(8).double() + 0.3 * normal(11, 8, 8)

    class Turned(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return g.mapping(z) @ matrix + 5

    other.mapping = Turned()
    return other, matrix


def test_between_identical_generators_nothing_changes(g: Generator) -> None:
    d = pca_directions(g, count=8, num_samples=100)
    carried = transfer_directions(d, g, copy.deepcopy(g), num_samples=50)
    torch.testing.assert_close(carried.vectors, d.vectors, rtol=0, atol=1e-12)
    torch.testing.assert_close(carried.spread, d.spread)
    assert torch.equal(carried.score, d.score)
    assert (carried.kind, carried.names, carried.layers) == (d.kind, d.names, d.layers)


def test_a_direction_follows_where_the_ws_went(g: Generator) -> None:
    other, matrix = turned(g)
    d = pca_directions(g, count=8, num_samples=200)
    carried = transfer_directions(d, g, other, num_samples=100)
    # one strength is the same edit: w + step goes where the map takes it
    steps = d.spread[:, None] * d.vectors @ matrix
    torch.testing.assert_close(carried.spread[:, None] * carried.vectors, steps)
    torch.testing.assert_close(carried.vectors.norm(dim=1), torch.ones(8).double())
    back = transfer_directions(carried, other, g, num_samples=100)
    torch.testing.assert_close(back.vectors, d.vectors)
    torch.testing.assert_close(back.spread, d.spread)


def test_a_direction_no_w_takes_stays_as_it_is(g: Generator) -> None:
    flat = copy.deepcopy(g)

    class Flat(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.factor * z * torch.tensor([1.0] * 4 + [0.0] * 4).double()

    flat.mapping = Flat(1)
    larger = copy.deepcopy(flat)
    larger.mapping = Flat(3)
    vectors = torch.eye(8).double()[[0, 7]]
    d = Directions("own", ("a", "b"), vectors, torch.ones(2).double(), (0,), torch.zeros(2))
    carried = transfer_directions(d, flat, larger, num_samples=50)
    torch.testing.assert_close(carried.vectors, d.vectors)
    torch.testing.assert_close(carried.spread, torch.tensor([3.0, 1.0]).double())


def test_a_shipped_student_has_hardly_moved() -> None:
    teacher, student = load_generator("portraits"), load_generator("portraits-11x")
    d = pca_directions(teacher, count=5, num_samples=1000)
    carried = transfer_directions(d, teacher, student, num_samples=1000)
    cosines = (carried.vectors * d.vectors).sum(1)
    assert cosines.min() > 0.99 and not torch.equal(carried.vectors, d.vectors)
    # it comes nearer to the student's own than the teacher's is
    own = pca_directions(student, count=1, num_samples=1000)
    gap = [1 - (x.vectors[0] @ own.vectors[0]).abs().item() for x in (carried, d)]
    assert gap[0] < gap[1]


ws = torch.zeros(2, 5, 4)
images = torch.zeros(2, 3, 8, 8)
d = some_directions()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edit(ws[:, 0], d, 0, 1), r"ws: got \[2, 4\], expected \[N, 4 or more, 4\]"),
        (lambda: edit(ws[:, :3], d, 0, 1), r"ws: got \[2, 3, 4\], expected \[N, 4 or more, 4\]"),
        (lambda: edit(ws[..., :3], d, 0, 1), r"ws: got \[2, 5, 3\], expected \[N, 4 or more, 4\]"),
        (lambda: edit(ws, d, 2, 1), "index: got 2, expected an integer, 0 to 1"),
        (lambda: edit(ws, d, -1, 1), "index: got -1, expected an integer, 0 to 1"),
        (lambda: edit(ws, d, "a", 1), "index: got 'a', expected an integer, 0 to 1"),
        (lambda: edit(ws, d, 0, float("nan")), "strength: got nan, expected a finite number"),
        (lambda: edit(ws, d, 0, torch.ones(3)), r"strength: got \[1.0, 1.0, 1.0\], expected a f"),
        (lambda: edit_mask(images, images[:1], bright), r"edited: got \[1, 3, 8, 8\], expected"),
        (lambda: edit_mask(images, images, "portraits"), "content: got <class 'str'>, expected"),
        (lambda: confine_edit(images, images, lambda x: x), "content mask must have dtype"),
        (lambda: confine_edit(images[0], images, bright), "images must be floating point"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_content_of_one_generators_last_images_is_refused(g: Generator) -> None:
    source = GeneratorFeatures(copy.deepcopy(g).float(), clusters=2, keep=[0], num_samples=4)
    with pytest.raises(ValueError, match="content: got 'a source that watches a generator', exp"):
        confine_edit(images, images, source)


def test_networks_that_share_no_w_are_refused(g: Generator, sngan: SNGANGenerator) -> None:
    found = pca_directions(g, count=2, num_samples=50)
    for pair in ((sngan, g), (g, sngan)):
        with pytest.raises(ValueError, match="g: got 'SNGANGenerator', expected a StyleGAN2"):
            transfer_directions(found, *pair)
    with pytest.raises(ValueError, match="target: got z_dim 128, expected 8"):
        transfer_directions(found, g, load_generator("portraits-11x"))
    with pytest.raises(ValueError, match=r"directions: got \[2, 4\], expected \[K, 8\]"):
        transfer_directions(some_directions(), g, g)
    with pytest.raises(ValueError, match="num_samples: got 8, expected an integer > w_dim, 8"):
        transfer_directions(found, g, g, num_samples=8)
