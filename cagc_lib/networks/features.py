"""The feature networks: what the perceptual loss and the Frechet distance look at.

Ours is a small one (0.7 M parameters) trained on rendered portraits to name what it sees: the
attributes, the 68 landmarks, a coarse parsing, how blurred and noisy the image is, and the colour
and contrast of each of 4 x 4 cells, so that the background is felt too. It stands where the paper
has VGG (LPIPS) and Inception (FID): same constructions, no download, and only comparable with
itself. There are two, from two seeds: one for losses and one for measures, so that no generator is
judged by the network it was trained to please.

    d(a, b) = sum over stages of  mean over pixels of  |u_s(a) - u_s(b)|^2,   u = f / |f|

with the channel vectors f of each stage scaled to unit length (Zhang et al. 2018, unweighted).

Published figures use Inception (FID, Heusel et al. 2017) and VGG (LPIPS, with learned weights):
`StandardFeatures` gives these two the same interface. They are for photographs, where the
portraits' features mean nothing, and for figures to set beside a paper's. Chapters 8, 10, 12, 13.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .parser import ResidualBlock, initialise
from .protocol import ImageFeatures, check, check_images

SMALLEST, LARGEST = 64, 128
POOL = 4
HIDDEN, EMBEDDING = 160, 128


class FeatureNetwork(nn.Module):
    """Images -> feature maps, embedding, and predictions.

    Args:
        attributes: the attributes to predict, as describe_attributes returns them.
        widths: channels of the stages at full, 1/2, 1/4, 1/8 and 1/16 resolution.
        classes: of the coarse parsing.
    """

    channel_weights = None

    def __init__(
        self, attributes: dict[str, list[float]], widths: Sequence[int] = (16, 32, 48, 64, 96),
        classes: int = 19,
    ) -> None:
        super().__init__()
        self.attributes = dict(attributes)
        self.widths = tuple(widths)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.blocks = nn.ModuleList(ResidualBlock(b) for _, b in pairs)
        self.norm = nn.LayerNorm(widths[-1] * POOL**2)
        self.hidden = nn.Linear(widths[-1] * POOL**2, HIDDEN)
        self.embedding = nn.Linear(HIDDEN, EMBEDDING)
        self.outputs = {"appearance": 4 * POOL**2, "landmarks": 68 * 2, "degradation": 2}
        for name, spec in self.attributes.items():
            self.outputs[name] = int(spec[0]) if len(spec) == 1 else 1
        self.head = nn.Linear(EMBEDDING, sum(self.outputs.values()))
        # Dense supervision keeps the early stages about places, not only about the whole image.
        self.parsing = nn.Conv2d(widths[2], classes, 1)
        self.register_buffer("landmark_mean", torch.zeros(68 * 2))
        self.register_buffer("landmark_std", torch.ones(68 * 2))
        initialise(self)
        # Every target is standardised, so that starting at zero is starting at the mean. Random
        # first outputs would be unlearned by shrinking all features to nothing.
        nn.init.zeros_(self.head.weight)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images [N, 3, H, W] to the sizes of the training, 64 to 128 px.

        Those below 32 px are a ValueError.
        """
        h, w = check_images(images).shape[2:]
        check(min(h, w) >= 32, "images", [h, w], "at least 32 x 32 pixels")
        scale = LARGEST / max(h, w) if max(h, w) > LARGEST else max(SMALLEST / min(h, w), 1)
        if scale == 1:
            return images
        size = (round(h * scale), round(w * scale))
        return F.interpolate(images, size, mode="bilinear", antialias=scale < 1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images [N, 3, H, W] in [-1, 1], taken at the size they have, to five feature maps.

        After ReLU, finest first: [N, C_s, H / 2^s, W / 2^s], s = 0..4, sizes rounded up.
        """
        maps = [F.relu(self.stem(check_images(images)))]
        for down, block in zip(self.down, self.blocks, strict=True):
            maps.append(F.relu(block(down(maps[-1]))))
        return maps

    def embed_maps(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The embedding [N, D] of the images that gave these feature maps."""
        pooled = F.adaptive_avg_pool2d(maps[-1], POOL).flatten(1)
        return self.embedding(F.relu(self.hidden(self.norm(pooled))))

    def outputs_of(self, maps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Standardised predictions from feature maps, name -> [N, n]; predict undoes the scale."""
        parts = self.head(self.embed_maps(maps)).split(list(self.outputs.values()), dim=1)
        return dict(zip(self.outputs, parts, strict=True))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return a vector [N, D] for each of images [N, 3, H, W] in [-1, 1], after `prepare`."""
        return self.embed_maps(self(self.prepare(images)))

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Say what the network sees in images, taken as by `embed`.

        Returns:
            "landmarks" [N, 68, 2] in pixels of the given images, (x, y); "appearance"
            [N, 4, 4, 4] as the function appearance gives it; and by its name each attribute [N],
            of the type it has in portraits.ATTRIBUTES.
        """
        out = self.outputs_of(self(self.prepare(images)))
        size = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
        landmarks = out["landmarks"] * self.landmark_std + self.landmark_mean
        found = {
            "landmarks": landmarks.unflatten(1, (68, 2)) * size,
            "appearance": out["appearance"].unflatten(1, (4, POOL, POOL)),
        }
        for name, spec in self.attributes.items():
            if len(spec) == 1:
                found[name] = out[name].argmax(1)
            else:
                found[name] = out[name][:, 0] * spec[1] + spec[0] if spec else out[name][:, 0] > 0
        return found


class StandardFeatures(nn.Module):
    """Inception's pooled features and VGG's maps, frozen.

    Args:
        inception: uint8 images [N, 3, H, W] -> (features [N, 2048],), as torch-fidelity's.
        scaling: images in [-1, 1] -> what VGG takes, as `lpips.LPIPS.scaling_layer`.
        vgg: its output -> five maps, as `lpips.LPIPS.net`.
        weights: per map the learned weight of every channel, [C_s].
    """

    def __init__(
        self, inception: nn.Module, scaling: nn.Module, vgg: nn.Module,
        weights: Sequence[torch.Tensor],
    ) -> None:
        super().__init__()
        self.inception, self.scaling, self.vgg = inception, scaling, vgg
        for s, weight in enumerate(weights):
            self.register_buffer(f"weight{s}", weight.detach().reshape(-1, 1, 1))
        self.eval().requires_grad_(False)

    @property
    def channel_weights(self) -> list[torch.Tensor]:
        """LPIPS's learned weights, one [C_s, 1, 1] a map."""
        return list(self.buffers(recurse=False))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images over 256 px down to 256: see `at_most_256`."""
        return at_most_256(check_images(images))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """VGG's maps of images [N, 3, H, W] in [-1, 1], taken at the size they have."""
        return list(self.vgg(self.scaling(check_images(images))))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Inception's features of images rounded to 8 bits, as FID is defined: [N, 2048]."""
        pixels = ((check_images(images).float().clamp(-1, 1) + 1) * 127.5).round().byte()
        return self.inception(pixels)[0]


def at_most_256(images: torch.Tensor) -> torch.Tensor:
    """Reduce images [N, 3, H, W] over 256 px to 256, as the public CAGC code does before LPIPS."""
    if max(images.shape[2:]) <= 256:
        return images
    return F.interpolate(images, (256, 256), mode="bilinear")


def appearance(images: torch.Tensor) -> torch.Tensor:
    """Colour and contrast of each of 4 x 4 cells, scaled to vary by about one.

    Returns:
        Of images [N, 3, H, W] in [-1, 1], [N, 4, 4, 4]: mean red, green and blue over 0.4, and the
        standard deviation inside the cell (root mean over the channels) minus 0.25 over 0.1.
    """
    mean = F.adaptive_avg_pool2d(images, POOL)
    variance = F.adaptive_avg_pool2d(images.square(), POOL) - mean.square()
    deviation = variance.mean(1, keepdim=True).clamp(min=0).sqrt()
    return torch.cat([mean / 0.4, (deviation - 0.25) / 0.1], dim=1)


def perceptual_distance(network: ImageFeatures, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """LPIPS-like distance of each pair of images, differentiable in both.

    Args:
        network: any feature network. What it does to images of other sizes than its own is its
            `prepare`'s.
        a: [N, 3, H, W] in [-1, 1]. The portraits' network reduces images over 128 px to 128 first
            (the paper reduces to 256 before VGG) and enlarges those under 64 px to 64.
        b: the same shape.

    Returns:
        [N], >= 0, symmetric, 0 where all features agree.

    Raises:
        ValueError: shapes differ, or images of another form.

    Example:
        >>> features = cagc.load_features(name="portraits-perceptual")
        >>> images = cagc.render_portraits([1, 2], 64).images
        >>> cagc.perceptual_distance(features, images, images)
        tensor([0., 0.])
    """
    check(a.shape == b.shape, "b", list(b.shape), f"the shape of a, {list(a.shape)}")
    total = torch.zeros(len(a), device=a.device)
    maps = [network(network.prepare(images)) for images in (a, b)]
    weights = network.channel_weights or [1.0] * len(maps[0])
    for f, g, weight in zip(*maps, weights, strict=True):
        total = total + (weight * (_unit(f) - _unit(g)).square()).sum(1).mean((1, 2))
    return total


def _unit(features: torch.Tensor) -> torch.Tensor:
    # Squares of bfloat16 features lose what the difference needs: normalise in float32. The
    # constant inside the root keeps the gradient finite where a feature vector is zero.
    features = features.float()
    return features * (features.square().sum(1, keepdim=True) + 1e-6).rsqrt()
