"""What pruning does to a network's statistics before any training, and what arithmetic repairs.

Removed channels are missing from every sum they fed, so the kept channels of the layers above come
out with another mean, another spread and, as what is missing varied, other values. The first two
can be put right without training:

    layers   p' = a p + b   per kept channel of every convolution, a = std_T / std_S and
             b = mean_T - a mean_S over samples and pixels; p is the value before the leaky ReLU
    rgb      W, c = argmin sum |y_T - (W (s x) + c)|^2   per ToRGB: x its input, s its styles, y_T
             the teacher's output, over samples and pixels: one linear solve

What only a removed channel told apart stays lost: no scale or offset changes a correlation. The
idea is known from quantised networks (Nagel et al. 2019, arXiv 1906.04721, bias correction) and
from channel pruning (He et al. 2017, arXiv 1707.06168, least squares). Chapter 7.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..networks import Generator, StyledConv, ToRGB, check
from ..ops import bias_act, modulated_conv2d
from .adversarial import draw_noise

# keeps the least squares solvable where channels are dead; relative to their mean energy
RIDGE = 1e-4
_ACROSS = (0, 2, 3)


@dataclass(frozen=True, eq=False)
class LayerDrift:
    """How one convolution's kept channels differ from the same channels of the teacher.

    Attributes:
        resolution: side of the layer's output.
        mean_shift: [C], (mean_S - mean_T) / std_T.
        std_ratio: [C], std_S / std_T.
        correlation: [C], over samples and pixels, -1 to 1.
    """

    resolution: int
    mean_shift: torch.Tensor
    std_ratio: torch.Tensor
    correlation: torch.Tensor


@torch.no_grad()
def layer_drift(
    student: Generator, teacher: Generator, num_samples: int = 64, seed: int = 0
) -> list[LayerDrift]:
    """Compare every convolution's output before its leaky ReLU with the teacher's.

    Both networks get the same w's and the same noise.

    Args:
        student: a network that `prune` made from `teacher`, trained or not.
        teacher: its source.
        num_samples: latents to average over; their activations are in memory at once.
        seed: of the latents and the noise.

    Returns:
        One entry per convolution.

    Raises:
        ValueError: networks that are not source and result of pruning.

    Example:
        >>> student = cagc.compress("portraits", 0.5, num_samples=2)
        >>> drifts = cagc.layer_drift(student, cagc.load_generator("portraits"), num_samples=2)
        >>> [drift.resolution for drift in drifts]
        [4, 8, 8, 16, 16, 32, 32, 64, 64]
    """
    x_t, x_s, w, convolutions = _start(student, teacher, num_samples, seed)
    drifts = []
    for of_t, of_s, noise, keep in convolutions:
        p_t, p_s = _before(of_t, x_t, w, noise), _before(of_s, x_s, w, noise)
        drifts.append(_drift(p_t[:, keep], p_s))
        x_t, x_s = _activate(p_t, of_t), _activate(p_s, of_s)
    return drifts


@torch.no_grad()
def calibrate(
    student: Generator, teacher: Generator, layers: bool = True, rgb: bool = True,
    num_samples: int = 64, seed: int = 0,
) -> Generator:
    """Give a pruned network its teacher's statistics, in closed form.

    Layers are corrected in order, each on the corrected input. The factor a moves into the weights
    that read the channel: the leaky ReLU lets it through, as a > 0. Dead channels are left alone.

    Args:
        student, teacher, num_samples, seed: as for `layer_drift`; neither network is changed.
        layers: correct mean and spread of every convolution's channels.
        rgb: fit every ToRGB.

    Returns:
        A network of the student's shapes.

    Raises:
        ValueError: networks that are not source and result of pruning.

    Example:
        >>> student = cagc.compress("portraits", 0.5, num_samples=2)
        >>> calibrated = cagc.calibrate(student, cagc.load_generator("portraits"), num_samples=2)
        >>> calibrated.config == student.config
        True
    """
    student = copy.deepcopy(student)
    x_t, x_s, w, convolutions = _start(student, teacher, num_samples, seed)
    convs, torgbs = student.synthesis.convs, student.synthesis.torgbs
    for k, (of_t, of_s, noise, keep) in enumerate(convolutions):
        p_t, p_s = _before(of_t, x_t, w, noise), _before(of_s, x_s, w, noise)
        # after every other convolution an image is read
        seen = [torgbs[k // 2]] if k % 2 == 0 else []
        if layers:
            a, shift = _match(p_t[:, keep], p_s)
            of_s.bias += shift
            p_s = p_s + shift[:, None, None]
            for reader in (*convs[k + 1 : k + 2], *seen):
                reader.weight *= a[:, None, None]
        x_t, x_s = _activate(p_t, of_t), _activate(p_s, of_s)
        if rgb and seen:
            _fit(seen[0], x_s, w, teacher.synthesis.torgbs[k // 2](x_t, w))
    return student


def _start(
    student: Generator, teacher: Generator, n: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Iterator]:
    """The first layers' inputs, w [n, w_dim] and, per layer: teacher's, student's, noise, keep.

    `keep` are the student's channels as numbers of the teacher's. Refuses networks that do not fit.
    """
    for name, g in (("student", student), ("teacher", teacher)):
        check(isinstance(g, Generator), name, type(g), "a StyleGAN2 generator")
    lineage = student.lineage
    if lineage is None:
        raise ValueError("student: got a network that was not pruned, expected a result of prune()")
    got, wanted = tuple(teacher.config.channels), tuple(lineage.source_channels)
    fits = teacher.lineage is None and got == wanted
    check(fits, "teacher", got, f"the widths of the student's source, {wanted}")
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(n, teacher.config.z_dim, generator=draw).to(teacher.synthesis.const)
    noise = [m.to(z) for m in draw_noise(n, teacher.config.noise_sides, draw)]
    of_t, of_s = teacher.synthesis, student.synthesis
    x_t, x_s = (synthesis.const.expand(n, -1, -1, -1) for synthesis in (of_t, of_s))
    layers = zip(of_t.convs, of_s.convs, noise, lineage.keep[1:], strict=True)
    return x_t, x_s, teacher.mapping(z), layers


def _before(
    conv: StyledConv, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """The layer's output [N, O, H, W] up to its leaky ReLU."""
    return modulated_conv2d(
        x, conv.weight, conv.affine(w), up=conv.up, bias=conv.bias,
        noise=noise * conv.noise_strength,
    )


