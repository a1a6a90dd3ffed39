"""The small networks that read images, frozen: the shipped ones by name, trained ones by file.

    parser: the portraits' classes   features, autoencoder, classifier: losses, measures
    standard: others'

One is loaded once a device. Inception and LPIPS's VGG are those of the packages torch-fidelity and
lpips, which need torchvision and download their weights on first use. Chapters 5, 8, 10 and 12.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..networks import (
    Autoencoder, Classifier, FeatureNetwork, Parser, StandardFeatures,
)
from .artefacts import artefact_path
from .files import needing, reason_of
from .formats.layouts import COUNTER, state_shapes
from .formats.native import load_network

# kind of network -> from the file's meta to the network
_MAKERS = {
    "parser": lambda meta: Parser(meta["widths"]),
    "features": lambda meta: FeatureNetwork(meta["attributes"], meta["widths"]),
    "autoencoder": lambda meta: Autoencoder(meta["widths"], meta["code"]),
    "classifier": lambda meta: Classifier(meta["classes"], meta["widths"], meta["depth"]),
}


@cache
def _load(path: Path, kind: str, device: torch.device) -> Any:
    state, meta = load_network(path, kind)
    try:
        shapes = state_shapes(lambda: _MAKERS[kind](meta))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        reason = f"{type(e).__name__}: {reason_of(e)}"
        raise ValueError(f"{path}: its meta describes no {kind} ({reason})") from None
    if shapes != {n: tuple(t.shape) for n, t in state.items() if not n.endswith(COUNTER)}:
        raise ValueError(f"{path}: got other tensors than the {kind} has that its meta describes")
    network: nn.Module = _MAKERS[kind](meta)
    network.load_state_dict(state)
    return network.to(device).eval().requires_grad_(False)


def load_parser(device: torch.device | str = "cpu") -> Parser:
    """Load the shipped parser of portraits, frozen, in eval mode; once per device."""
    return _load(artefact_path("portraits-parser"), "parser", torch.device(device))


def load_features(
    device: torch.device | str = "cpu", name: str = "portraits-features"
) -> FeatureNetwork:
    """Load a shipped feature network, frozen, in eval mode; once per device.

    Args:
        device: where to put it.
        name: "portraits-features" for measures, "portraits-perceptual" for losses.

    Example:
        >>> features = cagc.load_features()
        >>> features.embed(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 128])
    """
    return _load(artefact_path(name), "features", torch.device(device))


def load_autoencoder(device: torch.device | str = "cpu") -> Autoencoder:
    """Load the shipped second eye, frozen, in eval mode; once per device."""
    return _load(artefact_path("portraits-autoencoder"), "autoencoder", torch.device(device))


def load_classifier(
    path_or_name: str | Path = "cifar10-classifier", device: torch.device | str = "cpu"
) -> Classifier:
    """Load a classifier, frozen, in eval mode; once per device.

    Args:
        path_or_name: a file that `train_network` wrote, or a shipped one's name:
            "cifar10-classifier" for measures, "cifar10-perceptual" for losses and content.
        device: where to put it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither a file nor a shipped name, another kind of network, or a damaged file.
    """
    path = Path(path_or_name)
    path = path if path.suffix or path.exists() else artefact_path(str(path_or_name))
    return _load(path, "classifier", torch.device(device))


def load_standard_features(device: torch.device | str = "cpu") -> StandardFeatures:
    """Load Inception and LPIPS's VGG through torch-fidelity and lpips.

    Args:
        device: where to put them.

    Raises:
        ValueError: a package is missing.
        OSError: weights cannot be fetched.
    """
    with needing("features: standard", "torch-fidelity lpips"):
        import lpips
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    try:
        inception = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        whole = lpips.LPIPS(net="vgg", verbose=False)
    except OSError as error:
        raise OSError(f"features: cannot fetch standard's weights ({reason_of(error)})") from None
    weights = [lin.model[-1].weight for lin in whole.lins]
    return StandardFeatures(inception, whole.scaling_layer, whole.net, weights).to(device)
