"""The StyleGAN2 generator: z -> w -> images, with skip (running RGB) architecture.

    w   = mapping(z)                      [N, z_dim] -> [N, w_dim]
    x   = const                           [C_0, 4, 4]
    x   = lrelu(modconv(x, w) + noise + bias)          one or two per resolution
    rgb = up(rgb) + torgb(x, w)                        [N, 3, R, R]

Karras et al. 2020 (arXiv 1912.04958), section 2 and figure 7; the numbers are those of the public
NVIDIA and rosinality networks, whose weights fit unchanged. Any widths are allowed, so a pruned
network is an ordinary one with other numbers in `channels`. Chapter 2.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..ops import bias_act, demodulation_coefficients, modulated_conv2d, setup_filter, to_rgb
from .protocol import Lineage, Shapes, check

MAPPING_LR_MULTIPLIER = 0.01
NOISE_MODES = ("const", "random", "none")
_NAME = re.compile(r"synthesis\.(convs|torgbs)\.(\d+)\.(weight|bias|affine)")


@dataclass(frozen=True)
class GeneratorConfig(Shapes):
    """What fixes a generator's shapes.

    Args:
        resolution: side of the square image, a power of two from 8 to 1024.
        channels: the width of the 4x4 constant, then of every 3x3 convolution's output, from low
            to high resolution: 2 * log2(resolution) - 2 numbers.
        z_dim, w_dim: sizes of the two latent spaces.
        mapping_layers: fully connected layers from z to w.
        conv_clamp: largest magnitude of a layer's output, or None.

    Example:
        >>> config = cagc.GeneratorConfig(8, (4,) * 4)
        >>> config.num_ws, config.num_convs, config.noise_sides
        (4, 3, (4, 8, 8))
    """

    what = "generator config"
    resolution: int
    channels: tuple[int, ...]
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        self.check_shapes(2 * self.levels - 2)

    @property
    def num_ws(self) -> int:
        """How many w's one image takes: one per convolution and one for the last RGB layer."""
        return len(self.channels)

    @property
    def num_convs(self) -> int:
        """How many 3x3 convolutions there are, each with its noise map."""
        return len(self.channels) - 1

    def conv_resolution(self, k: int) -> int:
        """Return the side of convolution k's output."""
        return 4 * 2 ** ((k + 1) // 2)

    @property
    def noise_sides(self) -> tuple[int, ...]:
        """The side of every convolution's noise map."""
        return tuple(self.conv_resolution(k) for k in range(self.num_convs))


class FullyConnected(nn.Module):
    """A linear layer with run-time gain (equalised learning rate), optionally leaky ReLU."""

    def __init__(
        self, inputs: int, outputs: int, act: str = "linear", lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.act = act
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([outputs], bias_init / lr_multiplier))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs] to [N, outputs]."""
        # in full precision even under autocast: the product is tiny, and styles scale everything
        with torch.autocast(x.device.type, enabled=False):
            y = torch.addmm(
                self.bias, x.to(self.weight.dtype), self.weight.t(),
                beta=self.bias_gain, alpha=self.weight_gain,
            )
        return y if self.act == "linear" else bias_act(y, act=self.act)


class MappingNetwork(nn.Module):
    """z on the unit sphere -> w through fully connected layers."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        sizes = [config.z_dim] + [config.w_dim] * config.mapping_layers
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            layer = FullyConnected(inputs, outputs, "lrelu", MAPPING_LR_MULTIPLIER)
            self.add_module(f"fc{i}", layer)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map z [N, z_dim] to w [N, w_dim]."""
        expected = self.fc0.weight.shape[1]
        if z.ndim != 2 or z.shape[1] != expected:
            raise ValueError(f"z: got shape {list(z.shape)}, expected [N, {expected}]")
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.children():
            x = layer(x)
        return x


class StyledConv(nn.Module):
    """One 3x3 modulated convolution with noise, bias and leaky ReLU; `up` is 1 or 2."""

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, up: int, clamp: float | None,
    ) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = FullyConnected(w_dim, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None
    ) -> torch.Tensor:
        """Map x [N, I, H, W], w [N, w_dim] to [N, O, H * up, W * up]; noise [1 or N, 1, H', W']."""
        noise = None if noise is None else noise * self.noise_strength
        return modulated_conv2d(
            x, self.weight, self.affine(w), up=self.up,
            bias=self.bias, noise=noise, act="lrelu", clamp=self.clamp,
        )


class ToRGB(nn.Module):
    """1x1 modulated convolution to RGB, not demodulated, so its gain depends on the width."""

    def __init__(self, inputs: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.gain = 1 / math.sqrt(inputs)
        self.affine = FullyConnected(w_dim, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, rgb: torch.Tensor | None = None,
        f: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Map x [N, I, H, W], w [N, w_dim] to RGB [N, 3, H, W], added to the smaller rgb."""
        styles = self.affine(w) * self.gain
        return to_rgb(x, self.weight, styles, self.bias, rgb, f, self.clamp)