def _activate(before: torch.Tensor, conv: StyledConv) -> torch.Tensor:
    return bias_act(before, act="lrelu", clamp=conv.clamp)


def _moments(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [C] of [N, C, H, W]."""
    variance, mean = torch.var_mean(p, _ACROSS, correction=0)
    return mean, variance.sqrt()


def _drift(p_t: torch.Tensor, p_s: torch.Tensor) -> LayerDrift:
    (mean_t, std_t), (mean_s, std_s) = _moments(p_t), _moments(p_s)
    tiny = torch.finfo(p_t.dtype).tiny
    product = ((p_t - mean_t[:, None, None]) * (p_s - mean_s[:, None, None])).mean(_ACROSS)
    return LayerDrift(
        resolution=p_t.shape[2], mean_shift=(mean_s - mean_t) / std_t.clamp(min=tiny),
        std_ratio=std_s / std_t.clamp(min=tiny),
        correlation=product / (std_t * std_s).clamp(min=tiny),
    )


def _match(p_t: torch.Tensor, p_s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor a and shift b / a, both [C], so that a (p_s + shift) has p_t's mean and spread."""
    (mean_t, std_t), (mean_s, std_s) = _moments(p_t), _moments(p_s)
    alive = (std_t > 0) & (std_s > 0)
    a = torch.where(alive, std_t / std_s, 1.0)
    return a, torch.where(alive, mean_t / a - mean_s, 0.0)


def _fit(layer: ToRGB, x: torch.Tensor, w: torch.Tensor, target: torch.Tensor) -> None:
    """Set the layer's weight and bias to the least squares fit of target [N, 3, H, W]."""
    styled = x * (layer.affine(w) * layer.gain)[:, :, None, None]
    rows = [v.permute(0, 2, 3, 1).flatten(0, 2).double() for v in (styled, target)]
    means = [v.mean(0) for v in rows]
    inputs, outputs = (v - mean for v, mean in zip(rows, means, strict=True))
    square = inputs.t() @ inputs
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    solution = torch.linalg.solve(square, inputs.t() @ outputs)  # [C, 3]
    layer.weight.copy_(solution.t()[:, :, None, None])
    layer.bias.copy_(means[1] - means[0] @ solution)
