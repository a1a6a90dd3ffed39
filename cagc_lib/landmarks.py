"""Content by landmarks: the hull of a face's 68 points, grown by a margin.

    image -> box of the face -> crop -> network -> 68 heat maps -> points -> hull -> mask

Detection, cropping and the reading of heat maps are the package face-alignment's (Bulat and
Tzimiropoulos 2017), with its own networks, which it downloads, for photographs; or with a small
network trained on rendered portraits, which ships with this book. Landmarks end at the brows: hair
and forehead are content only as far as the margin reaches. Chapter 5.
"""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .artefacts import artefact_path
from .checkpoints import load_network, save_network
from .masks import check_images
from .parser import Parser
from .portraits import Portraits
from .supervised import augment, fit

POINTS = 68
# Where the crop that face-alignment takes around a box, twice the box's size, is the whole frame.
# For images that are aligned as rendered portraits and FFHQ are, no detector is needed.
ALIGNED_BOX = (0.256, 0.315, 0.744, 0.802)

_HEAT_MAP_SIDE = 64
_SHARPNESS = 1.0


class HeatMaps(nn.Module):
    """What face-alignment asks of a network: crops to heat maps of the landmarks.

    Args:
        network: images [N, 3, 64, 64] in [-1, 1] to logits [N, 68, 64, 64].
    """

    def __init__(self, network: Parser) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Heat maps: crops [N, 3, 256, 256] in [0, 1] -> [N, 68, 64, 64], each adding up to 1."""
        side = _HEAT_MAP_SIDE
        logits = self.network(F.adaptive_avg_pool2d(crops, side) * 2 - 1)
        return logits.flatten(2).softmax(2).unflatten(2, (side, side))


class LandmarkHull:
    """A content source: every pixel within the hull of a face's landmarks, grown by a margin.

    Args:
        alignment: a `face_alignment.FaceAlignment`.
        margin: how much larger the hull is than that of the points; 0.2 is a fifth.
        box: where the face is, (left, top, right, bottom) as shares of the image's sides; None
            asks the alignment's detector.

    Raises:
        ValueError: a negative margin, or a box that is none.
    """

    def __init__(
        self,
        alignment: Any,
        margin: float = 0.2,
        box: tuple[float, float, float, float] | None = None,
    ) -> None:
        if not margin >= 0:
            raise ValueError(f"margin: got {margin!r}, expected a number of at least 0")
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box: got {box}, expected left < right and top < bottom")
        self.alignment, self.margin, self.box = alignment, margin, box

    def landmarks(self, images: torch.Tensor) -> list[np.ndarray]:
        """The faces' points.

        Args:
            images: [N, 3, H, W] in [-1, 1].

        Returns:
            For every image an array [faces, 68, 2] of (x, y) in pixels.
        """
        check_images(images)
        pictures = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
        return [self._landmarks(picture) for picture in pictures.movedim(1, -1).cpu().numpy()]

    def _landmarks(self, picture: np.ndarray) -> np.ndarray:
        height, width, _ = picture.shape
        boxes = None
        if self.box is not None:
            boxes = [np.array(self.box) * (width, height, width, height)]
        with warnings.catch_warnings():
            # nobody found: the empty answer says so
            warnings.filterwarnings("ignore", "No faces were detected")
            found = self.alignment.get_landmarks_from_image(picture, boxes)
        if found is None:
            return np.zeros((0, POINTS, 2), np.float32)
        # it counts from the centre of the first pixel
        return np.stack(found) + 0.5

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool. None where no face is."""
        size = images.shape[2:]
        masks = [
            sum((hull_mask(face, size, self.margin) for face in faces), torch.zeros(size).bool())
            for faces in self.landmarks(images)
        ]
        return torch.stack(masks)[:, None].to(images.device)


