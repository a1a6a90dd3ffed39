"""What a training run is told, and what it is at a moment: config and state.

A run has two phases. Steps below `warm_start` regress the generator onto rendered portraits; the
rest are adversarial. Everything random in step s is drawn from one generator seeded with
(seed, s), and real images are a function of their position, so config, step, weights, optimiser
moments and the running path length are the whole state: a resumed run continues bit for bit on the
same machine. Chapter 8.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from .adversarial import LOSSES, lazy_adam
from .images import mixed_seed
from .protocol import PrunableGenerator, Shapes

KIND = "cagc-training-state"
_AT_LEAST_ONE = (
    "batch_size", "d_steps", "path_shrink", "log_every", "sample_every", "checkpoint_every",
)
# what SN-GAN has no use for, and must not be asked for: its z stand for no portraits, an image has
# one w to mix, and a regulariser of w that never runs would still shrink Adam's rate
_STYLEGAN2_ONLY = ("warm_start", "anchor", "path_weight", "path_interval", "style_mixing")
# what a saved state holds beside its kind and the configs
_NUMBERS = {"step": (int,), "seconds": (int, float)}
_NETWORKS = ("generator", "average", "discriminator")
_OPTIMISERS = ("g_optimiser", "d_optimiser")
_CHOICES = {
    "autocast": ("off", "bfloat16"),
    "loss": tuple(LOSSES),
    "lr_decay": ("none", "linear"),
}
# Miyato et al. 2018, section 4 and the authors' code; the statistics of a batch include no other's
SNGAN_RECIPE = {
    "batch_size": 64, "loss": "hinge", "g_lr": 2e-4, "d_lr": 2e-4, "adam_beta2": 0.9,
    "lr_decay": "linear", "d_steps": 5, "r1_gamma": 0.0, "r1_interval": 0, "path_weight": 0.0,
    "path_interval": 0, "style_mixing": 0.0,
}


@dataclass(frozen=True)
class TrainConfig:
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
        data: "portraits" or a folder of images.
        first_seed, pool: which portraits, see `images.RenderedPortraits`.
        flip: mirror every other real image.
        autocast: "off" or "bfloat16"; the regularisers always run in float32.
        compile: run the networks through torch.compile, except in the regularisers and but for
            a discriminator with spectral norm.
        seed: decides every random draw.
        log_every, sample_every, checkpoint_every: in steps.
    """

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
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (bool, str):
                if type(value) is not field.type:
                    name = field.type.__name__
                    raise ValueError(f"{field.name}: got {value!r}, expected a {name}")
                continue
            low = 1 if field.name in _AT_LEAST_ONE else 0
            number = type(value) is int or (field.type is float and type(value) is float)
            if not number or not low <= value < math.inf:
                kind = "an integer" if field.type is int else "a number"
                raise ValueError(f"{field.name}: got {value!r}, expected {kind} >= {low}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                got = getattr(self, name)
                raise ValueError(f"{name}: got {got!r}, expected {' or '.join(known)}")
        if self.warm_start_coarse > self.warm_start:
            raise ValueError(
                f"warm_start_coarse: got {self.warm_start_coarse}, expected at most warm_start, "
                f"{self.warm_start}"
            )
        for name in ("style_mixing", "path_decay", "warm_start_background", "adam_beta2"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected 0 to 1")
        self._check_images()

    def _check_images(self) -> None:
        """Refuse a run that ends before the generator's first step: it would look like a result."""
        first = (self.d_head_start // self.d_steps + 1) * self.d_steps
        least = (first - 1) * self.batch_size + 1
        if self.images < least and not (self.warm_start and not self.images):
            expected = f"{'0 or ' if self.warm_start else ''}at least {least}"
            raise ValueError(
                f"images: got {self.images}, expected {expected}: the generator first learns in "
                f"adversarial step {first}, of {self.batch_size} images"
            )

    def check_use(self, generator: Shapes) -> None:
        """Refuse settings that a generator with one w an image, an SN-GAN, has no use for."""
        for name in _STYLEGAN2_ONLY if generator.num_ws == 1 else ():
            if getattr(self, name):
                got = getattr(self, name)
                raise ValueError(f"{name}: got {got}, expected 0 for an SN-GAN")

    @property
    def looks_at_features(self) -> bool:
        """Whether any step takes the perceptual distance to a portrait."""
        regresses = self.warm_start > 0 or (self.anchor > 0 and self.anchor_images > 0)
        return regresses and self.warm_start_perceptual > 0

    @property
    def steps(self) -> int:
        """All steps of the run, warm start included."""
        return self.warm_start + math.ceil(self.images / self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Rebuild a config from `to_dict`'s values; an unknown key is a ValueError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            expected = ", ".join(sorted(known))
            raise ValueError(f"training config: got unknown keys {unknown}, expected {expected}")
        return cls(**values)


class TrainState:
    """Everything that changes while training.

    Attributes:
        generator, discriminator: in training, on `device`.
        average: the generator's moving average, the one to show and to save.
        g_optimiser, d_optimiser: Adam; the first has other rates in the warm start.
        sparse_gains: weights of the generator that Adam leaves to the proximal step.
        mean_path: running mean of the path length, a scalar tensor.
        step: steps done, warm start included.
        seconds: time spent in them, over all resumptions.
    """

    def __init__(
        self, generator: PrunableGenerator, discriminator: nn.Module, config: TrainConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        sides = generator.config.resolution, discriminator.config.resolution
        if sides[0] != sides[1]:
            raise ValueError(f"discriminator: got resolution {sides[1]}, expected {sides[0]}")
        config.check_use(generator.config)
        group = getattr(discriminator.config, "mbstd_group", 1)
        if config.batch_size > group and config.batch_size % group:
            raise ValueError(
                f"batch_size: got {config.batch_size}, expected a multiple of {group}, the "
                "discriminator's mbstd_group"
            )
        self.config = config
        self.device = torch.device(device)
        # channels-last is what the convolutions of both CPU and GPU are fastest in
        place = {"device": self.device, "memory_format": torch.channels_last}
        self.generator = copy.deepcopy(generator).to(**place).train().requires_grad_(True)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.discriminator = copy.deepcopy(discriminator).to(**place).train().requires_grad_(True)
        self.mean_path = torch.zeros([], device=self.device)
        self.step = 0
        self.seconds = 0.0
        # the step at which update_means was last called
        self._means_of = -1
        self.make_optimisers()

    @property
    def warming(self) -> bool:
        """Whether the next step belongs to the warm start."""
        return self.step < self.config.warm_start

    @property
    def images(self) -> int:
        """Real images shown in the adversarial phase so far; also the stream's position."""
        return max(0, self.step - self.config.warm_start) * self.config.batch_size

    @property
    def drawn(self) -> int:
        """Images generated so far, those of the warm start included."""
        warm = self.config.warm_start_batch or self.config.batch_size
        return min(self.step, self.config.warm_start) * warm + self.images

    def rng(self, ahead: int = 0) -> torch.Generator:
        """The source of everything random in the next step, or in one further ahead."""
        draw = torch.Generator(self.device)
        return draw.manual_seed(mixed_seed(self.config.seed, 0, self.step + ahead))

    @property
    def fade(self) -> float:
        """What the adversarial phase's rates are multiplied with in the next step."""
        if self.config.lr_decay == "none":
            return 1.0
        return (self.config.steps - self.step) / (self.config.steps - self.config.warm_start)

    def make_optimisers(self) -> None:
        """Start the phase's optimisers with empty moments."""
        config, g = self.config, self.generator
        self.sparse_gains: list[nn.Parameter] = []
        if config.sparsity:
            self.sparse_gains = g.gain_weights
        self.d_optimiser = lazy_adam(
            self.discriminator.parameters(), config.d_lr, config.r1_interval, config.adam_beta2
        )
        if self.warming:
            groups = [
                {"params": list(g.synthesis.parameters()), "lr": config.warm_start_lr},
                {"params": list(g.mapping.parameters()), "lr": config.warm_start_mapping_lr},
            ]
            self.g_optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        else:
            apart = {id(gain) for gain in self.sparse_gains}
            weights = [weight for weight in g.parameters() if id(weight) not in apart]
            self.g_optimiser = lazy_adam(
                weights, config.g_lr, config.path_interval, config.adam_beta2
            )
        groups = [*self.g_optimiser.param_groups, *self.d_optimiser.param_groups]
        self._rates = [group["lr"] for group in groups]

    def decay_rates(self) -> None:
        """Set the adversarial phase's rates for the next step, a function of the step alone."""
        if self.config.lr_decay == "none":
            return
        groups = [*self.g_optimiser.param_groups, *self.d_optimiser.param_groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * self.fade

    def update_means(self) -> None:
        """Set what the average generator's weights and latents decide: w_avg or statistics."""
        if self._means_of == self.step:
            return
        draw = torch.Generator().manual_seed(mixed_seed(self.config.seed, 3))
        z = torch.randn(self.average.mean_samples, self.average.config.z_dim, generator=draw)
        self.average.update_means(z.to(self.device))
        self._means_of = self.step

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values, for `save_training_state`."""
        return {
            "kind": KIND,
            "config": self.config.to_dict(),
            "generator_config": self.generator.config.to_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "mean_path": self.mean_path,
            "generator": dict(self.generator.state_dict()),
            "average": dict(self.average.state_dict()),
            "discriminator": dict(self.discriminator.state_dict()),
            "g_optimiser": self.g_optimiser.state_dict(),
            "d_optimiser": self.d_optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            ValueError: a state of other networks, a damaged one, or not a training state.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"training state: got a {type(state).__name__}, expected a dict")
        if state.get("kind") != KIND:
            got = _one_line(repr(state.get("kind")))
            raise ValueError(f"training state: got kind {got}, expected {KIND!r}")
        for name in ("generator_config", *_NUMBERS, "mean_path", *_NETWORKS, *_OPTIMISERS):
            if name not in state:
                raise ValueError(f"training state: got no {name}, expected one")
        got, expected = state["generator_config"], self.generator.config.to_dict()
        if got != expected:
            raise ValueError(f"training state: made for {_one_line(str(got))}, expected {expected}")
        for name, kinds in _NUMBERS.items():
            value = state[name]
            if type(value) not in kinds or not 0 <= value < math.inf:
                kind = " or ".join(kind.__name__ for kind in kinds)
                value = _one_line(repr(value))
                raise ValueError(f"training state: got {name} {value}, expected an {kind} >= 0")
        self.step, self.seconds = state["step"], state["seconds"]
        self.make_optimisers()
        loaders = {
            "mean_path": self.mean_path.copy_,
            **{name: getattr(self, name).load_state_dict for name in _NETWORKS},
            **{name: partial(_load_adam, getattr(self, name)) for name in _OPTIMISERS},
        }
        for name, load in loaders.items():
            try:
                load(state[name])
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
                reason = _one_line(f"{type(error).__name__}: {error}")
                raise ValueError(f"training state: {name} is damaged ({reason})") from None


def _one_line(text: str) -> str:
    """Torch's reasons have many lines, and with names out of a file they may hold anything."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else " " for c in words)[:400]


def _load_adam(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load Adam's state; what torch takes unseen and its next step would fail on, fails here."""
    names = [set(group) for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, expected in zip(optimiser.param_groups, names, strict=True):
        if missing := sorted(expected - set(group)):
            raise KeyError(missing[0])
    for weight, moments in optimiser.state.items():
        shapes = [list(moments[name].shape) for name in ("exp_avg", "exp_avg_sq", "step")]
        expected = [list(weight.shape)] * 2 + [[]]
        if shapes != expected:
            raise ValueError(f"got moments of shapes {shapes}, expected {expected}")
