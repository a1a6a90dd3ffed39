"""Content by a parser: the pixels that a network names by one of some classes.

    images -> what the parser takes -> class ids -> the classes that count -> mask

For rendered portraits the parser is ours; for photographs of faces those that others trained on
CelebAMask-HQ: the paper's BiSeNet (Yu et al. 2018; weights of face-parsing.PyTorch), whose network
comes from the package facexlib, or SegFormer (Xie et al. 2021), from a public hub through
transformers. Neither package is needed for anything else. The paper keeps every pixel whose class
is > 0 and not 16: all but background and cloth. Chapters 5 and 13.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..checkpoints import load_parser, load_tensors, model_path, needing, reason_of
from ..datasets import CLASS_NAMES
from ..networks import check_images
from .masks import check_classes, resize_mask

# the paper's rule, in CelebAMask-HQ's own names
NOT_CONTENT = ("background", "cloth")
# side of the images and images at a time that parsers of photographs take; ImageNet's mean and
# standard deviation
_SIDE, BATCH = 512, 8
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def portrait_input(images: torch.Tensor) -> torch.Tensor:
    """Bring images [N, 3, H, W] in [-1, 1] to 64 or 128 px, what our parser was trained on."""
    side = 64 if max(images.shape[2:]) < 96 else 128
    if list(images.shape[2:]) == [side, side]:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)


def photograph_input(images: torch.Tensor) -> torch.Tensor:
    """Bring images [N, 3, H, W] in [-1, 1] to 512 px and ImageNet's mean and deviation."""
    mean, std = torch.tensor(_IMAGENET, device=images.device)[..., None, None]
    # not antialiased, as in the paper's distillation
    x = F.interpolate((images + 1) / 2, (_SIDE, _SIDE), mode="bilinear")
    return (x - mean) / std


class ParserSource:
    """A content source that parses images and keeps the pixels of some classes.

    Args:
        parser: a network; put into eval mode and frozen. It follows the images' device.
        classes: names of the classes that count as content; None is the paper's rule, all but
            background and cloth.
        names: of all classes, in the order of the logits.
        prepare: images [N, 3, H, W] in [-1, 1] -> what the parser takes.
        logits: what it returns -> class logits [N, classes, h, w].
        batch_size: images at a time; None takes all at once.

    Raises:
        ValueError: a class that is not among the names, or an empty list.
    """

    def __init__(
        self, parser: nn.Module, classes: Sequence[str] | None = None,
        names: Sequence[str] = CLASS_NAMES,
        prepare: Callable[[torch.Tensor], torch.Tensor] = portrait_input,
        logits: Callable[[Any], torch.Tensor] = lambda output: output,
        batch_size: int | None = None,
    ) -> None:
        check_classes(NOT_CONTENT if classes is None else classes, names)
        if classes is None:
            classes = [name for name in names if name not in NOT_CONTENT]
        self.parser = parser.eval().requires_grad_(False)
        self.names, self.classes = tuple(names), tuple(classes)
        self.prepare, self.logits, self.batch_size = prepare, logits, batch_size
        self._is_content = torch.tensor([name in self.classes for name in names])

    def _parse(self, images: torch.Tensor) -> torch.Tensor:
        """Class ids at the parser's resolution, [N, h, w]."""
        parser = self.parser.to(check_images(images).device)
        # always float32: half-precision input and autocast must not move a mask
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return torch.cat([
                self.logits(parser(self.prepare(part.float().clamp(-1, 1)))).argmax(1)
                for part in images.split(self.batch_size or len(images))
            ])

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Class ids of every pixel.

        Args:
            images: [N, 3, H, W] in [-1, 1], any size, any floating-point type.

        Returns:
            [N, H, W], int64, indices into `names`.
        """
        ids = self._parse(images)
        if ids.shape[1:] == images.shape[2:]:
            return ids
        return F.interpolate(ids[:, None].float(), images.shape[2:], mode="nearest")[:, 0].long()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        ids = self._parse(images)
        return resize_mask(self._is_content.to(ids.device)[ids][:, None], images.shape[2:])


def parser_source(
    classes: Sequence[str] | None = None, device: torch.device | str | None = None
) -> ParserSource:
    """The shipped parser of portraits; classes are names out of CLASS_NAMES."""
    return ParserSource(load_parser(device or "cpu"), classes)


def bisenet_source(
    weights: str | Path | None = None, classes: Sequence[str] | None = None
) -> ParserSource:
    """The paper's parser: BiSeNet through facexlib; its classes are CLASS_NAMES, in that order.

    The weights are a file, 79999_iter.pth or facexlib's parsing_bisenet.pth; None downloads the
    latter once.
    """
    with needing('content source "bisenet"', "facexlib"):
        from facexlib.parsing.bisenet import BiSeNet
    path = Path(weights) if weights is not None else model_path("bisenet-celebamask")
    state = load_tensors(path)
    network = BiSeNet(num_class=len(CLASS_NAMES))
    expected = network.state_dict()
    # old files lack batch norm's counters, which nothing reads
    wrong = {k for k in expected.keys() ^ state.keys() if not k.endswith("num_batches_tracked")}
    wrong |= {k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape}
    if wrong:
        raise ValueError(f"{path}: got other weights at {min(wrong)}, expected BiSeNet's")
    network.load_state_dict(state, strict=False)
    return ParserSource(
        network, classes, CLASS_NAMES, photograph_input, lambda heads: heads[0], BATCH
    )


def segformer_source(
    weights: str | Path | None = None, classes: Sequence[str] | None = None
) -> ParserSource:
    """A SegFormer fine-tuned on CelebAMask-HQ, through transformers; classes have its own names.

    The weights are a folder of `save_pretrained` or a name on the hub; None is
    "jonathandinu/face-parsing".
    """
    with needing('content source "segformer-face-parsing"', "transformers"):
        from transformers import SegformerForSemanticSegmentation
    name = str(weights or "jonathandinu/face-parsing")
    try:
        network = SegformerForSemanticSegmentation.from_pretrained(name, use_safetensors=True)
    except OSError as error:
        raise OSError(f"{name}: cannot load a SegFormer ({reason_of(error)})") from None
    names = [network.config.id2label[i] for i in range(network.config.num_labels)]
    return ParserSource(network, classes, names, photograph_input, lambda out: out.logits, BATCH)
