"""What a generator costs: multiply-accumulates (MACs), parameters, measured time, memory.

    MACs = sum over convolutions of k^2 * C_in * C_out * (side of the grid they run on)^2
           + every fully connected layer's C_in * C_out,   for one image

The convention of Liu et al. 2021 (arXiv 2104.02244; the public code's Util/Calculators.py), who
call these FLOPs: the 4x4 filter, (de)modulation, bias, noise, batch norm and activation are left
out, and an up-sampling convolution runs on its *input* grid, as a transposed convolution does.
Others count it on its output grid and arrive at 142 instead of 74 G for the same 1024 px network.
In an SN-GAN this concerns the shortcuts: the 3x3 convolutions follow the enlargement and do run on
the larger grid. Chapters 7 and 12.
"""

import copy
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..networks import (
    GeneratorConfig, PrunableGenerator, Shapes, SNGANConfig, check, evaluating, first_parameter,
)

CONVENTIONS = ("paper", "output-resolution")


@dataclass(frozen=True)
class LayerCost:
    """One row of `layer_table`: a layer by its name in the state dict, with its affine layer.

    The resolution is the side of its output, 1 in the mapping network; inputs and outputs are
    widths, macs are for one image, parameters are learned numbers.
    """

    name: str
    resolution: int
    inputs: int
    outputs: int
    macs: int
    parameters: int


@dataclass(frozen=True)
class Latency:
    """Seconds for one batch: the 20th, 50th and 80th percentile of the repeats."""

    p20: float
    p50: float
    p80: float
    batch_size: int
    device: str
    threads: int
    repeats: int
    compiled: bool


def macs(g: PrunableGenerator | Shapes, convention: str = "paper") -> int:
    """Multiply-accumulates for one image, predicted from the widths.

    Args:
        g: a generator or its config.
        convention: "paper" counts an up-sampling convolution on its input grid, "output-resolution"
            on its output grid (MobileStyleGAN, Anycost GAN). Never compare one with the other.
            Another is a ValueError.

    Example:
        >>> teacher, student = map(cagc.load_generator, ("portraits", "portraits-11x"))
        >>> round(cagc.macs(teacher) / cagc.macs(student))
        11
    """
    return sum(row.macs for row in layer_table(g, convention))


def parameters(g: PrunableGenerator | Shapes) -> int:
    """Learned numbers, predicted from the widths; buffers (noise maps, w_avg, statistics) aside.

    Example:
        >>> g = cagc.load_generator("portraits-11x")
        >>> cagc.parameters(g) == sum(p.numel() for p in g.parameters())
        True
    """
    return sum(row.parameters for row in layer_table(g))


def layer_table(g: PrunableGenerator | Shapes, convention: str = "paper") -> list[LayerCost]:
    """Return what `macs` sums, layer by layer, in the order they run.

    Example:
        >>> table = cagc.layer_table(cagc.load_generator("portraits-11x"))
        >>> max(table, key=lambda row: row.macs).name
        'synthesis.convs.4'
    """
    check(convention in CONVENTIONS, "convention", convention, " or ".join(CONVENTIONS))
    config = getattr(g, "config", g)
    rows = _sngan_rows if isinstance(config, SNGANConfig) else stylegan2_rows
    return rows(config, convention)


def stylegan2_rows(config: GeneratorConfig, convention: str) -> list[LayerCost]:
    """A StyleGAN2 generator's layers in order, from its shapes alone; see `layer_table`."""
    w, widths = config.w_dim, config.channels
    rows = []
    for i in range(config.mapping_layers):
        inputs = config.z_dim if i == 0 else w
        rows.append(LayerCost(f"mapping.fc{i}", 1, inputs, w, inputs * w, (inputs + 1) * w))
    rows.append(LayerCost("synthesis.const", 4, 0, widths[0], 0, widths[0] * 16))
    for k in range(config.num_convs):
        inputs, outputs, side = widths[k], widths[k + 1], config.conv_resolution(k)
        up = k % 2 == 1
        grid = side // 2 if up and convention == "paper" else side
        weights = 9 * inputs * outputs
        # learned besides the weights: bias, noise strength, the affine layer
        learned = weights + outputs + 1 + (w + 1) * inputs
        cost = weights * grid**2 + w * inputs
        rows.append(LayerCost(f"synthesis.convs.{k}", side, inputs, outputs, cost, learned))
        if not up:
            learned = 3 * outputs + 3 + (w + 1) * outputs
            cost = 3 * outputs * side**2 + w * outputs
            rows.append(LayerCost(f"synthesis.torgbs.{k // 2}", side, outputs, 3, cost, learned))
    return rows