class SynthesisNetwork(nn.Module):
    """w -> image, from the 4x4 constant up to full resolution."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths, clamp = config.channels, config.conv_clamp
        self.const = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.convs = nn.ModuleList(
            StyledConv(*widths[k : k + 2], config.w_dim, side, up=1 + k % 2, clamp=clamp)
            for k, side in enumerate(config.noise_sides)
        )
        self.torgbs = nn.ModuleList(ToRGB(c, config.w_dim, clamp) for c in widths[1::2])
        self.register_buffer("resample_filter", setup_filter(), persistent=False)

    def forward(
        self, w: torch.Tensor, noise: str | Sequence[torch.Tensor] = "const",
        return_rgbs: bool = False, resolution: int | None = None,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Render images.

        Args:
            w: [N, w_dim], or [N, num_ws, w_dim] with a w for every layer.
            noise: "const" (the stored maps), "random" (new maps), "none", or a list of one tensor
                [N or 1, 1, side, side] per convolution.
            return_rgbs: return the running RGB sum after every resolution instead.
            resolution: stop at the RGB sum of this size, R where None.

        Returns:
            [N, 3, R, R], in [-1, 1] for a trained network; or the list of RGB sums, 4x4 first.

        Raises:
            ValueError: a w or a noise of another form, a resolution the network does not pass.
        """
        passed = [4 << i for i in range(len(self.torgbs))]
        fits = resolution is None or resolution in passed
        check(fits, "resolution", resolution, f"a power of 2, 4 to {passed[-1]}")
        ws = self._per_layer(w)
        maps = self._noise_maps(noise, len(w))
        # channels last is what the CPU's convolutions compute in: no copies between layouts
        x = self.const.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        rgb, rgbs = None, []
        for k, conv in enumerate(self.convs):
            x = conv(x, ws[k], maps[k])
            if k % 2 == 0:
                rgb = self.torgbs[k // 2](x, ws[k + 1], rgb, self.resample_filter)
                rgbs.append(rgb)
                if rgb.shape[2] == resolution:
                    break
        return rgbs if return_rgbs else rgb

    def _per_layer(self, w: torch.Tensor) -> list[torch.Tensor]:
        """Return a w [N, w_dim] for every layer, of [N, w_dim] or [N, num_ws, w_dim]."""
        num_ws, w_dim = self.config.num_ws, self.config.w_dim
        if w.ndim == 2 and w.shape[1] == w_dim:
            return [w] * num_ws
        if w.ndim == 3 and w.shape[1:] == (num_ws, w_dim):
            return list(w.unbind(dim=1))
        got = list(w.shape)
        raise ValueError(f"w: got shape {got}, expected [N, {w_dim}] or [N, {num_ws}, {w_dim}]")

    def _noise_maps(
        self, noise: str | Sequence[torch.Tensor], batch: int
    ) -> list[torch.Tensor | None]:
        if isinstance(noise, str):
            check(noise in NOISE_MODES, "noise", noise, f"one of {', '.join(NOISE_MODES)}")
            if noise == "none":
                return [None] * len(self.convs)
            maps = [conv.noise_const[None, None] for conv in self.convs]
            if noise == "const":
                return maps
            return [torch.randn(batch, *m.shape[1:], device=m.device).to(m.dtype) for m in maps]
        sides = self.config.noise_sides
        if len(noise) != len(sides):
            raise ValueError(f"noise: got {len(noise)} maps, expected {len(sides)}")
        for k, (given, side) in enumerate(zip(noise, sides, strict=True)):
            got = tuple(given.shape)
            fits = got in ((batch, 1, side, side), (1, 1, side, side))
            check(fits, f"noise[{k}]", got, f"({batch} or 1, 1, {side}, {side})")
        return list(noise)


def sliced_axes(name: str) -> tuple[tuple[int, int], ...]:
    """Say which axes of a tensor of `Generator.state_dict()` run over channels, by its name.

    A pair (axis, k) says that the channels of width k index the axis. There is none for the mapping
    network, w_avg, noise and the ToRGB biases, which pruning leaves alone.
    """
    if name == "synthesis.const":
        return ((0, 0),)
    match = _NAME.match(name)
    if match is None:
        return ()
    kind, number, part = match.groups()
    if kind == "convs":
        k = int(number)
        axes = {"weight": ((0, k + 1), (1, k)), "bias": ((0, k + 1),), "affine": ((0, k),)}
    else:
        k = 2 * int(number) + 1
        axes = {"weight": ((1, k),), "affine": ((0, k),)}
    return axes.get(part, ())


class Generator(nn.Module):
    """Mapping and synthesis together.

    Attributes:
        config: the shapes.
        lineage: None, or for a pruned network which of the teacher's channels it holds.
        w_avg: [w_dim], the running mean of w that truncation pulls toward.

    Example:
        >>> g = cagc.Generator(cagc.GeneratorConfig(8, (4,) * 4))
        >>> g(torch.randn(2, 512)).shape
        torch.Size([2, 3, 8, 8])
    """

    mean_samples = 10_000
    sliced_axes = staticmethod(sliced_axes)

    def __init__(self, config: GeneratorConfig, lineage: Lineage | None = None) -> None:
        super().__init__()
        self.config = config
        self.lineage = lineage
        self.mapping = MappingNetwork(config)
        self.synthesis = SynthesisNetwork(config)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(
        self, z: torch.Tensor, truncation_psi: float = 1.0,
        noise: str | Sequence[torch.Tensor] = "const",
    ) -> torch.Tensor:
        """Map z [N, z_dim] to images [N, 3, R, R]; psi < 1 pulls w toward `w_avg`."""
        w = self.mapping(z)
        if truncation_psi != 1:
            w = self.w_avg.lerp(w, truncation_psi)
        return self.synthesis(w, noise=noise)

    @property
    def readers(self) -> tuple[tuple[str, ...], ...]:
        """Per width, the weight of `synthesis` that reads it: the next convolution's.

        The public code scores no ToRGB but the last, which reads the last width.
        """
        last = f"torgbs.{len(self.synthesis.torgbs) - 1}.weight"
        return (*((f"convs.{k}.weight",) for k in range(self.config.num_convs)), (last,))

    @property
    def writers(self) -> tuple[tuple[str, ...], ...]:
        """Per width, the weight of `synthesis` that writes it; nothing writes the constant."""
        return ((), *((f"convs.{k}.weight",) for k in range(self.config.num_convs)))

    def effective_factor(self, name: str, w: torch.Tensor) -> torch.Tensor:
        """Sum over w [N, w_dim] of what a weight is multiplied with, [O or 1, I, 1, 1], float64."""
        layer = self.synthesis.get_submodule(name.removesuffix(".weight"))
        styles = layer.affine(w).double()
        if isinstance(layer, ToRGB):
            # run-time gain, no demodulation
            return (styles * layer.gain).sum(dim=0)[None, :, None, None]
        demodulation = demodulation_coefficients(layer.weight, styles)
        return (demodulation.t() @ styles)[:, :, None, None]

    def gains(self, w: torch.Tensor) -> list[torch.Tensor]:
        """Per width, the mean [C_k] over w's of the style that the reader gives every channel.

        w: [N, w_dim] or [N, num_ws, w_dim]. The public code's re-implementation of GAN Slimming
        makes these sparse (Miscellaneous/train_sparsity.py).
        """
        ws = self.synthesis._per_layer(w)
        layers = [*self.synthesis.convs, self.synthesis.torgbs[-1]]
        return [layer.affine(v).mean(dim=0) for layer, v in zip(layers, ws, strict=True)]

    @property
    def gain_weights(self) -> list[nn.Parameter]:
        """Weights that are gains: none, as styles are computed from w."""
        return []

    @torch.no_grad()
    def update_means(self, z: torch.Tensor) -> None:
        """Set `w_avg` to the mean of the mapped z [N, z_dim]."""
        self.w_avg.copy_(self.mapping(z).mean(0))
