"""Distillation losses by hand, and the defects of the public code that they must not share."""

import math

import pytest
import torch

from cagc_lib import distillation
from cagc_lib.distillation import (
    DistillationConfig,
    distillation_losses,
    relation_loss,
    weighted_sum,
)
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


def maps(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def test_relation_by_hand() -> None:
    # two images and two moved ones, of which the student takes the second for the first
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.2]])
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 5.0], [2.0, 0.0]])
    e = math.e
    # cosines of 1 and 0 become e / (e + 1) and 1 / (e + 1)
    expected = (e - 1) / (e + 1)
    assert relation_loss([teacher], [student]).item() == pytest.approx(expected, rel=1e-6)
    both = relation_loss([teacher, teacher], [student, teacher])
    assert both.item() == pytest.approx(expected, rel=1e-6)
    # the teacher's is the first of the two distributions, as the student's are even here
    mixed = relation_loss([teacher], [torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])])
    p = e / (e + 1)
    entropy = p * math.log(p) + (1 - p) * math.log(1 - p)
    assert mixed.item() == pytest.approx(entropy + math.log(2), rel=1e-5)


def test_relation_knows_no_length_no_rotation_and_no_width() -> None:
    teacher, student = maps(0, (6, 5)), maps(1, (6, 5))
    loss = relation_loss(teacher, student).item()
    assert loss > 0
    assert relation_loss(teacher, teacher).item() == 0
    lengths = torch.tensor([0.5, 2.0, 1.0, 8.0, 0.25, 3.0])[:, None]
    (turn,) = maps(2, (5, 5))
    turned = student[0] @ torch.linalg.qr(turn).Q
    wider = torch.cat([student[0], torch.zeros(6, 4)], dim=1)
    for other in (student[0] * lengths, turned, wider, student[0].reshape(6, 5, 1, 1)):
        assert relation_loss(teacher, [other]).item() == pytest.approx(loss, rel=1e-9)
    # but it knows which of the moved images is whose
    assert relation_loss(teacher, [teacher[0][[0, 1, 2, 4, 3, 5]]]) > 0


def test_relation_has_the_gradient_of_its_formula() -> None:
    teacher = maps(0, (4, 3, 2, 2), (4, 5))
    student = [x.requires_grad_() for x in maps(1, (4, 2, 2, 2), (4, 5))]
    assert torch.autograd.gradcheck(lambda *x: relation_loss(teacher, x), student)
    teacher = [x.requires_grad_() for x in teacher]
    relation_loss(teacher, student).backward()
    assert all(x.grad is None for x in teacher)
    # what a mask has emptied has no direction, and no infinite gradient
    empty = torch.zeros(4, 3, requires_grad=True)
    relation_loss([torch.ones(4, 3)], [empty]).backward()
    assert empty.grad.isfinite().all()


def test_relation_is_computed_in_full_precision() -> None:
    teacher, student = maps(0, (4, 64)), maps(1, (4, 64))
    half = [[x.bfloat16() for x in features] for features in (teacher, student)]
    full = relation_loss(*([x.float() for x in features] for features in half))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(relation_loss(*half), full)


@pytest.mark.parametrize("student", [[], [(6, 2)], [(4, 2), (4, 2)], [(3, 2)]])
def test_relation_refuses_maps_of_other_images(student: list[tuple[int, int]]) -> None:
    teacher = [(3, 2)] if student == [(3, 2)] else [(4, 2)]
    sizes = [[shape[0] for shape in shapes] for shapes in (student, teacher)]
    with pytest.raises(ValueError) as caught:
        relation_loss(maps(0, *teacher), maps(1, *student))
    expected = f"got maps of {sizes[0]} images, expected {sizes[1]}, of images in pairs"
    assert str(caught.value) == f"student_features: {expected}"


def test_a_relation_wants_the_teachers_latents() -> None:
    with pytest.raises(ValueError, match=r"^relation: got 30\.0, expected 0 where init is fresh$"):
        DistillationConfig(relation=30.0, init="fresh")
    seen = [
        DistillationConfig(perceptual=p, relation=r).looks_at_features
        for p, r in ((0, 0), (3, 0), (0, 30), (3, 30))
    ]
    assert seen == [False, True, True, True]
