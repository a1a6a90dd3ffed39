"""One supervised loop for all small networks, and the stream of portraits that two of them see.

The portraits come with exact labels for as many images as one asks for, so there is no data set
on disk, no epochs and no over-fitting: every step renders fresh seeds. Images are augmented
(blur, noise, colour, contrast) because the networks must read the images of imperfect
generators. One seed decides everything: the same seed on the same machine gives the same weights.
Chapters 5, 10 and 12 use the results.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from ..datasets import Portraits, render_portraits
from ..ops import autocast

# Training seeds are drawn below this one; it and all above are held out for measuring.
HELD_OUT_SEED = 1_000_000_000


@dataclass(frozen=True)
class Augmented:
    """Augmented images [N, 3, R, R] and how strongly each was degraded.

    blur and noise are standard deviations per image, [N]: blur in pixels of a 64 px image, noise
    on the [-1, 1] scale; 0 for an image left clean.
    """

    images: torch.Tensor
    blur: torch.Tensor
    noise: torch.Tensor


def gaussian_blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur images [N, C, H, W] each with its own Gaussian, two passes, edges replicated.

    `sigma` [N] are standard deviations in pixels; one below 0.05 leaves its image as it is.
    """
    n, c, h, w = images.shape
    radius = max(1, math.ceil(2.5 * float(sigma.max())))
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma.clamp(min=0.05)[:, None].square()))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)
    x = F.pad(images.reshape(1, n * c, h, w), (radius,) * 4, mode="replicate")
    x = F.conv2d(x, kernel[:, None, :, None], groups=n * c)
    x = F.conv2d(x, kernel[:, None, None, :], groups=n * c)
    return x.reshape(n, c, h, w)


def augment(images: torch.Tensor, generator: torch.Generator, strength: float = 1.0) -> Augmented:
    """Degrade images as imperfect generators do: colour, contrast, blur, noise; clamp to [-1, 1].

    Each of colour shift, blur and noise strikes a random half of the images.

    Args:
        images: [N, 3, R, R] in [-1, 1].
        generator: decides every random number.
        strength: scales every range; at 1 blur reaches 1.2 pixels and noise 0.2.
    """
    n, _, resolution, _ = images.shape
    device = images.device

    def sometimes(low: float, high: float) -> torch.Tensor:
        chosen = torch.rand(n, generator=generator) < 0.5
        amount = low + (high - low) * torch.rand(n, generator=generator)
        return (strength * chosen * amount).to(device)

    contrast = 1 + sometimes(-0.25, 0.25)
    brightness = sometimes(-0.15, 0.15)
    tint = 0.1 * torch.randn(n, 3, 1, 1, generator=generator).to(device)
    tint = tint * sometimes(0, 1)[:, None, None, None]
    blur = sometimes(0.3, 1.2)
    noise = sometimes(0.02, 0.2)
    grain = torch.randn(images.shape, generator=generator).to(device)
    x = gaussian_blur(images, blur * resolution / 64)
    x = x * contrast[:, None, None, None] + brightness[:, None, None, None] + tint
    x = x + noise[:, None, None, None] * grain
    x = x.clamp(-1, 1).contiguous(memory_format=torch.channels_last)
    return Augmented(x, blur, noise)


def batch_stream(
    batch_size: int, resolutions: Sequence[int], replay: int, generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[Portraits]:
    """Endless batches of training portraits, which the generator decides.

    Every `replay`-th batch is rendered, at the next of the resolutions in turn; the others are one
    of the last 64 again, to be augmented anew. At the smallest resolution they hold `batch_size`
    images, at larger ones fewer, so that every step costs the same.
    """
    recent: deque[Portraits] = deque(maxlen=64)
    for step in itertools.count():
        if step % replay == 0:
            resolution = resolutions[step // replay % len(resolutions)]
            n = max(1, batch_size * min(resolutions) ** 2 // resolution**2)
            seeds = torch.randint(HELD_OUT_SEED, (n,), generator=generator)
            recent.append(render_portraits(seeds, resolution, device))
            yield recent[-1]
        else:
            yield recent[int(torch.randint(len(recent), (), generator=generator))]


# (network, batch, generator of the augmentation) -> named scalar losses, summed for the gradient
Loss = Callable[[nn.Module, Any, torch.Generator], dict[str, torch.Tensor]]


def fit(
    network: nn.Module, loss: Loss, batches: Iterator[Any], optimiser: torch.optim.Optimizer,
    generator: torch.Generator, *, steps: int, warmup: int = 1, clip: float = 1.0,
    progress: bool = True,
) -> None:
    """Fit a network in place, under bfloat16 autocast, and leave it in eval mode.

    Args:
        network, loss, batches: what is trained, on what, on which endless batches.
        optimiser: its rate rises over `warmup` steps and falls to zero, as a cosine, over `steps`.
        generator: decides the augmentation.
        clip: largest norm of a step's gradient.

    Raises:
        ValueError: a loss that is not finite.
    """

    def factor(step: int) -> float:
        return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    device = next(network.parameters()).device
    recent: deque[dict[str, float]] = deque(maxlen=50)
    # Channels last is how the CPU's and the GPU's bfloat16 convolutions want it.
    network.train().to(memory_format=torch.channels_last)
    bar = tqdm(range(steps), disable=not progress, unit="step")
    for step, batch in zip(bar, batches, strict=False):
        with autocast(device):
            losses = loss(network, batch, generator)
        total = torch.stack(list(losses.values())).sum()
        if not total.isfinite():
            lr = optimiser.defaults["lr"]
            raise ValueError(f"the loss is not finite at step {step}: lower lr (now {lr})")
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimiser.step()
        schedule.step()
        recent.append({name: value.item() for name, value in losses.items()})
        if (step + 1) % 50 == 0 or step + 1 == steps:
            means = {name: sum(past[name] for past in recent) / len(recent) for name in losses}
            bar.set_postfix({name: f"{mean:.4f}" for name, mean in means.items()})
    network.eval().to(memory_format=torch.contiguous_format)
