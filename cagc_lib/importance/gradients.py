"""Scores from one backward pass a batch: the gradient of noisy images, alone or times the weight.

The formulas stand in the room's own text (`importance/__init__.py`). Liu et al. 2021
(arXiv 2104.02244), the public code's Util/content_aware_pruning.py.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from ..content import check_mask
from ..networks import PrunableGenerator, check, evaluating
from .samples import Batches, draw_samples, zeros

Content = Callable[[Tensor], Tensor]
NO_CONTENT = "content: its masks left no pixel to replace, expected some content"
# A noisy image's pixel counts as replaced beyond this share of the image's largest magnitude: the
# image, computed again, differs by rounding (1e-6), whose sign must not enter |I_N - I|'s gradient.
REPLACED = 1e-4


@torch.inference_mode(False)
def gradient_scores(
    g: PrunableGenerator, w: Tensor, noisy: Tensor, noise: str | Sequence[Tensor] = "const"
) -> list[Tensor]:
    """Score the channels by one batch of noisy images: |gradient of the batch's summed loss|.

    A pixel counts as replaced where a channel of `noisy` differs from the image by more than
    `REPLACED` times the image's largest magnitude; only replaced pixels enter the loss.

    Args:
        g: the generator; its flags, gradients and mode are left alone.
        w: [N, w_dim] or [N, num_ws, w_dim].
        noisy: [N, 3, R, R], g.synthesis(w, noise) with some pixels replaced.
        noise: "const", "none" or the noise maps that made the image ("random" would not).

    Returns:
        One [C_k] per width k, in g's dtype.

    Raises:
        ValueError: `noisy` of another shape, or noise that cannot be repeated.

    Example:
        >>> g = cagc.load_generator("portraits-11x")
        >>> w = g.mapping(torch.randn(2, g.config.z_dim))
        >>> noisy = cagc.salt_and_pepper(g.synthesis(w), torch.ones(2, 1, 64, 64).bool(), 0.05)
        >>> [len(scores) for scores in cagc.gradient_scores(g, w, noisy)]
        [48, 48, 48, 48, 48, 48, 24, 24, 12, 12]
    """
    if isinstance(noise, str) and noise == "random":
        raise ValueError('noise: got "random", expected the noise that made the noisy images')
    with evaluating(g):
        image, weights = differentiable_image(g, w, noise)
    got = list(noisy.shape) if isinstance(noisy, Tensor) else type(noisy).__name__
    check(got == list(image.shape), "noisy", got, f"images of shape {list(image.shape)}")
    return mean_gradients(image, noisy.to(image), weights)


def salt_and_pepper(
    images: Tensor, mask: Tensor, prob: float, generator: torch.Generator | None = None
) -> Tensor:
    """Set a random share of the masked pixels to black (-1) or white (+1).

    Args:
        images: [N, C, H, W] in [-1, 1]; not changed.
        mask: [N, 1, H, W], bool; pixels outside never change.
        prob: chance that a masked pixel is replaced, by either value with equal chance.
        generator: draws one number per pixel on its own device; None is torch's global one.

    Returns:
        [N, C, H, W]; a replaced pixel has one value in all channels.

    Example:
        >>> images, mask = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64).bool()
        >>> cagc.salt_and_pepper(images, mask, 0.05).unique()
        tensor([-1.,  0.,  1.])
    """
    check_mask(mask, images)
    device = images.device if generator is None else generator.device
    draw = torch.rand(mask.shape, generator=generator, device=device).to(images.device)
    value = torch.where(draw < prob / 2, 1.0, -1.0).to(images.dtype)
    return torch.where(mask & (draw < prob), value, images)


def content_aware(
    g: PrunableGenerator, content: Content, batches: Batches, prob: float, seed: int, noise: str,
    times_weight: bool = False,
) -> list[Tensor]:
    """Sum the batches' scores; noisy images are made from g's own and the content's masks."""
    totals, replaced = zeros(g), False
    for batch in batches:
        z, maps, draws = draw_samples(g, batch, seed, noise)
        with torch.no_grad():
            w = g.mapping(z)
        image, weights = differentiable_image(g, w, maps)
        clean = image.detach()
        with torch.no_grad():
            mask = check_mask(content(clean), clean)
        rows = zip(clean.split(1), mask.split(1), draws, strict=True)
        noisy = torch.cat([salt_and_pepper(one, m, prob, draw) for one, m, draw in rows])
        replaced = replaced or bool((noisy != clean).any())
        scores = mean_gradients(image, noisy, weights, times_weight)
        for total, score in zip(totals, scores, strict=True):
            total += score
    if not replaced:
        raise ValueError(NO_CONTENT)
    return totals


def differentiable_image(
    g: PrunableGenerator, w: Tensor, noise: str | Sequence[Tensor]
) -> tuple[Tensor, list[list[Tensor]]]:
    """Return the image and, per width, the weights that read it: leaves of the image's graph."""
    # stand-ins that share the weights' memory: the network's own flags and .grad stay untouched
    state = {name: p.detach() for name, p in g.synthesis.named_parameters()}
    weights = [[state[name].requires_grad_() for name in names] for names in g.readers]
    with torch.enable_grad():
        image = functional_call(g.synthesis, state, (w.detach().clone(),), {"noise": noise})
    return image, weights


def mean_gradients(
    image: Tensor, noisy: Tensor, weights: list[list[Tensor]], times_weight: bool = False
) -> list[Tensor]:
    """Per width, mean |dL / dW[:, c]| over all weights that read c (L: see the package).

    With `times_weight` it is mean |dL / dW[:, c] * W[:, c]|, to first order what is lost with W.
    """
    difference = noisy - image.detach()
    bound = REPLACED * image.detach().abs().amax()
    replaced = (difference.abs() > bound).any(dim=1, keepdim=True)
    # dL/dI of L = sum |I_N - I|, with I_N held constant
    upstream = torch.where(replaced, -difference.sign(), 0.0)
    gradients = iter(torch.autograd.grad(image, [w for own in weights for w in own], upstream))
    scores = []
    for own in weights:
        score, count = torch.zeros(()), sum(w[:, 0].numel() for w in own)
        for weight in own:
            # a mean over every weight that reads the channel, in one tensor or two
            gradient = next(gradients) * (weight.detach() if times_weight else 1)
            score = score + gradient.abs().mean(dim=(0, 2, 3)) * (weight[:, 0].numel() / count)
        scores.append(score)
    return scores
