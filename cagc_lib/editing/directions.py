"""Directions in W along which one thing changes.

    pca           eigenvectors of cov(w)                              where w's differ most
    sefa          eigenvectors of A^T A                               where the styles change most
    regression    cov(w) b,  b = argmin |y - b w|^2 + ridge |b|^2     where an attribute y rises

A: the weights [channels, w_dim] of the affine layers that make styles of w, with the run-time gain
that they are used with. PCA: GANSpace, Harkonen et al. 2020 (arXiv 2004.02546). The closed form:
SeFa, Shen & Zhou 2021 (arXiv 2007.06600); the public code takes each row of A to unit length first,
the paper does not. Regression takes the place of the boundary of Shen et al. 2020 (arXiv
1907.10786); the labels are what the portraits' features see. Its weights b tell an attribute from
w, but make a poor edit: most coordinates of w hardly vary, and weights there cancel other
attributes rather than move this one. cov(w) b is how w differs where b w is large, the pattern of
Haufe et al. 2014 (doi 10.1016/j.neuroimage.2013.10.067), theorem 1.

A direction is a vector of unit length and a spread, the standard deviation of w along it, so that a
strength of 1 is as rare in all directions. Chapter 11.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..importance import falling_eigenvectors, principal_directions
from ..networks import (
    FeatureNetwork, Generator, PrunableGenerator, check, check_positive, first_parameter,
)
from .attributes import AttributeScale, draw_attributes
from .latents import check_mapped, draw_w

# share of the samples that a regression does not see
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Directions:
    """K directions in a generator's W.

    Attributes:
        kind: how they were found, "pca", "sefa" or "regression"; or any other word.
        names: one a direction; an attribute's for "regression".
        vectors: [K, w_dim], of unit length.
        spread: [K], the standard deviation of w along each.
        layers: indices of the ws that an edit changes.
        score: [K]. "pca": share of the variance of w. "sefa": eigenvalue, |A v|^2. "regression":
            R^2 on samples held out: 1 at best, 0 for what the mean says too, -inf where these
            samples are all alike.

    Raises:
        ValueError: shapes that do not agree, or no layer.
    """

    kind: str
    names: tuple[str, ...]
    vectors: torch.Tensor
    spread: torch.Tensor
    layers: tuple[int, ...]
    score: torch.Tensor

    def __post_init__(self) -> None:
        k = len(self.names)
        fits = self.vectors.ndim == 2 and len(self.vectors) == k
        check(fits, "vectors", list(self.vectors.shape), f"[{k}, w_dim], one a name")
        for name in ("spread", "score"):
            check(getattr(self, name).shape == (k,), name, list(getattr(self, name).shape), [k])
        fits = len(self.layers) > 0 and all(type(i) is int and i >= 0 for i in self.layers)
        check(fits, "layers", self.layers, "one index of ws or more")

    def index(self, name: str) -> int:
        """Return the number of a direction; a ValueError for an unknown name."""
        check(name in self.names, "direction", name, f"one of {', '.join(self.names)}")
        return self.names.index(name)


@torch.no_grad()
def pca_directions(
    g: Generator, count: int = 10, num_samples: int = 10_000, seed: int = 0,
    layers: Sequence[int] | None = None,
) -> Directions:
    """Find the directions in which mapped latents differ most, largest variance first.

    Args:
        g: a generator with a mapping network.
        count: how many directions, 1 to w_dim.
        num_samples: latents to map.
        seed: decides them.
        layers: indices of the ws that an edit is to change; None: all.

    Raises:
        ValueError: a network without mapped w's (normal latents have no such directions), or a
            number out of range.

    Example:
        >>> from cagc_lib.editing import pca_directions
        >>> found = pca_directions(cagc.load_generator("portraits"), count=3)
        >>> found.names, found.vectors.shape
        (('component 0', 'component 1', 'component 2'), torch.Size([3, 256]))
    """
    check_mapped(g)
    _check_count(g, count)
    w = draw_w(g, num_samples, seed)
    vectors, shares = principal_directions(g, num_samples, seed)
    names = _numbered("component", count)
    return _directions(g, "pca", names, vectors[:count], w, layers, shares[:count])


@torch.no_grad()
def sefa_directions(
    g: Generator, layers: Sequence[int] | None = None, count: int = 10, num_samples: int = 10_000,
    seed: int = 0,
) -> Directions:
    """Find the directions in which the styles change most, from the weights alone.

    Args:
        g: a generator with modulated layers.
        layers: indices of the ws: their layers' weights are read, and an edit changes these; None:
            all. The layer of ws k is convolution k, that of the last one the last ToRGB.
        count: how many directions, 1 to w_dim.
        num_samples, seed: latents that the spread is measured on; the directions need none.

    Raises:
        ValueError: a network without modulated layers, or a number out of range.

    Example:
        >>> from cagc_lib.editing import sefa_directions
        >>> sefa_directions(cagc.load_generator("portraits"), layers=range(4), count=2).layers
        (0, 1, 2, 3)
    """
    check_mapped(g)
    _check_count(g, count)
    styled = [*g.synthesis.convs, g.synthesis.torgbs[-1]]
    affines = [styled[i].affine for i in _layers(g, layers)]
    a = torch.cat([affine.weight.double() * affine.weight_gain for affine in affines]).cpu()
    values, vectors = falling_eigenvectors(a.T @ a)
    w, names = draw_w(g, num_samples, seed), _numbered("factor", count)
    return _directions(g, "sefa", names, vectors[:count], w, layers, values[:count])


@torch.no_grad()
def regression_directions(
    g: PrunableGenerator, features: FeatureNetwork, attributes: Sequence[str] | None = None,
    num_samples: int = 2000, seed: int = 0, layers: Sequence[int] | None = None,
    ridge: float = 0.03, pattern: bool = True, scale: AttributeScale | None = None,
    batch_size: int = 50, progress: bool = False,
) -> Directions:
    """Find, for every attribute, the direction in which it rises.

    The features name the attributes of generated images; four fifths of the samples are fitted, the
    others give R^2. A positive strength raises an attribute, or takes a class index away from its
    commonest class, "none" for hats and beards.

    Args:
        g: the generator; w is z for an SN-GAN.
        features: what names attributes, on g's device.
        attributes: some of the features' own; None: all that vary.
        num_samples: images to learn from, >= 10.
        seed: decides z and the noise maps.
        layers: indices of the ws that an edit is to change; None: all.
        ridge: penalty of |b|^2, over the mean variance of a coordinate of w, > 0.
        pattern: False takes the weights b themselves for a direction.
        scale: which class is the commonest, for instance the teacher's; None: g's own.
        batch_size: images at once; no result depends on it beyond rounding.
        progress: show a progress bar.

    Raises:
        ValueError: features that name no attributes, an unknown attribute or one that is the same
            in all images, or a number out of range.

    Example:
        >>> from cagc_lib.editing import regression_directions
        >>> teacher, features = cagc.load_generator("portraits"), cagc.load_features()
        >>> found = regression_directions(teacher, features, ["yaw"], num_samples=100)
        >>> found.names, found.score.shape
        (('yaw',), torch.Size([1]))
    """
    check(type(num_samples) is int and num_samples >= 10, "num_samples", num_samples, ">= 10")
    check(0 < ridge < math.inf, "ridge", ridge, "a number > 0")
    _layers(g, layers)
    w, predicted = draw_attributes(g, features, num_samples, seed, batch_size, progress)
    scale = AttributeScale.of(predicted) if scale is None else scale
    fitted = num_samples - int(HELD_OUT * num_samples)
    y = scale.standardised(predicted)
    columns = zip(scale.names, y[:fitted].T, strict=True)
    moving = [name for name, values in columns if (values != values[0]).any()]
    names = tuple(moving if attributes is None else attributes)
    check(len(names) > 0, "attributes", names, "one or more")
    for name in names:
        check(name in moving, "attribute", name, f"one of {', '.join(moving)}, which vary")
    y = y[:, [scale.index(name) for name in names]]
    x, y = w - w[:fitted].mean(0), y - y[:fitted].mean(0)
    cov = x[:fitted].T @ x[:fitted] / fitted
    penalty = ridge * cov.diagonal().mean() * torch.eye(len(cov), dtype=cov.dtype)
    b = torch.linalg.solve(cov + penalty, x[:fitted].T @ y[:fitted] / fitted)
    x, y = x[fitted:], y[fitted:]
    score = 1 - (y - x @ b).square().sum(0) / (y - y.mean(0)).square().sum(0)
    vectors = (cov @ b if pattern else b).T
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    return _directions(g, "regression", names, vectors, w, layers, score)


def _directions(
    g: PrunableGenerator, kind: str, names: tuple[str, ...], vectors: torch.Tensor,
    w: torch.Tensor, layers: Sequence[int] | None, score: torch.Tensor,
) -> Directions:
    place = first_parameter(g)
    spread = (w @ vectors.T).std(0)
    return Directions(
        kind, names, vectors.to(place), spread.to(place), _layers(g, layers), score.to(place)
    )


def _numbered(what: str, count: int) -> tuple[str, ...]:
    return tuple(f"{what} {i}" for i in range(count))


def _layers(g: PrunableGenerator, layers: Sequence[int] | None) -> tuple[int, ...]:
    last = g.config.num_ws - 1
    chosen = tuple(range(last + 1)) if layers is None else tuple(layers)
    fits = len(chosen) > 0 and all(type(i) is int and 0 <= i <= last for i in chosen)
    check(fits and len({*chosen}) == len(chosen), "layers", chosen, f"some of 0 to {last}, once")
    return chosen


def _check_count(g: PrunableGenerator, count: int) -> None:
    check_positive("count", count)
    check(count <= g.config.w_dim, "count", count, f"at most w_dim, {g.config.w_dim}")
