"""How fast are the Triton kernels on this GPU, and how near to what the hardware allows?

    python benchmarks/modulated_conv_gpu.py [--networks full-256 pruned-256] [--batches 1 16]
        [--types float32 tf32 float16 bfloat16]
        [--forms triton reference textbook compiled polyphase]
        [--parts layers inference training] [--seconds 0.2]

Synthesis networks of 256 and 1024 px, full and without 70% of the channels, with random weights.
Forms: the Triton kernels, weights frozen where no gradients are asked for; the PyTorch reference;
the textbook's grouped convolution with weights for every sample; the reference compiled by
inductor; each eager and replayed as a CUDA graph. Up-sampling layers also as four folded 3x3
kernels (polyphase), of four times the arithmetic. Every form first has to agree with a float32
reference; one that does not is reported and never timed. Beside each time stand the
multiply-accumulates and the bytes that the layer must move (inputs, outputs and weights once) as
shares of what a large matrix product and a large copy reach in the same run, which are rows too.
p20, p50 and p80 go to data/benchmarks/modulated_conv_gpu.csv. Chapter 4.
"""

import argparse
import itertools
import math
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import metadata

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, common_options, quantiles
from textbook import (
    FULL,
    PRUNED,
    random_generator,
    textbook_conv,
    textbook_rgb,
    textbook_synthesis,
)

from cagc_lib.networks import Generator, StyledConv
from cagc_lib.ops import demodulation_coefficients, frozen_weights, implementation

