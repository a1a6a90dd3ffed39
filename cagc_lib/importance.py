"""How much each channel matters to the content: the scores that pruning sorts by.

    I   = G(z),   I_N = I with a share p of the content pixels set to -1 or +1 (salt and pepper)
    L   = sum over the batch, channels and pixels of |I_N - I|
    s_c = mean over outputs and taps of |dL / dW[:, c]|,   W: the raw weights that read channel c

summed over batches of z. Width k is read by convolution k, the last width by the last ToRGB; in an
SN-GAN by a block's first convolution and its shortcut, and the mean is over both. A channel matters
if its outgoing weights move the content's pixels a lot. Liu et al. 2021 (arXiv 2104.02244) and the
official code's Util/content_aware_pruning.py; the other methods are its baselines
(Util/pruning_metrics.py). Scores are float32 [C_k], one vector per width. Chapter 6.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.func import functional_call
from tqdm import tqdm

from .checkpoints import atomic_write, reason_of
from .content import check_mask, check_source
from .networks import PrunableGenerator, check, check_positive, evaluating, first_parameter

METHODS = ("content-aware", "l1-out", "l1-in", "activation", "slimming", "random")
Content = Callable[[Tensor], Tensor]
Batches = Iterable[range]
# A noisy image's pixel counts as replaced beyond this share of the image's largest magnitude: the
# image, computed again, differs by rounding (1e-6), whose sign must not enter |I_N - I|'s gradient.
REPLACED = 1e-4


@dataclass(frozen=True, eq=False)
class ChannelScores:
    """One score per channel, and how it was made.

    Attributes:
        scores: one float32 [C_k] per width k; larger means more important.
        method and the others: the arguments of `score_channels`.

    Example:
        >>> scores = cagc.score_channels(cagc.load_generator("portraits-11x"), None, "random")
        >>> scores.save("scores.safetensors")
        >>> cagc.ChannelScores.load("scores.safetensors").channels
        (48, 48, 48, 48, 48, 48, 24, 24, 12, 12)
    """

    scores: tuple[Tensor, ...]
    method: str
    num_samples: int
    batch_size: int
    noise_prob: float
    seed: int
    per_sample: bool = False
    noise: str = "random"

    def __post_init__(self) -> None:
        check_scores(self.scores)
        check(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        check_positive("num_samples", self.num_samples)
        check_positive("batch_size", self.batch_size)
        check(type(self.seed) is int, "seed", self.seed, "an integer")
        prob, per_sample = self.noise_prob, self.per_sample
        number = isinstance(prob, int | float) and not isinstance(prob, bool)
        check(number and 0 < prob <= 1, "noise_prob", prob, "a number in (0, 1]")
        check(self.noise in ("random", "const"), "noise", self.noise, "random or const")
        check(type(per_sample) is bool, "per_sample", per_sample, "True or False")
        possible = self.method == "content-aware" or not per_sample
        check(possible, "method", self.method, "content-aware, as per_sample is True")

    @property
    def channels(self) -> tuple[int, ...]:
        """The widths of the network that was scored."""
        return tuple(len(vector) for vector in self.scores)

    def save(self, path: str | Path) -> None:
        """Write the scores as safetensors with the settings as metadata, atomically."""
        tensors = {f"scores.{k}": vector.cpu() for k, vector in enumerate(self.scores)}
        settings = {k: str(v) for k, v in asdict(self).items() if k != "scores"}
        atomic_write(path, safetensors.torch.save(tensors, settings))

    @classmethod
    def load(cls, path: str | Path) -> "ChannelScores":
        """Read scores that `save` wrote; a file of another kind is a one-line ValueError."""
        kinds = {field.name: field.type for field in fields(cls) if field.name != "scores"}
        try:
            with safe_open(path, framework="pt") as file:
                settings = file.metadata() or {}
                vectors = [file.get_tensor(f"scores.{k}") for k in range(len(file.keys()))]
            if wrong := sorted(settings.keys() ^ kinds.keys()):
                raise ValueError(f"missing or unknown settings: {', '.join(wrong)[:100]}")
            typed = {k: kinds[k](settings[k]) for k in kinds if k != "per_sample"}
            return cls(tuple(vectors), per_sample=settings["per_sample"] == "True", **typed)
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: not channel scores ({reason_of(error)})") from None


@torch.inference_mode(False)
def score_channels(
    g: PrunableGenerator, content: Content, method: str = "content-aware", num_samples: int = 400,
    batch_size: int = 10, noise_prob: float = 0.05, seed: int = 0, per_sample: bool = False,
    noise: str = "random", progress: bool = False,
) -> ChannelScores:
    """Score every channel of a generator; the scores are on the CPU.

    What sample i draws (z, noise maps, salt and pepper) depends on (seed, i) alone: not on the
    batch split, the device or torch's global generator. The network is left as it was found.

    Args:
        g: the generator to be pruned, usually the teacher's moving average.
        content: images [N, 3, R, R] in [-1, 1] -> bool mask [N, 1, R, R]; sees g's own images.
            Only "content-aware" calls it.
        method: one of `METHODS`. "l1-out" and "l1-in" take the 1-norm of the outgoing or incoming
            weights as used (StyleGAN2: modulated, demodulated, averaged over z); "activation" the
            mean magnitude of the channel where it is read; "slimming" that of the factor it is
            read with: a batch norm's gain, StyleGAN2's mean style; "random" a uniform number.
        num_samples, batch_size: how many z, and images per backward pass; both >= 1.
        noise_prob: share of the content's pixels that is replaced, in (0, 1].
        seed: any integer.
        per_sample: False takes |gradient| once per batch, of the batch's sum, as the official code
            does: the batch size is part of the method. True takes it sample by sample, the
            expectation over z; batch_size then changes nothing, to the bit.
        noise: noise maps of the images, "random" (new ones per sample) or "const".
        progress: show a progress bar.

    Raises:
        ValueError: an argument out of range, no source, a mask that does not fit or is empty.

    Example:
        >>> g = cagc.load_generator("portraits-11x")
        >>> scores = cagc.score_channels(g, cagc.content_source("portraits"), num_samples=4)
        >>> scores.channels == g.config.channels
        True
    """
    asked = ChannelScores((), method, num_samples, batch_size, noise_prob, seed, per_sample, noise)
    if method == "content-aware":
        check_source(content)
    step = 1 if per_sample else batch_size
    ranges = [range(i, min(i + step, num_samples)) for i in range(0, num_samples, step)]
    batches = tqdm(ranges, desc=f"scoring ({method})", disable=not progress)
    with evaluating(g):
        if method == "content-aware":
            totals = _content_aware(g, content, batches, noise_prob, seed, noise)
        elif method == "activation":
            totals = _activation(g, batches, seed, noise)
        elif method == "slimming":
            totals = _gains(g, batches, seed)
        elif method == "random":
            totals = _random(g, seed)
        else:
            totals = weight_norms(g, batches, seed, outgoing=method == "l1-out")
    return replace(asked, scores=tuple(t.detach().float().cpu() for t in totals))


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
        image, weights = _differentiable_image(g, w, noise)
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


def check_scores(scores: Sequence[Tensor]) -> None:
    """Raise a one-line ValueError unless every element is a finite, non-empty tensor [C_k]."""
    for k, vector in enumerate(scores):
        if not isinstance(vector, Tensor) or vector.ndim != 1 or len(vector) == 0:
            got = list(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise ValueError(f"scores[{k}]: got {got}, expected a tensor of shape [C]")
        if not bool(vector.isfinite().all()):
            raise ValueError(f"scores[{k}]: got NaN or infinity, expected finite numbers")


def _content_aware(
    g: PrunableGenerator, content: Content, batches: Batches, prob: float, seed: int, noise: str
) -> list[Tensor]:
    totals, replaced = _zeros(g), False
    for batch in batches:
        z, maps, draws = draw_samples(g, batch, seed, noise)
        with torch.no_grad():
            w = g.mapping(z)
        image, weights = _differentiable_image(g, w, maps)
        clean = image.detach()
        with torch.no_grad():
            mask = check_mask(content(clean), clean)
        rows = zip(clean.split(1), mask.split(1), draws, strict=True)
        noisy = torch.cat([salt_and_pepper(one, m, prob, draw) for one, m, draw in rows])
        replaced = replaced or bool((noisy != clean).any())
        for total, score in zip(totals, mean_gradients(image, noisy, weights), strict=True):
            total += score
    if not replaced:
        raise ValueError("content: its masks left no pixel to replace, expected some content")
    return totals


def _differentiable_image(
    g: PrunableGenerator, w: Tensor, noise: str | Sequence[Tensor]
) -> tuple[Tensor, list[list[Tensor]]]:
    """Return the image and, per width, the weights that read it: leaves of the image's graph."""
    # stand-ins that share the weights' memory: the network's own flags and .grad stay untouched
    state = {name: p.detach() for name, p in g.synthesis.named_parameters()}
    weights = [[state[name].requires_grad_() for name in names] for names in g.readers]
    with torch.enable_grad():
        image = functional_call(g.synthesis, state, (w.detach().clone(),), {"noise": noise})
    return image, weights


