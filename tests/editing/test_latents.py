"""Mixing, morphing and truncation: what stays, where a way begins and ends, what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cagc_lib.editing import lerp, map_latents, mix_styles, slerp, truncate
from cagc_lib.networks import Generator, SNGANGenerator

seeds = st.integers(0, 2**16)


def normal(seed: int, *shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def test_mapped_latents_make_the_generators_images(g: Generator, sngan: SNGANGenerator) -> None:
    for network in (g, sngan.eval()):
        z = normal(0, 3, network.config.z_dim)
        ws = map_latents(network, z)
        assert ws.shape == (3, network.config.num_ws, network.config.w_dim)
        torch.testing.assert_close(network.synthesis(ws), network(z))


@given(seeds, st.integers(1, 7))
def test_mixing_keeps_the_layers_of_each(seed: int, crossover: int) -> None:
    a, b = normal(seed, 2, 8, 4), normal(seed + 1, 2, 8, 4)
    mixed = mix_styles(a, b, crossover)
    assert torch.equal(mixed[:, :crossover], a[:, :crossover])
    assert torch.equal(mixed[:, crossover:], b[:, crossover:])


def test_coarse_layers_decide_the_small_resolutions(g: Generator) -> None:
    a, b = map_latents(g, normal(0, 2, 8)), map_latents(g, normal(1, 2, 8))
    with torch.no_grad():
        mixed = g.synthesis(mix_styles(a, b, 4), return_rgbs=True)
        alone = g.synthesis(a, return_rgbs=True)
    # w's 0 to 3 draw 4x4 and 8x8
    assert torch.equal(mixed[0], alone[0]) and torch.equal(mixed[1], alone[1])
    assert not torch.allclose(mixed[2], alone[2])


@given(seeds, st.integers(2, 9))
def test_lines_and_arcs_have_their_ends(seed: int, steps: int) -> None:
    a, b = normal(seed, 3, 7), 2 * normal(seed + 1, 3, 7)
    for way in (lerp(a, b, steps), slerp(a, b, steps)):
        assert way.shape == (steps, 3, 7)
        torch.testing.assert_close(way[0], a)
        torch.testing.assert_close(way[-1], b)
    torch.testing.assert_close(lerp(a, b, 3)[1], (a + b) / 2)


@given(seeds, st.integers(2, 9))
def test_an_arc_keeps_the_norm_and_turns_evenly(seed: int, steps: int) -> None:
    a, b = (x / x.norm(dim=1, keepdim=True) * 5 for x in normal(seed, 2, 4, 6))
    way = slerp(a, b, steps)
    torch.testing.assert_close(way.norm(dim=2), torch.full((steps, 4), 5.0).double())
    turns = (way[1:] - way[:-1]).norm(dim=2)
    torch.testing.assert_close(turns, turns[:1].expand_as(turns), rtol=1e-6, atol=1e-9)


@given(seeds, st.sampled_from([0.0, 1e-12, 1e-7, 1e-3]))
def test_an_arc_between_neighbours_is_the_line(seed: int, distance: float) -> None:
    a = normal(seed, 2, 6)
    b = a + distance * normal(seed + 1, 2, 6)
    torch.testing.assert_close(slerp(a, b, 4), lerp(a, b, 4), rtol=0, atol=1e-5)


def test_the_arcs_norm_changes_evenly() -> None:
    way = slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]), 5)
    torch.testing.assert_close(way.norm(dim=2)[:, 0], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))


@given(seeds, st.floats(-1, 2))
def test_truncation_is_the_generators(g: Generator, seed: int, psi: float) -> None:
    z = normal(seed, 2, 8)
    with torch.no_grad():
        images = g.synthesis(truncate(g, map_latents(g, z), psi))
        torch.testing.assert_close(images, g(z, psi))


def test_truncation_stops_at_the_cutoff(g: Generator) -> None:
    ws = normal(0, 2, 8, 8)
    assert torch.equal(truncate(g, ws, 0, cutoff=3)[:, 3:], ws[:, 3:])
    torch.testing.assert_close(truncate(g, ws, 0, cutoff=3)[:, :3], g.w_avg.expand(2, 3, -1))
    assert torch.equal(truncate(g, ws, 0.5, cutoff=0), ws)
    torch.testing.assert_close(truncate(g, ws, 1), ws)


ws = torch.zeros(2, 8, 8)
one = torch.ones(1, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: mix_styles(ws, ws, 0), "crossover: got 0, expected an integer, 1 to 7"),
        (lambda g: mix_styles(ws, ws, 8), "crossover: got 8, expected an integer, 1 to 7"),
        (lambda g: mix_styles(ws, ws, True), "crossover: got True, expected an integer, 1 to 7"),
        (lambda g: mix_styles(ws, ws[:1], 1), r"b: got \[1, 8, 8\], expected the shape of a, \[2"),
        # an SN-GAN's
        (lambda g: mix_styles(ws[:, :1], ws[:, :1], 1), r"a: got \[2, 1, 8\], expected \[N, num"),
        (lambda g: lerp(one, one, 1), "steps: got 1, expected an integer >= 2"),
        (lambda g: slerp(one, one, 2.0), "steps: got 2.0, expected an integer >= 2"),
        (lambda g: slerp(one, one[:, :2], 2), r"b: got \[1, 2\], expected the shape of a, \[1"),
        (lambda g: slerp(one, 0 * one, 2), "a, b: got 'a latent of norm 0', expected latents with"),
        (lambda g: slerp(one, -2 * one, 3), "a, b: got 'opposite latents', expected an angle"),
        (lambda g: truncate(g, ws[:, 0], 0.5), r"ws: got \[2, 8\], expected \[N, 8, 8\]"),
        (lambda g: truncate(g, ws, math.nan), "psi: got nan, expected a finite number"),
        (lambda g: truncate(g, ws, 0.5, 9), "cutoff: got 9, expected None or an integer, 0 to 8"),
    ],
)
def test_what_does_not_fit_is_refused(g: Generator, call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call(g)
    assert "\n" not in str(error.value)


def test_a_network_without_mapped_ws_is_refused(sngan: SNGANGenerator) -> None:
    with pytest.raises(ValueError, match="g: got 'SNGANGenerator', expected a StyleGAN2 Generator"):
        truncate(sngan, torch.zeros(1, 1, 5), 0.5)
