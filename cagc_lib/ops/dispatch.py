"""Which implementation of an operator runs: the PyTorch reference or its Triton twin.

Every operator takes ``impl="auto" | "reference" | "triton"``. An explicit request succeeds or
raises with the reason; only ``"auto"`` may fall back, and `explain` says why it did. A Triton twin
announces itself with `register_triton`; what it needs is probed, versions are never compared.
Chapter 4 of the book tells the story of the twins.
"""

from collections.abc import Callable

import torch

IMPLEMENTATIONS = ("auto", "reference", "triton")
OPERATORS = ("bias_act", "modulated_conv2d", "upfirdn2d")

# operator -> (kernel entry point, probe that returns None when usable or else the reason why not)
_triton: dict[str, tuple[Callable, Callable[[torch.Tensor], str | None]]] = {}


def register_triton(
    op: str, function: Callable, probe: Callable[[torch.Tensor], str | None]
) -> None:
    """Announce the Triton twin of an operator.

    Args:
        op: one of `OPERATORS`.
        function: called with the reference's arguments.
        probe: input tensor -> None if the twin can run on it, else one line saying why not.
    """
    _check_op(op)
    _triton[op] = (function, probe)


def explain(op: str, x: torch.Tensor, impl: str = "auto") -> tuple[str, str]:
    """Say which implementation would run and why.

    Args:
        op: one of `OPERATORS`.
        x: the operator's input tensor.
        impl: "auto", "reference" or "triton".

    Returns:
        ("reference" or "triton", the reason in one line).

    Raises:
        ValueError: unknown `op` or `impl`, or `impl="triton"` where the twin cannot run.
    """
    _check_op(op)
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl: got {impl!r}, expected one of {', '.join(IMPLEMENTATIONS)}")
    if impl == "reference":
        return "reference", "asked for by name"
    obstacle = _obstacle(op, x)
    if obstacle is None:
        return "triton", "a kernel is registered and its probe accepts this tensor"
    if impl == "triton":
        raise ValueError(f'impl: "triton" was asked for, but {obstacle}')
    return "reference", obstacle


def triton_function(op: str) -> Callable:
    """Return the entry point of a registered Triton twin."""
    return _triton[op][0]


def _check_op(op: str) -> None:
    if op not in OPERATORS:
        raise ValueError(f"op: got {op!r}, expected one of {', '.join(OPERATORS)}")


def _obstacle(op: str, x: torch.Tensor) -> str | None:
    if op not in _triton:
        return f"no Triton kernel is registered for {op}"
    return _triton[op][1](x)
