"""Everything that changes while a run trains.

A run has two phases. Steps below `warm_start` regress the generator onto rendered portraits; the
rest are adversarial. Everything random in step s is drawn from one generator seeded with
(seed, s), and real images are a function of their position, so config, step, weights, optimiser
moments, the running path length and the losses of the log's next row are the whole state: a resumed
run continues bit for bit on the same machine. Chapter 8.
"""

import copy
from typing import Any

import torch
from torch import nn

from ..datasets import mixed_seed
from ..networks import PrunableGenerator, check_pair
from .adversarial import lazy_adam
from .config import TrainConfig

KIND = "cagc-training-state"
_PARTS = ("generator", "average", "discriminator", "g_optimiser", "d_optimiser")


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy on a device, channels last: what convolutions of both CPU and GPU are fastest in."""
    return copy.deepcopy(network).to(device=device, memory_format=torch.channels_last)


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
        sums: loss -> its values since the log's last row.
    """

    def __init__(
        self, generator: PrunableGenerator, discriminator: nn.Module, config: TrainConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        check_pair(discriminator.config, generator.config, "discriminator", "resolution")
        config.check_use(generator.config)
        size, group = config.batch_size, getattr(discriminator.config, "mbstd_group", 1)
        if size > group and size % group:
            raise ValueError(f"batch_size: got {size}, expected a multiple of {group}, mbstd_group")
        self.config = config
        self.device = torch.device(device)
        self.generator = placed(generator, self.device).train().requires_grad_(True)
        self.average = placed(generator, self.device).eval().requires_grad_(False)
        self.discriminator = placed(discriminator, self.device).train().requires_grad_(True)
        self.mean_path = torch.zeros([], device=self.device)
        self.step = 0
        self.seconds = 0.0
        self.sums: dict[str, list[float]] = {}
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
        self.sparse_gains = g.gain_weights if config.sparsity else []
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
        self._rates = [group["lr"] for group in self._groups]

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [*self.g_optimiser.param_groups, *self.d_optimiser.param_groups]

    def decay_rates(self) -> None:
        """Set the adversarial phase's rates for the next step, a function of the step alone."""
        for group, rate in zip(self._groups, self._rates, strict=True):
            group["lr"] = rate * self.fade

    def update_means(self) -> None:
        """Set what the average generator's weights and latents decide: w_avg or statistics."""
        draw = torch.Generator().manual_seed(mixed_seed(self.config.seed, 3))
        z = torch.randn(self.average.mean_samples, self.average.config.z_dim, generator=draw)
        self.average.update_means(z.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values, for `save_training_state`."""
        return {
            "kind": KIND,
            "config": self.config.to_dict(),
            "generator_config": self.generator.config.to_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "mean_path": self.mean_path,
            "sums": self.sums,
            **{name: dict(getattr(self, name).state_dict()) for name in _PARTS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            ValueError: a state of other networks, a damaged one, or not a training state.
        """
        expected = {"kind": KIND, "generator_config": self.generator.config.to_dict()}
        try:
            for name, value in expected.items():
                if state[name] != value:
                    raise ValueError(f"got {name} {state[name]}, expected {value}")
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            # absent from the states of earlier versions
            sums = state.get("sums", {}).items()
            self.sums = {str(name): [float(v) for v in values] for name, values in sums}
            self.make_optimisers()
            self.mean_path.copy_(state["mean_path"])
            for name in _PARTS:
                getattr(self, name).load_state_dict(state[name])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # torch's reasons have many lines, and with names out of a file they may hold anything
            words = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            reason = "".join(c if c.isprintable() else " " for c in words)
            raise ValueError(f"training state: not of this run, or damaged ({reason})") from None
