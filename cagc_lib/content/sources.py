"""What is content? A content source maps images to masks of the pixels that matter.

    content_source(name, ...) -> source; source(images) -> mask

| name | content is | for |
|---|---|---|
| "portraits" | what a small parser of ours names, but background and cloth | rendered portraits |
| "everything" | every pixel | any images |
| "class-activation" | what a classifier names the image by | CIFAR-10 |
| "bisenet" | the paper's: all but background and cloth of a parser | faces |
| "segformer-face-parsing" | the same of a newer parser | faces |
| "face-alignment" | the hull of 68 landmarks | faces, rendered portraits |
| "attention" | foreground clusters of a generator's own features | a generator's own images |
| "painted" | a place painted by hand | aligned images |

`union`, `intersection`, `complement` and `dilation` make a source of others. The paper takes every
pixel that BiSeNet names by a class > 0 and not 16; unlike its code, a batch of one keeps its batch
axis. Chapters 5, 12 and 13.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..checkpoints import load_classifier
from ..datasets import CLASS_NAMES
from ..networks import PrunableGenerator, check
from .attention import GeneratorFeatures
from .class_activation import THRESHOLD, ClassActivation
from .landmarks import landmark_source
from .masks import ContentSource, PaintedMask, complement, dilation, everything, union
from .parsers import bisenet_source, parser_source, segformer_source


def _class_activation(
    threshold: float = THRESHOLD, device: torch.device | str | None = None
) -> ContentSource:
    # not the classifier that measures: it would judge by its own idea of content
    return ClassActivation(load_classifier("cifar10-perceptual", device or "cpu"), threshold)


# name -> function of the options
_BUILDERS: dict[str, Callable[..., ContentSource]] = {
    "portraits": parser_source,
    "everything": lambda: everything,
    "class-activation": _class_activation,
    "bisenet": bisenet_source,
    "segformer-face-parsing": segformer_source,
    "face-alignment": landmark_source,
    "attention": GeneratorFeatures,
    "painted": PaintedMask,
}
SOURCES = tuple(_BUILDERS)
# what a file given with a content source's name is to that source
_OPTION_OF_FILE = {"painted": "mask", "bisenet": "weights", "segformer-face-parsing": "weights"}


def content_source(
    name: str, classes: Sequence[str] | None = None, device: torch.device | str | None = None,
    **options: Any,
) -> ContentSource:
    """Look up a content source by name.

    Args:
        name: one of SOURCES; see the table above.
        classes: names of the classes that count as content, for the three parsers; None is the
            paper's rule, all but background and cloth.
        device: where the source's network waits; it follows the images in any case, but for
            "face-alignment", which works there.
        options: the source's own. "class-activation": threshold. "bisenet" and
            "segformer-face-parsing": weights, a file or a folder (default: downloaded once).
            "face-alignment": landmarks, "fan" for photographs or "portraits"; margin; box.
            "attention": generator, needed; clusters, keep, num_samples, seed. "painted": mask,
            needed, a bool tensor [H, W] or an image file.

    Returns:
        A callable: images [N, 3, H, W] in [-1, 1] -> mask [N, 1, H, W], bool.

    Raises:
        ValueError: an unknown name, an option that the source lacks or needs, or a value that it
            refuses; a package that it needs is missing.
        OSError: a network cannot be read or fetched.

    Example:
        >>> images = cagc.render_portraits([1, 2], 64).images
        >>> mask = cagc.content_source("portraits")(images)
        >>> mask.shape, mask.dtype
        (torch.Size([2, 1, 64, 64]), torch.bool)
    """
    expected = f"one of {', '.join(SOURCES)}"
    check(isinstance(name, str), "content source", type(name), expected)
    if name not in _BUILDERS:
        raise ValueError(f"unknown content source {name!r}; known: {', '.join(SOURCES)}")
    known = inspect.signature(_BUILDERS[name]).parameters
    if classes is not None:
        options["classes"] = classes
    if "device" in known:
        options["device"] = device
    needed = [option for option, p in known.items() if p.default is p.empty]
    wrong = [f"takes no {option}" for option in options if option not in known]
    wrong += [f"needs {option}" for option in needed if option not in options]
    if wrong:
        raise ValueError(f'content source "{name}" {wrong[0]}')
    return _BUILDERS[name](**options)


def read_content(text: str) -> tuple[str, dict[str, Any]]:
    """Read what `find_content` takes, without what makes a source of another.

    Returns:
        The source's name and its options for `content_source`; "attention" needs a generator more.

    Raises:
        ValueError: an unknown name or class, or a value that the source does not take.
    """
    text = _split(text)[1]
    name, equals, value = text.partition("=")
    if name == "attention" and equals:
        fits = re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", value) is not None
        check(fits, "content", text, "clusters, as in attention=0,3")
        return name, {"keep": [int(number) for number in value.split(",")]}
    if value and name in _OPTION_OF_FILE:
        return name, {_OPTION_OF_FILE[name]: value}
    check(name != "painted", "content", text, "painted=FILE")
    if text in SOURCES:
        return text, {}
    classes = text.split(",")
    known = f"{', '.join(SOURCES)}, or class names out of {', '.join(CLASS_NAMES)}"
    for item in classes:
        check(item in CLASS_NAMES, "content", item, known)
    return "portraits", {"classes": classes}


def _split(text: str) -> tuple[bool, str, str | None, int]:
    """Take [outside] SOURCE [within N or beyond N] apart."""
    found = re.fullmatch(r"(outside )?(.*?)(?: (within|beyond) ([0-9]{1,4}))?", text, re.DOTALL)
    outside, source, reach, pixels = found.groups()
    check(pixels is None or int(pixels) > 0, "content", text, f"{reach} 1 pixel or more")
    return outside is not None, source, reach, int(pixels or 0)


def find_content(text: str, generator: PrunableGenerator | None = None) -> ContentSource:
    """Look up a source by a text: NAME, NAME=VALUE, or portraits' classes separated by commas.

    `TEXT within 3` is the text's content and all at most 3 pixels from it, `TEXT beyond 8` its
    content and all more than 8 pixels from it, `outside TEXT` what neither is. "attention" asks the
    generator. Errors as `read_content`.

    Example:
        >>> from cagc_lib.content import find_content
        >>> find_content("outside hair,hat within 3").rule
        'complement'
    """
    name, options = read_content(text)
    if name == "attention":
        options["generator"] = generator
    source = content_source(name, **options)
    outside, _, reach, pixels = _split(text)
    if reach == "within":
        source = dilation(source, pixels)
    elif reach == "beyond":
        source = union(source, complement(dilation(source, pixels)))
    return complement(source) if outside else source
