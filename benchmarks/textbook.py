"""The synthesis network in the textbook's form, and random networks to compare it with ours on.

What the public code does where it has no GPU kernels: weights built for every sample and one
grouped convolution for the batch, a transposed convolution followed by a separate FIR that sees
N * C images of one channel, noise, bias, activation and gain each as a pass of its own.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from cagc_lib.networks import Generator, GeneratorConfig, StyledConv, ToRGB

# channels at 256 px: the paper's, and without 70% of them
FULL = (512,) * 10 + (256,) * 2 + (128,) * 2
PRUNED = (154,) * 10 + (77,) * 2 + (39,) * 2


def random_generator(widths: Sequence[int]) -> Generator:
    """A network with random weights, biases and noise strengths; two widths a resolution."""
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(2 ** (len(widths) // 2 + 1), tuple(widths))).eval()
    with torch.no_grad():
        for key, p in g.synthesis.named_parameters():
            if key.endswith(("bias", "noise_strength")) and "affine" not in key:
                p.copy_(0.1 * torch.randn_like(p))
    return g


def _fir(x: torch.Tensor, f: torch.Tensor, up: int, before: int, after: int) -> torch.Tensor:
    """Zero insertion and FIR of every channel as an image of its own: [N, C, H, W] -> same."""
    n, c, h, w = x.shape
    x = x.reshape(n * c, 1, h, 1, w, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(n * c, 1, h * up, w * up)
    x = F.pad(x, (before, after, before, after))
    x = F.conv2d(x, torch.outer(f, f).flip(0, 1)[None, None] * up**2)
    return x.reshape(n, c, *x.shape[2:])


def _modulate(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulate: bool, up: int
) -> torch.Tensor:
    """Modulated convolution with one kernel per sample, as N groups of one convolution."""
    n, c, h, w = x.shape
    outputs, k = len(weight), weight.shape[2]
    kernels = weight[None] * styles[:, None, :, None, None]  # [N, O, I, k, k]
    if demodulate:
        kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * c, h, w)
    if up == 1:
        x = F.conv2d(x, kernels.reshape(n * outputs, c, k, k), padding=k // 2, groups=n)
        return x.reshape(n, outputs, h, w)
    kernels = kernels.transpose(1, 2).reshape(n * c, outputs, k, k)
    x = F.conv_transpose2d(x, kernels, stride=2, groups=n)
    return x.reshape(n, outputs, 2 * h + 1, 2 * w + 1)


def textbook_conv(
    layer: StyledConv, x: torch.Tensor, w: torch.Tensor, f: torch.Tensor
) -> torch.Tensor:
    """One styled convolution: every step a pass over memory."""
    x = _modulate(x, layer.weight, layer.affine(w), True, layer.up)
    if layer.up == 2:
        x = _fir(x, 2 * f, 1, 1, 1)
    x = x + layer.noise_strength * layer.noise_const
    x = x + layer.bias[None, :, None, None]
    return F.leaky_relu(x, 0.2) * 2**0.5


def textbook_rgb(layer: ToRGB, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """One RGB layer."""
    styles = layer.affine(w) * layer.gain
    return _modulate(x, layer.weight, styles, False, 1) + layer.bias[None, :, None, None]


def textbook_synthesis(g: Generator, w: torch.Tensor) -> torch.Tensor:
    """Render [N, 3, R, R] from w [N, w_dim], with our parameters and the stored noise."""
    net, f = g.synthesis, g.synthesis.resample_filter
    x = net.const.repeat(len(w), 1, 1, 1)
    rgb = None
    for k, layer in enumerate(net.convs):
        x = textbook_conv(layer, x, w, f)
        if k % 2 == 0:
            y = textbook_rgb(net.torgbs[k // 2], x, w)
            rgb = y if rgb is None else _fir(rgb, f, 2, 2, 1) + y
    return rgb
