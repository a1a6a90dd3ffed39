"""Content without a parser: clusters of a generator's own features.

    images drawn from seeds -> features of every pixel -> k clusters -> those of the foreground

A generator that paints objects knows them: pixels of one part have features that point in one
direction, whatever the part's colour (Collins et al. 2020, "Editing in Style", cluster them by
spherical k-means). No labels and no second network are needed, so this works for cats, cars and
artists' models. It works for the generator's own images only. Chapters 5 and 12.
"""

import copy
from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..networks import PrunableGenerator, check, check_images
from .masks import resize_mask

# A cluster is foreground if this share of what an even one would have, or less, lies on the rim,
# the outermost tenth of the image on each side.
_RIM_SHARE = 0.7
_RIM = 0.1
_BATCH = 16
# k-means ends in another optimum from other starts: the best of some counts
_STARTS, _STEPS = 4, 25
_PIXELS = 10_000


class GeneratorFeatures:
    """A content source for images that a generator has just drawn: clusters of its features.

    The features are what the last layers at a half and at a quarter of the resolution read, each
    pixel's vector scaled to unit length. Clusters are found by spherical k-means on images drawn
    from seeds; those that keep away from the image's rim are called content, or those that the
    caller chose after looking at `clusters`.

    Args:
        generator: watched through hooks, not changed otherwise; several sources may watch one.
        clusters: how many.
        keep: numbers of the clusters that are content; None for the rule above.
        num_samples: images that the clusters are found in.
        seed: decides these images and the first centres.

    Attributes:
        centres: [clusters, channels], unit length.
        kept: numbers of the clusters that are content.

    Raises:
        ValueError: something else than a generator, clusters below 2, num_samples below 1, a
            number in keep that is no cluster, or no cluster that keeps away from the rim.
    """

    def __init__(
        self, generator: PrunableGenerator, clusters: int = 8, keep: Sequence[int] | None = None,
        num_samples: int = 64, seed: int = 0,
    ) -> None:
        fits, expected = hasattr(generator, "readers"), "a generator; see load_generator"
        check(fits, "generator", type(generator), expected)
        check(clusters >= 2, "clusters", clusters, ">= 2")
        check(num_samples >= 1, "num_samples", num_samples, ">= 1")
        chosen = list(keep) if isinstance(keep, Collection) else []
        fits = keep is None or (len(chosen) > 0 and all(k in range(clusters) for k in chosen))
        check(fits, "keep", keep, f"a list of some of the clusters 0 to {clusters - 1}")
        self._watch(generator)
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(num_samples, generator.config.z_dim, generator=random)
        self.centres = _spherical_kmeans(self._sample(generator, z, random), clusters, random)
        self.kept = tuple(sorted(keep)) if keep is not None else self._foreground(generator, z)

    def clusters(self, images: torch.Tensor) -> torch.Tensor:
        """Number of every pixel's cluster: images [N, 3, H, W] -> [N, H / 2, W / 2], int64.

        Raises:
            ValueError: other images than those that the generator drew last, all of them.
        """
        check_images(images)
        if self._image is None or not torch.equal(self._image.to(images), images):
            got = "images that the generator did not just draw"
            expected = "its last ones, the whole batch: draw them again, then ask"
            raise ValueError(f"content: got {got}, expected {expected}")
        return (self._pixels() @ self.centres.to(images.device).T).argmax(-1)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W], just drawn by the generator -> [N, 1, H, W], bool."""
        numbers = self.clusters(images)
        mask = torch.isin(numbers, torch.tensor(self.kept, device=images.device))
        return resize_mask(mask[:, None], images.shape[2:])

    def following(self, g: PrunableGenerator) -> "GeneratorFeatures":
        """The same clusters, watched in another generator of the same shapes."""
        other = copy.copy(self)
        other._watch(g)
        return other

    def _watch(self, g: PrunableGenerator) -> None:
        self._features: dict[int, torch.Tensor] = {}
        self._image: torch.Tensor | None = None
        self._sides = (g.config.resolution // 4, g.config.resolution // 2)
        for names in g.readers:
            layer = g.synthesis.get_submodule(names[0].removesuffix(".weight"))
            layer.register_forward_pre_hook(self._note_features)
        g.synthesis.register_forward_hook(self._note_image)

    def _note_features(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # the last layer of a size stays, as later ones overwrite earlier ones
        if inputs[0].shape[-1] in self._sides:
            self._features[inputs[0].shape[-1]] = inputs[0].detach().float()

    def _note_image(self, module: nn.Module, inputs: tuple, output: torch.Tensor | list) -> None:
        self._image = (output[-1] if isinstance(output, list) else output).detach()

    def _pixels(self) -> torch.Tensor:
        """Unit features of the last images, [N, h, w, channels]."""
        small, large = self._sides
        if not self._features:
            got = f"a generator without maps of {small} or {large} px"
            raise ValueError(f"content: got {got}, expected a larger one for attention")
        parts = [
            F.normalize(F.interpolate(self._features[s], (large, large), mode="bilinear"), dim=1)
            for s in sorted(self._features)
        ]
        return F.normalize(torch.cat(parts, 1), dim=1).movedim(1, -1)

    def _drawn(self, g: PrunableGenerator, z: torch.Tensor) -> Iterator[torch.Tensor]:
        """Features of the images of z, batch by batch: of all at once they can take gigabytes."""
        device = next(g.parameters()).device
        for part in z.split(_BATCH):
            with torch.no_grad():
                g(part.to(device))
            yield self._pixels().cpu()

    def _sample(
        self, g: PrunableGenerator, z: torch.Tensor, random: torch.Generator
    ) -> torch.Tensor:
        """Unit features of pixels drawn from all images, [at most _PIXELS, channels]."""
        per_image = self._sides[-1] ** 2
        chosen = torch.randperm(len(z) * per_image, generator=random)[:_PIXELS]
        found: list[torch.Tensor] = []
        for i, pixels in enumerate(self._drawn(g, z)):
            place = chosen - i * _BATCH * per_image
            here = (place >= 0) & (place < len(pixels) * per_image)
            found.append(pixels.flatten(0, 2)[place[here]])
        # back to the order in which they were drawn
        order = (chosen // (_BATCH * per_image)).argsort(stable=True)
        return torch.cat(found)[order.argsort()]

    def _foreground(self, g: PrunableGenerator, z: torch.Tensor) -> tuple[int, ...]:
        numbers = torch.cat([(x @ self.centres.T).argmax(-1) for x in self._drawn(g, z)])
        place = torch.linspace(0, 1, numbers.shape[-1])
        edge = torch.minimum(place, 1 - place) < _RIM
        rim = (edge[:, None] | edge).expand_as(numbers)
        most = _RIM_SHARE * rim.float().mean()
        shares = [rim[numbers == k].float() for k in range(len(self.centres))]
        kept = tuple(k for k, share in enumerate(shares) if len(share) and share.mean() <= most)
        if not kept:
            raise ValueError(
                f"attention: all {len(shares)} clusters touch the rim, expected some that keep "
                "away from it; choose with keep (--content attention=0,3)"
            )
        return kept


def _spherical_kmeans(pixels: torch.Tensor, clusters: int, random: torch.Generator) -> torch.Tensor:
    """Unit centres [clusters, C] of unit vectors [M, C], by cosine: the best of several starts."""
    tries = [_one_kmeans(pixels, clusters, random) for _ in range(_STARTS)]
    return max(tries, key=lambda centres: float((pixels @ centres.T).amax(1).mean()))


def _one_kmeans(pixels: torch.Tensor, clusters: int, random: torch.Generator) -> torch.Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007): far vectors are likely to start new clusters."""
    centres = pixels[torch.randint(len(pixels), (1,), generator=random)]
    while len(centres) < clusters:
        distance = (1 - pixels @ centres.T).amin(1).clamp(min=1e-9)
        centres = torch.cat([centres, pixels[distance.multinomial(1, generator=random)]])
    for _ in range(_STEPS):
        numbers = (pixels @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, numbers, pixels)
        empty = sums.square().sum(1) == 0
        centres = torch.where(empty[:, None], centres, F.normalize(sums, dim=1))
    return centres
