"""The scores that the content-aware one is compared with: weights, activations, styles, chance.

The public code's baselines (Util/pruning_metrics.py), and the honest one, which is too slow for a
large network: take out one channel after another and see what the images lose.
"""

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from ..content import check_mask
from ..networks import PrunableGenerator
from .gradients import NO_CONTENT, Content
from .samples import Batches, draw_samples, own_draws, zeros


def ablation(
    g: PrunableGenerator, content: Content, batches: Batches, seed: int, noise: str
) -> list[Tensor]:
    """Mean change of a content pixel's values when one channel is taken out: a pass a channel.

    A channel goes as in pruning: its slices of every tensor become zero, so that a demodulated
    reader divides by the norm of what is left.
    """
    totals, pixels = zeros(g), 0
    # per width, the tensors that run over its channels, and along which axis
    slices: list[list[tuple[str, Tensor, int]]] = [[] for _ in totals]
    for name, tensor in g.synthesis.state_dict().items():
        for axis, k in g.sliced_axes(f"synthesis.{name}"):
            slices[k].append((name, tensor, axis))
    with torch.no_grad():
        for batch in batches:
            z, maps, _ = draw_samples(g, batch, seed, noise)
            w = g.mapping(z)
            clean = g.synthesis(w, noise=maps)
            mask = check_mask(content(clean), clean)
            pixels += int(mask.sum())
            for own, total in zip(slices, totals, strict=True):
                for c in range(len(total)):
                    image = functional_call(g.synthesis, _without(c, own), (w,), {"noise": maps})
                    total[c] += ((image - clean).abs().mean(1, keepdim=True) * mask).sum()
    if not pixels:
        raise ValueError(NO_CONTENT)
    return [total / pixels for total in totals]


def _without(c: int, slices: list[tuple[str, Tensor, int]]) -> dict[str, Tensor]:
    """The tensors that run over a width, with zeros where its channel c was."""
    state: dict[str, Tensor] = {}
    for name, tensor, axis in slices:
        # a residual block's tensor may run over one width twice
        whole = state.get(name, tensor)
        state[name] = whole.index_fill(axis, torch.tensor([c], device=whole.device), 0)
    return state


def weight_norms(g: PrunableGenerator, batches: Batches, seed: int, outgoing: bool) -> list[Tensor]:
    """1-norms of the effective weights, averaged over z before the norm (the public code's order).

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
        # nothing writes into StyleGAN2's constant: the public code scores it at random
        sum(norms[name] for name in names) if names else random_scores(g, seed)[k]
        for k, names in enumerate(groups)
    ]


def activation(g: PrunableGenerator, batches: Batches, seed: int, noise: str) -> list[Tensor]:
    """Mean magnitude of every channel where it is read, [C_k] per width."""
    totals = zeros(g)

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


def mean_gains(g: PrunableGenerator, batches: Batches, seed: int) -> list[Tensor]:
    """|mean over z of the factor|, GAN Slimming's measure (Wang et al. 2020, arXiv 2008.11062)."""
    totals, samples = zeros(g), 0
    with torch.no_grad():
        for batch in batches:
            w = g.mapping(draw_samples(g, batch, seed, noise="const")[0])
            samples += len(w)
            for total, gain in zip(totals, g.gains(w), strict=True):
                total += gain * len(w)
    return [total.abs() / samples for total in totals]


def random_scores(g: PrunableGenerator, seed: int) -> list[Tensor]:
    """A uniform number in [0, 1) per channel, which the seed alone decides."""
    return [torch.rand(c, generator=own_draws(seed, k)) for k, c in enumerate(g.config.channels)]
