"""Which implementation of an operator runs: the PyTorch reference or its Triton twin.

Every operator takes ``impl="auto" | "reference" | "triton"``. An explicit request succeeds or
raises with the reason; only ``"auto"`` may fall back, and `explain` says why it did. An operator
registers its reference and what to try its twin on; the twin of `bias_act` is `bias_act_triton` in
kernels/bias_act.py, imported when it is first wanted. Whether it works here is tried, once a
device, beside the reference: versions are never compared. On a CPU kernels run in Triton's
interpreter, slowly and by explicit request only. Chapter 4.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch

IMPLEMENTATIONS = ("auto", "reference", "triton")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# largest relative error of a twin's trial in float32, and where torch allows TF32's shorter factors
TRIAL_ERROR, TRIAL_ERROR_TF32 = 1e-5, 5e-3


class Samples(NamedTuple):
    """What an operator's twin is tried on: more than one tile along every axis.

    x [2, 70, 12, 20], weight [131, 70, 3, 3], bias [70], styles [2, 70], the resampling filter [4].
    """

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    styles: torch.Tensor
    f: torch.Tensor


# an operator's reference, and what makes the arguments of its twin's trial
_operators: dict[str, tuple[Callable[..., torch.Tensor], Callable[[Samples], tuple]]] = {}
# what "auto" stands for; see `implementation`
_default = "auto"


@contextmanager
def implementation(impl: str) -> Iterator[None]:
    """Let "auto" mean another implementation, for whole networks.

    "triton" then raises where a twin cannot run; an unknown `impl` is a ValueError.
    """
    global _default
    _check_impl(impl)
    before, _default = _default, impl
    try:
        yield
    finally:
        _default = before


def register(
    op: str, reference: Callable[..., torch.Tensor], trial: Callable[[Samples], tuple]
) -> None:
    """Make an operator known by the name of its twin's file.

    The reference takes the same arguments as the twin; `trial` makes those to try the twin with.
    """
    _operators[op] = reference, trial


def run(op: str, impl: str, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
    """Run the implementation that `explain` names on x and the operator's other arguments."""
    chosen, _ = explain(op, x, impl)
    function = triton_function(op) if chosen == "triton" else _operators[op][0]
    return function(x, *arguments)


def operators() -> tuple[str, ...]:
    """The names of the registered operators."""
    return tuple(sorted(_operators))


def explain(op: str, x: torch.Tensor, impl: str = "auto") -> tuple[str, str]:
    """Say which implementation would run and why.

    Args:
        op: a registered operator's name, such as "bias_act".
        x: the operator's input tensor.
        impl: "auto", "reference" or "triton".

    Returns:
        ("reference" or "triton", the reason in one line).

    Raises:
        ValueError: unknown `op` or `impl`, or `impl="triton"` where the twin cannot run.
    """
    if op not in _operators:
        raise ValueError(f"op: got {op!r}, expected one of {', '.join(operators())}")
    _check_impl(impl)
    impl = _default if impl == "auto" else impl
    if impl == "reference":
        return "reference", "asked for by name"
    obstacle = _obstacle(op, x, impl == "triton")
    if obstacle is None:
        return "triton", f"the kernel agrees with the reference on {x.device.type}"
    if impl == "triton":
        raise ValueError(f'impl: "triton" was asked for, but {obstacle}')
    return "reference", obstacle


def _check_impl(impl: str) -> None:
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl: got {impl!r}, expected one of {', '.join(IMPLEMENTATIONS)}")


def triton_function(op: str) -> Callable:
    """Return the entry point of an operator's Triton twin."""
    return getattr(importlib.import_module(f"{__package__}.kernels.{op}"), f"{op}_triton")


def _obstacle(op: str, x: torch.Tensor, asked: bool) -> str | None:
    """What keeps the twin from running on x, in one line, or None."""
    if x.dtype not in DTYPES:
        return f"it does not compute in {x.dtype}"
    if x.device.type == "cuda":
        # the kernels see real tensors only when they run, not while a compiler looks on
        return None if torch.compiler.is_compiling() else _trial(op, x.device)
    if x.device.type != "cpu":
        return f"x is on {x.device.type}, expected a CUDA device"
    if not asked:
        return "x is on the CPU, where kernels only run in Triton's interpreter"
    if os.environ.get("TRITON_INTERPRET") != "1":
        return (
            "x is on the CPU: set TRITON_INTERPRET=1 before Python starts to run kernels in "
            "Triton's interpreter"
        )
    return _trial(op, x.device)


@cache
def _trial(op: str, device: torch.device) -> str | None:
    """Run the twin once beside the reference; say what went wrong, or None."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((2, 70, 12, 20), (131, 70, 3, 3), (70,), (2, 70))
    tensors = [torch.randn(shape, generator=draw).to(device) for shape in shapes]
    f = torch.tensor([0.125, 0.375, 0.375, 0.125], device=device)
    reference, trial = _operators[op]
    arguments = trial(Samples(*tensors, f))
    try:
        expected = reference(*arguments)
        error = (triton_function(op)(*arguments) - expected).norm() / expected.norm()
    except Exception as problem:
        return f"its kernel failed on {device.type} ({' '.join(str(problem).split())[:200]})"
    limit = TRIAL_ERROR_TF32 if torch.backends.cuda.matmul.allow_tf32 else TRIAL_ERROR
    if error <= limit:
        return None
    return f"its kernel differs from the reference by {error:.1e} on {device.type}"
