"""What every content source shares: the type, its checks, and masks made from masks.

A source is a plain callable: images [N, 3, H, W] in [-1, 1] -> mask [N, 1, H, W], bool, true where
a pixel is content. A user's own function works wherever a source of ours does. Chapter 5.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..datasets import read_image
from ..networks import PrunableGenerator, check, check_images, check_positive

ContentSource = Callable[[torch.Tensor], torch.Tensor]


def check_mask(mask: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return a content mask unchanged, or raise: the check behind every user's own source.

    Args:
        mask: expected [N, 1, H, W], bool.
        images: [N, C, H, W], the images it belongs to.

    Raises:
        ValueError: the mask is not a bool tensor of shape [N, 1, H, W] on the images' device.
    """
    if not isinstance(mask, torch.Tensor):
        raise ValueError(f"content mask must be a bool tensor, got {type(mask).__name__}")
    if mask.dtype != torch.bool:
        raise ValueError(f"content mask must have dtype torch.bool, got {mask.dtype}")
    expected = [images.shape[0], 1, *images.shape[2:]]
    if list(mask.shape) != expected:
        raise ValueError(f"content mask must have shape {expected}, got {list(mask.shape)}")
    if mask.device != images.device:
        raise ValueError(f"content mask is on {mask.device}, the images on {images.device}")
    return mask


def check_source(source: object, what: str = "content") -> None:
    """Raise a one-line ValueError, which begins with `what`, unless source can be called."""
    expected = "a source, a callable from images to masks; see content_source"
    check(callable(source), what, type(source), expected)


def check_classes(classes: object, names: Sequence[str]) -> None:
    """Raise a one-line ValueError unless classes is a list of some of the names."""
    if isinstance(classes, str) or not isinstance(classes, Collection) or not classes:
        raise ValueError(f"classes must be a non-empty list of names, got {classes!r}")
    for item in classes:
        if item not in names:
            raise ValueError(f"unknown class {item!r}; known: {', '.join(names)}")


def everything(images: torch.Tensor) -> torch.Tensor:
    """The content source that keeps every pixel: [N, 3, H, W] -> all-true [N, 1, H, W]."""
    n, _, h, w = check_images(images).shape
    return torch.ones(n, 1, h, w, dtype=torch.bool, device=images.device)


def resize_mask(mask: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bring a content mask to an image's size: smoothly, then cut at one half, as the paper does.

    Args:
        mask: [N, 1, h, w], bool.
        size: (H, W).

    Returns:
        [N, 1, H, W], bool; the mask itself where it has that size.
    """
    if list(mask.shape[2:]) == list(size):
        return mask
    return F.interpolate(mask.float(), tuple(size), mode="bilinear") > 0.5


def following(source: ContentSource | None, g: PrunableGenerator) -> ContentSource | None:
    """Return the source that does for g, a copy for example, what this one does for its own.

    Args:
        source: any source, or None. One that watches a generator has a method `following`; all
            others look at nothing but the images and are returned as they are.
        g: the generator to watch instead.
    """
    return source.following(g) if hasattr(source, "following") else source


def watches_a_generator(source: ContentSource | None) -> bool:
    """Whether a source, or one that it is made of, knows no images but one generator's last."""
    if isinstance(source, Combination):
        return any(watches_a_generator(part) for part in source.sources)
    if isinstance(source, Dilation):
        return watches_a_generator(source.source)
    return hasattr(source, "following")


@dataclass(frozen=True)
class Combination:
    """A content source made of others.

    Attributes:
        rule: "union", "intersection" or "complement".
        sources: what it is made of; one for the complement.

    Raises:
        ValueError: no source, or something that cannot be called.
    """

    rule: str
    sources: tuple[ContentSource, ...]

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError(f"{self.rule}: got no source, expected at least one")
        for source in self.sources:
            check_source(source, self.rule)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        masks = torch.stack([check_mask(source(images), images) for source in self.sources])
        if self.rule == "union":
            return masks.any(0)
        return masks.all(0) if self.rule == "intersection" else ~masks[0]

    def following(self, g: PrunableGenerator) -> "Combination":
        """The same rule for another generator's images."""
        return Combination(self.rule, tuple(following(source, g) for source in self.sources))


def union(*sources: ContentSource) -> Combination:
    """What any of the sources calls content; a ValueError for none, or one that is no callable."""
    return Combination("union", sources)


def intersection(*sources: ContentSource) -> Combination:
    """What all of the sources call content; a ValueError for none, or one that is no callable."""
    return Combination("intersection", sources)


def complement(source: ContentSource) -> Combination:
    """What the source does not call content; a ValueError for one that is no callable."""
    return Combination("complement", (source,))


@dataclass(frozen=True)
class Dilation:
    """A content source that reaches over the edge of another's content.

    Attributes:
        source: the other.
        radius: by how many pixels, >= 1; a square of 2 * radius + 1 pixels around every one.

    Raises:
        ValueError: a source that cannot be called, or a radius out of range.
    """

    source: ContentSource
    radius: int

    def __post_init__(self) -> None:
        check_source(self.source, "dilation")
        check_positive("radius", self.radius)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        mask = check_mask(self.source(images), images).float()
        return F.max_pool2d(mask, 2 * self.radius + 1, stride=1, padding=self.radius) > 0

    def following(self, g: PrunableGenerator) -> "Dilation":
        """The same reach for another generator's images."""
        return Dilation(following(self.source, g), self.radius)


def dilation(source: ContentSource, radius: int) -> Dilation:
    """What the source calls content, and every pixel at most `radius` away from it."""
    return Dilation(source, radius)


class PaintedMask:
    """A content source that calls the same place content in every image: a mask painted by hand.

    For generators whose images are aligned, so that a place means the same in all of them. The
    mask is enlarged or reduced bilinearly to the images' size, then cut at one half.

    Args:
        mask: bool [H, W], or the path of an image file in which content is painted lighter than
            middle grey. H : W is as in the images that it is asked about.

    Raises:
        ValueError: another tensor, a file that is no image or is transparent, or a mask that is
            all content or none.
        OSError: the file cannot be opened.
    """

    def __init__(self, mask: torch.Tensor | str | Path) -> None:
        if isinstance(mask, str | Path):
            grey = np.asarray(read_image(Path(mask), "painted mask").convert("L"))
            mask = torch.from_numpy(grey > 127)
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.ndim != 2:
            of = f" of {mask.dtype} {list(mask.shape)}" if hasattr(mask, "dtype") else ""
            got = f"a {type(mask).__name__}{of}"
            raise ValueError(f"painted mask: got {got}, expected a bool tensor [H, W] or a file")
        self.mask = _part(mask)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool.

        Raises:
            ValueError: the images' sides are in another ratio than the mask's, or are so few pixels
                that nothing of the mask is left.
        """
        n, _, *size = check_images(images).shape
        height, width = self.mask.shape
        fits = size[0] * width == size[1] * height
        check(fits, "painted mask", [height, width], f"the ratio of the images' {size}")
        mask = _part(resize_mask(self.mask.to(images.device)[None, None], size))
        return mask.expand(n, -1, -1, -1).clone()


def _part(mask: torch.Tensor) -> torch.Tensor:
    """The mask itself, if it says anything."""
    if mask.all() or not mask.any():
        amount = "all" if mask.all() else "none"
        at = " x ".join(str(side) for side in mask.shape[-2:])
        raise ValueError(f"painted mask: got {amount} of {at} pixels content, expected a part")
    return mask