def _sngan_rows(config: SNGANConfig, convention: str) -> list[LayerCost]:
    widths, z_dim = config.channels, config.z_dim

    def row(name: str, side: int, grid: int, inputs: int, outputs: int, taps: int) -> LayerCost:
        weights, name = taps * inputs * outputs, f"synthesis.{name}"
        return LayerCost(name, side, inputs, outputs, weights * grid**2, weights + outputs)

    def norm(name: str, side: int, width: int) -> LayerCost:
        return LayerCost(f"synthesis.{name}", side, width, width, 0, 2 * width)

    n = 16 * widths[0]
    rows = [LayerCost("synthesis.dense", 4, z_dim, widths[0], z_dim * n, (z_dim + 1) * n)]
    for i in range(len(widths) // 2):
        first, hidden, last = widths[2 * i : 2 * i + 3]
        name, small, side = f"blocks.{i}", 4 << i, 8 << i
        grid = small if convention == "paper" else side
        rows += [
            norm(f"{name}.bn1", small, first), row(f"{name}.conv1", side, side, first, hidden, 9),
            norm(f"{name}.bn2", side, hidden), row(f"{name}.conv2", side, side, hidden, last, 9),
            row(f"{name}.shortcut", side, grid, first, last, 1),
        ]
    side = config.resolution
    return [*rows, norm("bn", side, widths[-1]), row("to_rgb", side, side, widths[-1], 3, 9)]


def count_macs(g: PrunableGenerator) -> int:
    """Multiply-accumulates for one image, counted while a copy of the generator makes it.

    Hooks read the shapes of the tensors that really arrive at each layer; `macs` predicts the same
    number from the widths alone.
    """
    counted: list[int] = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        grid = inputs[0].shape[2:].numel()  # 1 for a fully connected layer
        counted.append(layer.weight.numel() * grid)

    copied = copy.deepcopy(g).eval()
    for layer in copied.modules():
        # batch norm's weight is a vector
        if hasattr(layer, "weight") and layer.weight.ndim > 1:
            layer.register_forward_pre_hook(count)
    with torch.no_grad():
        copied(torch.zeros(1, g.config.z_dim).to(first_parameter(g)))
    return sum(counted)


def latency(
    g: PrunableGenerator, batch_size: int = 1, repeats: int = 20, warmup: int = 3,
    compiled: bool = False,
) -> Latency:
    """Measure the time from z to images, with stored noise, on the generator's device.

    Args:
        g: the generator.
        batch_size, repeats: images per run, and runs that are timed, both >= 1.
        warmup: runs before them that are not, >= 0, and >= 1 when compiled.
        compiled: run it through `torch.compile` (compiling falls into the warm-up).

    Raises:
        ValueError: a number out of range.

    Example:
        >>> seconds = cagc.latency(cagc.load_generator("portraits-11x"), repeats=3)
        >>> 0 < seconds.p20 <= seconds.p50 <= seconds.p80
        True
    """
    for name, value, least in (
        ("batch_size", batch_size, 1), ("repeats", repeats, 1), ("warmup", warmup, int(compiled)),
    ):
        check(type(value) is int and value >= least, name, value, f"an integer >= {least}")
    run = torch.compile(g) if compiled else g
    z = torch.randn(batch_size, g.config.z_dim, generator=torch.Generator().manual_seed(0))
    z = z.to(first_parameter(g))
    seconds = []
    with torch.inference_mode(), evaluating(g):
        for _ in range(warmup + repeats):
            start = time.perf_counter()
            run(z)
            if z.device.type == "cuda":
                torch.cuda.synchronize(z.device)
            seconds.append(time.perf_counter() - start)
    percentiles = np.quantile(seconds[warmup:], (0.2, 0.5, 0.8)).tolist()
    threads = torch.get_num_threads()
    return Latency(*percentiles, batch_size, str(z.device), threads, repeats, compiled)


def peak_memory(g: PrunableGenerator, batch_size: int = 1) -> int:
    """Most bytes that are alive at once while images are made, beside the weights.

    Counted from the results of all operations, so that every device and machine gives the same;
    what an operation needs inside itself is not seen.

    Args:
        g: the generator; its stored noise is used.
        batch_size: images at once; below 1 a ValueError.

    Example:
        >>> teacher, student = map(cagc.load_generator, ("portraits", "portraits-11x"))
        >>> cagc.peak_memory(teacher) > 2 * cagc.peak_memory(student)
        True
    """
    check(type(batch_size) is int and batch_size >= 1, "batch_size", batch_size, "an integer >= 1")
    z = torch.zeros(batch_size, g.config.z_dim).to(first_parameter(g))
    known = {t.untyped_storage()._cdata for t in (*g.parameters(), *g.buffers(), z)}
    with torch.no_grad(), evaluating(g), _Alive(known) as alive:
        g(z)
    return alive.most


class _Alive(TorchDispatchMode):
    """Adds up the storages that operations return, from their birth to their end."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.now, self.most = set(known), 0, 0

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place not in self.known:
            self.known.add(place)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size
