"""Which implementation runs: the choice, its reason, and what an explicit request may not do."""

from collections.abc import Callable, Iterator

import pytest
import torch

from cagc_lib import ops
from cagc_lib.ops import dispatch, explain, implementation

X = torch.ones(2, 3, 4, 5)


# of ToRGB and of the layer
COLOURS, WEIGHT, STYLES = torch.ones(3, 3, 1, 1), torch.ones(2, 3, 3, 3), torch.ones(2, 3)
CALLS = {
    "bias_act": ops.bias_act,
    "modulated_conv2d": lambda x, impl: ops.modulated_conv2d(x, WEIGHT, STYLES, impl=impl),
    "to_rgb": lambda x, impl: ops.to_rgb(x, COLOURS, STYLES, torch.ones(3), impl=impl),
    "upfirdn2d": lambda x, impl: ops.upfirdn2d(x, ops.setup_filter(), padding=(2, 1), impl=impl),
}


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget what was tried before and after."""
    dispatch._trial.cache_clear()
    yield
    dispatch._trial.cache_clear()


every = pytest.mark.parametrize("op", dispatch.operators())


@every
def test_on_a_cpu_auto_takes_the_reference_and_says_why(op: str) -> None:
    chosen, reason = explain(op, X)
    assert chosen == "reference" and "x is on the CPU" in reason
    assert explain(op, X, "reference") == ("reference", "asked for by name")
    assert torch.equal(CALLS[op](X, impl="auto"), CALLS[op](X, impl="reference"))


@every
def test_without_the_interpreter_an_explicit_request_raises(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match='"triton" was asked for, but x is on the CPU: set TRITON'):
        CALLS[op](X, impl="triton")


@every
def test_with_it_an_explicit_request_runs_the_kernel(op: str) -> None:
    assert explain(op, X, "triton") == ("triton", "the kernel agrees with the reference on cpu")
    torch.testing.assert_close(CALLS[op](X, impl="triton"), CALLS[op](X, impl="reference"))


@every
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda y: 1 / 0, r"failed on cpu \(division by zero\)"),
        (lambda y: 1.01 * y, r"differs from the reference by 1\.0e-02"),
    ],
)
def test_a_kernel_that_fails_or_is_wrong_is_not_used(
    op: str, spoil: Callable, problem: str, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = dispatch.triton_function(op)
    monkeypatch.setattr(dispatch, "triton_function", lambda op: lambda *rest: spoil(right(*rest)))
    with pytest.raises(ValueError, match=f"its kernel {problem}"):
        CALLS[op](X, impl="triton")


@every
def test_other_types_and_devices(op: str) -> None:
    for x, reason in (
        (X.to(torch.complex64), "it does not compute in torch.complex64"),
        (X.to("meta"), "x is on meta, expected a CUDA device"),
    ):
        assert explain(op, x) == ("reference", reason)
        with pytest.raises(ValueError, match=reason):
            explain(op, x, "triton")


@every
def test_unknown_implementation(op: str) -> None:
    with pytest.raises(ValueError, match="impl: got 'cuda', expected one of auto, reference"):
        CALLS[op](X, impl="cuda")


def test_unknown_operator() -> None:
    with pytest.raises(ValueError, match="op: got 'conv', expected one of bias_act"):
        explain("conv", X)


def test_auto_may_be_made_to_mean_another() -> None:
    with implementation("triton"):
        assert explain("bias_act", X)[0] == "triton"
        assert explain("bias_act", X, "reference")[0] == "reference"
        with implementation("reference"):
            assert explain("bias_act", X) == ("reference", "asked for by name")
        with pytest.raises(RuntimeError, match="stop"), implementation("reference"):
            raise RuntimeError("stop")
        assert explain("bias_act", X)[0] == "triton"
    assert "x is on the CPU" in explain("bias_act", X)[1]
    with pytest.raises(ValueError, match="impl: got 'fast'"), implementation("fast"):
        pass
