"""How a run is trained: every setting, its default, what it may be.

`TrainConfig` says everything but the networks and the teacher; `SNGAN_RECIPE` is what the authors
of SN-GAN set otherwise. Chapter 8.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from ..networks import Config, Shapes, check
from .adversarial import LOSSES

_AT_LEAST_ONE = (
    "batch_size", "d_steps", "path_shrink", "log_every", "sample_every", "checkpoint_every",
)
# what SN-GAN has no use for, and must not be asked for: its z stand for no portraits, an image has
# one w to mix, and a regulariser of w that never runs would still shrink Adam's rate
_STYLEGAN2_ONLY = ("warm_start", "anchor", "path_weight", "path_interval", "style_mixing")
_CHOICES = {"autocast": ("off", "bfloat16"), "loss": tuple(LOSSES), "lr_decay": ("none", "linear")}
# Miyato et al. 2018, section 4 and the authors' code; the statistics of a batch include no other's
SNGAN_RECIPE = {
    "batch_size": 64, "loss": "hinge", "g_lr": 2e-4, "d_lr": 2e-4, "adam_beta2": 0.9,
    "lr_decay": "linear", "d_steps": 5, "r1_gamma": 0.0, "r1_interval": 0, "path_weight": 0.0,
    "path_interval": 0, "style_mixing": 0.0,
}


@dataclass(frozen=True)
class TrainConfig(Config):
    """How to train; everything but the networks and the teacher.

    Args:
        images: real images shown in the adversarial phase, rounded up to whole batches: enough
            for a step of the generator, or 0 for a warm start alone.
        batch_size: images per step.
        loss: "logistic" (StyleGAN2) or "hinge" (SN-GAN).
        g_lr, d_lr: Adam's rates in the adversarial phase, before the correction for lazy
            regularisation.
        adam_beta2: decay of Adam's second moments in the adversarial phase.
        lr_decay: "none", or "linear" to zero over the adversarial phase; `images` then belongs to
            what was computed.
        d_steps: steps of the discriminator for each of the generator.
        r1_gamma, r1_interval: weight of R1 and every how many steps it runs; 0 for never.
        path_weight, path_interval, path_shrink, path_decay: path length regularisation: weight,
            every how many steps (0 for never), divisor of its batch, decay of the mean length.
        style_mixing: probability that a batch mixes two latents.
        average_half_life: half-life in images of the generator's moving average.
        average_rampup: the half-life is at most this share of the images seen so far.
        sparsity: weight of the L1 norm of the generator's gains beside its loss: GAN Slimming's
            training, see `importance.score_channels`. Gains that are weights (SN-GAN) become
            exactly zero where they are not worth that much.
        gains_lr: rate of such gains' own descent while `sparsity` is not 0.
        d_head_start: adversarial steps at the start in which the generator is left alone.
        warm_start: steps of regression onto portraits before the adversarial phase.
        warm_start_coarse: how many of them, at the start, compare 16x16 images only, where a step
            costs a quarter: pose, colours and large shapes are learned there.
        warm_start_lr, warm_start_mapping_lr: Adam's rates there, cosine to zero, anew after
            the coarse steps.
        warm_start_batch: images per step there; 0 for `batch_size`. Small ones learn more from as
            many images.
        warm_start_perceptual: weight of the perceptual distance beside the L1 there, at full
            resolution.
        warm_start_background: weight of a background pixel in the L1 there, 1 for as much as a
            pixel of the person.
        anchor, anchor_images: weight of the warm start's regression beside the adversarial loss,
            fading to zero over that many images: a fresh discriminator would otherwise undo what
            the warm start taught.
        data: "portraits", or a folder or a zip archive of images.
        first_seed, pool: which portraits, see `images.RenderedPortraits`.
        flip: mirror every other real image.
        autocast: "off" or "bfloat16"; the regularisers always run in float32. A processor without
            fast bfloat16 products makes the same numbers in about float32's time.
        compile: run the networks through torch.compile, except in the regularisers and but for
            a discriminator with spectral norm.
        seed: decides every random draw.
        log_every, sample_every, checkpoint_every: in steps.
    """

    what = "training config"
    images: int = 200_000
    batch_size: int = 16
    loss: str = "logistic"
    g_lr: float = 0.002
    d_lr: float = 0.002
    adam_beta2: float = 0.99
    lr_decay: str = "none"
    d_steps: int = 1
    r1_gamma: float = 10.0
    r1_interval: int = 16
    path_weight: float = 2.0
    path_interval: int = 4
    path_shrink: int = 2
    path_decay: float = 0.01
    style_mixing: float = 0.9
    average_half_life: float = 10_000.0
    average_rampup: float = 0.05
    sparsity: float = 0.0
    gains_lr: float = 2.0
    d_head_start: int = 0
    warm_start: int = 0
    warm_start_coarse: int = 0
    warm_start_lr: float = 0.02
    warm_start_mapping_lr: float = 1.0
    warm_start_batch: int = 8
    warm_start_perceptual: float = 1.0
    warm_start_background: float = 0.1
    anchor: float = 0.0
    anchor_images: int = 0
    data: str = "portraits"
    first_seed: int = 0
    pool: int = 0
    flip: bool = False
    autocast: str = "off"
    compile: bool = False
    seed: int = 0
    log_every: int = 20
    sample_every: int = 500
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        self.check_values(_CHOICES, _AT_LEAST_ONE)
        got, most = self.warm_start_coarse, self.warm_start
        check(got <= most, "warm_start_coarse", got, f"at most warm_start, {most}")
        for name in ("style_mixing", "path_decay", "warm_start_background", "adam_beta2"):
            check(getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        # a run that ends before the generator's first step would look like a result
        first = (self.d_head_start // self.d_steps + 1) * self.d_steps
        least = (first - 1) * self.batch_size + 1
        fits = self.images >= least or (self.warm_start and not self.images)
        expected = f"{'0 or ' if self.warm_start else ''}at least {least}"
        why = f"the generator first learns in adversarial step {first}, of {self.batch_size} images"
        check(bool(fits), "images", self.images, f"{expected}: {why}")

    def check_use(self, generator: Shapes) -> None:
        """Refuse settings that a generator with one w an image, an SN-GAN, has no use for."""
        if generator.num_ws == 1:
            check_zero(self, _STYLEGAN2_ONLY, "an SN-GAN")

    @property
    def looks_at_features(self) -> bool:
        """Whether any step takes the perceptual distance to a portrait."""
        regresses = self.warm_start > 0 or (self.anchor > 0 and self.anchor_images > 0)
        return regresses and self.warm_start_perceptual > 0

    @property
    def steps(self) -> int:
        """All steps of the run, warm start included."""
        return self.warm_start + math.ceil(self.images / self.batch_size)


def check_zero(settings: Config, names: Collection[str], whom: str) -> None:
    """Refuse a setting of one of these names that is not 0: `whom` has no use for it."""
    for name in names:
        check(not getattr(settings, name), name, getattr(settings, name), f"0 for {whom}")