def mean_gradients(image: Tensor, noisy: Tensor, weights: list[list[Tensor]]) -> list[Tensor]:
    """Per width, mean |dL / dW[:, c]| over all weights that read c; L as in the module's text."""
    difference = noisy - image.detach()
    bound = REPLACED * image.detach().abs().amax()
    replaced = (difference.abs() > bound).any(dim=1, keepdim=True)
    # dL/dI of L = sum |I_N - I|, with I_N held constant
    upstream = torch.where(replaced, -difference.sign(), 0.0)
    gradients = iter(torch.autograd.grad(image, [w for own in weights for w in own], upstream))
    scores = []
    for own in weights:
        # a mean over every weight that reads the channel, in one tensor or two
        shares = [w[:, 0].numel() / sum(v[:, 0].numel() for v in own) for w in own]
        scores.append(sum(next(gradients).abs().mean(dim=(0, 2, 3)) * share for share in shares))
    return scores


def weight_norms(g: PrunableGenerator, batches: Batches, seed: int, outgoing: bool) -> list[Tensor]:
    """1-norms of the effective weights, averaged over z before the norm (the official order).

    The effective kernel of StyleGAN2's sample n is W[o, i] * style[n, i] * demodulation[n, o], so
    its average over z is W times an [O, I] matrix, and no per-sample kernel is built.
    """
    groups = g.readers if outgoing else g.writers
    factors = dict.fromkeys([name for names in groups for name in names], 0.0)
    samples = 0
    with torch.no_grad():
        for batch in batches:
            w = g.mapping(draw_samples(g, batch, seed, noise="const")[0])
            samples += len(w)
            for name in factors:
                factors[name] = factors[name] + g.effective_factor(name, w)
        axes = (0, 2, 3) if outgoing else (1, 2, 3)
        norms = {
            n: (g.synthesis.get_parameter(n).double().abs() * factor.abs() / samples).sum(axes)
            for n, factor in factors.items()
        }
    return [
        # nothing writes into StyleGAN2's constant: the official code scores it at random
        sum(norms[name] for name in names) if names else _random(g, seed)[k]
        for k, names in enumerate(groups)
    ]


