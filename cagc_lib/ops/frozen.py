"""Weights that stay as they are for a while: what follows from them alone is computed once.

The kernels read weights in another order, padded, in the type of the input; demodulation wants
their sums of squares. Training changes weights at every step, so both are made anew at every call,
unless the caller promises that the weights rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

# a plain global: compilers cannot look into a ContextVar
_kept: dict | None = None


@contextmanager
def frozen_weights() -> Iterator[None]:
    """Let the operators keep what they derive from weights until the block ends.

    For generating many images without gradients, and around the capture of a CUDA graph, which
    then holds none of that work. A weight changed in place inside the block is noticed, except
    through `.data`.
    """
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def derived(
    weight: torch.Tensor, name: object, compute: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return compute(weight), detached, or under `frozen_weights` what it was the last time."""
    kept = _kept
    if kept is None or torch.compiler.is_compiling() or weight.is_inference():
        return compute(weight.detach())
    # the weight is kept too, so that its id stays its own
    key, version = (id(weight), name), weight._version
    if key not in kept or kept[key][1] != version:
        kept[key] = weight, version, compute(weight.detach())
    return kept[key][2]
