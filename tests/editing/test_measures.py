"""Measures of edits: what a planted edit does is what they say; separability knows its ends."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch

from cagc_lib.checkpoints import load_features, load_generator
from cagc_lib.content import complement, content_source, everything
from cagc_lib.editing import (
    Directions,
    Separability,
    attribute_scale,
    edit,
    edit_effect,
    map_latents,
    pca_directions,
    regression_directions,
    separability,
    transfer_error,
)
from cagc_lib.metrics import sample_inputs
from cagc_lib.networks import FeatureNetwork, Generator, SNGANGenerator


def along(vector: list[float], name: str = "number") -> Directions:
    v = torch.tensor([vector]).double()
    return Directions("own", (name,), v, torch.ones(1).double(), tuple(range(8)), torch.zeros(1))


def left_half(images: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros_like(images[:, :1], dtype=torch.bool)
    mask[..., : images.shape[3] // 2] = True
    return mask


@pytest.fixture(scope="module")
def features() -> FeatureNetwork:
    torch.manual_seed(1)
    network = FeatureNetwork({"a": [0.0, 1.0]}, (4, 4, 6, 6, 6)).eval()
    # a new one says the same of every image
    torch.nn.init.normal_(network.head.weight)
    return network.requires_grad_(False).double()


def test_an_effect_is_what_was_planted(painter: Any, reader: Any) -> None:
    scale = attribute_scale(painter, reader, num_samples=300)
    # w_3 enters the number, times 3, and no other attribute
    d = along([0, 0, 0, 1.0, 0, 0])
    effect = edit_effect(
        painter, d, 0, 2.0, reader, everything, num_samples=20, scale=scale, batch_size=7
    )
    assert effect.num_samples == 20 and effect.names == ("number", "flag", "kind", "noise")
    torch.testing.assert_close(effect.moved, torch.full((20,), 6.0).double() / scale.std[0])
    assert effect.elsewhere.abs().max() < 1e-9 and effect.leakage < 1e-9
    # the landmarks follow w_0, which stays
    assert effect.landmarks.max() < 1e-9
    aside = edit_effect(
        painter, along([2.0, 0, 0, 0, 0, 0]), 0, -1.0, reader, everything, 20, scale=scale
    )
    torch.testing.assert_close(aside.landmarks, torch.full((20,), 10.0).double())
    torch.testing.assert_close(aside.moved, torch.full((20,), -2.0).double() / scale.std[0])


def test_leakage_is_the_change_of_all_others(painter: Any, reader: Any) -> None:
    both = edit_effect(
        painter, along([0, 4.0, 0, 0, 0, 0], "flag"), 0, 1.0, reader, everything, 50
    )
    change = both.change[:, [0, 2, 3]].abs()
    torch.testing.assert_close(both.elsewhere, change.mean(1))
    assert both.change[:, 0].max() < 0 < both.moved.mean()
    assert both.leakage == pytest.approx((change.mean() / both.moved.mean()).item())
    other = edit_effect(
        painter, along([0, 4.0, 0, 0, 0, 0]), 0, 1.0, reader, everything, 50, attribute="flag"
    )
    assert torch.equal(other.moved, both.moved)


def test_no_edit_has_no_effect(painter: Any, reader: Any) -> None:
    effect = edit_effect(painter, along([1.0] * 6), 0, 0.0, reader, everything, 10)
    assert effect.change.eq(0).all() and effect.landmarks.eq(0).all()
    torch.testing.assert_close(effect.cosine, torch.ones(10).double())
    assert effect.detour.isnan().all() and effect.leakage == math.inf


def test_the_embedding_sees_the_content_only(
    g: Generator, features: FeatureNetwork
) -> None:
    d = pca_directions(g, count=1, num_samples=50)
    arguments = (g, d, 0, 2.0, features)
    inside = edit_effect(*arguments, everything, 6, attribute="a", steps=2)
    nowhere = edit_effect(*arguments, complement(everything), 6, attribute="a", steps=2)
    assert nowhere.cosine.isnan().all()
    assert (inside.cosine < 1 - 1e-6).all()
    assert torch.equal(inside.change, nowhere.change)


def test_no_way_is_shorter_than_the_straight_one(
    g: Generator, features: FeatureNetwork
) -> None:
    d = pca_directions(g, count=1, num_samples=50)
    lengths = [
        edit_effect(g, d, 0, 3.0, features, everything, 5, attribute="a", steps=steps).detour
        for steps in (1, 2, 4, 8)
    ]
    torch.testing.assert_close(lengths[0], torch.ones(5).double())
    # more points on the way never make it shorter
    for shorter, longer in itertools.pairwise(lengths):
        assert (longer >= shorter - 1e-6).all()


def test_results_do_not_depend_on_the_batch(painter: Any, reader: Any) -> None:
    d = along([0, 4.0, 0, 0, 0, 0], "flag")
    effects = [
        edit_effect(painter, d, 0, 1.0, reader, left_half, 9, batch_size=b) for b in (9, 4)
    ]
    for name in ("change", "landmarks", "cosine", "detour"):
        a, b = (getattr(effect, name) for effect in effects)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    found = [separability(painter, reader, 40, batch_size=b) for b in (40, 7)]
    assert torch.equal(found[0].predicted, found[1].predicted)


def test_the_same_edit_twice_has_no_error(g: Generator) -> None:
    d = pca_directions(g, count=2, num_samples=50)
    error = transfer_error(g, copy.deepcopy(g), d, d, 1, 1.5, left_half, 6, batch_size=4)
    assert error.num_samples == 6
    assert error.inside.eq(0).all() and error.outside.eq(0).all()
    assert (error.teacher_inside > 0).all() and (error.teacher_outside > 0).all()


def test_an_error_is_told_inside_from_outside(g: Generator) -> None:
    d = pca_directions(g, count=1, num_samples=50)
    none = Directions(d.kind, d.names, d.vectors, 0 * d.spread, d.layers, d.score)
    error = transfer_error(g, g, d, none, 0, 1.0, left_half, 5)
    # a student that does nothing errs by what the teacher does
    torch.testing.assert_close(error.inside, error.teacher_inside)
    torch.testing.assert_close(error.outside, error.teacher_outside)
    z, noise = next(iter(sample_inputs(g, 5, 0, 5)))
    ws, noise = map_latents(g, z), [m.double() for m in noise]
    with torch.no_grad():
        change = (g.synthesis(edit(ws, d, 0, 1.0), noise) - g.synthesis(ws, noise)).abs()
    torch.testing.assert_close(error.inside, change[..., :16].mean((1, 2, 3)))
    torch.testing.assert_close(error.outside, change[..., 16:].mean((1, 2, 3)))
    whole = transfer_error(g, g, d, none, 0, 1.0, everything, 5)
    assert whole.outside.isnan().all() and whole.inside.isfinite().all()


def test_a_planted_attribute_is_separable_and_noise_is_not(painter: Any, reader: Any) -> None:
    found = separability(painter, reader, num_samples=2000)
    assert found.names == ("number", "flag", "kind", "noise") and found.num_samples == 1000
    assert found.accuracy[:3].min() > 0.95
    explained = 1 - found.conditional_entropy / found.entropy
    assert explained[:3].min() > 0.6 and explained[3] < 0.01
    assert found.entropy[0].item() == pytest.approx(math.log(2), abs=0.01)
    assert found.explained == pytest.approx(explained.mean().item())
    assert found.score == pytest.approx(found.conditional_entropy.sum().exp().item())


def test_what_a_gap_divides_is_told_perfectly(painter: Any, reader: Any) -> None:
    class Corners(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z.sign()

    corners = copy.deepcopy(painter)
    corners.mapping = Corners()
    found = separability(corners, reader, num_samples=400)
    for name in ("flag", "kind"):
        i = found.names.index(name)
        assert found.accuracy[i] == 1 and found.conditional_entropy[i] == 0
        assert found.entropy[i] > 0.68


def test_separability_by_hand() -> None:
    def columns(*values: str) -> torch.Tensor:
        return torch.tensor([[c == "1" for c in value] for value in values]).T

    # perfect; the contrary, which says as much; nothing said; nothing to say; one in four wrong
    labels = columns("0011", "0011", "0011", "1111", "0111")
    predicted = columns("0011", "1100", "0101", "0101", "0011")
    found = Separability(tuple("abcde"), labels, predicted)
    assert found.accuracy.tolist() == [1, 0, 0.5, 0.5, 0.75]
    ln2, quarter = math.log(2), 2 * math.log(2) - 0.75 * math.log(3)
    torch.testing.assert_close(
        found.entropy, torch.tensor([ln2, ln2, ln2, 0, quarter], dtype=torch.float64)
    )
    torch.testing.assert_close(
        found.conditional_entropy, torch.tensor([0, 0, ln2, 0, ln2 / 2], dtype=torch.float64)
    )
    assert found.score == pytest.approx(2**1.5)
    assert found.explained == pytest.approx((2 + 1 - ln2 / 2 / quarter) / 4)


def test_the_teachers_scale_asks_the_student_the_same(painter: Any, reader: Any) -> None:
    scale = attribute_scale(painter, reader, num_samples=500)
    moved = copy.deepcopy(painter)
    with torch.no_grad():
        moved.mapping.bias += 3
    found = separability(moved, reader, num_samples=100, scale=scale)
    assert found.names == scale.names
    # a number above the teacher's median, mostly: its own would halve the samples
    assert found.labels[:, 0].double().mean() > 0.8


def test_a_network_whose_w_is_z(sngan: SNGANGenerator, reader: Any) -> None:
    sngan.train()
    found = separability(sngan, reader, num_samples=20)
    assert found.num_samples == 10 and sngan.training
    z = torch.tensor([[1.0, 0, 0, 0, 0]]).double()
    d = Directions("own", ("number",), z, torch.ones(1), (0,), torch.zeros(1))
    assert edit_effect(sngan, d, 0, 1.0, reader, everything, 4, steps=1).num_samples == 4


def test_a_shipped_student_is_edited_as_its_teacher_is() -> None:
    teacher, student = load_generator("portraits"), load_generator("portraits-11x")
    features, content = load_features(), content_source("portraits")
    d = regression_directions(teacher, features, ["yaw"], num_samples=300)
    error = transfer_error(teacher, student, d, d, 0, 1.5, content, 20)
    assert error.inside.mean() < error.teacher_inside.mean()
    effect = edit_effect(student, d, 0, 1.5, features, content, 20, steps=2)
    assert effect.moved.mean() > 1 and effect.leakage < 0.5
    assert 0.5 < effect.cosine.mean() < 1 and (effect.detour >= 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 1}, "index: got 1, expected an integer, 0 to 0"),
        ({"steps": 0}, "steps: got 0, expected an integer >= 1"),
        ({"num_samples": 0}, "num_samples: got 0, expected an integer >= 1"),
        ({"batch_size": 2.0}, "batch_size: got 2.0, expected an integer >= 1"),
        ({"attribute": "hat"}, "attribute: got 'hat', expected one of number, flag, kind, noise"),
        ({"attribute": "still"}, "attribute: got 'still', expected one of number, flag"),
        ({"features": torch.nn.Identity()}, "features: got 'Identity', expected a FeatureNetwork"),
        ({"content": None}, "content: got <class 'NoneType'>, expected a source"),
        ({"strength": math.inf}, "strength: got (nan|inf), expected a finite number"),
    ],
)
def test_bad_requests_are_refused(painter: Any, reader: Any, change: dict, message: str) -> None:
    arguments = {
        "g": painter, "directions": along([0, 4.0, 1, 0, 0, 0]), "index": 0, "strength": 1.0,
        "features": reader, "content": everything, "num_samples": 20,
    }
    with pytest.raises(ValueError, match=message) as error:
        edit_effect(**arguments | change)
    assert "\n" not in str(error.value)


def test_separability_and_transfer_refuse_nonsense(
    g: Generator, sngan: SNGANGenerator, painter: Any, reader: Any
) -> None:
    with pytest.raises(ValueError, match="num_samples: got 3, expected >= 4"):
        separability(painter, reader, num_samples=3)
    with pytest.raises(ValueError, match="features: got 'NoneType', expected a FeatureNetwork"):
        separability(painter, None)
    d = pca_directions(g, count=2, num_samples=50)
    with pytest.raises(ValueError, match="student: got kind SN-GAN, expected StyleGAN2"):
        transfer_error(g, sngan, d, d, 0, 1.0, everything)
    with pytest.raises(ValueError, match="index: got 2, expected an integer, 0 to 1"):
        transfer_error(g, g, d, d, 2, 1.0, everything)