def _activation(g: PrunableGenerator, batches: Batches, seed: int, noise: str) -> list[Tensor]:
    totals = _zeros(g)

    def record(total: Tensor, module: torch.nn.Module, inputs: tuple) -> None:
        total += inputs[0].abs().mean(dim=(2, 3)).sum(dim=0)

    samples = 0
    with torch.no_grad(), ExitStack() as hooks:
        for names, total in zip(g.readers, totals, strict=True):
            layer = g.synthesis.get_submodule(names[0].removesuffix(".weight"))
            hooks.enter_context(layer.register_forward_pre_hook(partial(record, total)))
        for batch in batches:
            z, maps, _ = draw_samples(g, batch, seed, noise)
            g.synthesis(g.mapping(z), noise=maps)
            samples += len(z)
    return [total / samples for total in totals]


def _gains(g: PrunableGenerator, batches: Batches, seed: int) -> list[Tensor]:
    """|mean over z of the factor|, GAN Slimming's measure (Wang et al. 2020, arXiv 2008.11062)."""
    totals, samples = _zeros(g), 0
    with torch.no_grad():
        for batch in batches:
            w = g.mapping(draw_samples(g, batch, seed, noise="const")[0])
            samples += len(w)
            for total, gain in zip(totals, g.gains(w), strict=True):
                total += gain * len(w)
    return [total.abs() / samples for total in totals]


def draw_samples(
    g: PrunableGenerator, batch: range, seed: int, noise: str
) -> tuple[Tensor, str | list[Tensor], list[torch.Generator]]:
    """Return z [N, z_dim], noise maps and, for what follows, each sample's own generator."""
    draws = [_draws(seed, index) for index in batch]
    place = first_parameter(g)
    z = torch.stack([torch.randn(g.config.z_dim, generator=draw) for draw in draws]).to(place)
    if noise == "const":
        return z, noise, draws
    maps = [[torch.randn(1, s, s, generator=d) for d in draws] for s in g.config.noise_sides]
    return z, [torch.stack(rows).to(place) for rows in maps], draws


def _draws(seed: int, index: int) -> torch.Generator:
    """A CPU generator for one sample, seeded by a hash so that neighbours are unrelated."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _random(g: PrunableGenerator, seed: int) -> list[Tensor]:
    return [torch.rand(c, generator=_draws(seed, k)) for k, c in enumerate(g.config.channels)]


def _zeros(g: PrunableGenerator) -> list[Tensor]:
    # float64: 400 float32 terms added in float32 would lose the last digit that breaks ties
    device = first_parameter(g).device
    return [torch.zeros(c, dtype=torch.float64, device=device) for c in g.config.channels]
