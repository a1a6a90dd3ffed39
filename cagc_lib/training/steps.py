"""One training step of either phase, on a `TrainState`.

    warm start     G(z) toward the portrait that z stands for, first at 16x16, then at full size:
                   L1 there and at 1/2, 1/4, 1/8 of it and, where asked for, the perceptual distance
    adversarial    D on real and generated images, then G on the same generated images; every few
                   steps R1 on D and path length on G, as steps of their own

One generated batch serves both networks, which saves a fifth of the step. With a teacher the
generator's loss gains the distillation losses, from the same latents and the same mixing layer.
Karras et al. 2020 (arXiv 1912.04958), Liu et al. 2021 (arXiv 2104.02244), section 3.3. Chapter 8.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.utils.parametrize import is_parametrized

from ..content import ContentSource
from ..datasets import MIN_RESOLUTION, ImageSource
from ..distillation import DistillationConfig, distillation_losses, relation_loss, weighted_sum
from ..importance import STRENGTH, principal_directions
from ..networks import (
    ImageFeatures, PrunableGenerator, at_most_256, perceptual_distance, r1_penalty,
)
from ..ops import autocast
from .adversarial import LOSSES, Latents, draw_latents, draw_noise, path_lengths, update_average
from .state import TrainState
from .warm_start import RENDERED_AHEAD, Target, multiscale_l1

Losses = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Lesson:
    """What a student learns from.

    Args:
        teacher: frozen, of the student's resolution, z_dim and number of w's.
        config: the losses.
        content: images -> content mask; None compares everywhere.
        features: the feature network, where a loss looks through it.
    """

    teacher: PrunableGenerator
    config: DistillationConfig
    content: ContentSource | None = None
    features: ImageFeatures | None = None


class Steps:
    """The two kinds of step, bound to a state.

    Args:
        state: advanced in place.
        source: the stream of real images.
        lesson: for a student; None trains without a teacher.
        features: for the warm start's perceptual loss; needed only where its weight is not 0.
    """

    def __init__(
        self, state: TrainState, source: ImageSource, lesson: Lesson | None = None,
        features: ImageFeatures | None = None,
    ) -> None:
        self.state, self.source, self.lesson, self.features = state, source, lesson, features
        self.generator_loss, self.discriminator_loss = LOSSES[state.config.loss]
        self.synthesis: Callable = state.generator.synthesis
        self.discriminator: Callable = state.discriminator
        self.teach: Callable | None = lesson and lesson.teacher.synthesis
        if lesson is not None and lesson.config.relation:
            if lesson.features is None:
                raise ValueError("features: got None, expected a network, as relation is not 0")
            # a function of the teacher alone, so that a resumed run finds them again
            directions, shares = principal_directions(lesson.teacher)
            self.directions = directions.float().to(state.device)
            self.shares = shares.to(state.device)
        self._ahead: list[tuple[torch.Tensor, Target]] = []
        if state.config.compile:
            self.synthesis = torch.compile(self.synthesis, dynamic=False)
            # spectral norm moves its vectors in every forward pass, D(fake) those that D(real)
            # still needs; compiled, a backward pass reads the vectors themselves and not a copy
            if not any(is_parametrized(module) for module in state.discriminator.modules()):
                self.discriminator = torch.compile(self.discriminator, dynamic=False)
            self.teach = self.teach and torch.compile(self.teach, dynamic=False)

    def __call__(self) -> Losses:
        """Do the state's next step and count it; return the losses, name -> scalar."""
        state = self.state
        losses = self._warm_start() if state.warming else self.adversarial()
        state.step += 1
        if state.step == state.config.warm_start:
            # what follows starts from the smoother of the two, with fresh moments; its w_avg stays
            # behind, which is from the last sample or checkpoint, wherever that was
            update_average(state.generator, state.average, 1, 0.0)
            state.make_optimisers()
        return {name: value.detach() for name, value in losses.items()}

    def _autocast(self) -> AbstractContextManager[None]:
        return autocast(self.state.device, self.state.config.autocast == "bfloat16")

    def _warm_start(self) -> Losses:
        state, config, g = self.state, self.state.config, self.state.generator
        full = g.config.resolution
        start, end, resolution = 0, config.warm_start_coarse, min(full, MIN_RESOLUTION)
        if state.step >= end:
            start, end, resolution = end, config.warm_start, full
        if not self._ahead:
            self._render_ahead(min(end - state.step, RENDERED_AHEAD), resolution)
        z, target = self._ahead.pop(0)
        with self._autocast():
            ws = g.mapping(z)[:, None].expand(-1, g.config.num_ws, -1)
            # noise could only hurt here: its strength stays at the zero it starts from
            image = self.synthesis(ws, "none", resolution=resolution).float()
        losses = self._regression(image, target, resolution == full)
        total = self._regression_total(losses)

        fade = 0.5 + 0.5 * math.cos(math.pi * (state.step - start) / (end - start))
        rates = (config.warm_start_lr, config.warm_start_mapping_lr)
        for group, rate in zip(state.g_optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * fade
        _descend(total, state.g_optimiser)
        self._update_average(len(z), state.step * len(z))
        return losses

    def _render_ahead(self, steps: int, resolution: int) -> None:
        """Draw the latents and portraits of the next warm-start steps."""
        state, config = self.state, self.state.config
        n, z_dim = config.warm_start_batch or config.batch_size, state.generator.config.z_dim
        draws = [state.rng(ahead) for ahead in range(steps)]
        zs = [torch.randn(n, z_dim, generator=draw, device=state.device) for draw in draws]
        target = Target.of(torch.cat(zs), resolution)
        parts = map(Target, target.images.split(n), target.person.split(n))
        self._ahead = list(zip(zs, parts, strict=True))

    def adversarial(self) -> Losses:
        """Train D, then G, on one batch, each with its regulariser when it is due."""
        state, config = self.state, self.state.config
        rng = state.rng()
        real = self.source(state.images, config.batch_size).to(
            state.device, memory_format=torch.channels_last
        )
        place = state.step - config.warm_start
        training_g = place >= config.d_head_start and (place + 1) % config.d_steps == 0
        state.decay_rates()
        latents = self._latents(config.batch_size, rng)
        noise = self._noise(config.batch_size, rng)
        with torch.set_grad_enabled(training_g), self._autocast():
            ws = latents.ws(state.generator.mapping, state.generator.config.num_ws)
            rgbs = self._images(self.synthesis, ws, noise)
        fake = rgbs[-1].float()

        losses = {"d": self._train_discriminator(real, fake.detach())}
        if _due(place, config.r1_interval, config.r1_gamma):
            losses["r1"] = self._regularise_discriminator(real)
        if training_g:
            losses |= self.train_generator(latents, rgbs, fake, noise, rng)
            if _due(place, config.path_interval, config.path_weight):
                losses["path"] = self._regularise_generator(rng)
            self._update_average(config.batch_size * config.d_steps, state.images)
        return losses

    def _latents(self, n: int, rng: torch.Generator) -> Latents:
        config = self.state.generator.config
        return draw_latents(n, config.z_dim, config.num_ws, self.state.config.style_mixing, rng)

    def _noise(self, n: int, rng: torch.Generator) -> list[torch.Tensor]:
        return draw_noise(n, self.state.generator.config.noise_sides, rng)

    def _images(self, synthesis: Callable, ws: torch.Tensor, noise: list) -> list[torch.Tensor]:
        """Return the RGB sums where a loss wants them, else the image alone."""
        if self.lesson is not None and self.lesson.config.rgb:
            return synthesis(ws, noise, return_rgbs=True)
        return [synthesis(ws, noise)]

    def _train_discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            loss = self.discriminator_loss(self.discriminator(real), self.discriminator(fake))
        _descend(loss, self.state.d_optimiser)
        return loss

    def _regularise_discriminator(self, real: torch.Tensor) -> torch.Tensor:
        state, config = self.state, self.state.config
        real = real.detach().requires_grad_()
        penalty = r1_penalty(state.discriminator(real), real).mean()
        _descend(config.r1_gamma / 2 * config.r1_interval * penalty, state.d_optimiser)
        return penalty

    def train_generator(
        self, latents: Latents, rgbs: list[torch.Tensor], fake: torch.Tensor, noise: list,
        rng: torch.Generator,
    ) -> Losses:
        """Take G's step: adversarial loss, lessons, gains, anchor; return the parts."""
        state = self.state
        # without gradients of D's weights the backward pass through D costs half
        state.discriminator.requires_grad_(False)
        with self._autocast():
            adversarial = self.generator_loss(self.discriminator(fake))
        losses, total = {"g": adversarial}, adversarial
        if self.lesson is not None:
            lessons = self.distil(latents, rgbs, noise, rng)
            weights = self.lesson.config
            total = weights.adversarial * adversarial + weighted_sum(lessons, weights)
            losses |= lessons
        if state.config.sparsity:
            g = state.generator
            gains = g.gains(latents.ws(g.mapping, g.config.num_ws))
            losses["sparsity"] = torch.cat(gains).abs().sum()
            if not state.sparse_gains:
                total = total + state.config.sparsity * losses["sparsity"]
        anchor = self._anchor_weight(latents)
        if anchor:
            target = Target.of(latents.z[0], fake.shape[2])
            lessons = self._regression(fake, target)
            total = total + anchor * self._regression_total(lessons)
            losses |= lessons
        _descend(total, state.g_optimiser)
        rate = state.config.gains_lr * state.fade
        proximal_step(state.sparse_gains, rate, state.config.sparsity)
        state.discriminator.requires_grad_(True)
        return losses

    def _anchor_weight(self, latents: Latents) -> float:
        state, config = self.state, self.state.config
        # a mixed latent stands for no portrait
        mixed = latents.crossover < state.generator.config.num_ws
        if mixed or state.images >= config.anchor_images:
            return 0.0
        return config.anchor * (1 - state.images / config.anchor_images)

    def _regression(self, image: torch.Tensor, target: Target, features: bool = True) -> Losses:
        config = self.state.config
        weight = target.person.lerp(torch.ones_like(target.person), config.warm_start_background)
        losses = {"l1": multiscale_l1(image, target.images, weight)}
        if config.warm_start_perceptual and features:
            with self._autocast():
                distance = perceptual_distance(self.features, image, target.images)
            losses["perceptual"] = distance.mean()
        return losses

    def _regression_total(self, losses: Losses) -> torch.Tensor:
        weight = self.state.config.warm_start_perceptual
        return losses["l1"] + weight * losses.get("perceptual", 0)

    def distil(
        self, latents: Latents, rgbs: list[torch.Tensor], noise: list, rng: torch.Generator
    ) -> Losses:
        """Compare the student's RGB sums with the teacher's for the same latents."""
        lesson = self.lesson
        teacher, noises = lesson.teacher, [noise, noise]
        if lesson.config.noise == "independent":
            noises[0] = self._noise(len(rgbs[-1]), rng)
        with torch.no_grad(), self._autocast():
            ws = latents.ws(teacher.mapping, teacher.config.num_ws)
            targets = self._images(self.teach, ws, noises[0])
        mask = self._content(targets[-1])
        with self._autocast():
            losses = distillation_losses(targets, rgbs, mask, lesson.config, lesson.features)
        if lesson.config.relation:
            pairs = [(targets[-1], noises[0]), (rgbs[-1], noises[1])]
            losses["relation"] = self.relate(latents, pairs, mask, rng)
        return losses

    def relate(
        self, latents: Latents, pairs: list[tuple[torch.Tensor, list]], mask: torch.Tensor | None,
        rng: torch.Generator,
    ) -> torch.Tensor:
        """Move half the latents; compare what resembles what, in the student and its teacher.

        Every latent is moved along a direction of its own, by a distance of its own, and keeps its
        noise maps. `pairs`: of the teacher and the student, the images [N, 3, R, R] before that,
        and their noise maps; `mask`: content of the teacher's. Half a batch more of both networks
        and one more look through the features: a step of the portraits' student at a ratio of 0.7
        takes a sixth longer.
        """
        (target, their_noise), (image, our_noise) = pairs
        n = (len(image) + 1) // 2
        half = Latents(latents.z[:, :n], latents.crossover)
        drawn = torch.multinomial(self.shares, n, replacement=True, generator=rng)
        far = STRENGTH * torch.randn(n, 1, generator=rng, device=rng.device)
        offsets = (far * self.directions[drawn])[:, None]  # [n, 1, w_dim], for all layers

        def moved(g: PrunableGenerator, synthesis: Callable, noise: list) -> torch.Tensor:
            with self._autocast():
                ws = half.ws(g.mapping, g.config.num_ws) + offsets
                return synthesis(ws, [maps[:n] for maps in noise])

        with torch.no_grad():
            moved_target = moved(self.lesson.teacher, self.teach, their_noise)
            if mask is not None:
                mask = torch.cat([mask[:n], self._content(moved_target)])
            theirs = self._maps(torch.cat([target[:n], moved_target]), mask)
        moved_image = moved(self.state.generator, self.synthesis, our_noise)
        return relation_loss(theirs, self._maps(torch.cat([image[:n], moved_image]), mask))

    def _content(self, targets: torch.Tensor) -> torch.Tensor | None:
        lesson = self.lesson
        if lesson.content is None or not lesson.config.mask_content:
            return None
        return lesson.content(targets.float())

    def _maps(self, images: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        features = self.lesson.features
        seen = images.float() if mask is None else images.float() * mask
        with self._autocast():
            return features(features.prepare(at_most_256(seen)))

    def _regularise_generator(self, rng: torch.Generator) -> torch.Tensor:
        state, config, g = self.state, self.state.config, self.state.generator
        n = max(1, config.batch_size // config.path_shrink)
        ws = self._latents(n, rng).ws(g.mapping, g.config.num_ws)
        image = g.synthesis(ws, self._noise(n, rng))
        lengths = path_lengths(image, ws, rng)
        state.mean_path.lerp_(lengths.detach().mean(), config.path_decay)
        penalty = (lengths - state.mean_path).square().mean()
        _descend(config.path_weight * config.path_interval * penalty, state.g_optimiser)
        return penalty

    def _update_average(self, batch_size: int, seen: int) -> None:
        state, config = self.state, self.state.config
        half_life = min(config.average_half_life, config.average_rampup * seen)
        update_average(state.average, state.generator, batch_size, half_life)


def _due(place: int, interval: int, weight: float) -> bool:
    return bool(interval and weight) and place % interval == 0


@torch.no_grad()
def proximal_step(weights: Iterable[torch.Tensor], rate: float, sparsity: float) -> None:
    """Descend along the weights' gradients, then toward zero by rate * sparsity, and stop there.

    That minimises loss + sparsity * their L1 norm; plain descent would cross zero back and forth.
    Wang et al. 2020 (arXiv 2008.11062), section 3.2, for the gains of normalisation layers. The
    gradients are cleared.
    """
    for weight in weights:
        weight.copy_(F.softshrink(weight - rate * weight.grad, rate * sparsity))
        weight.grad = None


def _descend(loss: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
