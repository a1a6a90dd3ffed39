"""StyleGAN2's operators: a PyTorch reference each, and its Triton twin beside it."""

from .bias_act import bias_act
from .dispatch import explain, implementation
from .frozen import frozen_weights
from .modulated_conv2d import demodulation_coefficients, modulated_conv2d
from .to_rgb import to_rgb
from .upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "bias_act",
    "demodulation_coefficients",
    "downsample2d",
    "explain",
    "frozen_weights",
    "implementation",
    "modulated_conv2d",
    "setup_filter",
    "to_rgb",
    "upfirdn2d",
    "upsample2d",
]