NETWORKS = {
    "full-256": FULL,
    "pruned-256": PRUNED,
    "full-1024": (*FULL, 64, 64, 32, 32),
    "pruned-1024": (*PRUNED, 20, 20, 10, 10),
}
TYPES = {
    "float32": torch.float32, "tf32": torch.float32, "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# largest relative root mean square error against the float32 reference
TOLERANCE = {"float32": 1e-5, "tf32": 5e-3, "float16": 1e-2, "bfloat16": 6e-2}
FORMS = ("triton", "reference", "textbook", "compiled", "polyphase")
COLUMNS = (
    "network", "batch", "part", "type", "form", "way", "error", "p20_us", "p50_us", "p80_us",
    "macs", "share_of_product", "share_of_copy", "per_second",
)
# calls before a measurement, and the fewest in it
WARM_UP, FEWEST = 3, 5
Work = Callable[[], torch.Tensor]


def make(name: str, device: torch.device) -> Generator:
    """A random network on the device, channels last."""
    return random_generator(NETWORKS[name]).to(device, memory_format=torch.channels_last)


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Seconds of each call, after warming up."""
    for _ in range(WARM_UP):
        work()
    synchronise(device)
    taken, until = [], time.perf_counter() + seconds
    while len(taken) < FEWEST or (time.perf_counter() < until and len(taken) < 1000):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            taken.append(start.elapsed_time(end) / 1e3)
        else:
            begin = time.perf_counter()
            work()
            taken.append(time.perf_counter() - begin)
    return taken


def replayed(work: Work) -> Callable[[], object]:
    """The same launches as one CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


@contextmanager
def arithmetic(kind: str, device: torch.device) -> Iterator[None]:
    """TF32 on for "tf32" alone, autocast for the halves."""
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        backend.allow_tf32 = kind == "tf32"
    half = TYPES[kind] in (torch.float16, torch.bfloat16)
    with torch.autocast(device.type, TYPES[kind]) if half else nullcontext():
        yield


def roofline(device: torch.device) -> dict[str, float]:
    """Bytes/s of a large copy, multiply-accumulates/s of a large product, by type."""
    side, size = (8192, 2**29) if device.type == "cuda" else (256, 2**20)
    a = torch.empty(size // 4, device=device).zero_()
    b = torch.empty_like(a)
    top = {"bytes": 2 * size / min(timed(lambda: b.copy_(a), device, 0.2))}
    for kind, dtype in TYPES.items():
        with arithmetic(kind, device):
            x = torch.randn(side, side, device=device).to(dtype)
            top[kind] = side**3 / min(timed(lambda x=x: x @ x, device, 0.2))
    return top


def forms(g: Generator, w: torch.Tensor, asked: list[str]) -> dict[str, Work]:
    """The whole synthesis network in each form."""

    def with_kernels() -> torch.Tensor:
        with implementation("triton"):
            return g.synthesis(w)

    def reference(w: torch.Tensor) -> torch.Tensor:
        with implementation("reference"):
            return g.synthesis(w)

    every = {
        "triton": with_kernels, "reference": partial(reference, w),
        "textbook": partial(textbook_synthesis, g, w),
    }
    if "compiled" in asked:
        every["compiled"] = partial(torch.compile(reference, dynamic=False), w)
    return {name: every[name] for name in asked if name in every}


def folded(weight: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """The four 3x3 kernels [2, 2, O, I, 3, 3] that transposed convolution and filter come to.

    Both together are a transposed convolution with a 6x6 kernel, of which an output pixel meets
    every second tap.
    """
    taps, channels, side, _ = weight.shape
    whole = F.conv2d(
        weight.reshape(-1, 1, side, side), 4 * torch.outer(f, f)[None, None], padding=3
    )
    whole = whole.view(taps, channels, 6, 6)
    return torch.stack([
        torch.stack([whole[:, :, a::2, b::2].flip(2, 3) for b in range(2)])
        for a in range(2)
    ])


def polyphase(conv: StyledConv, f: torch.Tensor) -> Callable[..., torch.Tensor]:
    """An up-sampling layer as one launch of the plain kernel for each phase of its result."""
    with torch.no_grad():
        kernels = folded(conv.weight, f)

    def layer(x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        from cagc_lib.ops.kernels.launch import convolved, padded_like

        x = x.to(torch.get_autocast_dtype(x.device.type)) if torch.is_autocast_enabled() else x
        s, noise = conv.affine(w), noise * conv.noise_strength
        d = demodulation_coefficients(conv.weight, s)
        out = padded_like(x, len(x), len(conv.weight), *(2 * size for size in x.shape[2:]))
        for a, b in itertools.product(range(2), repeat=2):
            tail = conv.bias, noise[:, :, a::2, b::2], 0.2, math.sqrt(2), conv.clamp
            part = out[:, :, a::2, b::2]
            convolved(x, kernels[a, b], s, d, False, 1, 1, tail, out=part)
        return out

    return layer


def training(work: Work, g: Generator) -> Work:
    """Forward and backward of a loss on the images."""
    parameters = list(g.synthesis.parameters())

    def step() -> torch.Tensor:
        loss = work().square().mean()
        torch.autograd.grad(loss, parameters, allow_unused=True)
        return loss

    return step


def layers(g: Generator, w: torch.Tensor, asked: list[str]) -> Iterator[tuple[str, dict, Work]]:
    """(layer, its size, form -> work) for every convolution and ToRGB, on random inputs."""
    f = g.synthesis.resample_filter
    for k, conv in enumerate(g.synthesis.convs):
        side = g.config.conv_resolution(k)
        x = torch.randn(len(w), conv.weight.shape[1], *[side // conv.up] * 2, device=w.device)
        x = x.contiguous(memory_format=torch.channels_last)
        noise = conv.noise_const[None, None]
        ours = partial(conv, x, w, noise)
        size = {"macs": len(w) * conv.weight.numel() * (side // conv.up) ** 2,
                "values": x.numel() + len(w) * len(conv.weight) * side**2 + conv.weight.numel()}
        work = by_form(ours, partial(textbook_conv, conv, x, w, f), asked)
        if conv.up == 2 and "polyphase" in asked:
            work["polyphase"] = partial(polyphase(conv, f), x, w, noise)
        yield f"conv{k} {side}px up{conv.up}", size, work
        if k % 2 == 0:
            rgb = g.synthesis.torgbs[k // 2]
            y = torch.randn(len(w), rgb.weight.shape[1], side, side, device=w.device)
            y = y.contiguous(memory_format=torch.channels_last)
            ours = partial(rgb, y, w)
            size = {"macs": len(w) * rgb.weight.numel() * side**2,
                    "values": y.numel() + 3 * len(w) * side**2}
            textbook = partial(textbook_rgb, rgb, y, w)
            yield f"torgb {side}px", size, by_form(ours, textbook, asked)


def by_form(ours: Work, textbook: Work, asked: list[str]) -> dict[str, Work]:
    """One layer in the forms asked for; compiling single layers says little and takes long."""

    def under(impl: str) -> Work:
        def work() -> torch.Tensor:
            with implementation(impl):
                return ours()
        return work

    every = {"triton": under("triton"), "reference": under("reference"), "textbook": textbook}
    return {name: every[name] for name in asked if name in every}


@torch.no_grad()
def measure(
    what: dict, work: dict[str, Work], size: dict, kind: str, top: dict, device: torch.device,
    seconds: float,
) -> list[dict]:
    """Check and time one piece of work in all its forms; return the rows."""
    rows = []
    with arithmetic("float32", device):
        truth = work.get("reference", next(iter(work.values())))().double()
    for form, function in work.items():
        with arithmetic(kind, device):
            error = (function().double() - truth).norm() / truth.norm()
            if not error <= TOLERANCE[kind]:
                print(f"{what} {form} {kind}: NOT TIMED, differs by {float(error):.1e}")
                continue
            ways = {"eager": function}
            if device.type == "cuda":
                ways["graph"] = replayed(function)
            for way, call in ways.items():
                p20, p50, p80 = quantiles(timed(call, device, seconds))
                row = dict.fromkeys(COLUMNS, "") | what | {
                    "type": kind, "form": form, "way": way, "error": f"{float(error):.1e}",
                    "p20_us": round(1e6 * p20, 1), "p50_us": round(1e6 * p50, 1),
                    "p80_us": round(1e6 * p80, 1), "macs": size.get("macs", ""),
                }
                if size:
                    width = torch.finfo(TYPES[kind]).bits // 8
                    row["share_of_product"] = round(size["macs"] / p50 / top[kind], 3)
                    row["share_of_copy"] = round(width * size["values"] / p50 / top["bytes"], 3)
                rows.append(row)
                print(*row.values(), flush=True)
    return rows


def limits(top: dict[str, float]) -> list[dict]:
    """What the run's copy and products reached, as rows."""
    print("measured limits:", {name: f"{value:.3g}" for name, value in top.items()})
    none = dict.fromkeys(COLUMNS, "")
    return [
        none | {"part": "copy" if name == "bytes" else "product", "type": name,
                "per_second": f"{value:.4g}"}
        for name, value in top.items()
    ]


def machine(device: torch.device) -> dict[str, str]:
    """The GPU and what drives it."""
    about = {"gpu": "", "driver": "", "triton": metadata.version("triton")}
    if device.type == "cuda":
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        about |= {"gpu": torch.cuda.get_device_name(device), "driver": driver.split()[0]}
    return about


def run(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """All cases asked for."""
    top = roofline(device)
    rows = limits(top)
    for name in args.networks:
        g = make(name, device)
        for batch in args.batches:
            w = torch.randn(batch, g.config.w_dim, device=device)
            for kind in args.types:
                what = {"network": name, "batch": batch}
                if "layers" in args.parts:
                    for layer, size, work in layers(g, w, args.forms):
                        case = what | {"part": layer}
                        with frozen_weights():
                            rows += measure(case, work, size, kind, top, device, args.seconds)
                work = forms(g, w, args.forms)
                if "inference" in args.parts:
                    with frozen_weights():
                        case = what | {"part": "inference"}
                        rows += measure(case, work, {}, kind, top, device, args.seconds)
                if "training" in args.parts:
                    steps = {form: training(call, g) for form, call in work.items()}
                    case = what | {"part": "training"}
                    rows += trained(case, steps, kind, device, args.seconds)
    return rows


def trained(
    what: dict, steps: dict[str, Work], kind: str, device: torch.device, seconds: float
) -> list[dict]:
    """Time forward and backward; here the loss must agree, gradients in the tests."""
    rows = []
    with arithmetic("float32", device):
        truth = steps.get("reference", next(iter(steps.values())))().item()
    for form, step in steps.items():
        with arithmetic(kind, device):
            error = abs(step().item() / truth - 1)
            if not error <= TOLERANCE[kind]:
                print(f"{what} {form} {kind}: NOT TIMED, loss differs by {error:.1e}")
                continue
            p20, p50, p80 = quantiles(timed(step, device, seconds))
        row = dict.fromkeys(COLUMNS, "") | what | {
            "type": kind, "form": form, "way": "eager", "error": f"{error:.1e}",
            "p20_us": round(1e6 * p20, 1), "p50_us": round(1e6 * p50, 1),
            "p80_us": round(1e6 * p80, 1),
        }
        rows.append(row)
        print(*row.values(), flush=True)
    return rows


def main(given: list[str] | None = None) -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    common_options(parser, "modulated_conv_gpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["full-256",
                                                                           "pruned-256"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--parts", nargs="+", choices=("layers", "inference", "training"),
                        default=["layers", "inference", "training"])
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args(given)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("this benchmark needs an NVIDIA GPU; torch sees none")
    about = machine(device)
    append([about | row for row in run(args, device)], args.csv)


if __name__ == "__main__":
    main()
