"""One door to every method: checks the arguments, runs the method, hands on the scores."""

from dataclasses import replace

import torch
from tqdm import tqdm

from ..content import check_source
from ..networks import PrunableGenerator, evaluating
from .baselines import ablation, activation, mean_gains, random_scores, weight_norms
from .diversity import content_diversity, diversity
from .gradients import Content, content_aware
from .scores import LOOKING, PROBING, ChannelScores


@torch.inference_mode(False)
def score_channels(
    g: PrunableGenerator, content: Content, method: str = "content-aware", num_samples: int = 400,
    batch_size: int = 10, noise_prob: float = 0.05, seed: int = 0, per_sample: bool = False,
    noise: str = "random", progress: bool = False,
) -> ChannelScores:
    """Score every channel of a generator; the scores are on the CPU.

    What sample i draws (z, noise maps, salt and pepper, directions) depends on (seed, i) alone: not
    on the batch split, the device or torch's global generator. The network is left as it was found.

    Args:
        g: the generator to be pruned, usually the teacher's moving average.
        content: images [N, 3, R, R] in [-1, 1] -> bool mask [N, 1, R, R]; sees g's own images.
            Only "content-aware", "taylor", "content-diversity" and "ablation" call it.
        method: one of `METHODS`. "taylor" takes the gradient times the weight, the first-order
            estimate of what the content loses with the channel; "ablation" takes that loss itself,
            from one pass for every channel and batch. "diversity" takes the variance of the
            gradient over ten directions in which a latent is moved, at the price of up to twenty
            images a sample; "content-diversity" multiplies its root with the content-aware score.
            "l1-out" and "l1-in" take the 1-norm of the outgoing or incoming weights as used
            (StyleGAN2: modulated, demodulated, averaged over z); "activation" the mean magnitude of
            the channel where it is read; "slimming" that of the factor it is read with: a batch
            norm's gain, StyleGAN2's mean style; "random" a uniform number.
        num_samples, batch_size: how many z, and images per backward pass; both >= 1.
        noise_prob: share of the content's pixels that is replaced, in (0, 1].
        seed: any integer.
        per_sample: False takes |gradient| once per batch, of the batch's sum, as the public code
            does: the batch size is part of the method. True takes it sample by sample, the
            expectation over z; batch_size then changes nothing, to the bit. "diversity" is always
            taken so.
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
    if method in LOOKING:
        check_source(content)
    step = 1 if per_sample else batch_size
    ranges = [range(i, min(i + step, num_samples)) for i in range(0, num_samples, step)]
    batches = tqdm(ranges, desc=f"scoring ({method})", disable=not progress)
    with evaluating(g):
        if method == "content-diversity":
            # a bar counts once, so it belongs to the longer half
            aware = content_aware(g, content, ranges, noise_prob, seed, noise)
            totals = content_diversity(aware, diversity(g, batches, seed, noise))
        elif method in PROBING:
            taylor = method == "taylor"
            totals = content_aware(g, content, batches, noise_prob, seed, noise, taylor)
        elif method == "diversity":
            totals = diversity(g, batches, seed, noise)
        elif method == "ablation":
            totals = ablation(g, content, batches, seed, noise)
        elif method == "activation":
            totals = activation(g, batches, seed, noise)
        elif method == "slimming":
            totals = mean_gains(g, batches, seed)
        elif method == "random":
            totals = random_scores(g, seed)
        else:
            totals = weight_norms(g, batches, seed, outgoing=method == "l1-out")
    return replace(asked, scores=tuple(t.detach().float().cpu() for t in totals))
