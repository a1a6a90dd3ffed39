"""What the tables of other projects' tensor names share, and the strict way to fill a network.

A layout is a table `their name -> our name`, built from a configuration that is itself read off the
tensors' shapes. The numbers are the same everywhere; names and axes of length one differ. Reading
is strict: a tensor too many, too few, of another shape or type, or with a NaN, is a ValueError that
names it, and nothing is allocated for a network before its file was found to hold it. Chapter 12.
"""

import itertools
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..discriminator import DiscriminatorConfig
from ..generator import GeneratorConfig
from ..networks import build
from ..ops import setup_filter
from ..sngan import SNGANConfig
from ..sngan_discriminator import SNGANDiscriminatorConfig
from . import sngan

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
State = dict[str, Tensor]
MAX_WIDTH = 2**16
MAX_MAPPING_LAYERS = 64


def expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The names and shapes of our state dict for a configuration, without building the network.

    Raises:
        ValueError: a width no real network has.
    """
    widths = [*config.channels, *(getattr(config, n, 1) for n in ("z_dim", "w_dim"))]
    if max(widths) > MAX_WIDTH or getattr(config, "mapping_layers", 1) > MAX_MAPPING_LAYERS:
        raise ValueError(
            f"got widths {widths}, expected at most {MAX_WIDTH}, and {MAX_MAPPING_LAYERS} "
            "mapping layers"
        )
    # a network on torch's meta device would tell too, but costs a second of imports
    shapes = {
        GeneratorConfig: _generator_shapes,
        DiscriminatorConfig: _discriminator_shapes,
        SNGANConfig: sngan.generator_shapes,
        SNGANDiscriminatorConfig: sngan.discriminator_shapes,
    }
    return shapes[type(config)](config)


def _layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _generator_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    widths, w_dim = config.channels, config.w_dim
    shapes: dict[str, tuple[int, ...]] = {"w_avg": (w_dim,)}
    for i in range(config.mapping_layers):
        shapes |= _layer(f"mapping.fc{i}", w_dim, w_dim if i else config.z_dim)
    shapes["synthesis.const"] = (widths[0], 4, 4)
    for k, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        name, side = f"synthesis.convs.{k}", config.conv_resolution(k)
        shapes |= _layer(name, outputs, inputs, 3, 3) | _layer(f"{name}.affine", inputs, w_dim)
        shapes |= {f"{name}.noise_strength": (), f"{name}.noise_const": (side, side)}
    for j, inputs in enumerate(widths[1::2]):
        name = f"synthesis.torgbs.{j}"
        shapes |= _layer(name, 3, inputs, 1, 1) | _layer(f"{name}.affine", inputs, w_dim)
    return shapes


def _discriminator_shapes(config: DiscriminatorConfig) -> dict[str, tuple[int, ...]]:
    widths, last = config.channels, config.channels[-1]
    shapes = _layer("fromrgb", widths[0], 3, 1, 1)
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        shapes |= _layer(f"blocks.{i}.conv0", inputs, inputs, 3, 3)
        shapes |= _layer(f"blocks.{i}.conv1", outputs, inputs, 3, 3)
        shapes[f"blocks.{i}.skip.weight"] = (outputs, inputs, 1, 1)
    shapes |= _layer("conv", last, last + 1, 3, 3) | _layer("fc", last, last * 16)
    return shapes | _layer("out", 1, last)


def check_names(got: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Raise a ValueError that names the first missing and the first unexpected tensor."""
    missing = sorted(set(expected) - set(got))
    unexpected = sorted(set(got) - set(expected))
    if missing or unexpected:
        parts = [f"{len(n)} {word} ({n[0]})" for word, n in
                 (("missing", missing), ("unexpected", unexpected)) if n]  # fmt: skip
        raise ValueError(f"{what}: tensors {' and '.join(parts)}, expected {len(set(expected))}")


def check_filters(state: State, names: Iterable[str], gain: float) -> None:
    """Raise a ValueError unless each named 4x4 filter is that of [1, 3, 3, 1], times gain."""
    expected = filter_4x4(gain)
    for name in names:
        if state[name].shape != expected.shape or not torch.allclose(state[name].float(), expected):
            raise ValueError(f"{name}: got another resampling filter, expected that of 1, 3, 3, 1")


def filter_4x4(gain: float) -> Tensor:
    """The resampling filter as the other projects store it: [4, 4], summing to gain."""
    taps = setup_filter()
    return taps.outer(taps) * gain


def width(state: State, name: str, axis: int) -> int:
    """The length of one axis of a tensor that must exist."""
    if name not in state:
        raise ValueError(f"tensor {name} is missing")
    if state[name].ndim <= axis:
        raise ValueError(f"{name}: got shape {list(state[name].shape)}, expected more axes")
    return state[name].shape[axis]


def rename(
    state: State, table: dict[str, str], config: GeneratorConfig | DiscriminatorConfig
) -> State:
    """Rename and drop axes of length one; `table` maps their names to ours."""
    shapes = expected_shapes(config)
    ours = {}
    for theirs, name in table.items():
        got, expected = list(state[theirs].shape), list(shapes[name])
        if [n for n in got if n != 1] != [n for n in expected if n != 1]:
            raise ValueError(f"{theirs}: got shape {got}, expected {expected} (leading ones aside)")
        ours[name] = state[theirs].reshape(expected)
    return ours


def count(state: State, pattern: str) -> int:
    """How many names match a pattern."""
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def put(table: dict[str, str], ours: str, theirs: str, pairs: dict[str, str]) -> None:
    """Add one layer to a table; `pairs` maps our names within it to theirs."""
    table.update({f"{theirs}.{b}": f"{ours}.{a}" for a, b in pairs.items()})


def assemble(config: Any, state: State, what: str) -> Any:
    """Build a network and fill it; every name, shape and number is checked before."""
    shapes = expected_shapes(config)
    check_names(state, shapes, what)
    for name, tensor in state.items():
        if tuple(tensor.shape) != shapes[name]:
            got, expected = list(tensor.shape), list(shapes[name])
            raise ValueError(f"{what}.{name}: got shape {got}, expected {expected}")
        if tensor.dtype not in FLOATS:
            raise ValueError(f"{what}.{name}: got {tensor.dtype}, expected floating point")
        if not tensor.isfinite().all():
            raise ValueError(f"{what}.{name}: got NaN or infinity, expected finite numbers")
    network = build(config)
    network.load_state_dict(state)
    return network.eval()
