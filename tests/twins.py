"""What the tests of the operators' Triton twins share: comparing them with the references."""

from collections.abc import Callable, Sequence

import torch

from cagc_lib.ops import implementation


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative root mean square error; where b is all zeros, a must be too."""
    off, size = (a.double() - b.double()).norm(), b.double().norm()
    return (off / size if size else off).item()


def agree(compute: Callable[[], Sequence[torch.Tensor]], limit: float = 1e-12) -> list:
    """Compare what is computed with each implementation; return what the twins gave."""
    results = []
    for impl in ("triton", "reference"):
        torch.manual_seed(3)
        with implementation(impl):
            results.append(list(compute()))
    assert all(error(a, b) < limit for a, b in zip(*results, strict=True))
    return results[0]


def drawn_like(y: torch.Tensor) -> torch.Tensor:
    """Normal numbers that, unlike those of torch.randn_like, do not depend on y's memory order."""
    return torch.randn(y.shape, dtype=y.dtype, device=y.device)


def derivatives(
    y: torch.Tensor, tensors: Sequence[torch.Tensor], again: Sequence[torch.Tensor] = ()
) -> list[torch.Tensor]:
    """y, its gradients, and the gradients of those by `again` and by what y was multiplied with."""
    g = drawn_like(y).requires_grad_()
    first = torch.autograd.grad(y, tensors, g, create_graph=True)
    # what R1 and the path length do: a squared gradient, differentiated
    total = sum((v.square() + v * drawn_like(v)).sum() for v in first)
    return [y, *first, *torch.autograd.grad(total, [*again, g])]
