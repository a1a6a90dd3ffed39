"""Trains the small networks that read images: the portraits' parser and features, classifiers.

Parser and features learn from freshly rendered portraits, whose labels are exact; a classifier from
a folder with one folder of photographs a class. Chapters 5, 9 and 11.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from ..checkpoints import save_network
from ..datasets import ClassFolders, Portraits, render_portraits
from ..networks import Classifier, FeatureNetwork, Parser, appearance
from .supervised import augment, fit

SHIFT = 4


@torch.no_grad()
def accuracy(network: Classifier, images: ClassFolders, batch_size: int = 500) -> float:
    """Return the share of a labelled folder's images whose class the network names.

    Raises:
        ValueError: a folder of other classes.
    """
    if images.classes != network.classes:
        raise ValueError(
            f"data: got classes {', '.join(images.classes)}, expected {', '.join(network.classes)}"
        )
    device = network.fc.weight.device
    hits = 0
    for start in range(0, len(images), batch_size):
        numbers = range(start, min(start + batch_size, len(images)))
        batch, labels = images[numbers]
        hits += int((network.logits(batch.to(device)).argmax(1).cpu() == labels).sum())
    return hits / len(images)


def train_classifier(
    data: str | Path,
    resolution: int = 32,
    steps: int = 12_000,
    batch_size: int = 128,
    lr: float = 0.1,
    seed: int = 0,
    out: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Classifier:
    """Train a classifier on a folder with one folder of images a class.

    SGD with Nesterov momentum 0.9 and weight decay 5e-4, the rate falling to zero as a cosine;
    every image is shifted by up to four pixels and mirrored at random. bfloat16 autocast.

    Args:
        data: the folder.
        resolution: side of the images.
        steps: optimiser steps.
        batch_size: images a step.
        lr: the first rate.
        seed: decides weights, order and augmentation.
        out: where to save it (safetensors, float16), or None.
        device: where to train.
        progress: show a progress bar.

    Returns:
        The network, in eval mode.

    Raises:
        ValueError: a folder without two class folders or without images, a loss that is not finite.
    """
    images = _labelled(data, resolution)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(images.classes).to(device, memory_format=torch.channels_last).train()
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    for step in (bar := tqdm(range(steps), disable=not progress, unit="step")):
        for group in optimiser.param_groups:
            group["lr"] = lr * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = _classifier_loss(network, *_augmented(images, batch_size, draw))
        if not loss.isfinite():
            raise ValueError(f"the loss is not finite at step {step}: lower lr (now {lr})")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bar.set_postfix({"loss": f"{loss.item():.3f}"}, refresh=False)
    network.eval()
    if out is not None:
        meta = {
            "kind": "classifier", "classes": list(network.classes), "widths": list(network.widths),
            "depth": network.depth, "steps": steps, "seed": seed,
        }
        save_network(network.state_dict(), meta, out)
    return network


def _labelled(data: str | Path, resolution: int) -> ClassFolders:
    images = ClassFolders(data, resolution)
    if len(images.classes) < 2:
        raise ValueError(f"data: got one class, {images.classes[0]}, expected two or more")
    return images


def _classifier_loss(network: Classifier, batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    device = network.fc.weight.device
    # four times faster than float32 where the processor knows bfloat16
    with torch.autocast(device.type, torch.bfloat16):
        logits = network.logits(batch.to(device))
    return F.cross_entropy(logits.float(), labels.to(device))


def _augmented(
    images: ClassFolders, n: int, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images, shift each by up to four pixels, edges grey, and mirror every other."""
    batch, labels = images[torch.randint(len(images), (n,), generator=draw).tolist()]
    side = batch.shape[-1]
    padded = F.pad(batch, (SHIFT,) * 4)
    rows, columns = torch.randint(2 * SHIFT + 1, (2, n), generator=draw)
    mirrored = torch.rand(n, generator=draw) < 0.5
    cut = [
        image[:, y : y + side, x : x + side]
        for image, y, x in zip(padded, rows.tolist(), columns.tolist(), strict=True)
    ]
    shifted = torch.stack(cut)
    return torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted), labels


