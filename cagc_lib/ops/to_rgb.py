"""From features to colours: a 1x1 modulated convolution onto the up-sampled RGB of the level below.

    y = up(rgb) + clamp(sum over i of weight[:, i] * styles[n, i] * x[n, i] + bias)

x: [N, I, H, W], weight: [3, I, 1, 1], styles: [N, I], rgb: [N, 3, H/2, W/2] or None, y:
[N, 3, H, W]. It is not demodulated, so its gain is felt (Karras et al. 2020, arXiv 1912.04958,
figure 7: output skips). Chapter 3.
"""

import torch

from .dispatch import explain, register, triton_function
from .modulated_conv2d import modulated_conv2d
from .upfirdn2d import setup_filter, upsample2d


def to_rgb(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, bias: torch.Tensor,
    rgb: torch.Tensor | None = None, f: torch.Tensor | None = None, clamp: float | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Turn features into colours and add them to those of the level below.

    Args:
        x: [N, I, H, W], float.
        weight: [3, I, 1, 1].
        styles: [N, I], any gain included.
        bias: [3].
        rgb: [N, 3, H/2, W/2], or None at the lowest level.
        f: [k], the separable filter that up-samples rgb, on x's device; None is `setup_filter`'s.
        clamp: largest magnitude of this level's part, or None.
        impl: "auto", "reference" or "triton".

    Returns:
        [N, 3, H, W], in the bias's type: the running sum keeps the parameters' precision, also
        where autocast lowered x's.

    Raises:
        ValueError: shapes that do not fit together, unknown `impl`.
    """
    if rgb is not None and [2 * size for size in rgb.shape[2:]] != list(x.shape[2:]):
        raise ValueError(
            f"rgb: got {list(rgb.shape)}, expected half the size of x, {list(x.shape)}"
        )
    if rgb is not None and f is None:
        f = setup_filter().to(x.device)
    chosen, _ = explain("to_rgb", x, impl)
    # one kernel where nothing stands between product and sum, and for the filter of StyleGAN2
    if chosen == "triton" and clamp is None and (f is None or f.shape == (4,)):
        return triton_function("to_rgb")(x, weight, styles, bias, rgb, f)
    return _in_steps(x, weight, styles, bias, rgb, f, clamp, chosen)


def _in_steps(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, bias: torch.Tensor,
    rgb: torch.Tensor | None, f: torch.Tensor | None, clamp: float | None = None,
    impl: str = "reference",
) -> torch.Tensor:
    y = modulated_conv2d(x, weight, styles, False, bias=bias, clamp=clamp, impl=impl).to(bias.dtype)
    return y if rgb is None else upsample2d(rgb, f, impl=impl) + y


register(
    "to_rgb", _in_steps,
    lambda t: (t.x, t.weight[:3, :, :1, :1], t.styles, t.bias[:3], t.x[:, :3, :6, :10], t.f),
)
