"""Distances between sets of features and between images: pure arithmetic, no network.

Frechet distance between Gaussians fitted to features of real and generated images (Heusel et
al. 2017): |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1^(1/2) S2 S1^(1/2))^(1/2)), here in float64 by
symmetric eigendecompositions. Kernel distance: the squared distance of the two sets' means under a
cubic kernel, without bias (Binkowski et al. 2018). Precision and recall: the share of one set
inside the k-nearest-neighbour balls of the other (Kynkaanniemi et al. 2019); density and coverage:
how often fakes fall into reals' balls, and how many of these balls they reach (Naeem et al. 2020).
PSNR in floating point, over a region or a frame. evaluate.py applies them to generators; chapter
10 builds them by hand.
"""

import torch

from ..content import check_mask
from ..networks import check


def mean_iou(
    predicted: torch.Tensor, truth: torch.Tensor, classes: int = 19
) -> tuple[float, torch.Tensor]:
    """Intersection over union of each class over a whole set of images.

    Args:
        predicted, truth: class ids, of one shape.
        classes: number of classes.

    Returns:
        The mean over the classes present in truth, and the [classes] values (nan if absent).
    """
    pairs = torch.bincount(truth.flatten() * classes + predicted.flatten(), minlength=classes**2)
    confusion = pairs.reshape(classes, classes).double()
    hit = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hit
    values = torch.where(confusion.sum(1) > 0, hit / union, torch.nan)
    return values.nanmean().item(), values