def _parser_loss(
    network: nn.Module, portraits: Portraits, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Cross-entropy plus a soft intersection over union per class, so that small classes count."""
    target = portraits.parsing
    logits = network(augment(portraits.images, generator, 0.5).images).float()
    log_probability = logits.log_softmax(1)
    probability = log_probability.exp()
    of_truth = probability.gather(1, target[:, None]).flatten()
    total = probability.sum((0, 2, 3))
    hit = torch.zeros_like(total).index_add(0, target.flatten(), of_truth)
    count = torch.bincount(target.flatten(), minlength=len(total))
    overlap = (hit / (total + count - hit))[count > 0].mean()
    return {"cross_entropy": F.nll_loss(log_probability, target), "overlap": 1 - overlap}


def train_parser(
    steps: int = 4000,
    batch_size: int = 32,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Parser:
    """Train the portraits' parser from scratch.

    Args:
        steps: optimiser steps.
        batch_size: images a step at 64 px (a quarter at 128 px).
        seed: decides weights, portraits and augmentation.
        out: where to save it (safetensors, float16), or None.
        progress: show a progress bar.

    Returns:
        The parser, in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parser = Parser()
    fit(
        parser, _parser_loss, steps=steps, batch_size=batch_size, seed=seed, progress=progress
    )
    if out is not None:
        meta = {"kind": "parser", "widths": list(parser.widths), "steps": steps, "seed": seed}
        save_network(parser.state_dict(), meta, out)
    return parser


def describe_attributes(attributes: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    """How to predict each attribute, from many examples.

    Args:
        attributes: name -> [N], as in portraits.Portraits.

    Returns:
        name -> [mean, std] for a number, [] for a bool, [number of classes] for an index.
    """
    spec = {}
    for name, values in attributes.items():
        if values.is_floating_point():
            spec[name] = [values.mean().item(), values.std().item()]
        else:
            spec[name] = [] if values.dtype == torch.bool else [int(values.max()) + 1]
    return spec


def features_loss(
    network: FeatureNetwork, portraits: Portraits, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Squared errors of everything the network predicts, and the coarse parsing's cross-entropy.

    Args:
        network: in training.
        portraits: rendered, N of them.
        generator: decides the augmentation.

    Returns:
        "appearance", "landmarks", "degradation", "attributes", "parsing": scalars.
    """
    augmented = augment(portraits.images, generator)
    maps = network(augmented.images)
    out = {name: values.float() for name, values in network.outputs_of(maps).items()}
    landmarks = portraits.landmarks.flatten(1) / portraits.images.shape[-1]
    truth = {
        "appearance": appearance(augmented.images).flatten(1),
        "landmarks": (landmarks - network.landmark_mean) / network.landmark_std,
        "degradation": torch.stack([augmented.blur, 5 * augmented.noise], 1),
    }
    losses = {name: F.mse_loss(out[name], values) for name, values in truth.items()}
    attributes = [
        _attribute_loss(out[name], portraits.attributes[name], spec)
        for name, spec in network.attributes.items()
    ]
    losses["attributes"] = 3 * torch.stack(attributes).mean()
    step = portraits.parsing.shape[1] // maps[2].shape[2]
    coarse = portraits.parsing[:, step // 2 :: step, step // 2 :: step]
    losses["parsing"] = 0.2 * F.cross_entropy(network.parsing(maps[2]).float(), coarse)
    return losses


def _attribute_loss(
    out: torch.Tensor, truth: torch.Tensor, spec: list[float]
) -> torch.Tensor:
    if len(spec) == 1:
        return F.cross_entropy(out, truth)
    if spec:
        return F.mse_loss(out[:, 0], (truth - spec[0]) / spec[1])
    return F.binary_cross_entropy_with_logits(out[:, 0], truth.float())


def train_features(
    steps: int = 5000,
    batch_size: int = 32,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> FeatureNetwork:
    """Train the portraits' feature network from scratch.

    Args:
        steps: optimiser steps.
        batch_size: images a step at 64 px (a quarter at 128 px).
        seed: decides weights, portraits and augmentation.
        out: where to save it (safetensors, float16), or None.
        progress: show a progress bar.

    Returns:
        The network, in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A sample of 2,048 shows every class and fixes the scale of every number.
        sample = render_portraits(range(2048), 16)
        network = FeatureNetwork(describe_attributes(sample.attributes))
        network.landmark_mean.copy_((sample.landmarks / 16).mean(0).flatten())
        network.landmark_std.copy_((sample.landmarks / 16).std(0).flatten())
    fit(
        network, features_loss, steps=steps, batch_size=batch_size, seed=seed, progress=progress
    )
    if out is not None:
        meta = {
            "attributes": network.attributes,
            "widths": list(network.widths),
            "steps": steps,
            "seed": seed,
        }
        save_network(network.state_dict(), {"kind": "features", **meta}, out)
    return network
