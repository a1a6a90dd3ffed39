"""What the warm start regresses onto: the portrait that a latent stands for, and how far it is.

    L = mean over scales 1, 1/2, 1/4, 1/8 of  sum m |a - b| / sum m,   m: the weight of a pixel

The same regression may stay beside the adversarial loss for a while: `TrainConfig.anchor`.
Chapters 2 and 8.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..datasets import parameters_from_latents, render_parameters

WARM_START_SCALES = 4
# warm-start steps whose portraits are drawn together: small images cost their overhead
RENDERED_AHEAD = 32


@dataclass(frozen=True)
class Target:
    """Portraits that latents stand for.

    Attributes:
        images: [N, 3, R, R] in [-1, 1].
        person: [N, 1, R, R], 1 where the person is, 0 elsewhere.
    """

    images: torch.Tensor
    person: torch.Tensor

    @classmethod
    def of(cls, z: torch.Tensor, resolution: int) -> "Target":
        """Render the portraits of latents z [N, z_dim], where z is."""
        portraits = render_parameters(parameters_from_latents(z), resolution, z.device)
        return cls(portraits.images, (portraits.parsing > 0)[:, None].float())


def multiscale_l1(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted mean absolute difference at full, 1/2, 1/4 and 1/8 resolution, averaged; a scalar.

    a, b: [N, 3, R, R]; weight: [N, 1, R, R], >= 0, of each pixel. The coarse terms pull colours and
    large shapes into place where the fine ones only see noise.
    """
    total = torch.zeros((), device=a.device)
    for scale in range(WARM_START_SCALES):
        if scale:
            a, b, weight = (F.avg_pool2d(x, 2) for x in (a, b, weight))
        total = total + ((a - b).abs() * weight).sum() / (a.shape[1] * weight.sum())
    return total / WARM_START_SCALES
