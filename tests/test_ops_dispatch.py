"""Which implementation runs: the choice, its reason, and what an explicit request may not do."""

from collections.abc import Iterator

import pytest
import torch

from cagc_lib.ops import bias_act, dispatch, explain, modulated_conv2d, setup_filter, upfirdn2d

X = torch.ones(2, 3, 4, 5)


def call(op: str, x: torch.Tensor, impl: str) -> torch.Tensor:
    if op == "bias_act":
        return bias_act(x, impl=impl)
    if op == "upfirdn2d":
        return upfirdn2d(x, setup_filter(), padding=(2, 1), impl=impl)
    return modulated_conv2d(x, torch.ones(2, 3, 3, 3), torch.ones(2, 3), impl=impl)


@pytest.fixture
def twin() -> Iterator[list]:
    """A pretended Triton twin of bias_act that takes tensors of two images only."""
    calls = []

    def function(x: torch.Tensor, *rest: object) -> torch.Tensor:
        calls.append(rest)
        return x + 1

    def probe(x: torch.Tensor) -> str | None:
        return None if len(x) == 2 else f"it takes 2 images, got {len(x)}"

    dispatch.register_triton("bias_act", function, probe)
    yield calls
    del dispatch._triton["bias_act"]


@pytest.mark.parametrize("op", dispatch.OPERATORS)
def test_without_a_twin_auto_falls_back_and_triton_raises(op: str) -> None:
    assert explain(op, X)[0] == "reference"
    assert f"no Triton kernel is registered for {op}" in explain(op, X)[1]
    assert torch.equal(call(op, X, "auto"), call(op, X, "reference"))
    with pytest.raises(ValueError, match=f"no Triton kernel is registered for {op}"):
        call(op, X, "triton")


@pytest.mark.parametrize("op", dispatch.OPERATORS)
def test_unknown_implementation(op: str) -> None:
    with pytest.raises(ValueError, match="impl: got 'cuda', expected one of auto, reference"):
        call(op, X, "cuda")


def test_unknown_operator() -> None:
    with pytest.raises(ValueError, match="op: got 'conv', expected one of bias_act"):
        explain("conv", X)
    with pytest.raises(ValueError, match="op: got 'conv', expected one of bias_act"):
        dispatch.register_triton("conv", lambda x: x, lambda x: None)


def test_a_registered_twin_runs_where_its_probe_allows(twin: list) -> None:
    assert explain("bias_act", X)[0] == "triton"
    assert torch.equal(bias_act(X), X + 1)
    assert torch.equal(bias_act(X, impl="triton"), X + 1)
    assert len(twin) == 2
    assert explain("bias_act", X, "reference") == ("reference", "asked for by name")
    assert not torch.equal(bias_act(X, impl="reference"), X + 1)


def test_auto_falls_back_with_the_probes_reason_and_triton_raises_it(twin: list) -> None:
    x = torch.ones(3, 3, 4, 5)
    assert explain("bias_act", x) == ("reference", "it takes 2 images, got 3")
    assert torch.equal(bias_act(x), bias_act(x, impl="reference"))
    with pytest.raises(ValueError, match='"triton" was asked for, but it takes 2 images, got 3'):
        bias_act(x, impl="triton")
    assert twin == []
