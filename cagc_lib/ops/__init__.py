"""Chapters 3 and 4: StyleGAN2's four operators, a PyTorch reference each and its Triton twin.

The references stand here, one a file; their twins in kernels/, which is imported when a twin is
first wanted. `dispatch` decides which of the two runs, `explain` says why.
`precision` is for all that multiply in half precision.
"""

from .bias_act import ACTIVATIONS, bias_act, bias_act_
from .dispatch import explain, implementation, operators
from .frozen import frozen_weights
from .modulated_conv2d import demodulation_coefficients, modulated_conv2d
from .precision import autocast
from .to_rgb import to_rgb
from .upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d
