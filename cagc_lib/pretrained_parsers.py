"""Content of photographs of faces: parsers that others trained on CelebAMask-HQ.

    images -> 512 x 512, ImageNet's mean and deviation -> a parser -> all but background and clothes

The paper's parser is BiSeNet (Yu et al. 2018; weights of face-parsing.PyTorch). Its network comes
from the package facexlib; SegFormer (Xie et al. 2021), fine-tuned on the same classes, from a
public hub through transformers. Neither package is needed for anything else. Chapters 5 and 12.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .checkpoints import load_tensors
from .downloads import model_path
from .masks import check_classes, check_images, resize_mask
from .portraits import CLASS_NAMES

BISENET = "bisenet-celebamask"
SEGFORMER = "jonathandinu/face-parsing"
# CelebAMask-HQ's own names of what the paper's rule leaves out
NOT_CONTENT = ("background", "cloth")

_SIDE = 512
_BATCH = 8
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class PretrainedParser:
    """A content source that asks a parser of photographs.

    Args:
        network: takes images [N, 3, 512, 512], normalised by ImageNet's mean and deviation; put
            into eval mode and frozen. It follows the images' device.
        logits: what it returns -> class logits [N, classes, h, w].
        names: of the classes, in the logits' order.
        classes: those that count as content; None is the paper's rule, all but background and
            cloth.

    Raises:
        ValueError: a class that is not among the names, or an empty list.
    """

    def __init__(
        self,
        network: nn.Module,
        logits: Callable[[Any], torch.Tensor],
        names: Sequence[str],
        classes: Sequence[str] | None = None,
    ) -> None:
        check_classes(NOT_CONTENT if classes is None else classes, names)
        self.network = network.eval().requires_grad_(False)
        self.logits = logits
        self.names = tuple(names)
        if classes is None:
            classes = [name for name in names if name not in NOT_CONTENT]
        self._is_content = torch.tensor([name in classes for name in names])

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Class ids at the parser's resolution.

        Args:
            images: [N, 3, H, W] in [-1, 1], any size, any floating-point type.

        Returns:
            [N, h, w], int64, indices into `names`.
        """
        check_images(images)
        network = self.network.to(images.device)
        mean = torch.tensor(_MEAN, device=images.device)[:, None, None]
        std = torch.tensor(_STD, device=images.device)[:, None, None]
        ids = []
        # always float32: half-precision input and autocast must not move a mask
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            for part in images.split(_BATCH):
                x = (part.float().clamp(-1, 1) + 1) / 2
                # not antialiased, as in the paper's distillation
                x = F.interpolate(x, (_SIDE, _SIDE), mode="bilinear")
                ids.append(self.logits(network((x - mean) / std)).argmax(1))
        return torch.cat(ids)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        ids = self.parse(images)
        return resize_mask(self._is_content.to(ids.device)[ids][:, None], images.shape[2:])


def bisenet_source(
    weights: str | Path | None = None, classes: Sequence[str] | None = None
) -> PretrainedParser:
    """The paper's parser: BiSeNet with 19 classes, through facexlib.

    Args:
        weights: a file of its weights, 79999_iter.pth or facexlib's parsing_bisenet.pth; None
            downloads the latter once.
        classes: names out of the portraits' CLASS_NAMES, which are in its order; None is the
            paper's rule.

    Raises:
        ValueError: facexlib is missing, a file of other weights, or an unknown class.
        OSError: the weights cannot be read or fetched.
    """
    try:
        from facexlib.parsing.bisenet import BiSeNet
    except ImportError as error:
        raise ValueError(
            f'content source "bisenet" needs the package facexlib ({error}); '
            "expected it to be there: pip install facexlib"
        ) from None
    path = Path(weights) if weights is not None else model_path(BISENET)
    state = load_tensors(path)
    network = BiSeNet(num_class=len(CLASS_NAMES))
    expected = network.state_dict()
    # old files lack batch norm's counters, which nothing reads
    wrong = {k for k in expected.keys() ^ state.keys() if not k.endswith("num_batches_tracked")}
    wrong |= {k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape}
    if wrong:
        raise ValueError(f"{path}: got other weights at {min(wrong)}, expected BiSeNet's")
    network.load_state_dict(state, strict=False)
    return PretrainedParser(network, lambda heads: heads[0], CLASS_NAMES, classes)


def segformer_source(
    weights: str | Path | None = None, classes: Sequence[str] | None = None
) -> PretrainedParser:
    """A SegFormer fine-tuned on CelebAMask-HQ, through transformers and its hub.

    Args:
        weights: a folder of `save_pretrained` or a name on the hub; None is SEGFORMER.
        classes: the model's own names of what counts as content; None is the paper's rule.

    Raises:
        ValueError: transformers is missing, or an unknown class.
        OSError: the model cannot be read or fetched.
    """
    try:
        from transformers import SegformerForSemanticSegmentation
    except ImportError as error:
        raise ValueError(
            f'content source "segformer-face-parsing" needs the package transformers ({error}); '
            "expected it to be there: pip install transformers"
        ) from None
    name = str(weights or SEGFORMER)
    try:
        network = SegformerForSemanticSegmentation.from_pretrained(name, use_safetensors=True)
    except OSError as error:
        # its texts have many lines
        reason = str(error).strip().partition("\n")[0][:200]
        raise OSError(f"{name}: cannot load a SegFormer ({reason})") from None
    names = [network.config.id2label[i] for i in range(network.config.num_labels)]
    return PretrainedParser(network, lambda out: out.logits, names, classes)
