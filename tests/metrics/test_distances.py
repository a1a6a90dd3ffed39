import math

import pytest
import torch

from cagc_lib.metrics import (
    compare_features,
    feature_statistics,
    frechet_distance,
    mask_images,
    precision_recall,
    psnr,
)


def gaussian(seed: int, d: int = 12, rank: int | None = None):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(d, rank or d, generator=generator, dtype=torch.float64)
    return torch.randn(d, generator=generator, dtype=torch.float64), factor @ factor.T


def test_feature_statistics_are_the_textbook_ones():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    mean, cov = feature_statistics(x)
    assert mean.dtype == cov.dtype == torch.float64
    torch.testing.assert_close(mean, x.double().mean(0))
    torch.testing.assert_close(cov, torch.cov(x.double().T))


@pytest.mark.parametrize(("rotated", "rel"), [(False, 1e-12), (True, 1e-10)])
def test_frechet_matches_the_closed_form(rotated, rel):
    m1, m2 = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).double()
    v1, v2 = torch.rand(2, 9, generator=torch.Generator().manual_seed(1)).double()
    # Covariances with the same eigenvectors commute, whatever these are.
    q = torch.eye(9).double()
    if rotated:
        q, _ = torch.linalg.qr(torch.randn(9, 9, generator=torch.Generator().manual_seed(2)) + q)
    expected = (m1 - m2).square().sum() + (v1.sqrt() - v2.sqrt()).square().sum()
    got = frechet_distance(m1, q @ v1.diag() @ q.T, m2, q @ v2.diag() @ q.T)
    assert got == pytest.approx(expected.item(), rel=rel)


def test_frechet_matches_the_general_product_form():
    (m1, s1), (m2, s2) = gaussian(0), gaussian(1)
    cross = torch.linalg.eigvals(s1 @ s2).real.clamp(min=0).sqrt().sum()
    expected = (m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross
    assert frechet_distance(m1, s1, m2, s2) == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("rank", [None, 3])
def test_frechet_is_symmetric_and_zero_for_equal_gaussians(rank):
    (m1, s1), (m2, s2) = gaussian(4, rank=rank), gaussian(5, rank=rank)
    forth, back = frechet_distance(m1, s1, m2, s2), frechet_distance(m2, s2, m1, s1)
    assert forth == pytest.approx(back, rel=1e-6)
    assert forth > 1
    assert 0 <= frechet_distance(m1, s1, m1, s1) < 1e-6 * s1.trace().item()


def test_shapes_and_values_are_checked():
    m, s = gaussian(0)
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"\[D\], \[D, D\]"):
        frechet_distance(m, s[:5], m, s)
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(m * torch.nan, s, m, s)
    with pytest.raises(ValueError, match="N >= 2"):
        feature_statistics(torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"^k: got 4, expected 1 to 3 for 4 vectors$"):
        precision_recall(x, x, k=4)
    with pytest.raises(ValueError, match=r"^features: got \[\[4, 2\], \[4, 3\]\], expected"):
        precision_recall(x, torch.zeros(4, 3))


def test_precision_and_recall_of_equal_and_disjoint_sets():
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    assert precision_recall(x, x) == (1.0, 1.0)
    assert precision_recall(x, x + 1000) == (0.0, 0.0)


def test_one_collapsed_mode_has_precision_without_recall():
    generator = torch.Generator().manual_seed(0)
    modes = torch.randn(200, 2, generator=generator)
    real = torch.cat([modes, modes + 100])
    fake = torch.randn(400, 2, generator=generator) * 0.5
    precision, recall = precision_recall(real, fake)
    assert precision > 0.95
    assert recall < 0.5
    # Exchanging the sets exchanges the two numbers.
    assert precision_recall(fake, real) == (recall, precision)


def test_precision_recall_by_hand():
    # On a line with k = 1: each real ball reaches exactly its neighbour at distance 1.
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fake = torch.tensor([[-0.5], [-1.5], [3.9], [4.1], [10.0]])
    precision, recall = precision_recall(real, fake, k=1)
    assert precision == 2 / 5
    # Radii of the fakes are 1, 1, 0.2, 0.2, 5.9: only reals 0 (from -0.5) are covered ... 0 <= 1.
    assert recall == 1 / 4


def test_precision_recall_does_not_depend_on_the_block():
    generator = torch.Generator().manual_seed(1)
    real, fake = torch.randn(2, 150, 4, generator=generator)
    assert precision_recall(real, fake, block=7) == precision_recall(real, fake, block=1000)


def test_compare_features_gathers_the_three_measures():
    real, fake = torch.randn(2, 60, 4, generator=torch.Generator().manual_seed(0)) + 1
    distance = frechet_distance(*feature_statistics(real), *feature_statistics(fake))
    precision, recall = precision_recall(real, fake)
    assert compare_features(real, fake) == {
        "frechet": distance, "precision": precision, "recall": recall,
    }


def test_psnr_conventions_differ_by_the_area():
    a = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    b = a + 0.1
    mask = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :, :2] = True
    expected = 10 * math.log10(4 / 0.01)
    torch.testing.assert_close(psnr(a, b), torch.full([3], expected).double(), rtol=1e-5, atol=0)
    region, frame = psnr(a, b, mask), psnr(a, b, mask, frame=True)
    torch.testing.assert_close(region, psnr(a, b), rtol=1e-5, atol=0)
    torch.testing.assert_close(frame - region, torch.full([3], 10 * math.log10(4)).double())
    torch.testing.assert_close(frame, psnr(mask_images(a, mask), mask_images(b, mask)))


def test_psnr_of_equal_and_of_opposite_images():
    a = torch.ones(1, 3, 4, 4)
    assert psnr(a, a).item() == math.inf
    # No wrap-around: black against white is 0 dB, the worst there is.
    assert psnr(a, -a).item() == pytest.approx(0)
    assert psnr(a, -a, torch.zeros(1, 1, 4, 4, dtype=torch.bool)).isnan().all()


def test_mask_images_sets_the_outside_to_grey():
    images = torch.rand(2, 3, 4, 4)
    mask = torch.rand(2, 1, 4, 4) > 0.5
    masked = mask_images(images, mask)
    assert torch.equal(masked == 0, ~mask.expand_as(images) | (images == 0))
    with pytest.raises(ValueError, match=r"torch\.bool"):
        mask_images(images, mask.float())
