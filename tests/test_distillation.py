"""Distillation losses by hand, and the defects of the public code that they must not share."""

import pytest
import torch

from cagc_lib import distillation
from cagc_lib.distillation import DistillationConfig, distillation_losses, weighted_sum
from cagc_lib.networks import FeatureNetwork

L1 = DistillationConfig(perceptual=0)


def images(seed: int, n: int = 2, side: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def left_half(n: int = 2, side: int = 8) -> torch.Tensor:
    mask = torch.zeros(n, 1, side, side, dtype=torch.bool)
    mask[..., : side // 2] = True
    return mask


def network() -> FeatureNetwork:
    return FeatureNetwork({"a": [0.0, 1.0]}, (4, 4, 6, 6, 6)).eval().requires_grad_(False)


@pytest.mark.parametrize("n", [1, 2])
def test_l1_is_a_mean_over_all_pixels(n: int) -> None:
    # the public code squeezes a batch of one away and repeats the mask's first row
    t, s, mask = images(0, n), images(1, n), torch.zeros(n, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 4:] = True
    loss = distillation_losses([t], [s], mask, L1)
    assert list(loss) == ["l1"]
    expected = (t - s)[:, :, 4:].abs().sum() / t.numel()
    assert loss["l1"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_nothing_outside_the_content_reaches_the_student() -> None:
    config = DistillationConfig(rgb=1.0)
    t = [images(0, side=32), images(1, side=64)]
    s = [images(2, side=32).requires_grad_(), images(3, side=64).requires_grad_()]
    losses = distillation_losses(t, s, left_half(side=64), config, network())
    assert set(losses) == {"l1", "perceptual", "rgb"}
    weighted_sum(losses, config).backward()
    for student in s:
        half = student.shape[-1] // 2
        assert student.grad[..., half:].abs().max() == 0
        assert student.grad[..., :half].abs().max() > 0


def test_a_student_equal_inside_the_content_has_no_loss() -> None:
    # the public code's intermediate mode compares a masked student to an unmasked teacher
    config = DistillationConfig(rgb=1.0)
    mask = left_half(side=64)
    t = [images(0, side=32), images(1, side=64)]
    s = [torch.where(left_half(side=x.shape[-1]), x, x + 1) for x in t]
    losses = distillation_losses(t, s, mask, config, network())
    assert {name: value.item() for name, value in losses.items()} == dict.fromkeys(losses, 0.0)


def test_coarse_masks_hold_the_share_of_content() -> None:
    t, s = [images(0, side=4), images(1)], [images(2, side=4), images(1)]
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 0, 0] = True
    loss = distillation_losses(t, s, mask, DistillationConfig(perceptual=0, rgb=1.0))["rgb"]
    expected = 0.25 * (t[0] - s[0])[:, :, 0, 0].abs().sum() / t[0].numel()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_masks_can_be_switched_off() -> None:
    t, s = images(0), images(1)
    full = (t - s).abs().mean().item()
    off = DistillationConfig(perceptual=0, mask_content=False)
    for mask, config in (
        (left_half(), off), (None, L1), (torch.ones(2, 1, 8, 8, dtype=torch.bool), L1),
    ):
        loss = distillation_losses([t], [s], mask, config)["l1"].item()
        assert loss == pytest.approx(full, rel=1e-6)


def test_the_teacher_gets_no_gradient() -> None:
    t, s = images(0).requires_grad_(), images(1).requires_grad_()
    distillation_losses([t], [s], left_half(), L1)["l1"].backward()
    assert t.grad is None
    assert s.grad is not None


def test_large_images_are_reduced_for_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def distance(_: object, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(list(a.shape))
        return (a - b).flatten(1).sum(1)

    monkeypatch.setattr(distillation, "perceptual_distance", distance)
    for side in (64, 256, 512):
        x = torch.zeros(1, 3, side, side)
        distillation_losses([x], [x], None, DistillationConfig(), network())
    assert [shape[-1] for shape in seen] == [64, 256, 256]


def test_losses_are_weighted_and_those_of_weight_zero_not_computed() -> None:
    config = DistillationConfig(l1=0, perceptual=0)
    losses = distillation_losses([images(0)], [images(1)], None, config)
    assert losses == {}
    assert weighted_sum(losses, config).item() == 0
    losses = {"l1": torch.tensor(2.0), "rgb": torch.tensor(5.0)}
    assert weighted_sum(losses, DistillationConfig(l1=3, rgb=0.5)).item() == 8.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([images(0)], [images(1, side=4)], None, L1), ("student_rgbs", "[2, 3, 4, 4]")),
        (([images(0)], [], None, L1), ("student_rgbs",)),
        (([images(0)], [images(1)], left_half().float(), L1), ("mask", "bool")),
        (([images(0)], [images(1)], left_half(side=4), L1), ("mask", "[2, 1, 8, 8]")),
        (([images(0)], [images(1)], None, DistillationConfig()), ("features", "None")),
        (([images(0)], [images(1)], None, DistillationConfig(perceptual=0, rgb=1)), ("rgb",)),
    ],
)
def test_losses_refuse(arguments: tuple, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        distillation_losses(*arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)
