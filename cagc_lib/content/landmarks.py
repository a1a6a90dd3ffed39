"""Content by landmarks: the hull of a face's 68 points, grown by a margin.

    image -> box of the face -> crop -> network -> 68 heat maps -> points -> hull -> mask

Detection, cropping and the reading of heat maps are the package face-alignment's (Bulat and
Tzimiropoulos 2017), with its own networks, which it downloads, for photographs; or with the small
feature network trained on rendered portraits, which ships with this book. Landmarks end at the
brows: hair and forehead are content only as far as the margin reaches. Chapter 5.
"""

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..checkpoints import load_features, needing, reason_of
from ..networks import FeatureNetwork, check, check_images

Box = tuple[float, float, float, float]
# Where the crop that face-alignment takes around a box, twice the box's size, is the whole frame.
# For images that are aligned as rendered portraits and FFHQ are, no detector is needed.
ALIGNED_BOX = (0.256, 0.315, 0.744, 0.802)
_HEAT_MAP_SIDE = 64


class HeatMaps(nn.Module):
    """What face-alignment asks of a network: a Gaussian at the place of every landmark."""

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Heat maps: crops [N, 3, 256, 256] in [0, 1] -> [N, 68, 64, 64], 1 where a point is."""
        images = F.adaptive_avg_pool2d(crops, _HEAT_MAP_SIDE) * 2 - 1
        points = self.network.predict(images)["landmarks"]
        place = torch.arange(_HEAT_MAP_SIDE, device=crops.device) + 0.5
        near = (-(place - points[..., None]).square() / 2).exp()  # [N, 68, 2, side]
        return near[:, :, 1, :, None] * near[:, :, 0, None, :]


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

    def __init__(self, alignment: Any, margin: float = 0.2, box: Box | None = None) -> None:
        check(margin >= 0, "margin", margin, "a number of at least 0")
        ordered = box is None or (box[0] < box[2] and box[1] < box[3])
        check(ordered, "box", box, "left < right and top < bottom")
        self.alignment, self.margin, self.box = alignment, margin, box

    def landmarks(self, images: torch.Tensor) -> list[np.ndarray]:
        """The faces' points: images [N, 3, H, W] in [-1, 1] -> N arrays [faces, 68, 2], pixels."""
        height, width = check_images(images).shape[2:]
        boxes = None if self.box is None else [np.array(self.box) * (width, height, width, height)]
        pictures = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1)
        with warnings.catch_warnings():
            # nobody found: the empty answer says so
            warnings.filterwarnings("ignore", "No faces were detected")
            ask = self.alignment.get_landmarks_from_image
            found = [ask(picture, boxes) for picture in pictures.cpu().numpy()]
        nobody = np.zeros((0, 68, 2), np.float32)
        # it counts from the centre of the first pixel
        return [nobody if faces is None else np.stack(faces) + 0.5 for faces in found]

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
    landmarks: str = "fan", margin: float = 0.2, box: Box | None = None,
    device: torch.device | str | None = None,
) -> LandmarkHull:
    """The content source "face-alignment"; see `content_source` and LandmarkHull.

    "fan" is the package's own network for photographs, downloaded by it on first use; "portraits"
    the shipped feature network, which knows the landmarks of portraits. Without a box the former
    asks the package's detector, the latter takes ALIGNED_BOX.
    """
    check(landmarks in ("fan", "portraits"), "landmarks", landmarks, "fan or portraits")
    with needing('content source "face-alignment"', "face-alignment"):
        import face_alignment
    package = face_alignment.FaceAlignment
    if landmarks == "portraits":
        package = _with_network(package, HeatMaps(load_features(device or "cpu")))
        box = box or ALIGNED_BOX
    try:
        alignment = package(
            face_alignment.LandmarksType.TWO_D, device=str(device or "cpu"), flip_input=False,
            compile=False, face_detector="sfd" if box is None else "folder",
        )
    except OSError as error:
        raise OSError(f"face-alignment: cannot fetch its networks ({reason_of(error)})") from None
    return LandmarkHull(alignment, margin, box)


def _with_network(package: type, network: HeatMaps) -> type:
    """The package with another network, given by the method that loads its own."""

    class PortraitAlignment(package):
        def _load_native(self, name: str, size: int, device: str, dtype: torch.dtype) -> HeatMaps:
            return network.to(device, dtype).eval()

    return PortraitAlignment
