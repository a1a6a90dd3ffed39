"""How differently a channel answers to the directions in which a latent can move.

The formulas stand in the room's own text (`importance/__init__.py`). Chung et al. 2024, "Diversity-
aware Channel Pruning for StyleGAN Compression" (arXiv 2403.13548): what all directions move alike
says nothing about variety, so a channel counts by the variance over directions. Numbers as in the
public code (DCP-GAN's prune.py): ten directions for every latent, steps of 5, directions from the
principal components of 10,000 w's, each as likely as the variance it explains. Content plays no
part in it. Four things differ:

- every latent has directions of its own and is scored alone; the code shares ten directions among
  five latents and takes |gradient| of the five's sum;
- both images have the same noise maps; in the code each draws its own, which adds a difference
  that no direction made;
- pixels that differ by less than `gradients.REPLACED` of the largest magnitude do not count;
- 400 latents are our default, the code's 5,000.

The gradient goes through both images, as it does in the code: the attribute by which it means to
stop one of them has no effect in PyTorch. So a channel that no direction moves scores 0.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..networks import PrunableGenerator, check, first_parameter
from .gradients import differentiable_image, mean_gradients
from .samples import Batches, draw_samples, zeros

# per latent, how many directions it is moved along, and how far
DIRECTIONS, STRENGTH = 10, 5.0
# how many w's tell the directions
LATENTS = 10_000


def diversity(g: PrunableGenerator, batches: Batches, seed: int, noise: str) -> list[Tensor]:
    """Sum over z of the variance over directions of mean |dL / dW[:, c]|, [C_k] per width.

    Every sample is scored alone: how they are batched changes nothing, to the bit.
    """
    totals = zeros(g)
    directions, shares = principal_directions(g)
    directions = directions.to(first_parameter(g))
    for index in (index for batch in batches for index in batch):
        z, maps, (draw,) = draw_samples(g, range(index, index + 1), seed, noise)
        with torch.no_grad():
            w = g.mapping(z)
        drawn = torch.multinomial(shares, DIRECTIONS, replacement=True, generator=draw).tolist()
        # one drawn twice counts twice, and is computed once
        answers = {d: direction_scores(g, w, directions[d], maps) for d in {*drawn}}
        for k, total in enumerate(totals):
            scores = torch.stack([answers[d][k] for d in drawn])
            total += scores.double().var(dim=0, correction=0)
    return totals


def direction_scores(
    g: PrunableGenerator, w: Tensor, direction: Tensor, noise: str | Sequence[Tensor]
) -> list[Tensor]:
    """Per width, mean |dL / dW[:, c]| of L = sum |G(w + 5 direction) - G(w)|.

    w is [1, w_dim], the direction [w_dim]; noise maps are [1, 1, side, side], for both images.
    """
    images, weights = differentiable_image(g, torch.cat([w, w + STRENGTH * direction]), noise)
    # each image is the other's target, which is L's gradient through both
    return mean_gradients(images, images.detach().flip(0), weights)


def principal_directions(
    g: PrunableGenerator, num_samples: int = LATENTS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Find the principal directions of a generator's w, from latents that the seed decides.

    In an SN-GAN, whose w is z, all directions are nearly alike.

    Returns:
        Unit vectors [w_dim, w_dim], a row each, the one that explains the most variance first, and
        the share [w_dim] of the variance that each explains; float64, on the CPU.

    Raises:
        ValueError: the w's do not differ, or are not finite.
    """
    z = torch.randn(num_samples, g.config.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        w = g.mapping(z.to(first_parameter(g))).cpu().double()
    w = w - w.mean(dim=0)
    spread = w.square().sum().item()
    check(0 < spread < math.inf, "variance of w", spread, "a number above 0")
    variances, directions = falling_eigenvectors(w.T @ w)
    return directions, variances / spread


def falling_eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [D] of a positive semi-definite matrix [D, D], largest first, and their vectors.

    The vectors are rows [D, D], each with its largest coordinate positive: of an eigenvector's two
    signs a solver returns either.
    """
    values, columns = torch.linalg.eigh(matrix)
    vectors = columns.T.flip(0)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return values.flip(0).clamp(min=0), vectors * largest.sign()


def content_diversity(aware: Sequence[Tensor], diverse: Sequence[Tensor]) -> list[Tensor]:
    """Multiply content-aware scores and deviations, each in units of its own width's mean.

    The root of the diversity scores is a gradient, as the content-aware scores are; a product with
    the variance itself would rank nearly as the variance does.
    """
    pairs = zip(aware, diverse, strict=True)
    return [_relative(content) * _relative(variance.sqrt()) for content, variance in pairs]


def _relative(scores: Tensor) -> Tensor:
    # a width without any score keeps its zeros
    return scores / scores.mean().clamp(min=torch.finfo(scores.dtype).tiny)
