"""SN-GAN: residual networks for small images, a generator and its discriminator.

    x = dense(z)                                              [C_0, 4, 4]
    x = conv2(relu(bn2(conv1(up(relu(bn1(x))))))) + up(shortcut(x))       per up-block, side doubled
    image = tanh(conv(relu(bn(x))))                           [3, R, R]

    logits = fc(sum over pixels of relu(blocks(images)))      [N, 1]
    W_SN   = W / sigma(W),  sigma the largest singular value of W as an [O, I k k] matrix

Miyato et al. 2018 (arXiv 1802.05957), sections 2.1 and 3, algorithm 1 and table 4, as in the
authors' code for CIFAR-10; unconditional. z: [N, z_dim], images: [N, 3, R, R] in [-1, 1]. Any
widths are allowed. An up-block's two branches are added, so `conv2` and `shortcut` share one width.
The layers that read a width lie behind a batch norm of that width, but for the shortcut. Every
weight of the discriminator is divided by its spectral norm sigma, from one step of the power
iteration a forward pass in training, from the vectors of the pass before. Chapter 12.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import update_bn

from .generator import NOISE_MODES
from .protocol import Lineage, NetworkConfig, Shapes, check, check_images

# latents at a time when statistics are measured
STATISTICS_BATCH = 100
# layer -> the width it writes, axis 0 of its tensors, and the width it reads, axis 1 of its weight;
# counted from 2i in up-block i, from the end behind the last one
_WIDTHS = {
    "dense": (0, None), "bn1": (0, None), "conv1": (1, 0), "bn2": (1, None), "conv2": (2, 1),
    "shortcut": (2, 0), "bn": (-1, None), "to_rgb": (None, -1),
}
_NAME = re.compile(r"synthesis\.(?:blocks\.(\d+)\.)?(\w+)\.(weight|bias|running_mean|running_var)")


@dataclass(frozen=True)
class SNGANConfig(Shapes):
    """What fixes an SN-GAN generator's shapes; the defaults are the paper's for CIFAR-10.

    Args:
        resolution: side of the square image, a power of two from 8 to 1024.
        channels: the width of the 4x4 start, then of every up-block its hidden width and the width
            of its output, from low to high resolution: 2 * log2(resolution) - 3 numbers.
        z_dim: size of the latent space.

    Example:
        >>> cagc.parameters(cagc.SNGANConfig())
        4276739
    """

    what = "SN-GAN config"
    resolution: int = 32
    channels: tuple[int, ...] = (256,) * 7
    z_dim: int = 128

    def __post_init__(self) -> None:
        self.check_shapes(2 * self.levels - 3)

    @property
    def w_dim(self) -> int:
        """The latent is used as it is: w is z."""
        return self.z_dim

    @property
    def num_ws(self) -> int:
        """The whole image takes one latent."""
        return 1

    @property
    def noise_sides(self) -> tuple[int, ...]:
        """No layer takes a noise map."""
        return ()


class Dense(nn.Module):
    """The latent as 4x4 maps, [N, z_dim] -> [N, C, 4, 4]; weight [C, 4, 4, z_dim]."""

    def __init__(self, z_dim: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 4, 4, z_dim))
        self.bias = nn.Parameter(torch.zeros(channels, 4, 4))
        # Glorot's bound of the matrix that this is: fan in z_dim, fan out 16 C
        bound = math.sqrt(6 / (z_dim + 16 * channels))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map z [N, z_dim] to [N, C, 4, 4]."""
        x = F.linear(z, self.weight.flatten(0, 2), self.bias.flatten())
        return x.unflatten(1, self.bias.shape)


class UpBlock(nn.Module):
    """Batch norm, ReLU and convolution twice, beside a 1x1 shortcut; doubles the size."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = glorot_conv(inputs, hidden, 3, gain=math.sqrt(2))
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv2 = glorot_conv(hidden, outputs, 3, gain=math.sqrt(2))
        self.shortcut = glorot_conv(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, 2H, 2W]."""
        y = self.conv1(_enlarge(F.relu(self.bn1(x))))
        y = self.conv2(F.relu(self.bn2(y)))
        # a 1x1 convolution and a nearest enlargement commute; this order costs a quarter
        return y + _enlarge(self.shortcut(x))


