"""The adversarial losses and StyleGAN2's regularisers, as functions without state.

    logistic   D: softplus(D(fake)) + softplus(-D(real))         G: softplus(-D(fake))
    hinge      D: max(0, 1 + D(fake)) + max(0, 1 - D(real))      G: -D(fake)
    path       (|J_w^T y| - a)^2, a a running mean, y white noise per pixel

(Goodfellow et al. 2014; Karras et al. 2020, arXiv 1912.04958, sections 3.1-3.2 and appendix B; the
hinge as in Miyato et al. 2018, arXiv 1802.05957.) R1 lives beside the discriminator. Latents are
[N, z_dim], ws [N, num_ws, w_dim], images [N, 3, R, R] in [-1, 1], logits [N, 1]. Whatever is drawn
at random is drawn from an explicit `rng`, so that a step is a function of its seed. Chapters 8, 12.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """Non-saturating logistic loss of the generator, a scalar."""
    return F.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """Logistic loss of the discriminator, a scalar."""
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def hinge_generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """Hinge loss of the generator, a scalar: it has no end to rise to."""
    return -fake_logits.float().mean()


def hinge_discriminator_loss(
    real_logits: torch.Tensor, fake_logits: torch.Tensor
) -> torch.Tensor:
    """Hinge loss of the discriminator, a scalar: images beyond the margin of 1 do not count."""
    real, fake = 1 - real_logits.float(), 1 + fake_logits.float()
    return F.relu(real).mean() + F.relu(fake).mean()


# name -> losses of generator and discriminator
LOSSES = {
    "logistic": (generator_loss, discriminator_loss),
    "hinge": (hinge_generator_loss, hinge_discriminator_loss),
}


def path_lengths(
    images: torch.Tensor, ws: torch.Tensor, rng: torch.Generator | None = None
) -> torch.Tensor:
    """Length of J_w^T y per image [N]: the root mean square over layers of the gradient's norm.

    `images` are computed from `ws`, one style vector per layer, with the graph kept; `rng` draws y.
    The lengths can be differentiated once more.
    """
    y = torch.randn(images.shape, generator=rng, device=images.device)
    # 1 / sqrt(pixels) makes the length independent of the resolution
    y = y / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images.float() * y).sum(), ws, create_graph=True)
    return gradient.float().square().sum(2).mean(1).sqrt()


@dataclass(frozen=True)
class Latents:
    """What one generated batch is drawn from; teacher and student may share it.

    Attributes:
        z: [2, N, z_dim], two latents an image: the second takes over at layer `crossover`.
        crossover: 1..num_ws; num_ws means no mixing.
    """

    z: torch.Tensor
    crossover: int

    def ws(self, mapping: torch.nn.Module, num_ws: int) -> torch.Tensor:
        """Map and mix: [N, num_ws, w_dim]."""
        n = self.z.shape[1]
        w = mapping(self.z.flatten(0, 1))  # one call maps both: [2N, w_dim]
        first = torch.arange(num_ws, device=w.device) < self.crossover
        return torch.where(first[None, :, None], w[:n, None], w[n:, None])


def draw_latents(n: int, z_dim: int, num_ws: int, mixing: float, rng: torch.Generator) -> Latents:
    """Draw n pairs of latents [z_dim] for images of `num_ws` style vectors, where rng is.

    `mixing` is the probability in [0, 1] that the batch is mixed, at one layer for all of it.
    """
    z = torch.randn(2, n, z_dim, generator=rng, device=rng.device)
    chance = torch.rand((), generator=rng, device=rng.device).item()
    if num_ws == 1:
        # one w makes the whole image: there is no layer to change over at
        return Latents(z, 1)
    layer = torch.randint(1, num_ws, (), generator=rng, device=rng.device).item()
    return Latents(z, int(layer) if chance < mixing else num_ws)


def draw_noise(n: int, sides: Sequence[int], rng: torch.Generator) -> list[torch.Tensor]:
    """Draw the noise maps [N, 1, s, s] of a batch, one for each of a config's `noise_sides`."""
    return [torch.randn(n, 1, s, s, generator=rng, device=rng.device) for s in sides]


@torch.no_grad()
def update_average(
    average: torch.nn.Module, source: torch.nn.Module, images: int, half_life: float
) -> None:
    """Move every parameter of `average` toward `source`: half the way in `half_life` images."""
    parameters = [list(network.parameters()) for network in (average, source)]
    torch._foreach_lerp_(*parameters, 1 - 0.5 ** (images / max(half_life, 1e-8)))


def lazy_adam(
    parameters: Iterable[torch.nn.Parameter], lr: float, interval: int, beta2: float = 0.99
) -> torch.optim.Adam:
    """Adam(betas 0, beta2) corrected for a regulariser that runs every `interval` steps.

    The regulariser's own step makes interval + 1 steps of interval; rate and decay shrink by that
    ratio (Karras et al. 2020, appendix B). `interval` 0 means no regulariser.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(parameters, lr=lr * ratio, betas=(0.0, beta2**ratio), fused=True)
