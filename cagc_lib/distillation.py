"""What the student learns from its teacher: losses on the content, from the same latents.

    l1         = mean over all pixels of |m T - m S|
    perceptual = mean over images of d(m T, m S), d from the feature network
    rgb        = sum over the smaller resolutions r of mean |m_r T_r - m_r S_r|
    relation   = sum over feature maps of the mean over i of KL(p_T(. | i) || p_S(. | i)),
                 p(. | i) = softmax over j of cos(f(i), f(j'))

T, S: the images [N, 3, R, R] of teacher and student, m: the content mask [N, 1, R, R] of the
teacher's image, T_r: the running RGB sum after resolution r, m_r: the mask averaged over r's
pixels. Liu et al. 2021 (arXiv 2104.02244), section 3.3; weights 3 and 3 as in the public code,
whose intermediate mode forgets the mask where this one keeps it.

f(i): a feature map of image i times its mask, f(j'): that of image j after its w has moved along a
direction, the same for both networks. Xu et al. 2022, "Mind the Gap in Distilling StyleGANs" (arXiv
2208.08840), with numbers of their public code, StyleKD: a standard normal number times 5 along one
of 25 directions, the KL divergence, weight 30. That code takes f from inside the generators and
their directions from the weights that make the styles; here f comes from the feature network, where
a mask can stand before it, and the directions are the principal ones of w, each as likely as the
variance it explains. Chapter 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .content import check_mask
from .networks import Config, ImageFeatures, at_most_256, check, perceptual_distance


@dataclass(frozen=True)
class DistillationConfig(Config):
    """Which losses tie the student to its teacher.

    Args:
        l1: weight of the pixel loss.
        perceptual: weight of the feature loss.
        rgb: weight of the pixel loss on the RGB sums below full resolution; equal to `l1`, the
            two together are the public code's intermediate mode.
        adversarial: weight of the generator's adversarial loss.
        mask_content: compare inside the content only, or (False) everywhere.
        noise: "independent" draws noise maps for teacher and student apart, as the public code
            does; "shared" gives both the same.
        init: "inherited" starts from the teacher's kept weights, "fresh" from new weights in a
            network of the same widths.
        relation: weight of the loss on how images resemble those of moved latents. It takes half a
            batch more of both networks, and w's that are the teacher's.
    """

    what = "distillation config"
    l1: float = 3.0
    perceptual: float = 3.0
    rgb: float = 0.0
    adversarial: float = 1.0
    mask_content: bool = True
    noise: str = "independent"
    init: str = "inherited"
    relation: float = 0.0

    def __post_init__(self) -> None:
        self.check_values({"noise": ("independent", "shared"), "init": ("inherited", "fresh")})
        # the teacher's directions lead nowhere in a w that a new mapping makes
        fits = not self.relation or self.init == "inherited"
        check(fits, "relation", self.relation, "0 where init is fresh")

    @property
    def looks_at_features(self) -> bool:
        """Whether any loss needs the feature network."""
        return bool(self.perceptual or self.relation)


def distillation_losses(
    teacher_rgbs: list[torch.Tensor], student_rgbs: list[torch.Tensor], mask: torch.Tensor | None,
    config: DistillationConfig, features: ImageFeatures | None = None,
) -> dict[str, torch.Tensor]:
    """Compare a student's images to its teacher's.

    Args:
        teacher_rgbs: running RGB sums [N, 3, r, r], smallest first, the image last; or only the
            image, where `config.rgb` is 0. Not differentiated.
        student_rgbs: the same of the student.
        mask: content of the teacher's image, bool [N, 1, R, R]; None compares every pixel.
        config: losses of weight 0 are not computed; `mask_content=False` ignores the mask.
        features: the feature network, needed where `config.perceptual` is not 0.

    Returns:
        Name -> unweighted scalar, for the losses whose weight is not 0, but for the relation: it
        wants images of moved latents, see `relation_loss`.

    Raises:
        ValueError: shapes that do not fit, a mask that is not a content mask, features missing.
    """
    shapes = [[list(x.shape) for x in rgbs] for rgbs in (teacher_rgbs, student_rgbs)]
    if not teacher_rgbs or shapes[0] != shapes[1]:
        raise ValueError(f"student_rgbs: got shapes {shapes[1]}, expected {shapes[0]}")
    teacher = [x.detach().float() for x in teacher_rgbs]
    student = [x.float() for x in student_rgbs]
    if mask is None or not config.mask_content:
        weight = torch.ones_like(teacher[-1][:, :1])
    else:
        weight = check_mask(mask, teacher[-1]).float()

    losses = {}
    if config.l1:
        losses["l1"] = masked_l1(teacher[-1], student[-1], weight)
    if config.perceptual:
        if features is None:
            raise ValueError("features: got None, expected a network, as perceptual is not 0")
        a, b = at_most_256(weight * teacher[-1]), at_most_256(weight * student[-1])
        losses["perceptual"] = perceptual_distance(features, a, b).mean()
    if config.rgb:
        pairs = list(zip(teacher[:-1], student[:-1], strict=True))
        if not pairs:
            raise ValueError("teacher_rgbs: got one image, expected all RGB sums, as rgb is not 0")
        # area averaging keeps the share of content in every coarse pixel
        terms = [masked_l1(a, b, F.adaptive_avg_pool2d(weight, a.shape[2:])) for a, b in pairs]
        losses["rgb"] = torch.stack(terms).sum()
    return losses


def relation_loss(
    teacher_features: Sequence[torch.Tensor], student_features: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Compare how images resemble those of moved latents, in the student's eyes and the teacher's.

    Args:
        teacher_features: one [2N, ...] a feature map: of N images, then of the N images whose
            latents have moved. Not differentiated.
        student_features: as many of as many images; their other sizes may differ.

    Returns:
        A scalar, >= 0 up to rounding: the sum over maps of the mean over the N images of the
        Kullback-Leibler divergence. No feature's length counts, and no rotation of all of them.

    Raises:
        ValueError: no maps, or maps of other or of odd numbers of images.
    """
    sizes, got = [[len(f) for f in maps] for maps in (teacher_features, student_features)]
    if not sizes or sizes != got or any(size % 2 for size in sizes):
        expected = f"{sizes}, of images in pairs"
        raise ValueError(f"student_features: got maps of {got} images, expected {expected}")
    terms = []
    for teacher, student in zip(teacher_features, student_features, strict=True):
        p, q = (_similarities(f).log_softmax(dim=1) for f in (teacher.detach(), student))
        terms.append(F.kl_div(q, p, reduction="batchmean", log_target=True))
    return torch.stack(terms).sum()


def _similarities(features: torch.Tensor) -> torch.Tensor:
    """Cosines [N, N] between the first N features and the last N of [2N, ...]."""
    # of bfloat16 products little of a difference would be left
    with torch.autocast(features.device.type, enabled=False):
        flat = features.flatten(1).to(torch.promote_types(features.dtype, torch.float32))
        # the bound keeps the gradient finite where a mask leaves nothing to see
        still, moved = F.normalize(flat, dim=1, eps=1e-3).chunk(2)
        return still @ moved.T


def weighted_sum(losses: dict[str, torch.Tensor], config: DistillationConfig) -> torch.Tensor:
    """Add losses, by name, with the config's weights."""
    terms = [getattr(config, name) * value for name, value in losses.items()]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def masked_l1(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean over all pixels, masked ones included, as in the public code."""
    return (weight * (a - b)).abs().mean()
