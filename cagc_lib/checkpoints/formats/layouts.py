"""What the tables of other projects' tensor names share, and the strict way to fill a network.

A layout is a table `their name -> our name`, built from a configuration that is itself read off the
tensors' shapes; the name of a stored resampling filter, which is no weight, leads to None. The
numbers are the same everywhere; names and axes of length one differ. Reading is strict: a tensor
too many, too few, of another shape or type, or with a NaN, is a ValueError that names it, and
nothing is allocated for a network before its file was found to hold it. Chapter 13.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...networks import Discriminator, Generator, build, check_pair
from ...ops import setup_filter

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
State = dict[str, Tensor]
Table = dict[str, str | None]
# generator, discriminator if any, meta of `Checkpoint`
Pair = tuple[Generator, Discriminator | None, dict[str, Any]]
MAX_WIDTH = 2**16
MAX_MAPPING_LAYERS = 64
W_AVG_SAMPLES = 10_000
# batch norm's counter: nothing reads it, and it is no weight
COUNTER = ".num_batches_tracked"


class Translated(NamedTuple):
    """A network of a file: its config, its tensors by our names, our names -> the file's."""

    config: Any
    state: State
    theirs: dict[str, str]


class _Undrawn(TorchFunctionMode):
    """Draws no numbers: on the meta device there are none, and these would import for a second."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in (torch.Tensor.normal_, F.normalize):
            return args[0]
        if func is torch.mv:
            return torch.empty(len(args[0]))
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def state_shapes(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a network's state dict, with nothing allocated or drawn for it."""
    with torch.device("meta"), _Undrawn():
        state = make().state_dict()
    return {name: tuple(t.shape) for name, t in state.items() if not name.endswith(COUNTER)}


def build_pair(
    generator: Translated, discriminator: Callable[[], Translated] | None, meta: dict
) -> Pair:
    """Build what a foreign file holds; `discriminator` reads it, if there is one to be read.

    What a generator may lack, stored noise and the mean w, is drawn with seed 0 and noted before
    the entries of `meta`.
    """
    config, state, theirs = generator
    made_up = {}
    random = torch.Generator().manual_seed(0)
    sides = {f"synthesis.convs.{k}.noise_const": side for k, side in enumerate(config.noise_sides)}
    absent = {name: side for name, side in sides.items() if name not in state}
    if absent:
        made_up["noises"] = "absent, drawn with seed 0"
        state |= {name: torch.randn(n, n, generator=random) for name, n in absent.items()}
    g = assemble(config, {"w_avg": torch.zeros(config.w_dim)} | state, "generator", theirs)
    if "w_avg" not in state:
        made_up["w_avg"] = f"absent, mean of {W_AVG_SAMPLES} mapped z with seed 0"
        z = torch.randn(W_AVG_SAMPLES, config.z_dim, generator=random)
        with torch.no_grad():
            g.w_avg.copy_(g.mapping(z).mean(dim=0))
    if discriminator is None:
        return g, None, made_up | meta
    try:
        other, state, theirs = discriminator()
        check_pair(other, config, "discriminator", "resolution")
        return g, assemble(other, state, "discriminator", theirs), made_up | meta
    except ValueError as error:
        raise ValueError(f"{error}; --generator-only (generator_only) reads the rest") from None


def check_names(got: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Raise a ValueError that names the first missing and the first unexpected tensor."""
    got, expected = set(got), set(expected)
    wrong = {"missing": sorted(expected - got), "unexpected": sorted(got - expected)}
    parts = [f"{len(names)} {word} ({names[0]})" for word, names in wrong.items() if names]
    if parts:
        raise ValueError(f"{what}: tensors {' and '.join(parts)}, expected {len(expected)}")


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


def start_width(state: State, name: str) -> int:
    """The width of the learned constant, [..., C, 4, 4], where every image starts."""
    width(state, name, 2)
    *_, channels, high, wide = state[name].shape
    if high != wide:
        raise ValueError(f"{name}: got non-square images ({high}x{wide}), expected square ones")
    return channels


def count(state: State, pattern: str) -> int:
    """How many names match a pattern."""
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def layer(theirs: str, ours: str, names: Table) -> Table:
    """One layer's part of a table; `names` maps their names within it to ours, or to None."""
    return {f"{theirs}.{a}": b and f"{ours}.{b}" for a, b in names.items()}


def translate(config: Any, state: State, table: Table, gain: float, what: str) -> Translated:
    """Rename a network's tensors, which must be just those of its table; filters sum to `gain`."""
    check_names(state, table, what)
    expected = filter_4x4(gain)
    for name in [name for name, ours in table.items() if ours is None]:
        if state[name].shape != expected.shape or not torch.allclose(state[name].float(), expected):
            raise ValueError(f"{name}: got another resampling filter, expected that of 1, 3, 3, 1")
    theirs = {ours: name for name, ours in table.items() if ours}
    return Translated(config, {ours: state[name] for ours, name in theirs.items()}, theirs)


def assemble(
    config: Any, state: State, what: str, theirs: Mapping[str, str] | None = None
) -> Any:
    """Build a network and fill it; every name, shape and number is checked before.

    `theirs` gives our names -> those of a foreign file, whose axes of length one may differ.
    """
    widths = [*config.channels, *(getattr(config, n, 1) for n in ("z_dim", "w_dim"))]
    if max(widths) > MAX_WIDTH or getattr(config, "mapping_layers", 1) > MAX_MAPPING_LAYERS:
        expected = f"at most {MAX_WIDTH}, and {MAX_MAPPING_LAYERS} mapping layers"
        raise ValueError(f"got widths {widths}, expected {expected}")
    shapes = state_shapes(lambda: build(config))
    check_names(state, shapes, what)
    for name, tensor in state.items():
        shown = (theirs or {}).get(name, f"{what}.{name}")
        got, expected = list(tensor.shape), list(shapes[name])
        if theirs and [n for n in got if n != 1] == [n for n in expected if n != 1]:
            got = expected
        if got != expected:
            raise ValueError(f"{shown}: got shape {got}, expected {expected}")
        if tensor.dtype not in FLOATS:
            raise ValueError(f"{shown}: got {tensor.dtype}, expected floating point")
        if not tensor.isfinite().all():
            raise ValueError(f"{shown}: got NaN or infinity, expected finite numbers")
    network = build(config)
    network.load_state_dict({name: t.reshape(shapes[name]) for name, t in state.items()})
    return network.eval()
