"""Content by class activation: the pixels that speak for the class that a classifier sees.

The classifier's map of its likeliest class, scaled to 0..1 over the image and cut at a threshold:
where a data set of photographs has no parser. Zhou et al. 2016 (arXiv 1512.04150). Chapter 12.
"""

import torch
import torch.nn.functional as F

from ..networks import Classifier, check

THRESHOLD = 0.35


class ClassActivation:
    """A content source: the pixels that speak for the class that the classifier sees.

    Args:
        classifier: any; put into eval mode and frozen.
        threshold: a pixel is content where its activation, scaled to 0..1 over the image, is
            above. 0.2 is the paper's for boxes (Zhou et al. 2016, section 3.2); it calls about two
            thirds of the photographs in data/cifar10 content, 0.35 about half of them.
    """

    def __init__(self, classifier: Classifier, threshold: float = THRESHOLD) -> None:
        check(0 <= threshold < 1, "threshold", threshold, "a number in [0, 1)")
        self.classifier = classifier.eval().requires_grad_(False)
        self.threshold = threshold

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        if images.device != self.classifier.fc.weight.device:
            self.classifier.to(images.device)
        # always float32: half-precision input and autocast must not move a mask
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            maps = self.classifier.activation(images.float().clamp(-1, 1))[:, None]
            maps = F.interpolate(maps, images.shape[2:], mode="bilinear")
            low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
            return maps > low + self.threshold * (high - low)
