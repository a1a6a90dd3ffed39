"""The operators' door: which implementation runs, why, and what is refused."""

from collections.abc import Callable, Iterator

import pytest
import torch

from cagc_lib import ops
from cagc_lib.ops import dispatch, explain, implementation

X, STYLES = torch.ones(2, 3, 4, 5), torch.ones(2, 3)
ARGUMENTS = {
    "bias_act": {},
    "modulated_conv2d": {"weight": torch.ones(2, 3, 3, 3), "styles": STYLES},
    "to_rgb": {"weight": torch.ones(3, 3, 1, 1), "styles": STYLES, "bias": torch.ones(3)},
    "upfirdn2d": {"f": ops.setup_filter(), "padding": (2, 1)},
}


def call(op: str, **arguments: object) -> torch.Tensor:
    return getattr(ops, op)(**{"x": X} | ARGUMENTS[op] | arguments)


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
    assert torch.equal(call(op), call(op, impl="reference"))


@every
def test_without_the_interpreter_an_explicit_request_raises(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match='"triton" was asked for, but x is on the CPU: set TRITON'):
        call(op, impl="triton")


@every
def test_with_it_an_explicit_request_runs_the_kernel(op: str) -> None:
    assert explain(op, X, "triton") == ("triton", "the kernel agrees with the reference on cpu")
    torch.testing.assert_close(call(op, impl="triton"), call(op, impl="reference"))


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
        call(op, impl="triton")


@every
def test_other_types_and_devices(op: str) -> None:
    for x, reason in (
        (X.to(torch.complex64), "it does not compute in torch.complex64"),
        (X.to("meta"), "x is on meta, expected a CUDA device"),
    ):
        assert explain(op, x) == ("reference", reason)
        with pytest.raises(ValueError, match=reason):
            explain(op, x, "triton")


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        *((op, {"impl": "cuda"}, "impl: got 'cuda', expected one of auto") for op in ARGUMENTS),
        ("bias_act", {"act": "relu"}, "act: got 'relu', expected one of linear, lrelu"),
        ("bias_act", {"bias": torch.zeros(4)}, r"bias: got shape \[4\], expected \[3\]"),
        ("bias_act", {"gain": 0.0}, "gain: got 0.0, expected None or a number > 0"),
        ("bias_act", {"gain": -1}, "gain: got -1, expected None or a number > 0"),
        ("modulated_conv2d", {"weight": torch.zeros(2, 4, 3, 3)},
         r"weight: got shape \[2, 4, 3, 3\], expected \[O, I"),
        ("modulated_conv2d", {"weight": torch.zeros(2, 3, 3)}, r"weight: got shape \[2, 3, 3\]"),
        ("modulated_conv2d", {"weight": torch.zeros(2, 3, 2, 2)},
         "weight: got a 2x2 kernel, expected k x k with k"),
        ("modulated_conv2d", {"weight": torch.zeros(2, 3, 5, 5), "up": 2, "impl": "triton"},
         "weight: got a 5x5 kernel, expected 3x3 or 1x1"),
        ("modulated_conv2d", {"styles": X[0, :2]}, r"styles: got \[2, 4, 5\], expected \[2, 3\]"),
        ("modulated_conv2d", {"up": 3}, "up: got 3, expected 1 or 2"),
        ("modulated_conv2d", {"bias": torch.zeros(3)}, r"bias: got shape \[3\], expected \[2\]"),
        ("to_rgb", {"rgb": X}, r"rgb: got \[2, 3, 4, 5\], expected half the size of x"),
        ("upfirdn2d", {"f": torch.ones(3, 4)}, r"f: got shape \[3, 4\], expected \[k\] or"),
        ("upfirdn2d", {"f": torch.ones(1, 3, 3)}, r"f: got shape \[1, 3, 3\]"),
        ("upfirdn2d", {"f": torch.ones(3, requires_grad=True)}, "f: got a filter that requires"),
        ("upfirdn2d", {"padding": (-1, 0)}, r"padding: got \(-1, 0\), expected two numbers >= 0"),
    ],
)
def test_errors_are_one_line(op: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call(op, **arguments)
    assert "\n" not in str(error.value)


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
