"""Directions: each is the best of its kind, a planted one is found, and nonsense is refused."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cagc_lib.checkpoints import load_features, load_generator
from cagc_lib.editing import (
    Directions,
    attribute_scale,
    pca_directions,
    regression_directions,
    sefa_directions,
)
from cagc_lib.networks import Generator, SNGANGenerator


def latents(g: Any, n: int, seed: int = 0) -> torch.Tensor:
    z = torch.randn(n, g.config.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return g.mapping(z.double())


def unit(n: int, size: int) -> torch.Tensor:
    vectors = torch.randn(n, size, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def same(a: Directions, b: Directions) -> bool:
    tensors = ("vectors", "spread", "score")
    return a.names == b.names and all(torch.equal(getattr(a, t), getattr(b, t)) for t in tensors)


def test_components_explain_the_variance_they_say(g: Generator) -> None:
    found = pca_directions(g, count=8, num_samples=500, seed=3)
    w = latents(g, 500, seed=3)
    w = w - w.mean(0)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(8).double())
    variance = (w @ found.vectors.T).var(0)
    torch.testing.assert_close(found.spread, variance.sqrt())
    torch.testing.assert_close(found.score, variance / w.var(0).sum())
    assert found.score.sum().item() == pytest.approx(1)
    assert (found.score[1:] <= found.score[:-1]).all()
    # nowhere else do w's differ more than along the first
    assert (w @ unit(200, 8).T).var(0).max() <= variance[0]


def test_components_are_those_of_torch(g: Generator) -> None:
    found = pca_directions(g, count=3, num_samples=400)
    _, values, vectors = torch.pca_lowrank(latents(g, 400), q=8)
    torch.testing.assert_close(found.spread, values[:3] / 399**0.5)
    cosines = (found.vectors * vectors[:, :3].T).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(3).double())


@given(st.integers(0, 8), st.integers(0, 7))
def test_the_first_factor_moves_styles_most(g: Generator, low: int, high: int) -> None:
    low, high = sorted((min(low, high), high))
    found = sefa_directions(g, range(low, high + 1), count=2, num_samples=10)
    layers = [*g.synthesis.convs, g.synthesis.torgbs[-1]][low : high + 1]

    def gain(v: torch.Tensor) -> torch.Tensor:
        """How much the styles of w move, |A v|^2, when w moves by v: as the network does it."""
        with torch.no_grad():
            moved = [layer.affine(v) - layer.affine(0 * v) for layer in layers]
        return torch.cat(moved, dim=1).square().sum(1)

    torch.testing.assert_close(found.score, gain(found.vectors))
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(2).double())
    assert gain(unit(200, 8)).max() <= found.score[0] * (1 + 1e-9)
    assert found.layers == tuple(range(low, high + 1))


def test_a_spread_is_the_standard_deviation_of_w(g: Generator) -> None:
    found = sefa_directions(g, count=4, num_samples=300, seed=2)
    torch.testing.assert_close(found.spread, (latents(g, 300, seed=2) @ found.vectors.T).std(0))


def test_a_planted_direction_is_found(painter: Any, reader: Any) -> None:
    weights = regression_directions(
        painter, reader, ["number"], num_samples=400, ridge=1e-9, pattern=False
    )
    a = reader.a / reader.a.norm()
    torch.testing.assert_close(weights.vectors[0], a, rtol=0, atol=1e-6)
    assert weights.score.item() == pytest.approx(1)
    pattern = regression_directions(painter, reader, ["number"], num_samples=400, ridge=1e-9)
    # w at random, so its covariance is that of the mapping
    expected = painter.mapping.weight @ painter.mapping.weight.T @ reader.a
    cosine = torch.cosine_similarity(pattern.vectors[0], expected, dim=0)
    assert cosine > 0.99
    assert torch.equal(pattern.score, weights.score)


def test_every_attribute_that_varies_has_its_direction(painter: Any, reader: Any) -> None:
    found = regression_directions(painter, reader, num_samples=600)
    assert found.names == ("number", "flag", "kind", "noise")
    score = dict(zip(found.names, found.score.tolist(), strict=True))
    assert score["number"] > 0.99 and min(score["flag"], score["kind"]) > 0.25
    assert abs(score["noise"]) < 0.1
    # a step raises what it is named after: a flag is set, a kind leaves the commonest
    for name, axis in (("flag", 1), ("kind", 2)):
        assert found.vectors[found.index(name), axis] > 0


def test_the_same_seed_gives_the_same_directions(
    g: Generator, painter: Any, reader: Any
) -> None:
    makers = (
        lambda seed: pca_directions(g, num_samples=100, count=3, seed=seed),
        lambda seed: sefa_directions(g, num_samples=100, count=3, seed=seed),
        lambda seed: regression_directions(painter, reader, num_samples=100, seed=seed),
    )
    for make in makers:
        first = make(5)
        torch.manual_seed(99)
        assert same(first, make(5)) and not same(first, make(6))
    first, second = (
        regression_directions(painter, reader, num_samples=60, batch_size=b) for b in (60, 7)
    )
    torch.testing.assert_close(first.vectors, second.vectors)


def test_an_eigenvectors_largest_coordinate_is_positive(g: Generator) -> None:
    for found in (pca_directions(g, count=8), sefa_directions(g, count=8)):
        largest = found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True))
        assert (largest > 0).all()


def test_a_network_whose_w_is_z(sngan: SNGANGenerator, reader: Any) -> None:
    for find in (pca_directions, sefa_directions):
        with pytest.raises(ValueError, match="g: got 'SNGANGenerator', expected a StyleGAN2 Gen"):
            find(sngan)
    found = regression_directions(sngan, reader, ["number"], num_samples=20)
    assert found.vectors.shape == (1, 5) and found.layers == (0,)


def test_the_teachers_head_turns() -> None:
    teacher, features = load_generator("portraits"), load_features()
    found = regression_directions(teacher, features, ["yaw", "skin_tone"], num_samples=300)
    assert found.vectors.shape == (2, 256) and found.score.min() > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("a",)}, r"vectors: got \[2, 4\], expected \[1, w_dim\], one a name"),
        ({"spread": torch.ones(3)}, r"spread: got \[3\], expected \[2\]"),
        ({"score": torch.ones(2, 1)}, r"score: got \[2, 1\], expected \[2\]"),
        ({"layers": ()}, r"layers: got \(\), expected one index of ws or more"),
        ({"layers": (0, -1)}, r"layers: got \(0, -1\), expected one index of ws or more"),
    ],
)
def test_what_is_no_set_of_directions_is_refused(change: dict, message: str) -> None:
    parts = {
        "kind": "own", "names": ("a", "b"), "vectors": torch.eye(2, 4), "spread": torch.ones(2),
        "layers": (0,), "score": torch.zeros(2),
    }
    assert Directions(**parts).index("b") == 1
    with pytest.raises(ValueError, match=message):
        Directions(**parts | change)
    with pytest.raises(ValueError, match="direction: got 'c', expected one of a, b"):
        Directions(**parts).index("c")


@pytest.mark.parametrize(
    ("find", "change", "message"),
    [
        (pca_directions, {"count": 0}, "count: got 0, expected an integer >= 1"),
        (pca_directions, {"count": 9}, "count: got 9, expected at most w_dim, 8"),
        (pca_directions, {"num_samples": 1}, "num_samples: got 1, expected >= 2"),
        (sefa_directions, {"layers": []}, r"layers: got \(\), expected some of 0 to 7, once"),
        (sefa_directions, {"layers": [8]}, r"layers: got \(8,\), expected some of 0 to 7, once"),
        (sefa_directions, {"layers": [1, 1]}, r"layers: got \(1, 1\), expected some of 0 to 7"),
    ],
)
def test_bad_numbers_are_refused(g: Generator, find: Any, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        find(g, **{"count": 3} | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 9}, "num_samples: got 9, expected >= 10"),
        ({"ridge": 0}, "ridge: got 0, expected a number > 0"),
        ({"layers": [8]}, r"layers: got \(8,\), expected some of 0 to 7, once"),
        ({"batch_size": 0}, "batch_size: got 0, expected an integer >= 1"),
        ({"attributes": ["hat"]}, "attribute: got 'hat', expected one of number, flag, kind, n"),
        ({"attributes": ["still"]}, "attribute: got 'still', expected one of number, flag, kind"),
        ({"attributes": []}, r"attributes: got \(\), expected one or more"),
        ({"features": None}, "features: got 'NoneType', expected a FeatureNetwork, which names"),
    ],
)
def test_a_bad_regression_is_refused(
    painter: Any, reader: Any, change: dict, message: str
) -> None:
    arguments = {"features": reader, "num_samples": 60} | change
    with pytest.raises(ValueError, match=message) as error:
        regression_directions(painter, **arguments)
    assert "\n" not in str(error.value)


def test_an_attributes_unit_is_its_standard_deviation(painter: Any, reader: Any) -> None:
    scale = attribute_scale(painter, reader, num_samples=500)
    assert scale.names == ("number", "flag", "kind", "noise")
    assert scale.commonest == {"kind": 0}
    w = latents(painter, 500, seed=9)
    found = reader.predict(painter.synthesis(w).detach())
    standard = scale.standardised(found)
    number = standard[:, 0] * scale.std[0] + scale.mean[0]
    torch.testing.assert_close(number, w @ reader.a)
    present = scale.present(found)
    assert torch.equal(present[:, 1], w[:, 1] > 0.3) and torch.equal(present[:, 2], w[:, 2] > 0.4)
    assert present[:, 0].double().mean().item() == pytest.approx(0.5, abs=0.08)
    with pytest.raises(ValueError, match="attribute: got 'still', expected one of number, flag"):
        scale.index("still")
