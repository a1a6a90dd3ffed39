import math

import pytest
import torch

from cagc_lib.metrics import (
    compare_features,
    density_coverage,
    feature_statistics,
    frechet_distance,
    kernel_distance,
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
    with pytest.raises(ValueError, match=r"^features: got .*\[1, 2\]\], expected .*>= 2$"):
        kernel_distance(x, x[:1])
    with pytest.raises(ValueError, match=r"^k: got 4, expected 1 to 3 for 4 real vectors$"):
        density_coverage(x, x, k=4)


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


def test_kernel_distance_is_the_mean_over_all_pairs():
    real, fake = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    fake = fake[:7] + 1

    def mean(a, b, without=()):
        pairs = [(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if (i, j) not in without]
        kernels = [(torch.dot(x.double(), y.double()) / 3 + 1) ** 3 for x, y in pairs]
        return torch.stack(kernels).mean().item()

    same = [(i, i) for i in range(9)]
    expected = mean(real, real, same) + mean(fake, fake, same) - 2 * mean(real, fake)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(real, fake, block=2) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_estimates_the_closed_form_between_gaussians():
    # x ~ N(m, I), y ~ N(0, I). Given x, x.x' ~ N(x.m, |x|^2), and a = x.m / |m| ~ N(|m|, 1).
    d, m = 4, torch.tensor([0.6, -0.3, 0.0, 0.4]).double()
    s = m.square().sum().item()
    first, second = s, s * s + 2 * s + d
    cube, times_norm = s * (s * s + 3 * s), s * (s + 3 + d - 1)
    third = cube + 3 * times_norm

    def kernel(one, two, three):
        return 1 + 3 * one / d + 3 * two / d**2 + three / d**3

    expected = kernel(first, second, third) + kernel(0, d, 0) - 2 * kernel(0, s + d, 0)
    generator = torch.Generator().manual_seed(0)
    found = [
        kernel_distance(torch.randn(800, d, generator=generator).double() + m,
                        torch.randn(800, d, generator=generator).double())
        for _ in range(12)
    ]
    mean, scatter = sum(found) / 12, torch.tensor(found).std().item() / 12**0.5
    assert abs(mean - expected) < 3 * scatter < 0.2 * expected


def test_kernel_distance_of_one_distribution_scatters_around_zero():
    generator = torch.Generator().manual_seed(3)
    found = [kernel_distance(*torch.randn(2, 100, 5, generator=generator)) for _ in range(20)]
    assert min(found) < 0 < max(found)


def test_density_and_coverage_by_hand():
    # On a line with k = 1: the balls of 0, 1 and 2 reach 1 far, that of 10 reaches 8.
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[0.5], [3.5], [-5.0]])
    # 0.5 lies in the balls of 0 and 1; 3.5 in that of 10; -5 in none
    density, coverage = density_coverage(real, fake, k=1)
    assert density == 3 / 3
    assert coverage == 3 / 4
    assert density_coverage(real, fake, k=1, block=1) == (density, coverage)
    assert density_coverage(real, fake + 1000, k=1) == (0.0, 0.0)


def test_an_outlier_misleads_density_less_than_precision():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(200, 2, generator=generator)
    real[0] = 100.0
    # everything near the outlier lies in its ball, which no other real picture is near
    fake = 100 + 5 * torch.randn(200, 2, generator=generator)
    assert precision_recall(real, fake)[0] == 1
    density, coverage = density_coverage(real, fake)
    assert density == 1 / 5
    assert coverage == 1 / 200


def test_density_and_coverage_of_one_distribution():
    real, fake = torch.randn(2, 2_000, 3, generator=torch.Generator().manual_seed(0))
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(1, abs=0.05)
    # of 2 N points a real's nearest 5 are all real with probability about 1 / 2^5
    assert coverage == pytest.approx(1 - 1 / 2**5, abs=0.01)


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
