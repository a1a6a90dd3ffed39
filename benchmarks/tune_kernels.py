"""Which tiles are fastest on this GPU?

    python benchmarks/tune_kernels.py [--networks full-256 pruned-256] [--batches 1 16]
        [--types float16 bfloat16 tf32 float32] [--seconds 0.05]

For every layer of the networks, forward and backward, tries tiles around those of the rule, drops
what the compiler refuses or what gives another result, and writes the fastest of each product to
cagc_lib/ops/kernels/tiles.json, where the kernels look first. Minutes; commit the file.
"""

import argparse
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from modulated_conv_gpu import NETWORKS, TOLERANCE, TYPES, arithmetic, make, timed

from cagc_lib.checkpoints import atomic_write
from cagc_lib.ops import frozen_weights
from cagc_lib.ops.kernels.tiles import SAVED, Tiles, key, tiles, using

# a saving below this is noise
WORTHWHILE = 0.97


def candidates(kernel: str, start: Tiles) -> Iterator[Tiles]:
    """Tiles around those of the rule."""
    up = kernel == "convolve_up"
    sides = (64, 128, 256) if up else (32, 64, 128)
    grid = itertools.product(
        sides, (16, 32, 64) if up else (16, 32, 64, 128), (16, 32, 64), (4, 8), (2, 3, 4)
    )
    for pixels, filters, channels, warps, stages in grid:
        near = (
            filters <= 2 * start.filters and channels <= 2 * start.channels
            and pixels <= 2 * start.pixels
        )
        if near and pixels * filters <= 128 * 128:
            yield Tiles(pixels, filters, channels, warps, stages)


def products(
    x: torch.Tensor, weight: torch.Tensor, up: int
) -> Iterator[tuple[str, tuple[int, int, int], torch.Tensor, Callable[[], torch.Tensor]]]:
    """(kernel, its three sizes, the tensor that sets its type, work) of a layer's passes."""
    from cagc_lib.ops.kernels import launch

    n, channels, height, width = x.shape
    filters, side = len(weight), weight.shape[2]
    s, d = x.new_ones(n, channels, dtype=torch.float32), None
    t = x.new_ones(n, filters, dtype=torch.float32)
    g = launch.padded_like(x, n, filters, up * height, up * width).normal_()
    if up == 2:
        big = launch.spread(g)
        yield ("convolve_up", ((height + 2) * (width + 2), filters, channels), x,
               lambda: launch.convolved_up(x, weight, s, d))
        yield ("convolve", (height * width, channels, filters), big,
               lambda: launch.convolved(big, weight, t, s, True, 2, 0, other=x)[0])
        yield ("weight_gradient", (filters, channels, height * width), big,
               lambda: launch.weight_gradient(big, x, t, s, side, 2, 0))
        return
    yield ("convolve", (height * width, filters, channels), x,
           lambda: launch.convolved(x, weight, s, d, False, 1, side // 2)[0])
    yield ("convolve", (height * width, channels, filters), g,
           lambda: launch.convolved(g, weight, t, s, True, 1, side // 2, other=x)[0])
    yield ("weight_gradient", (channels, filters, height * width), x,
           lambda: launch.weight_gradient(x, g, s, t, side, 1, side // 2))


def fastest(
    kernel: str, start: Tiles, work: Callable[[], torch.Tensor], kind: str, device: torch.device,
    seconds: float,
) -> Tiles:
    """The best of the candidates that compile and agree with the rule's tiles."""
    with using(start):
        truth = work().double()
        best, least = start, sorted(timed(work, device, seconds))
    least = least[len(least) // 2]
    for tried in candidates(kernel, start):
        with using(tried):
            try:
                error = (work().double() - truth).norm() / truth.norm()
            except Exception as problem:
                # too much shared memory or too many registers: the compiler's own words
                print(f"  {tuple(tried)}: {' '.join(str(problem).split())[:80]}")
                continue
            if not error <= TOLERANCE[kind]:
                print(f"  {tuple(tried)}: WRONG by {float(error):.1e}")
                continue
            middle = sorted(timed(work, device, seconds))
        middle = middle[len(middle) // 2]
        if middle < WORTHWHILE * least:
            best, least = tried, middle
    return best


def tune(args: argparse.Namespace, device: torch.device) -> dict[str, list[int]]:
    """The winners of every product, by its name in the table."""
    found: dict[str, list[int]] = {}
    for name, batch, kind in itertools.product(args.networks, args.batches, args.types):
        g = make(name, device)
        for k, conv in enumerate(g.synthesis.convs):
            side = g.config.conv_resolution(k) // conv.up
            x = torch.randn(batch, conv.weight.shape[1], side, side, device=device)
            x = x.to(TYPES[kind], memory_format=torch.channels_last)
            with arithmetic(kind, device), torch.no_grad(), frozen_weights():
                for kernel, sizes, tensor, work in products(x, conv.weight, conv.up):
                    start = tiles(kernel, tensor, *sizes)
                    best = fastest(kernel, start, work, kind, device, args.seconds)
                    # later batches overrule: list the usual one last
                    found[key(kernel, tensor.dtype, *sizes)] = list(best)
                    print(name, batch, kind, kernel, sizes, tuple(best), flush=True)
    return found


def main(given: list[str] | None = None) -> None:
    """Tune and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS,
                        default=["full-256", "pruned-256"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--types", nargs="+", choices=TYPES,
                        default=["tf32", "float32", "float16", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=0.05, help="of each measurement")
    parser.add_argument("--table", type=pathlib.Path, default=SAVED)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args(given)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("tuning needs an NVIDIA GPU; torch sees none")
    table = json.loads(args.table.read_text(encoding="utf-8")) if args.table.exists() else {}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    table[name] = table.get(name, {}) | tune(args, device)
    atomic_write(args.table, (json.dumps(table, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
