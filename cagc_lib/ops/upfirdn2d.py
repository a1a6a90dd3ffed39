"""Up-sample by zero insertion, pad, filter with a small FIR kernel, down-sample.

    y = down(f * pad(up(x)))        one filter for every channel, `*` a true convolution

x: [N, C, H, W]; f: [k] (separable) or [k, k]. With f = [1, 3, 3, 1] this is StyleGAN2's
anti-aliased re-sampling (Karras et al. 2020, arXiv 1912.04958; the operator's name is NVIDIA's).
Chapter 3.
"""

import torch
import torch.nn.functional as F

from .dispatch import register, run
from .precision import multiplies_bfloat16


def setup_filter(taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)) -> torch.Tensor:
    """Return the taps as a [k] float32 tensor that sums to one (a separable filter's one axis)."""
    f = torch.tensor(taps, dtype=torch.float32)
    return f / f.sum()


def upfirdn2d(
    x: torch.Tensor, f: torch.Tensor, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0),
    gain: float = 1.0, impl: str = "auto",
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
        ValueError: a filter that is not [k] or [k, k] or that requires a gradient, a negative
            padding, an unknown `impl`.
    """
    if f.ndim not in (1, 2) or f.shape[0] != f.shape[-1]:
        raise ValueError(f"f: got shape {list(f.shape)}, expected [k] or [k, k]")
    if f.requires_grad:
        raise ValueError("f: got a filter that requires a gradient, expected a constant one")
    if min(padding) < 0:
        raise ValueError(f"padding: got {tuple(padding)}, expected two numbers >= 0")
    return run("upfirdn2d", impl, x, f, up, down, padding, gain)


def upsample2d(x: torch.Tensor, f: torch.Tensor, impl: str = "auto") -> torch.Tensor:
    """Double height and width: [N, C, H, W] -> [N, C, 2H, 2W], mean brightness kept."""
    k = f.shape[0]
    return upfirdn2d(x, f, up=2, padding=((k + 1) // 2, (k - 2) // 2), gain=4, impl=impl)


def downsample2d(x: torch.Tensor, f: torch.Tensor, impl: str = "auto") -> torch.Tensor:
    """Halve height and width: [N, C, H, W] -> [N, C, H/2, W/2], mean brightness kept."""
    k = f.shape[0]
    return upfirdn2d(x, f, down=2, padding=((k - 1) // 2, (k - 2) // 2), impl=impl)


def _reference(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, padding: tuple[int, int], gain: float,
) -> torch.Tensor:
    if torch.compiler.is_compiling() and f.ndim == 1:
        return _shift_and_add(x, f, up, down, padding) * gain
    kernel = (f if f.ndim == 2 else torch.outer(f, f)).to(x.dtype) * gain
    kernel = kernel.flip(0, 1)  # conv2d correlates, the definition convolves
    # the zeros behind the last sample are not inserted: they are part of the padding
    before, after = padding[0], padding[1] + up - 1
    correlate = _correlate if torch.compiler.is_compiling() else _UpFirDn.apply
    return correlate(x, kernel, up, down, (before, after, before, after))


def _shift_and_add(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, padding: tuple[int, int]
) -> torch.Tensor:
    """Filter each axis as a sum of shifted slices.

    Eager, every term is a pass over memory; a compiler fuses them with the element-wise operations
    that follow, which it could not do with a library's convolution.
    """
    f, taps, before = f.to(x.dtype), len(f), padding[0]
    # pad by whole samples; output 0 then begins at `start` on the grid with the zeros inserted
    lead = -(-before // up)
    start = lead * up - before
    for dim in (3, 2):
        outputs = x.shape[dim] * up + sum(padding) - taps + 1
        length = -(-outputs // up)
        trail = (start + up - 1 + taps - 1) // up + length - lead - x.shape[dim]
        x = F.pad(x, (lead, trail) if dim == 3 else (0, 0, lead, trail))
        phases = []
        for first in range(start, start + up):
            # tap j of every up-th output lies on sample (first + j) / up, or on an inserted zero
            total = torch.zeros_like(x.narrow(dim, 0, length))
            for j in range(-first % up, taps, up):
                total = total + f[taps - 1 - j] * x.narrow(dim, (first + j) // up, length)
            phases.append(total)
        y = torch.stack(phases, dim + 1).flatten(dim, dim + 1).narrow(dim, 0, outputs)
        x = y[:, :, :, ::down] if dim == 3 else y[:, :, ::down]
    return x


class _UpFirDn(torch.autograd.Function):
    """Zero insertion, depthwise correlation, striding; its gradient is the same with up and down
    swapped, so it can be differentiated any number of times.

    Autograd's own second derivative of a depthwise convolution runs one convolution a channel,
    and the first of a strided one is slow in bfloat16.
    """

    @staticmethod
    def forward(
        ctx, x: torch.Tensor, kernel: torch.Tensor, up: int, down: int,
        pads: tuple[int, int, int, int],
    ) -> torch.Tensor:
        y = _correlate(x, kernel, up, down, pads)
        ctx.save_for_backward(kernel)
        ctx.geometry = up, down, pads, x.shape[2:], y.shape[2:]
        return y

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (kernel,) = ctx.saved_tensors
        up, down, (left, _, top, _), (h, w), (out_h, out_w) = ctx.geometry
        taps_h, taps_w = kernel.shape
        pads = (
            taps_w - 1 - left, (w - 1) * up - (out_w - 1) * down + left,
            taps_h - 1 - top, (h - 1) * up - (out_h - 1) * down + top,
        )
        return _UpFirDn.apply(grad, kernel.flip(0, 1), down, up, pads), None, None, None, None


def _correlate(
    x: torch.Tensor, kernel: torch.Tensor, up: int, down: int, pads: tuple[int, int, int, int]
) -> torch.Tensor:
    n, c, h, w = x.shape
    if up > 1:
        samples, size = x, (n, c, (h - 1) * up + 1, (w - 1) * up + 1)
        x = torch.empty(
            size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        ).zero_()
        x[:, :, ::up, ::up] = samples
    left, right, top, bottom = pads
    padding = (top, left)
    if left != right or top != bottom or min(pads) < 0:
        x, padding = F.pad(x, pads), (0, 0)
    # a filter is cheap: autocast must not change the type, else the sum of RGBs would lose digits
    with torch.autocast(x.device.type, enabled=False):
        y = x
        if x.dtype == torch.bfloat16 and not multiplies_bfloat16(x.device.type):
            y, kernel = x.float(), kernel.float()  # PyTorch's own loops are slow, see `precision`
        y = F.conv2d(y, kernel.expand(c, 1, -1, -1), stride=down, padding=padding, groups=c)
        return y.to(x.dtype)


register("upfirdn2d", _reference, lambda t: (t.x, t.f, 2, 1, (2, 1), 4.0))
