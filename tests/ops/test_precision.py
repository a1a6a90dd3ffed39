"""Where a CPU has no bfloat16 products, autocast makes the same numbers by float32's kernels."""

import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from cagc_lib.networks import Discriminator, Generator, GeneratorConfig, matching_discriminator
from cagc_lib.ops import autocast, precision, setup_filter, upfirdn2d, upsample2d

CPU = torch.device("cpu")
# a unit in the last of bfloat16's 8 digits, for sums of these sizes
CLOSE = {"rtol": 2**-6, "atol": 2**-6}
PRODUCTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable]] = {
    "conv2d": ((2, 3, 5, 5), (4, 3, 3, 3), lambda x, w: F.conv2d(x, w, padding=1)),
    "strided": ((2, 3, 5, 5), (4, 3, 3, 3), lambda x, w: F.conv2d(x, w, None, 2)),
    "by name": ((2, 3, 5, 5), (4, 3, 1, 1), lambda x, w: F.conv2d(input=x, weight=w)),
    "conv_transpose2d": (
        (2, 3, 5, 5), (3, 4, 3, 3), lambda x, w: F.conv_transpose2d(x, w, stride=2)
    ),
    "linear": ((20, 30), (8, 30), lambda x, w: F.linear(x, w, torch.arange(8).to(w) / 4096)),
    "matmul": ((2, 9, 30), (2, 30, 8), torch.matmul),
    "@": ((2, 9, 30), (2, 30, 8), lambda x, w: x @ w),
}


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without fast products of bfloat16 numbers."""
    for module in (precision, sys.modules["cagc_lib.ops.upfirdn2d"]):
        monkeypatch.setattr(module, "multiplies_bfloat16", lambda kind: False)


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (x / shape[-1]).requires_grad_()


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_those_of_rounded_factors(name: str) -> None:
    *shapes, product = PRODUCTS[name]
    factors = [drawn(shape, seed) for seed, shape in enumerate(shapes)]
    with autocast(CPU):
        y = product(*factors)
    # in float64 sums have no error to speak of, so only ties may be rounded otherwise
    exact = product(*(x.bfloat16().double() for x in factors)).bfloat16()
    assert y.dtype == torch.bfloat16
    assert (y == exact).double().mean() > 0.97
    torch.testing.assert_close(y, exact, rtol=2**-7, atol=1e-6)
    # factors that were not rounded are told apart
    assert (product(*(x.double() for x in factors)).bfloat16() == exact).double().mean() < 0.9


@pytest.mark.parametrize("name", PRODUCTS)
def test_gradients_are_autocasts(name: str) -> None:
    (*shapes, product), found = PRODUCTS[name], []
    for context in (torch.autocast("cpu", torch.bfloat16), autocast(CPU)):
        factors = [drawn(shape, seed) for seed, shape in enumerate(shapes)]
        with context:
            y = product(*factors)
        y.float().square().sum().backward()
        found.append([x.grad for x in factors])
    for theirs, ours in zip(*found, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_a_processor_with_fast_products_is_left_to_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind: True)
    monkeypatch.delattr(precision, "_ByFloat32")
    with autocast(CPU):
        assert F.linear(drawn((5, 7), 0), drawn((3, 7), 1)).dtype == torch.bfloat16


def test_what_leaves_autocast_or_is_double_keeps_its_precision() -> None:
    x, w = drawn((5, 7), 0), drawn((3, 7), 1)
    with autocast(CPU):
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(F.linear(x, w), x @ w.t())
        assert F.linear(x.double(), w.double()).dtype == torch.float64
    with autocast(CPU, enabled=False):
        assert F.linear(x, w).dtype == torch.float32
    assert F.linear(x, w).dtype == torch.float32


def test_a_filter_of_bfloat16_numbers_and_its_gradient() -> None:
    x = drawn((2, 3, 4, 4), 0)
    half = x.detach().bfloat16().requires_grad_()
    y, lowered = (upsample2d(v, setup_filter()) for v in (x, half))
    assert lowered.dtype == torch.bfloat16
    torch.testing.assert_close(lowered.float(), y, **CLOSE)
    for v in (y, lowered):
        v.float().square().sum().backward()
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad.float(), x.grad, **CLOSE)
    assert upfirdn2d(half, setup_filter(), down=2, padding=(1, 1)).dtype == torch.bfloat16


def test_networks_are_autocasts() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(16, (8, 8, 6, 6, 4, 4), z_dim=8, w_dim=8)
    g, z = Generator(config), torch.randn(4, 8)
    d = Discriminator(matching_discriminator(config))
    found = []
    for context in (torch.autocast("cpu", torch.bfloat16), autocast(CPU)):
        g.zero_grad()
        with context:
            loss = F.softplus(-d(g(z, noise="const"))).mean()
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in g.parameters() if p.grad is not None])
        found.append((loss.detach(), gradients))
    (theirs, their_gradient), (ours, our_gradient) = found
    torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0)
    error = (our_gradient - their_gradient).norm() / their_gradient.norm()
    assert error < 0.05