def hull_mask(points: np.ndarray, size: tuple[int, int], margin: float = 0.0) -> torch.Tensor:
    """Pixels whose centre lies within the convex hull of some points.

    Args:
        points: [P, 2], (x, y) in pixels; the centre of the first pixel is (0.5, 0.5).
        size: (H, W).
        margin: the hull is grown about the mean of its corners by this share of its size.

    Returns:
        [H, W], bool.
    """
    from scipy.spatial import ConvexHull

    corners = torch.from_numpy(points[ConvexHull(points).vertices]).double()
    centre = corners.mean(0)
    corners = centre + (1 + margin) * (corners - centre)
    y, x = torch.meshgrid(*(torch.arange(n).double() + 0.5 for n in size), indexing="ij")
    inside = torch.ones(tuple(size), dtype=torch.bool)
    # corners run counter-clockwise where y points up: a point inside is left of every edge
    for (x0, y0), (x1, y1) in zip(corners, corners.roll(-1, 0), strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    return inside


def landmark_source(
    landmarks: str = "fan",
    margin: float = 0.2,
    box: tuple[float, float, float, float] | None = None,
    device: torch.device | str | None = None,
) -> LandmarkHull:
    """The content source "face-alignment".

    Args:
        landmarks: "fan", the package's own network for photographs, downloaded by it on first
            use; "portraits", the small network for rendered portraits that ships here.
        margin: see LandmarkHull.
        box: see LandmarkHull; None is the package's detector for "fan", ALIGNED_BOX for
            "portraits".
        device: where the networks work; None is the CPU.

    Raises:
        ValueError: face-alignment is missing, or an unknown network.
        OSError: its networks cannot be fetched.
    """
    if landmarks not in ("fan", "portraits"):
        raise ValueError(f"landmarks: got {landmarks!r}, expected fan or portraits")
    try:
        import face_alignment
    except ImportError as error:
        raise ValueError(
            f'content source "face-alignment" needs the package face-alignment ({error}); '
            "expected it to be there: pip install face-alignment"
        ) from None
    kind = face_alignment.FaceAlignment
    if landmarks == "portraits":
        network = _load(artefact_path("portraits-landmarks"))
        box = box or ALIGNED_BOX

        class kind(face_alignment.FaceAlignment):  # noqa: N801
            """The package with another network, given through the method that loads its own."""

            def _load_native(
                self, name: str, size: int, device: str, dtype: torch.dtype
            ) -> nn.Module:
                return HeatMaps(network).to(device, dtype).eval()

    alignment = kind(
        face_alignment.LandmarksType.TWO_D, device=str(device or "cpu"), flip_input=False,
        compile=False, face_detector="sfd" if box is None else "folder",
    )
    return LandmarkHull(alignment, margin, box)


@cache
def _load(path: Path) -> Parser:
    state, meta = load_network(path, "landmarks")
    network = Parser(meta["widths"], POINTS)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _loss(
    network: nn.Module, portraits: Portraits, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Cross-entropy between each landmark's heat map and a Gaussian at its place."""
    images = augment(portraits.images, generator, 0.5).images
    side = images.shape[-1]
    images, points = _moved(images, portraits.landmarks / side, generator)
    logits = network(images).float().flatten(2)
    target = _gaussians(points * side, side).flatten(2)
    total = target.sum(2, keepdim=True)
    visible = total[..., 0] > 0.5 * 2 * torch.pi * _SHARPNESS**2
    entropy = -(target / total.clamp(min=1e-6) * logits.log_softmax(2)).sum(2)
    return {"heat": (entropy * visible).sum() / visible.sum().clamp(min=1)}


def _moved(
    images: torch.Tensor, points: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops as a detector might take them: 0.75 to 1.15 frames wide, off by up to a tenth."""
    n = len(images)
    scale = 0.75 + 0.4 * torch.rand(n, 1, 1, generator=generator)
    shift = 0.2 * torch.rand(n, 1, 2, generator=generator) - 0.1
    scale, shift = scale.to(images.device), shift.to(images.device)
    # grid_sample counts from -1 to 1, landmarks from 0 to 1
    theta = torch.cat([scale * torch.eye(2, device=images.device), 2 * shift.mT], 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved, (points - 0.5 - shift) / scale + 0.5


def _gaussians(points: torch.Tensor, side: int) -> torch.Tensor:
    """[N, P, 2] in pixels -> [N, P, side, side], 1 at each point's place."""
    place = torch.arange(side, device=points.device) + 0.5
    near = (-(place - points[..., None]).square() / (2 * _SHARPNESS**2)).exp()  # [N, P, 2, side]
    return near[:, :, 1, :, None] * near[:, :, 0, None, :]


def train_landmarks(
    steps: int = 4000,
    batch_size: int = 32,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Parser:
    """Train the portraits' landmark network from scratch.

    Args:
        steps: optimiser steps.
        batch_size: images a step.
        seed: decides weights, portraits and augmentation.
        out: where to save it (safetensors, float16), or None.
        progress: show a progress bar.

    Returns:
        The network, in eval mode: images [N, 3, 64, 64] -> logits of heat maps [N, 68, 64, 64].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Parser(classes=POINTS)
    fit(
        network, _loss, steps=steps, batch_size=batch_size, resolutions=(_HEAT_MAP_SIDE,),
        seed=seed, progress=progress,
    )
    if out is not None:
        meta = {"kind": "landmarks", "widths": list(network.widths), "steps": steps, "seed": seed}
        save_network(network.state_dict(), meta, out)
    return network
