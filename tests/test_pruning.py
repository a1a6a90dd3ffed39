"""Plans and pruned networks: the official numbers, the golden networks, lineage."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cagc_lib.checkpoints import load_generator
from cagc_lib.importance import score_channels
from cagc_lib.metrics import macs
from cagc_lib.networks import Generator
from cagc_lib.pruning import PruningPlan, kept_channels, plan_pruning, prune

GOLDEN = Path(__file__).parent / "golden"
with np.load(GOLDEN / "rosinality.npz") as file:
    OFFICIAL = {name: torch.from_numpy(file[name]) for name in file.files}
RATIOS = (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
# kept channels of the official code
OFFICIAL_WIDTHS = {
    512: (461, 410, 359, 256, 205, 154, 103, 52),
    256: (231, 205, 180, 128, 103, 77, 52, 26),
    128: (116, 103, 90, 64, 52, 39, 26, 13),
    64: (58, 52, 45, 32, 26, 20, 13, 7),
    32: (29, 26, 23, 16, 13, 10, 7, 4),
}


@pytest.fixture(scope="module")
def g() -> Generator:
    return load_generator(GOLDEN / "rosinality.pt")


def golden_plan(ratio: float) -> PruningPlan:
    return plan_pruning([OFFICIAL[f"score_{k}"] for k in range(8)], ratio)


@pytest.mark.parametrize("percent", [30, 70])
def test_pruning_agrees_with_the_official_code(g: Generator, percent: int) -> None:
    plan = golden_plan(percent / 100)
    for k, keep in enumerate(plan.keep):
        assert keep.tolist() == OFFICIAL[f"p{percent}_keep_{k}"].nonzero()[:, 0].tolist()
    student = prune(g, plan)
    assert list(student.config.channels) == OFFICIAL[f"p{percent}_shape"].tolist()
    assert macs(student) == OFFICIAL[f"p{percent}_flops"]
    with torch.no_grad():
        image = student(OFFICIAL["z"])
    theirs = OFFICIAL[f"p{percent}_img"]
    assert (image - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def test_the_official_pruned_file_is_what_we_make(g: Generator) -> None:
    ours = prune(g, golden_plan(0.7)).state_dict()
    theirs = load_generator(GOLDEN / "rosinality_pruned70.pt").state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        # the pruned file has neither noise maps nor w_avg: its loader makes those up
        if "noise_const" not in name and name != "w_avg":
            assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("width", OFFICIAL_WIDTHS)
def test_kept_channels_are_the_official_numbers(width: int) -> None:
    assert tuple(kept_channels(width, ratio) for ratio in RATIOS) == OFFICIAL_WIDTHS[width]


@pytest.mark.parametrize(
    ("width", "ratio", "round_to", "kept"),
    [(512, 0.7, 8, 160), (256, 0.7, 8, 80), (128, 0.7, 8, 40), (12, 0.1, 8, 12), (20, 0.0, 8, 20),
     (154, 0.5, 1, 77), (5, 0.9, 4, 4), (3, 0.9, 4, 3), (1, 0.99, None, 1),
     # 100 * 0.29 is 28.999999999999996, 40 * 0.7 is 28: a product that falls short removes one less
     (100, 0.29, None, 72), (40, 0.7, None, 12)],
)
def test_rounding(width: int, ratio: float, round_to: int | None, kept: int) -> None:
    assert kept_channels(width, ratio, round_to) == kept


def test_the_largest_scores_stay_and_equal_scores_lose_the_first() -> None:
    scores = [torch.tensor([5.0, 1.0, 3.0, 1.0, 9.0]), torch.ones(4)]
    assert [k.tolist() for k in plan_pruning(scores, 0.4).keep] == [[0, 2, 4], [1, 2, 3]]
    assert [k.tolist() for k in plan_pruning(scores, 0).keep] == [[0, 1, 2, 3, 4], [0, 1, 2, 3]]


def test_one_ratio_per_width() -> None:
    plan = plan_pruning([torch.arange(10.0)] * 3, [0.0, 0.5, 0.9])
    assert (plan.channels, plan.ratio) == ((10, 5, 1), (0.0, 0.5, 0.9))


def test_a_plan_remembers_its_scores(g: Generator) -> None:
    scores = score_channels(g, lambda x: x[:, :1] > 0, "random", num_samples=9, seed=5)
    plan = plan_pruning(scores, 0.5, round_to=4)
    assert (plan.method, plan.seed, plan.num_samples) == ("random", 5, 9)
    assert (plan.ratio, plan.round_to, plan.source_channels) == (0.5, 4, g.config.channels)


@pytest.mark.parametrize("ratio", [0.7, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)])
def test_a_plan_survives_a_file(tmp_path, ratio) -> None:
    plan = golden_plan(ratio)
    plan.save(tmp_path / "plan.json")
    loaded = PruningPlan.load(tmp_path / "plan.json")
    assert all(torch.equal(a, b) for a, b in zip(plan.keep, loaded.keep, strict=True))
    assert {**vars(plan), "keep": None} == {**vars(loaded), "keep": None}
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_preserved_gain_scales_every_torgb_back(g: Generator) -> None:
    plan = golden_plan(0.7)
    plain, preserved = prune(g, plan), prune(g, plan, rgb_gain="preserved")
    for j in range(4):
        factor = math.sqrt(plan.channels[2 * j + 1] / g.config.channels[2 * j + 1])
        weight = plain.synthesis.torgbs[j].weight
        assert torch.equal(preserved.synthesis.torgbs[j].weight, weight * factor)
    assert plain.lineage.rgb_gain == "recomputed"
    assert preserved.lineage.rgb_gain == "preserved"


def test_pruning_twice_keeps_the_first_networks_name(g: Generator) -> None:
    once = prune(g, golden_plan(0.3), source_sha256="ab" * 32)
    scores = [torch.rand(width) for width in once.config.channels]
    twice = prune(once, plan_pruning(scores, 0.5), source_sha256="cd" * 32)
    assert twice.lineage.source_channels == g.config.channels
    assert twice.lineage.source_sha256 == "ab" * 32


def test_the_student_is_an_ordinary_network_of_the_same_kind(g: Generator) -> None:
    teacher = load_generator(GOLDEN / "rosinality.pt").double().train()
    teacher.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    random_state = torch.get_rng_state()
    student = prune(teacher, golden_plan(0.7))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert student.training
    assert student.synthesis.const.dtype == torch.float64
    assert all(p.requires_grad for p in student.parameters())
    assert torch.equal(student.w_avg, teacher.w_avg)
    with torch.no_grad():
        for p in student.parameters():
            p.zero_()
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())
