"""Latents mixed, morphed and truncated: what an edit starts from.

    style mixing    ws of A for the layers below the crossover, ws of B from there on
    lerp            a + t (b - a)                                     for w, ws or z
    slerp           |.| (sin((1 - t) o) a/|a| + sin(t o) b/|b|) / sin o, o their angle     for z
    truncation      w_avg + psi (w - w_avg)                           in the layers below a cutoff

Style mixing and truncation: Karras et al. 2019 (arXiv 1812.04948), sections 3.1 and B. Spherical
interpolation: Shoemake 1985; White 2016 (arXiv 1609.04468) on why z wants it: normal latents of
many dimensions lie near a sphere, and a straight line cuts through its empty inside. A mapping
network that starts with z / |z|, as StyleGAN2's, sees only where on the sphere. Chapter 11.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..metrics import on_arc, sample_inputs
from ..networks import Generator, PrunableGenerator, check, check_positive, first_parameter

# the cosine of an angle a thousandth short of 180 degrees
OPPOSITE = math.cos(math.pi - 1e-3)


@torch.no_grad()
def map_latents(g: PrunableGenerator, z: torch.Tensor) -> torch.Tensor:
    """Map z [N, z_dim] to a w for every layer, ws [N, num_ws, w_dim], all alike.

    A network without a mapping, an SN-GAN, has one layer, whose w is z.

    Example:
        >>> from cagc_lib.editing import map_latents
        >>> map_latents(cagc.load_generator("portraits"), torch.zeros(2, 128)).shape
        torch.Size([2, 10, 256])
    """
    w = g.mapping(z.to(first_parameter(g)))
    return w[:, None].repeat(1, g.config.num_ws, 1)


@torch.no_grad()
def draw_w(g: PrunableGenerator, num_samples: int, seed: int) -> torch.Tensor:
    """Map latents drawn from a seed: w [num_samples, w_dim], float64, on the CPU."""
    check(type(num_samples) is int and num_samples >= 2, "num_samples", num_samples, ">= 2")
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(num_samples, g.config.z_dim, generator=draw)
    return g.mapping(z.to(first_parameter(g))).double().cpu()


def draw_inputs(
    g: PrunableGenerator, num_samples: int, seed: int, batch_size: int, progress: bool
) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    """The z and noise maps of `sample_inputs`, in g's own precision, behind a progress bar."""
    check_positive("num_samples", num_samples)
    check_positive("batch_size", batch_size)
    inputs = sample_inputs(g, num_samples, seed, batch_size)
    total = math.ceil(num_samples / batch_size)
    for z, noise in tqdm(inputs, total=total, disable=not progress, unit="batch"):
        yield z.to(first_parameter(g)), [m.to(first_parameter(g)) for m in noise]


def mix_styles(a: torch.Tensor, b: torch.Tensor, crossover: int) -> torch.Tensor:
    """Take the coarse styles of A and the fine ones of B.

    Args:
        a, b: ws [N, num_ws, w_dim], a w for every layer, of one shape.
        crossover: the first layer that takes B's w, 1 to num_ws - 1.

    Raises:
        ValueError: other shapes, one layer only (an SN-GAN's), or a crossover out of range.

    Example:
        >>> from cagc_lib.editing import map_latents, mix_styles
        >>> g = cagc.load_generator("portraits")
        >>> a, b = map_latents(g, torch.randn(2, 1, 128)[0]), map_latents(g, torch.randn(1, 128))
        >>> g.synthesis(mix_styles(a, b, 4)).shape
        torch.Size([1, 3, 64, 64])
    """
    fits = a.ndim == 3 and a.shape[1] >= 2
    check(fits, "a", list(a.shape), "[N, num_ws, w_dim] with a w for two layers or more")
    check(a.shape == b.shape, "b", list(b.shape), f"the shape of a, {list(a.shape)}")
    last = a.shape[1] - 1
    fits = type(crossover) is int and 1 <= crossover <= last
    check(fits, "crossover", crossover, f"an integer, 1 to {last}")
    return torch.cat([a[:, :crossover], b[:, crossover:]], dim=1)


