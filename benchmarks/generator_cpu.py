"""How much faster is our synthesis network than the textbook form on a CPU?

    python benchmarks/generator_cpu.py [--networks full pruned] [--batches 1 8] [--rounds 5]

Textbook: what the public code does where it has no GPU kernels - weights built for every sample
and one grouped convolution for the batch, a transposed convolution followed by a separate FIR that
sees N * C images of one channel, noise, bias, activation and gain each as a pass of its own.
Ours runs eager, compiled (inductor, freezing) and compiled in bfloat16. Every form first has to
agree with the textbook's images; a form that does not is reported and never timed. All forms of a
case take turns within one run, so that a busy machine slows them alike; p20, p50 and p80 of the
rounds are printed and appended to data/benchmarks/generator_cpu.csv. Chapters 3 and 7.
"""

import pathlib
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, arguments, quantiles

from cagc_lib.networks import Generator, GeneratorConfig, StyledConv, ToRGB

RESOLUTION = 256
NETWORKS = {
    "full": (512,) * 10 + (256,) * 2 + (128,) * 2,
    "pruned": (154,) * 10 + (77,) * 2 + (39,) * 2,
}
MODES = ("textbook", "eager", "compiled", "compiled bfloat16")
TOLERANCE = {"eager": 1e-4, "compiled": 1e-4, "compiled bfloat16": 3e-2}


def textbook_fir(
    x: torch.Tensor, f: torch.Tensor, up: int, before: int, after: int
) -> torch.Tensor:
    """Zero insertion and FIR of every channel as an image of its own: [N, C, H, W] -> same."""
    n, c, h, w = x.shape
    x = x.reshape(n * c, 1, h, 1, w, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(n * c, 1, h * up, w * up)
    x = F.pad(x, (before, after, before, after))
    x = F.conv2d(x, torch.outer(f, f).flip(0, 1)[None, None] * up**2)
    return x.reshape(n, c, *x.shape[2:])


def textbook_modulate(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulate: bool, up: int
) -> torch.Tensor:
    """Modulated convolution with one kernel per sample, as N groups of one convolution."""
    n, c, h, w = x.shape
    outputs, k = len(weight), weight.shape[2]
    kernels = weight[None] * styles[:, None, :, None, None]  # [N, O, I, k, k]
    if demodulate:
        kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * c, h, w)
    if up == 1:
        x = F.conv2d(x, kernels.reshape(n * outputs, c, k, k), padding=k // 2, groups=n)
        return x.reshape(n, outputs, h, w)
    kernels = kernels.transpose(1, 2).reshape(n * c, outputs, k, k)
    x = F.conv_transpose2d(x, kernels, stride=2, groups=n)
    return x.reshape(n, outputs, 2 * h + 1, 2 * w + 1)


def textbook_conv(
    layer: StyledConv, x: torch.Tensor, w: torch.Tensor, f: torch.Tensor
) -> torch.Tensor:
    """One styled convolution: every step a pass over memory."""
    x = textbook_modulate(x, layer.weight, layer.affine(w), True, layer.up)
    if layer.up == 2:
        x = textbook_fir(x, 2 * f, 1, 1, 1)
    x = x + layer.noise_strength * layer.noise_const
    x = x + layer.bias[None, :, None, None]
    return F.leaky_relu(x, 0.2) * 2**0.5


def textbook_rgb(layer: ToRGB, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """One RGB layer."""
    styles = layer.affine(w) * layer.gain
    return textbook_modulate(x, layer.weight, styles, False, 1) + layer.bias[None, :, None, None]


def textbook_synthesis(g: Generator, w: torch.Tensor) -> torch.Tensor:
    """Render [N, 3, R, R] from w [N, w_dim], with our parameters and the stored noise."""
    net, f = g.synthesis, g.synthesis.resample_filter
    x = net.const.repeat(len(w), 1, 1, 1)
    rgb = None
    for k, layer in enumerate(net.convs):
        x = textbook_conv(layer, x, w, f)
        if k % 2 == 0:
            y = textbook_rgb(net.torgbs[k // 2], x, w)
            rgb = y if rgb is None else textbook_fir(rgb, f, 2, 2, 1) + y
    return rgb


def make_generator(name: str) -> Generator:
    """Build the named network with random weights, noise strengths and biases."""
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(RESOLUTION, NETWORKS[name])).eval().requires_grad_(False)
    for key, p in g.synthesis.named_parameters():
        if key.endswith(("bias", "noise_strength")) and "affine" not in key:
            p.copy_(0.1 * torch.randn_like(p))
    return g


def forms(g: Generator, modes: list[str]) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the functions w -> images that are to be compared, textbook first."""

    def lowered(w: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return g.synthesis(w)

    def compiled(function: Callable) -> Callable:
        return torch.compile(function, fullgraph=True, dynamic=False)

    return {
        mode: function
        for mode, function in {
            "textbook": lambda w: textbook_synthesis(g, w),
            "eager": g.synthesis,
            "compiled": compiled(g.synthesis),
            "compiled bfloat16": compiled(lowered),
        }.items()
        if mode in modes
    }


def compare(name: str, batch: int, modes: list[str], rounds: int) -> list[dict]:
    """Check every form, then time all of them in turn; one row a form."""
    g = make_generator(name)
    w = g.mapping(torch.randn(batch, g.config.z_dim, generator=torch.Generator().manual_seed(1)))
    candidates = forms(g, ["textbook", *modes])
    truth = textbook_synthesis(g, w)
    errors = {}
    for mode, function in list(candidates.items()):
        error = float((function(w).float() - truth).abs().max() / truth.abs().max())
        errors[mode] = error
        if not error <= TOLERANCE.get(mode, 0):
            print(f"{name} batch {batch} {mode}: NOT TIMED, differs by {error:.1e} "
                  f"(allowed {TOLERANCE[mode]:.0e})")
            del candidates[mode]
    times: dict[str, list[float]] = {mode: [] for mode in candidates}
    for _ in range(rounds):
        for mode, function in candidates.items():
            start = time.perf_counter()
            function(w)
            times[mode].append(time.perf_counter() - start)
    rows = []
    for mode, seconds in times.items():
        p20, p50, p80 = quantiles(seconds)
        speedup = float(torch.tensor(times["textbook"]).median()) / p50
        print(f"{name:7s} batch {batch} {mode:18s} {p50 * 1e3:8.1f} ms  ({p20 * 1e3:.1f} .. "
              f"{p80 * 1e3:.1f})  {speedup:5.2f}x  error {errors[mode]:.1e}", flush=True)
        rows.append({
            "resolution": RESOLUTION, "rounds": rounds, "network": name, "batch": batch,
            "mode": mode, "p20_ms": round(p20 * 1e3, 2), "p50_ms": round(p50 * 1e3, 2),
            "p80_ms": round(p80 * 1e3, 2),
            "speedup": round(speedup, 3), "max_relative_error": f"{errors[mode]:.1e}",
        })
    return rows


@torch.no_grad()
def main() -> None:
    """Run the cases asked for."""
    parser = arguments(__doc__, __file__, torch.get_num_threads())
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--modes", nargs="+", choices=MODES[1:], default=list(MODES[1:]))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # the weights are constants here: inductor may lay them out once for its convolutions
    torch._inductor.config.freezing = True
    rows = []
    for name in args.networks:
        for batch in args.batches:
            rows += compare(name, batch, args.modes, args.rounds)
    append(rows, args.csv)


if __name__ == "__main__":
    main()
