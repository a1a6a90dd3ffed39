"""How smooth the way between two images is, how unlike they are, and what the noise maps change.

    path length = mean over pairs of  d(G(w_t), G(w_(t + eps))) / eps^2

with w_t between the two latents of a pair, t uniform, and d the perceptual distance (Karras et al.
2019, arXiv 1812.04948, section 4.1), without the pairs below the 1st and above the 99th percentile.
Both ends share their noise maps. The public CAGC code draws new ones for each end and leaves the
division out: with its eps of 1e-4 what it reports is the distance that noise makes
(`PUBLIC_PATH`). A generator that paints everybody alike has short paths, so a length is read beside
`variety`. Each function returns a value a pair, for the caller's mean and interval. Chapter 10.
"""

import math
from collections.abc import Iterator

import torch

from ..datasets import mixed_seed
from ..networks import (
    ImageFeatures, PrunableGenerator, check, check_positive, evaluating, perceptual_distance,
)
from .evaluate import sample_inputs

EPSILON = 1e-4
# the settings of `path_lengths` that, times EPSILON^2, are the public code's "PPL"
PUBLIC_PATH = {"space": "w", "eps": EPSILON, "shared_noise": False}


@torch.no_grad()
def path_lengths(
    g: PrunableGenerator, features: ImageFeatures, num_pairs: int = 1000, space: str = "w",
    eps: float = EPSILON, ends: str = "full", shared_noise: bool = True, seed: int = 0,
    batch_size: int = 50,
) -> torch.Tensor:
    """Squared speed of the image on the way between two latents, one number a pair.

    Args:
        g: the generator; its features must be on its device.
        features: network of the perceptual distance.
        num_pairs: how many pairs of latents.
        space: "w" goes straight between mapped latents, "z" on the arc between unmapped ones.
        eps: the step, in (0, 0.5].
        ends: "full" takes t from [0, 1 - eps], so that the step ends between the latents, "end"
            takes 0.
        shared_noise: one set of noise maps for both ends of a step; False draws two.
        seed: decides latents, places and noise.
        batch_size: pairs at once; no result depends on it beyond rounding.

    Returns:
        [num_pairs], distances over eps^2, >= 0, on the CPU; `trimmed_mean` makes a number of them.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> g, features = cagc.load_generator("portraits-11x"), cagc.load_features()
        >>> lengths = cagc.path_lengths(g, features, num_pairs=4)
        >>> lengths.shape, bool((lengths > 0).all())
        (torch.Size([4]), True)
    """
    check(space in ("w", "z"), "space", space, "w or z")
    check(ends in ("full", "end"), "ends", ends, "full or end")
    check(0 < eps <= 0.5, "eps", eps, "a number in (0, 0.5]")
    places = torch.Generator().manual_seed(mixed_seed(seed, 6))
    found = []
    for first, second, noise, other in _pairs(g, num_pairs, seed, batch_size):
        t = torch.rand(len(first), 1, generator=places).to(first) * (1 - eps) * (ends == "full")
        if space == "w":
            start, end = g.mapping(first), g.mapping(second)
            near, far = (start.lerp(end, place) for place in (t, t + eps))
        else:
            near, far = (g.mapping(on_arc(first, second, place)) for place in (t, t + eps))
        images = g.synthesis(near, noise), g.synthesis(far, noise if shared_noise else other)
        found.append(perceptual_distance(features, *images) / eps**2)
    return torch.cat(found).cpu()


@torch.no_grad()
def variety(
    g: PrunableGenerator, features: ImageFeatures, num_pairs: int = 1000, seed: int = 0,
    batch_size: int = 50,
) -> torch.Tensor:
    """Perceptual distance between two samples of a generator, [num_pairs]; arguments as above."""
    pairs = _pairs(g, num_pairs, seed, batch_size)
    return torch.cat([
        perceptual_distance(features, _image(g, a, noise), _image(g, b, other))
        for a, b, noise, other in pairs
    ]).cpu()


@torch.no_grad()
def noise_distances(
    g: PrunableGenerator, features: ImageFeatures, num_pairs: int = 1000, seed: int = 0,
    batch_size: int = 50,
) -> torch.Tensor:
    """Perceptual distance between two images of one latent that differ in their noise maps only.

    [num_pairs]; arguments as above. A network without noise maps has 0.
    """
    pairs = _pairs(g, num_pairs, seed, batch_size)
    return torch.cat([
        perceptual_distance(features, _image(g, z, noise), _image(g, z, other))
        for z, _, noise, other in pairs
    ]).cpu()


def trimmed_mean(values: torch.Tensor, share: float = 0.01) -> float:
    """Mean of values [N] without the lowest and the highest share of them, as Karras et al. do.

    Kept are all from the largest value that at most a `share` lies below to the smallest that at
    most a `share` lies above. A share outside [0, 0.5), no value, or one that is not finite is a
    ValueError.

    Example:
        >>> from cagc_lib.metrics import trimmed_mean
        >>> trimmed_mean(torch.tensor([-99.0, *[1.0] * 98, 99.0]))
        1.0
    """
    check(0 <= share < 0.5, "share", share, "a number in [0, 0.5)")
    fits = values.ndim == 1 and len(values) > 0 and bool(values.isfinite().all())
    check(fits, "values", list(values.shape), "[N >= 1] finite numbers")
    ordered = values.double().sort().values
    last = len(ordered) - 1
    low, high = math.floor(share * last), math.ceil((1 - share) * last)
    kept = (ordered >= ordered[low]) & (ordered <= ordered[high])
    return ordered[kept].mean().item()


def on_arc(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
    """Spherical interpolation (Shoemake 1985): on the great circle between a and b, at t.

    Args:
        a, b: [..., D], none of them 0 and no two opposite, whose shortest arc is none.
        t: 0 for a to 1 for b, of any shape that goes with [..., 1].

    Returns:
        [..., D]; the norm changes evenly from that of a to that of b.
    """
    norm_a, norm_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = a / norm_a, b / norm_b
    # unlike the arc cosine this keeps its digits where the two nearly agree
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    # where there is no angle, the arc is the line
    sine = angle.sin()
    still = sine == 0
    sine = sine.where(~still, 1)
    from_a = torch.where(still, 1 - t, ((1 - t) * angle).sin() / sine)
    from_b = torch.where(still, t, (t * angle).sin() / sine)
    return ((1 - t) * norm_a + t * norm_b) * (from_a * u + from_b * v)


def _image(g: PrunableGenerator, z: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
    return g.synthesis(g.mapping(z), noise)


def _pairs(
    g: PrunableGenerator, num_pairs: int, seed: int, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]]:
    """Yield two latents [n, z_dim] a pair and two sets of noise maps, batch by batch."""
    check_positive("num_pairs", num_pairs)
    check_positive("batch_size", batch_size)
    with evaluating(g):
        for z, noise in sample_inputs(g, 2 * num_pairs, seed, 2 * batch_size):
            yield z[::2], z[1::2], [m[::2] for m in noise], [m[1::2] for m in noise]