def lerp(a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
    """Go from a to b along a straight line.

    Args:
        a, b: w [N, w_dim], ws [N, num_ws, w_dim] or z [N, z_dim], of one shape.
        steps: how many points, both ends among them, >= 2.

    Returns:
        [steps, *shape]; the first is a, the last b.

    Raises:
        ValueError: the shapes differ, or fewer than two steps.
    """
    t = _times(a, b, steps)
    return (1 - t) * a + t * b


def slerp(a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
    """Go from a to b along a great circle, at one speed; the norm changes evenly.

    Args:
        a, b: z [N, z_dim], of one shape, none of them 0.
        steps: how many points, both ends among them, >= 2.

    Returns:
        [steps, N, z_dim]; the first is a, the last b. Where |a| = |b|, all have that norm.

    Raises:
        ValueError: the shapes differ, fewer than two steps, a latent of 0, or opposite ones,
            between which no great circle is the shortest.

    Example:
        >>> from cagc_lib.editing import slerp
        >>> slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 3)[1]
        tensor([[1.4142, 1.4142]])
    """
    t = _times(a, b, steps)
    norms = torch.minimum(a.norm(dim=-1), b.norm(dim=-1))
    check(norms.min().item() > 0, "a, b", "a latent of norm 0", "latents with a direction")
    opposite = F.cosine_similarity(a, b, dim=-1).min().item() < OPPOSITE
    check(not opposite, "a, b", "opposite latents", "an angle below 180 degrees")
    return on_arc(a, b, t)


def _times(a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
    """Times 0 to 1, [steps, 1, ..., 1], of a's type; refuses what cannot be morphed."""
    check(a.shape == b.shape, "b", list(b.shape), f"the shape of a, {list(a.shape)}")
    check(type(steps) is int and steps >= 2, "steps", steps, "an integer >= 2")
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
    return t.reshape(-1, *[1] * a.ndim)


def truncate(
    g: Generator, ws: torch.Tensor, psi: float, cutoff: int | None = None
) -> torch.Tensor:
    """Pull w's towards the mean: `g.w_avg` for psi 0, unchanged for psi 1.

    Args:
        g: a generator with a mapping network; its `w_avg` is the centre, as in `g(z, psi)`.
        ws: [N, num_ws, w_dim].
        psi: how much of the distance to the mean stays.
        cutoff: only layers below it, 0 to num_ws; None: all.

    Raises:
        ValueError: a network without mapped w's, ws of another shape, psi that is not finite, a
            cutoff out of range.
    """
    check_mapped(g)
    check_ws(ws, g.config.num_ws, g.config.w_dim)
    check(math.isfinite(psi), "psi", psi, "a finite number")
    last = g.config.num_ws
    fits = cutoff is None or (type(cutoff) is int and 0 <= cutoff <= last)
    check(fits, "cutoff", cutoff, f"None or an integer, 0 to {last}")
    pulled = g.w_avg.lerp(ws, psi)
    cutoff = last if cutoff is None else cutoff
    return torch.cat([pulled[:, :cutoff], ws[:, cutoff:]], dim=1)


def check_mapped(g: object) -> None:
    """Refuse, in one line, a network whose w's no mapping network makes."""
    expected = "a StyleGAN2 Generator, whose mapping network makes w's"
    check(isinstance(g, Generator), "g", type(g).__name__, expected)


def check_ws(ws: torch.Tensor, num_ws: int, w_dim: int) -> None:
    """Refuse, in one line, ws that are not [N, num_ws, w_dim]."""
    fits = ws.ndim == 3 and ws.shape[1:] == (num_ws, w_dim)
    check(fits, "ws", list(ws.shape), f"[N, {num_ws}, {w_dim}]")
