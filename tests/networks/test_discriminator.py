"""The discriminator: shapes, minibatch deviation, R1, precision."""

import pytest
import torch

from cagc_lib.networks import Discriminator, DiscriminatorConfig, r1_penalty
from cagc_lib.networks.discriminator import minibatch_std


def small(**changes: object) -> Discriminator:
    values = {"resolution": 16, "channels": (3, 5, 6)} | changes
    return Discriminator(DiscriminatorConfig(**values))


@pytest.mark.parametrize("log2", range(3, 11))
def test_every_resolution(log2: int) -> None:
    d = Discriminator(DiscriminatorConfig(2**log2, (2,) * (log2 - 1)))
    assert d(torch.randn(1, 3, 2**log2, 2**log2)).shape == (1, 1)


def test_minibatch_std_is_the_mean_deviation_of_every_group() -> None:
    x = torch.randn(6, 2, 3, 4)
    y = minibatch_std(x, 3)
    assert y.shape == (6, 3, 3, 4)
    assert torch.equal(y[:, :2], x)
    # images i, i + 2, i + 4 form group i, as in the public networks
    for i in range(2):
        deviation = (x[i::2].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[i::2, 2], deviation.expand(3, 3, 4))
    # a smaller batch is one group
    assert torch.equal(minibatch_std(x[:3], 4), minibatch_std(x[:3], 3))
    with pytest.raises(ValueError, match="got a batch of 6, expected a multiple of mbstd_group 4"):
        minibatch_std(x, 4)


def test_r1_is_the_squared_gradient_and_can_be_differentiated() -> None:
    # one image a group: through the deviation, images of a group see one another's gradients
    d = small(mbstd_group=1).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(d(images), images)
    assert penalty.shape == (2,)
    for image, value in zip(images, penalty, strict=True):
        single = image[None].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(d(single).sum(), single)
        torch.testing.assert_close(value, gradient.square().sum())
    # the penalty's own gradient, against a difference quotient along a random direction
    weight = d.blocks[0].conv1.weight
    (gradient,) = torch.autograd.grad(penalty.sum(), weight)
    direction, step = torch.randn_like(weight), 1e-5
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step * direction
        ends.append(r1_penalty(d(images), images).sum().detach())
        with torch.no_grad():
            weight -= sign * step * direction
    expected = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-6, atol=1e-9)


def test_clamp_bounds_every_layer() -> None:
    free, clamped = small(), small(conv_clamp=0.05)
    clamped.load_state_dict(free.state_dict())
    images = torch.randn(2, 3, 16, 16)
    assert not torch.equal(free(images), clamped(images))
    assert float(clamped.fromrgb(images).detach().abs().max()) == pytest.approx(0.05)
    loose = small(conv_clamp=1e6)
    loose.load_state_dict(free.state_dict())
    assert torch.equal(free(images), loose(images))


def test_bfloat16_autocast_is_close_and_logits_are_float32() -> None:
    d, images = small(), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = d(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = d(images)
    assert logits.dtype == torch.float32
    assert float((logits - expected).abs().max()) <= 3e-2 * float(expected.abs().max())
