"""Up-sample by zero insertion, pad, filter with a small FIR kernel, down-sample.

    y = down(f * pad(up(x)))        one filter for every channel, `*` a true convolution

x: [N, C, H, W]; f: [k] (separable) or [k, k]. With f = [1, 3, 3, 1] this is StyleGAN2's
anti-aliased re-sampling (Karras et al. 2020, arXiv 1912.04958; the operator's name is NVIDIA's). Chapter 3.
"""

import torch
import torch.nn.functional as F

from .dispatch import explain, triton_function

RESAMPLE_FILTER = (1.0, 3.0, 3.0, 1.0)


def setup_filter(taps: tuple[float, ...] = RESAMPLE_FILTER) -> torch.Tensor:
    """Return the taps as a [k] float32 tensor that sums to one (a separable filter's one axis)."""
    f = torch.tensor(taps, dtype=torch.float32)
    return f / f.sum()


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int] = (0, 0),
    gain: float = 1.0,
    impl: str = "auto",
) -> torch.Tensor:
    """Up-sample, pad, filter, down-sample; the same on both axes.

    Args:
        x: [N, C, H, W], float.
        f: [k], one axis of a separable filter, or [k, k].
        up: zeros are inserted so that the image grows by this factor.
        down: every down-th row and column is kept.
        padding: zeros (before, after) along both axes, counted after up-sampling; not negative.
        gain: factor on the result; `up ** 2` keeps the mean brightness when up-sampling.
        impl: "auto", "reference" or "triton".

    Returns:
        [N, C, H', W'] with H' = (H * up + sum(padding) - k) // down + 1.

    Raises:
        ValueError: a filter that is not [k] or [k, k], a negative padding, an unknown `impl`.
    """
    if f.ndim not in (1, 2) or f.shape[0] != f.shape[-1]:
        raise ValueError(f"f: got shape {list(f.shape)}, expected [k] or [k, k]")
    if min(padding) < 0:
        raise ValueError(f"padding: got {tuple(padding)}, expected two numbers >= 0")
    chosen, _ = explain("upfirdn2d", x, impl)
    if chosen == "triton":
        return triton_function("upfirdn2d")(x, f, up, down, padding, gain)
    return _reference(x, f, up, down, padding, gain)


def upsample2d(x: torch.Tensor, f: torch.Tensor, impl: str = "auto") -> torch.Tensor:
    """Double height and width: [N, C, H, W] -> [N, C, 2H, 2W], mean brightness kept."""
    k = f.shape[0]
    return upfirdn2d(x, f, up=2, padding=((k + 1) // 2, (k - 2) // 2), gain=4, impl=impl)


def downsample2d(x: torch.Tensor, f: torch.Tensor, impl: str = "auto") -> torch.Tensor:
    """Halve height and width: [N, C, H, W] -> [N, C, H/2, W/2], mean brightness kept."""
    k = f.shape[0]
    return upfirdn2d(x, f, down=2, padding=((k - 1) // 2, (k - 2) // 2), impl=impl)


def _reference(
    x: torch.Tensor,
    f: torch.Tensor,
    up: int,
    down: int,
    padding: tuple[int, int],
    gain: float,
) -> torch.Tensor:
    n, c, h, w = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(n, c, h * up, w * up)
    # conv2d correlates; the flip makes it the convolution that the definition asks for
    f = f.flip(tuple(range(f.ndim))).to(x.dtype)
    kernel = (f if f.ndim == 2 else torch.outer(f, f)) * gain
    before, after = padding
    if before == after:
        return F.conv2d(x, kernel.expand(c, 1, -1, -1), stride=down, padding=before, groups=c)
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x, kernel.expand(c, 1, -1, -1), stride=down, groups=c)
