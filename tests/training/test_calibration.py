"""Calibration: what it restores exactly, what it cannot, and what it refuses."""

import copy
from pathlib import Path

import pytest
import torch

from cagc_lib.checkpoints import load_generator
from cagc_lib.networks import Generator, GeneratorConfig
from cagc_lib.pruning import plan_pruning, prune
from cagc_lib.training import calibrate, layer_drift
from cagc_lib.training.calibration import _match

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def teacher() -> Generator:
    return load_generator(GOLDEN / "rosinality.pt").double().requires_grad_(False)


def pruned(teacher: Generator, ratio: float) -> Generator:
    draw = torch.Generator().manual_seed(0)
    scores = [torch.rand(width, generator=draw) for width in teacher.config.channels]
    return prune(teacher, plan_pruning(scores, ratio), "preserved").requires_grad_(False)


def images(g: Generator, noise: str = "const") -> torch.Tensor:
    z = torch.randn(8, g.config.z_dim, generator=torch.Generator().manual_seed(7))
    return g(z.double(), noise=noise)


def test_a_network_that_lost_nothing_stays_as_it_is(teacher: Generator) -> None:
    whole = pruned(teacher, 0.0)
    for drift in layer_drift(whole, teacher, 8):
        assert drift.mean_shift.abs().max() < 1e-12
        torch.testing.assert_close(drift.std_ratio, torch.ones_like(drift.std_ratio))
        torch.testing.assert_close(drift.correlation, torch.ones_like(drift.correlation))
    before, after = images(teacher), images(calibrate(whole, teacher, num_samples=8))
    # the ridge of the least squares costs a little
    assert (before - after).abs().max() < 0.02 * before.std()
    layers = images(calibrate(whole, teacher, rgb=False, num_samples=8))
    torch.testing.assert_close(layers, before)


def test_scales_and_offsets_are_undone(teacher: Generator) -> None:
    broken = pruned(teacher, 0.0)
    broken.synthesis.const *= 3
    for i, conv in enumerate(broken.synthesis.convs):
        conv.bias += 0.1 * (i + 1)
    # noise is not scaled by a constant three times larger, so leave it out of both
    source = copy.deepcopy(teacher)
    for network in (source, broken):
        for conv in network.synthesis.convs:
            conv.noise_strength.zero_()
    expected = images(source)
    assert (images(broken) - expected).abs().mean() > 0.3 * expected.std()
    mended = calibrate(broken, source, rgb=False, num_samples=64)
    # demodulation adds 1e-8 to an energy that the factor 3 has changed
    torch.testing.assert_close(images(mended), expected, rtol=0, atol=1e-8)


def test_the_contrast_of_a_recomputed_gain_is_undone(teacher: Generator) -> None:
    broken = pruned(teacher, 0.0)
    for layer in broken.synthesis.torgbs:
        layer.weight *= 1.8
        layer.bias -= 0.5
    before = images(teacher)
    after = images(calibrate(broken, teacher, layers=False, num_samples=32))
    assert (before - after).abs().max() < 0.02 * before.std()


@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_a_pruned_network_comes_nearer_to_its_teacher(teacher: Generator, ratio: float) -> None:
    student = pruned(teacher, ratio)
    state = {name: value.clone() for name, value in student.state_dict().items()}
    target = images(teacher)
    errors = [
        (images(g) - target).square().mean().item()
        for g in (student, calibrate(student, teacher, layers=False), calibrate(student, teacher))
    ]
    assert max(errors[1:]) < errors[0]
    assert all(torch.equal(value, state[name]) for name, value in student.state_dict().items())


def test_match_gives_mean_and_spread_and_no_more() -> None:
    draw = torch.Generator().manual_seed(0)
    p_t = 3 * torch.randn(4, 5, 6, 6, generator=draw, dtype=torch.float64) - 1
    p_s = torch.randn(4, 5, 6, 6, generator=draw, dtype=torch.float64) + 0.4 * p_t
    p_s[:, 4] = 0.25
    a, shift = _match(p_t, p_s)
    after = a[:, None, None] * (p_s + shift[:, None, None])
    for moment in ("mean", "std"):
        got, expected = (getattr(p, moment)((0, 2, 3))[:4] for p in (after, p_t))
        torch.testing.assert_close(got, expected)
    # a dead channel has no scale to give back
    assert a[4] == 1 and shift[4] == 0


def test_pruning_lowers_the_correlation_layer_by_layer(teacher: Generator) -> None:
    student = pruned(teacher, 0.5)
    before = layer_drift(student, teacher)
    after = layer_drift(calibrate(student, teacher, rgb=False), teacher)
    assert [d.resolution for d in before] == [len(c.noise_const) for c in teacher.synthesis.convs]
    assert [len(d.std_ratio) for d in before] == list(student.config.channels[1:])
    # noise and what is left of the input keep it above zero, nothing brings it back
    first, last = (torch.cat([d.correlation for d in drifts]) for drifts in (before, after))
    assert 0 < last.mean() < 0.99 and (last.mean() - first.mean()).abs() < 0.1


def test_networks_that_do_not_belong_together_are_refused(teacher: Generator) -> None:
    student = pruned(teacher, 0.5)
    other = Generator(GeneratorConfig(8, (4,) * 4, z_dim=8, w_dim=8, mapping_layers=1))
    for function in (calibrate, layer_drift):
        with pytest.raises(ValueError, match="student: got a network that was not pruned"):
            function(teacher, teacher)
        with pytest.raises(ValueError, match=r"teacher: got \(4, 4, 4, 4\), expected the w"):
            function(student, other)
