"""Trains the small networks that read images: the portraits' parser and features, classifiers.

    kind          learns from                    by
    parser        freshly rendered portraits     cross-entropy and overlap of the classes
    features      the same                       squared errors of all it can name
    autoencoder   the same, without labels       drawing it again from 128 numbers
    classifier    a folder of images a class     cross-entropy, images shifted and mirrored

Chapters 5, 10 and 12.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..checkpoints import save_network
from ..datasets import ClassFolders, Portraits, render_portraits
from ..networks import (
    Autoencoder, Classifier, FeatureNetwork, Parser, appearance, check, check_positive,
)
from .supervised import augment, batch_stream, fit

# side of the portraits in turn; largest shift of a photograph, in pixels
RESOLUTIONS = (64, 64, 64, 128)
SHIFT = 4
# kind -> steps, images a step, peak rate
DEFAULTS = {
    "parser": (4000, 32, 2e-3), "features": (5000, 32, 2e-3), "autoencoder": (3000, 64, 1e-3),
    "classifier": (12_000, 128, 0.1),
}


def train_network(
    kind: str, *, steps: int | None = None, batch_size: int | None = None, lr: float | None = None,
    seed: int = 0, data: str | Path | None = None, resolution: int = 32,
    out: str | Path | None = None, device: torch.device | str = "cpu", progress: bool = True,
) -> nn.Module:
    """Train one of the small networks from scratch.

    Args:
        kind: "parser", "features", "autoencoder" or "classifier".
        steps, batch_size, lr: optimiser steps, images a step (portraits at 64 px, a quarter at 128)
            and the largest rate; None is the kind's default.
        seed: decides weights, images, their order and augmentation.
        data: of a classifier, a folder with one folder of images a class.
        resolution: side of a classifier's images.
        out: where to save it (safetensors, float16), or None.
        device: where to train.
        progress: show a progress bar.

    Returns:
        The network, in eval mode.

    Raises:
        ValueError: an unknown kind, a folder without two class folders or without images, a loss
            that is not finite.
    """
    check(kind in DEFAULTS, "kind", kind, f"one of {', '.join(DEFAULTS)}")
    settings = zip((steps, batch_size, lr), DEFAULTS[kind], strict=True)
    steps, batch_size, lr = (default if value is None else value for value, default in settings)
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        check_positive(name, value)
    images = None
    if kind == "classifier":
        if data is None:
            raise ValueError("data: got nothing, expected a folder of class folders")
        images = ClassFolders(data, resolution)
        if len(images.classes) < 2:
            raise ValueError(f"data: got one class, {images.classes[0]}, expected two or more")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, meta = _new(kind, images)
    network.to(device)
    draw = torch.Generator().manual_seed(seed)
    if images is not None:
        loss, batches = classifier_loss, _augmented(images, batch_size, draw)
        optimiser = torch.optim.SGD(
            network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
        settings = {"clip": math.inf}
    else:
        loss = LOSSES[kind]
        sides = (64,) if kind == "autoencoder" else RESOLUTIONS
        batches = batch_stream(batch_size, sides, 4, draw, device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-4)
        settings = {"warmup": min(100, steps // 10 + 1)}
    fit(network, loss, batches, optimiser, draw, steps=steps, progress=progress, **settings)
    if out is not None:
        meta = {"kind": kind, **meta, "steps": steps, "seed": seed}
        save_network(network.state_dict(), meta, out)
    return network


def _new(kind: str, images: ClassFolders | None) -> tuple[nn.Module, dict[str, Any]]:
    """A network with new weights, and what its file must say to build it again."""
    if kind == "parser":
        network = Parser()
        return network, {"widths": list(network.widths)}
    if kind == "autoencoder":
        network = Autoencoder()
        return network, {"widths": list(network.widths), "code": network.code}
    if images is not None:
        network, classes = Classifier(images.classes), list(images.classes)
        return network, {"classes": classes, "widths": list(network.widths), "depth": network.depth}
    # a sample of 2,048 shows every class and fixes the scale of every number
    sample = render_portraits(range(2048), 16)
    network = FeatureNetwork(describe_attributes(sample.attributes))
    landmarks = sample.landmarks / 16
    network.landmark_mean.copy_(landmarks.mean(0).flatten())
    network.landmark_std.copy_(landmarks.std(0).flatten())
    return network, {"attributes": network.attributes, "widths": list(network.widths)}


def parser_loss(
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


def describe_attributes(attributes: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    """How to predict an attribute: [mean, std] of a number, [] of a bool, [classes] of an index."""
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
    """Squared errors of everything the network predicts, and the coarse parsing's cross-entropy."""
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


def autoencoder_loss(
    network: Autoencoder, portraits: Portraits, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """How far off the picture drawn again is, fine detail and coarse, in shares of what there is.

    L1 of each band of a Laplacian pyramid (Burt & Adelson 1983) over the band's mean magnitude.
    """
    images = augment(portraits.images, generator).images
    drawn = network.draw(network.embed(images)).float()
    pairs = zip(_bands(images), _bands(drawn), strict=True)
    return {f"band{i}": (a - b).abs().mean() / a.abs().mean() for i, (a, b) in enumerate(pairs)}


def _bands(images: torch.Tensor) -> list[torch.Tensor]:
    """Split images [N, 3, R, R] into what each halving loses, and the rest, of side R / 8."""
    bands = []
    for _ in range(3):
        small = F.avg_pool2d(images, 2)
        bands.append(images - F.interpolate(small, scale_factor=2.0, mode="bilinear"))
        images = small
    return [*bands, images]


def _attribute_loss(out: torch.Tensor, truth: torch.Tensor, spec: list[float]) -> torch.Tensor:
    if len(spec) == 1:
        return F.cross_entropy(out, truth)
    if spec:
        return F.mse_loss(out[:, 0], (truth - spec[0]) / spec[1])
    return F.binary_cross_entropy_with_logits(out[:, 0], truth.float())


LOSSES = {
    "parser": parser_loss, "features": features_loss, "autoencoder": autoencoder_loss,
}


def _augmented(
    images: ClassFolders, n: int, draw: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draw batches, shift each image by up to four pixels, edges grey, and mirror every other."""
    while True:
        batch, labels = images[torch.randint(len(images), (n,), generator=draw).tolist()]
        side = batch.shape[-1]
        padded = F.pad(batch, (SHIFT,) * 4)
        rows, columns = torch.randint(2 * SHIFT + 1, (2, n), generator=draw)
        mirrored = torch.rand(n, generator=draw) < 0.5
        places = zip(padded, rows.tolist(), columns.tolist(), strict=True)
        shifted = torch.stack([image[:, y : y + side, x : x + side] for image, y, x in places])
        yield torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted), labels


def classifier_loss(
    network: Classifier, batch: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Cross-entropy of a batch of images and labels, which came augmented."""
    images, labels = (part.to(network.fc.weight.device) for part in batch)
    return {"cross_entropy": F.cross_entropy(network.logits(images).float(), labels)}


@torch.no_grad()
def accuracy(network: Classifier, images: ClassFolders, batch_size: int = 500) -> float:
    """The share of a folder's images whose class is named; a ValueError for other classes."""
    same = images.classes == network.classes
    check(same, "data", ", ".join(images.classes), f"the classes {', '.join(network.classes)}")
    device, hits = network.fc.weight.device, 0
    for start in range(0, len(images), batch_size):
        batch, labels = images[range(start, min(start + batch_size, len(images)))]
        hits += int((network.logits(batch.to(device)).argmax(1).cpu() == labels).sum())
    return hits / len(images)