class SNGANSynthesis(nn.Module):
    """Latent -> image, from 4x4 up to full resolution."""

    def __init__(self, config: SNGANConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.dense = Dense(config.z_dim, widths[0])
        self.blocks = nn.ModuleList(
            UpBlock(*widths[i : i + 3]) for i in range(0, len(widths) - 1, 2)
        )
        self.bn = nn.BatchNorm2d(widths[-1])
        self.to_rgb = glorot_conv(widths[-1], 3, 3)

    def forward(
        self, w: torch.Tensor, noise: str | Sequence[torch.Tensor] = "const",
        return_rgbs: bool = False,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Render images.

        Args:
            w: the latent [N, z_dim], or [N, 1, z_dim].
            noise: "const", "random", "none" or no maps: all the same, as no layer takes noise.
            return_rgbs: return a list of the one image instead.

        Returns:
            [N, 3, R, R] in [-1, 1], or that in a list.

        Raises:
            ValueError: a w of another shape, an unknown noise, noise maps.
        """
        z_dim, got = self.config.z_dim, list(w.shape)
        if got[1:] not in ([z_dim], [1, z_dim]):
            raise ValueError(f"w: got shape {got}, expected [N, {z_dim}] or [N, 1, {z_dim}]")
        if isinstance(noise, str):
            check(noise in NOISE_MODES, "noise", noise, f"one of {', '.join(NOISE_MODES)}")
        elif len(noise):
            raise ValueError(f"noise: got {len(noise)} maps, expected none for an SN-GAN")
        x = self.dense(w.flatten(1)).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        image = self.to_rgb(F.relu(self.bn(x))).tanh()
        return [image] if return_rgbs else image


class SNGANGenerator(nn.Module):
    """The generator, in the form that StyleGAN2's has: an identity for a mapping, and synthesis.

    Attributes:
        config: the shapes.
        lineage: None, or for a pruned network which of the teacher's channels it holds.

    Example:
        >>> g = cagc.SNGANGenerator(cagc.SNGANConfig(8, (4,) * 3))
        >>> g(torch.randn(2, 128)).shape
        torch.Size([2, 3, 8, 8])
    """

    mean_samples = 1_000

    def __init__(self, config: SNGANConfig, lineage: Lineage | None = None) -> None:
        super().__init__()
        self.config = config
        self.lineage = lineage
        self.mapping = nn.Identity()
        self.synthesis = SNGANSynthesis(config)

    def forward(
        self, z: torch.Tensor, truncation_psi: float = 1.0,
        noise: str | Sequence[torch.Tensor] = "const",
    ) -> torch.Tensor:
        """Map z [N, z_dim] to images [N, 3, R, R]; psi < 1 pulls z toward its mean, 0."""
        return self.synthesis(z * truncation_psi if truncation_psi != 1 else z, noise=noise)

    @property
    def readers(self) -> tuple[tuple[str, ...], ...]:
        """Per width, the weights of `synthesis` that read it."""
        names: list[tuple[str, ...]] = []
        for i in range(len(self.synthesis.blocks)):
            b = f"blocks.{i}"
            names += [(f"{b}.conv1.weight", f"{b}.shortcut.weight"), (f"{b}.conv2.weight",)]
        return (*names, ("to_rgb.weight",))

    @property
    def writers(self) -> tuple[tuple[str, ...], ...]:
        """Per width, the weights of `synthesis` that write it: two tied by each block's sum."""
        names: list[tuple[str, ...]] = [("dense.weight",)]
        for i in range(len(self.synthesis.blocks)):
            b = f"blocks.{i}"
            names += [(f"{b}.conv1.weight",), (f"{b}.conv2.weight", f"{b}.shortcut.weight")]
        return tuple(names)

    @staticmethod
    def sliced_axes(name: str) -> tuple[tuple[int, int], ...]:
        """Say which axes of a state tensor run over channels: see `generator.sliced_axes`.

        Batch norm's parameters and statistics go with the channels they normalise. The width that
        the last batch norm and `to_rgb` read is numbered -1.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            return ()
        block, layer, part = match.groups()
        writes, reads = _WIDTHS[layer]
        axes = [(0, writes), (1, reads if part == "weight" else None)]
        first = 2 * int(block or 0)
        return tuple((axis, first + width) for axis, width in axes if width is not None)

    def effective_factor(self, name: str, w: torch.Tensor) -> torch.Tensor:
        """Sum over samples of what a weight is multiplied with: 1 each, as it is used as it is."""
        return torch.tensor(float(len(w)), dtype=torch.float64, device=w.device)

    def gains(self, w: torch.Tensor) -> list[torch.Tensor]:
        """Per width, the factor [C_k] that its batch norm gives every channel, whatever the w."""
        return list(self.gain_weights)

    @property
    def gain_weights(self) -> list[nn.Parameter]:
        """Per width, the weight [C_k] of its batch norm."""
        norms = [bn for block in self.synthesis.blocks for bn in (block.bn1, block.bn2)]
        return [bn.weight for bn in (*norms, self.synthesis.bn)]

    @torch.no_grad()
    def update_means(self, z: torch.Tensor) -> None:
        """Measure the batch norms' statistics on the images of z [N, z_dim]; no weight changes.

        A moving average of weights and a pruned network hold statistics of other weights.
        """
        update_bn(z.split(STATISTICS_BATCH), self)


@dataclass(frozen=True)
class SNGANDiscriminatorConfig(NetworkConfig):
    """What fixes an SN-GAN discriminator's shapes; the defaults are the paper's for CIFAR-10.

    Args:
        resolution: side of the square image, a power of two from 8 to 1024.
        channels: the width of every residual block. The first blocks halve the size until it is
            8x8; the others keep it. At least one block, and enough to get there.
    """

    what = "SN-GAN config"
    resolution: int = 32
    channels: tuple[int, ...] = (128,) * 4

    def __post_init__(self) -> None:
        self.check_shapes(max(1, self.levels - 3), or_more=True)


class SpectralConv(nn.Conv2d):
    """A convolution whose weight is computed in full precision, even under autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        # the power iteration divides by a number near the weight's own size: half precision
        # would move the norm, and its buffers are float32
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class SpectralLinear(nn.Linear):
    """A linear layer whose weight is computed in full precision, even under autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs] to [N, outputs]."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class DownBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `down` halves the size, `first` reads an image.

    The shortcut has a 1x1 convolution where the size or the width changes.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool) -> None:
        super().__init__()
        self.down, self.first = down, first
        gain = math.sqrt(2)
        self.conv1 = spectral_norm(glorot_conv(inputs, outputs, 3, gain, SpectralConv))
        self.conv2 = spectral_norm(glorot_conv(outputs, outputs, 3, gain, SpectralConv))
        self.shortcut = None
        if down or inputs != outputs:
            self.shortcut = spectral_norm(glorot_conv(inputs, outputs, 1, layer=SpectralConv))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W], or to half the size."""
        # no ReLU before the first convolution: an image's negative half is information
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        # averaging and a 1x1 convolution commute; this order costs a quarter
        x = F.avg_pool2d(x, 2) if self.down else x
        x = x if self.shortcut is None else self.shortcut(x)
        return (F.avg_pool2d(y, 2) if self.down else y) + x


class SNGANDiscriminator(nn.Module):
    """Images -> logits, higher for images that look real."""

    def __init__(self, config: SNGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.channels)
        self.blocks = nn.ModuleList(
            DownBlock(a, b, down=i < config.levels - 3, first=i == 0)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        out = SpectralLinear(widths[-1], 1, bias=False)
        nn.init.xavier_uniform_(out.weight)
        self.out = spectral_norm(out)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, R, R] in [-1, 1] to logits [N, 1]."""
        x = check_images(images, self.config.resolution)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        return self.out(F.relu(x).float().sum((2, 3)))


def glorot_conv(
    inputs: int, outputs: int, kernel: int, gain: float = 1.0, layer: type[nn.Conv2d] = nn.Conv2d
) -> nn.Conv2d:
    """Make a same-size convolution with Glorot's uniform weights times gain, and zero bias."""
    conv = layer(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight, gain)
    nn.init.zeros_(conv.bias)
    return conv


def _enlarge(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
