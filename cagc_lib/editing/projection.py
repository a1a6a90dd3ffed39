"""Bringing an image into a generator: projection.

    ws = argmin  mean |G(ws) - I|^2 + d(G(ws), I)     by Adam, from the mean of the mapped latents

with d the perceptual distance; each image on its own. In W all layers share one w, in W+ each has
its own (Abdal et al. 2019, arXiv 1904.03189). The public code of Liu et al. 2021 (arXiv 2104.02244)
projects into W+ with L-BFGS and fits the noise maps as well; here they stay as they are, for what
is drawn into them says nothing about the generator.
"""

import math
from dataclasses import dataclass

import torch
from tqdm import tqdm

from ..networks import Generator, ImageFeatures, check, check_images, perceptual_distance

WARM_UP, WARM_DOWN = 0.05, 0.5


@dataclass(frozen=True, eq=False)
class Projection:
    """Where images lie in a generator's latent space.

    Attributes:
        ws: [N, num_ws, w_dim].
        images: [N, 3, R, R], what the generator makes of them.
        losses: [steps, N], the loss before every step.
    """

    ws: torch.Tensor
    images: torch.Tensor
    losses: torch.Tensor


def project(
    g: Generator, images: torch.Tensor, features: ImageFeatures, space: str = "w+",
    steps: int = 300, lr: float = 0.05, progress: bool = False,
) -> Projection:
    """Find the w's whose images come nearest to the given ones.

    Args:
        g: the generator; not changed. Its stored noise maps are used.
        images: [N, 3, R, R] in [-1, 1], on g's device.
        features: network of the perceptual distance.
        space: "w" or "w+".
        steps: of Adam; the rate rises over the first 5% and falls over the last half.
        lr: the largest rate.
        progress: show a progress bar.

    Raises:
        ValueError: images of another size, an unknown space, steps below 1, a rate not above 0.
    """
    check_images(images, g.config.resolution)
    check(space in ("w", "w+"), "space", space, "one of w, w+")
    check(type(steps) is int and steps >= 1, "steps", steps, "an integer >= 1")
    check(0 < lr < math.inf, "lr", lr, "a number > 0")
    num_ws = g.config.num_ws
    w = mean_w(g).expand(len(images), num_ws if space == "w+" else 1, -1).clone().requires_grad_()
    optimiser = torch.optim.Adam([w], lr=lr, betas=(0.9, 0.99))
    losses = []
    for step in tqdm(range(steps), disable=not progress, unit="step"):
        optimiser.param_groups[0]["lr"] = lr * _fade(step / steps)
        with torch.enable_grad():
            drawn = g.synthesis(w.expand(-1, num_ws, -1), "const")
            distance = perceptual_distance(features, drawn, images)
            loss = (drawn - images).square().mean((1, 2, 3)) + distance
            # only w: the generator's own parameters may require gradients
            (w.grad,) = torch.autograd.grad(loss.sum(), [w])
        optimiser.step()
        losses.append(loss.detach())
    ws = w.detach().expand(-1, num_ws, -1).clone()
    with torch.no_grad():
        return Projection(ws, g.synthesis(ws, "const"), torch.stack(losses))


@torch.no_grad()
def mean_w(g: Generator) -> torch.Tensor:
    """Return the mean [w_dim] of 10,000 mapped latents, the same ones on every call."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(g.mean_samples, g.config.z_dim, generator=draw)
    return g.mapping(z.to(g.w_avg)).mean(0)


def _fade(place: float) -> float:
    """Rate of Karras et al. 2020 (arXiv 1912.04958), appendix D: linear up, cosine down."""
    down = min(1.0, (1 - place) / WARM_DOWN)
    return min(1.0, (place + 0.01) / WARM_UP) * (0.5 - 0.5 * math.cos(math.pi * down))