def feature_statistics(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [D] and unbiased covariance [D, D] of feature vectors [N >= 2, D], in float64.

    Raises:
        ValueError: features of another shape.
    """
    shape = list(features.shape)
    check(len(shape) == 2 and shape[0] >= 2, "features", shape, "[N, D] with N >= 2")
    x = features.double()
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(
    mean1: torch.Tensor, cov1: torch.Tensor, mean2: torch.Tensor, cov2: torch.Tensor
) -> float:
    """Squared Frechet (2-Wasserstein) distance between two Gaussians, in float64.

    Args:
        mean1, mean2: [D], their means.
        cov1, cov2: [D, D], their covariances, positive semi-definite (may be singular).

    Returns:
        The distance, >= 0; 0 iff the Gaussians are equal (up to rounding).

    Raises:
        ValueError: shapes do not agree, or a value is not finite.
    """
    d = mean1.numel()
    shapes = [list(t.shape) for t in (mean1, cov1, mean2, cov2)]
    check(shapes == [[d], [d, d]] * 2, "shapes", shapes, "[D], [D, D], [D], [D, D]")
    m1, s1, m2, s2 = (t.double() for t in (mean1, cov1, mean2, cov2))
    if not all(t.isfinite().all() for t in (m1, s1, m2, s2)):
        raise ValueError("means and covariances must be finite")
    cross = torch.linalg.eigvalsh(root_and_product(s1, s2)[1]).clamp(min=0).sqrt().sum()
    value = (m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross
    return max(0.0, value.item())


def root_and_product(s1: torch.Tensor, s2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """S1^(1/2) and S1^(1/2) S2 S1^(1/2) of covariances [D, D].

    The product is symmetric and has the eigenvalues of S1 S2: no complex square root.
    """
    values, vectors = torch.linalg.eigh((s1 + s1.T) / 2)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ s2 @ root
    return root, (product + product.T) / 2


def kernel_distance(real: torch.Tensor, fake: torch.Tensor, block: int = 1024) -> float:
    """Kernel distance, as in the kernel inception distance (Binkowski et al. 2018), in float64.

    The unbiased estimate of the squared maximum mean discrepancy under (x . y / D + 1)^3, from all
    pairs at once. Published numbers are means over random subsets of 1,000: their expectation is
    the same, their scatter larger. Unlike a Frechet distance of few samples it is not too large on
    average, and it may be negative where the two sets come from one distribution.

    Args:
        real, fake: [N >= 2, D] and [M >= 2, D], features of real and of generated images.
        block: rows of the kernel matrix held at once; the result does not depend on it.

    Raises:
        ValueError: shapes do not agree, or fewer than two vectors.
    """
    _check_sets(real, fake)
    real, fake = real.double(), fake.double()

    pairs = ((real, real), (fake, fake), (fake, real))
    reals, fakes, mixed = (kernel_means(a, b, block).mean() for a, b in pairs)
    return (reals + fakes - 2 * mixed).item()


def kernel_means(a: torch.Tensor, b: torch.Tensor, block: int = 1024) -> torch.Tensor:
    """Mean kernel [N] of each of a [N, D] with all of b [M, D], or with the others of a itself."""
    sums = torch.cat([(part @ b.T / a.shape[1] + 1).pow(3).sum(1) for part in a.split(block)])
    if a is b:
        return (sums - (a.square().mean(1) + 1).pow(3)) / (len(a) - 1)
    return sums / len(b)


def _check_sets(real: torch.Tensor, fake: torch.Tensor) -> int:
    """Refuse features that are no two sets of vectors; return the smaller number of vectors."""
    shapes = [list(real.shape), list(fake.shape)]
    fits = real.ndim == fake.ndim == 2 and real.shape[1] == fake.shape[1]
    smallest = min(len(real), len(fake)) if fits else 0
    check(smallest >= 2, "features", shapes, "[N, D] and [M, D] with N, M >= 2")
    return smallest


def _reaches(centres: torch.Tensor, k: int, block: int) -> torch.Tensor:
    """[N] distances of centres [N, D] to their k-th neighbours."""
    reaches = []
    for start in range(0, len(centres), block):
        distance = torch.cdist(centres[start : start + block], centres)
        # a centre is no neighbour of its own
        distance.diagonal(start).fill_(torch.inf)
        reaches.append(distance.kthvalue(k, dim=1).values)
    return torch.cat(reaches)


def _hits(
    points: torch.Tensor, centres: torch.Tensor, k: int, block: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """In how many balls each of N points lies, and how many points lie in each of M balls.

    A ball reaches its centre's k-th neighbour.
    """
    reaches, of_points = _reaches(centres, k, block), []
    of_balls = torch.zeros(len(centres), dtype=torch.int64, device=centres.device)
    for part in points.split(block):
        near = torch.cdist(part, centres) <= reaches
        of_points.append(near.sum(1))
        of_balls += near.sum(0)
    return torch.cat(of_points), of_balls


def precision_recall(
    real: torch.Tensor, fake: torch.Tensor, k: int = 3, block: int = 1024
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019).

    Args:
        real, fake: [N, D] and [M, D], features of real and of generated images.
        k: which neighbour sets the radius of a ball (the paper's k = 3).
        block: rows of the distance matrix held at once; the result does not depend on it.

    Returns:
        (precision, recall): the share of fakes inside the reals' balls (fidelity), and of reals
        inside the fakes' balls (diversity), both in [0, 1].

    Raises:
        ValueError: shapes do not agree, or k is not in [1, min(N, M) - 1].
    """
    precision, recall = precision_recall_values(real, fake, k, block)
    return precision.mean().item(), recall.mean().item()


def precision_recall_values(
    real: torch.Tensor, fake: torch.Tensor, k: int = 3, block: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `precision_recall` takes the means of: of each fake [M], of each real [N], 1 or 0."""
    smallest = _check_sets(real, fake)
    check(1 <= k < smallest, "k", k, f"1 to {smallest - 1} for {smallest} vectors")
    real, fake = real.double(), fake.double()
    found = _hits(fake, real, k, block)[0], _hits(real, fake, k, block)[0]
    return tuple((hits > 0).double() for hits in found)


def density_coverage(
    real: torch.Tensor, fake: torch.Tensor, k: int = 5, block: int = 1024
) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020), which an outlier's large ball misleads less.

    Args:
        real, fake: [N, D] and [M, D], features of real and of generated images.
        k: which neighbour sets the radius of a ball (the paper's k = 5).
        block: rows of the distance matrix held at once; the result does not depend on it.

    Returns:
        density: in how many reals' balls a fake lies, on average, over k; may exceed 1, and its
        expectation is 1 where both sets come from one distribution.
        coverage: the share of reals in whose ball at least one fake lies, in [0, 1].

    Raises:
        ValueError: shapes do not agree, or k is not in [1, N - 1].
    """
    density, coverage = density_coverage_values(real, fake, k, block)
    return density.mean().item(), coverage.mean().item()


def density_coverage_values(
    real: torch.Tensor, fake: torch.Tensor, k: int = 5, block: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `density_coverage` takes the means of: of each fake [M], of each real [N] 1 or 0."""
    _check_sets(real, fake)
    check(1 <= k < len(real), "k", k, f"1 to {len(real) - 1} for {len(real)} real vectors")
    of_fakes, of_reals = _hits(fake.double(), real.double(), k, block)
    return of_fakes.double() / k, (of_reals > 0).double()


def compare_features(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """Frechet distance, precision and recall of features [M, D] against real ones [N, D]."""
    precision, recall = precision_recall(real, fake)
    frechet = frechet_distance(*feature_statistics(real), *feature_statistics(fake))
    return {"frechet": frechet, "precision": precision, "recall": recall}


def mask_images(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Set all of images [N, 3, H, W] outside a mask [N, 1, H, W], bool, to 0, mid-grey."""
    return images * check_mask(mask, images)


def psnr(
    a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor | None = None, frame: bool = False
) -> torch.Tensor:
    """Peak signal-to-noise ratio of each pair, in dB, computed in floating point.

    With a mask there are two conventions. Over the region (the default) the squared error is
    averaged over masked pixels. Over the frame it is averaged over all pixels with the outside
    zeroed, as public scripts do: higher by 10 log10(1 / area). (Those scripts also subtract
    8-bit arrays, which wraps; nothing here does.)

    Args:
        a, b: [N, 3, H, W] in [-1, 1].
        mask: [N, 1, H, W], bool, or None for the whole image.
        frame: average over the whole frame even with a mask.

    Returns:
        [N], float64; inf for equal pixels, nan where the region is empty.
    """
    error = (a.double() - b.double()).square()
    if mask is None:
        mean = error.mean((1, 2, 3))
    else:
        inside = check_mask(mask, a)
        count = a[0].numel() if frame else inside.sum((1, 2, 3)) * a.shape[1]
        mean = (error * inside).sum((1, 2, 3)) / count
    # The peak-to-peak range of [-1, 1] is 2.
    return 10 * torch.log10(4 / mean)
