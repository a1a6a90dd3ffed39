"""The relation loss in training: what is moved and compared, exact resume, what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import assert_same, log
from torch import nn

from cagc_lib.content import GeneratorFeatures, everything
from cagc_lib.datasets import image_source
from cagc_lib.distillation import DistillationConfig, relation_loss
from cagc_lib.networks import (
    Discriminator,
    FeatureNetwork,
    Generator,
    GeneratorConfig,
    matching_discriminator,
)
from cagc_lib.training import Lesson, Steps, TrainConfig, TrainState, train_student

TEACHER = GeneratorConfig(32, (8,) * 8, z_dim=128, w_dim=16, mapping_layers=2)
STUDENT = GeneratorConfig(32, (4,) * 8, z_dim=128, w_dim=16, mapping_layers=2)
ALONE = DistillationConfig(l1=0, perceptual=0, relation=30.0, adversarial=0)


def config(**changes: object) -> TrainConfig:
    values = {
        "images": 16, "batch_size": 4, "pool": 8, "log_every": 1, "sample_every": 100,
        "checkpoint_every": 1,
    }
    return TrainConfig(**(values | changes))


def network(shapes: GeneratorConfig, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    g = Generator(shapes).requires_grad_(False)
    for conv in g.synthesis.convs:
        conv.noise_strength.fill_(0.1)
    return g


def features() -> FeatureNetwork:
    torch.manual_seed(5)
    return FeatureNetwork({"a": [0.0, 1.0]}, (4, 4, 6, 6, 6)).eval().requires_grad_(False)


def run_student(out: Path, resume: bool = False, **changes: object) -> TrainState:
    return train_student(
        config(**changes), DistillationConfig(relation=30.0), network(STUDENT, 1), network(TEACHER),
        out, content=everything, features=features(), resume=resume, progress=False,
    )


def steps(g: Generator, lesson: Lesson, **changes: object) -> Steps:
    state = TrainState(g, Discriminator(matching_discriminator(TEACHER)), config(**changes))
    return Steps(state, image_source("portraits", 32, pool=8), lesson)


@pytest.mark.parametrize("autocast", ["off", "bfloat16"])
def test_a_student_resumes_to_the_bit(tmp_path: Path, autocast: str) -> None:
    straight = run_student(tmp_path / "a", autocast=autocast)
    run_student(tmp_path / "b", images=4, autocast=autocast)
    resumed = run_student(tmp_path / "b", resume=True, autocast=autocast)
    assert_same(straight.state_dict(), resumed.state_dict())
    losses = [[row["relation"] for row in log(tmp_path / out)] for out in "ab"]
    assert losses[0] == losses[1]
    assert all(float(value) > 0 for value in losses[0])


def test_another_weight_is_another_run(tmp_path: Path) -> None:
    run_student(tmp_path, images=4)
    words = r"^resume: distillation relation is 0\.0, but the run was started with 30\.0$"
    with pytest.raises(ValueError, match=words):
        train_student(
            config(), DistillationConfig(), network(STUDENT, 1), network(TEACHER), tmp_path,
            content=everything, features=features(), resume=True, progress=False,
        )


def test_a_step_compares_half_the_batch_with_its_moved_latents(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    g, seen, compared = network(TEACHER), [], []

    def content(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        mask = torch.zeros_like(images[:, :1], dtype=torch.bool)
        mask[..., :16] = True
        return mask

    def loss(teacher: list[torch.Tensor], student: list[torch.Tensor]) -> torch.Tensor:
        compared.extend([teacher, student])
        return relation_loss(teacher, student)

    monkeypatch.setattr("cagc_lib.training.steps.relation_loss", loss)
    lesson = Lesson(g, ALONE, content, features())
    done = steps(network(STUDENT, 1), lesson, batch_size=8)()
    assert [len(images) for images in seen] == [8, 4]
    assert done["relation"] > 0
    # one z, and the same noise: what differs is the way along a direction, other for each image
    difference = (seen[1] - seen[0][:4]).abs().mean((1, 2, 3))
    assert (difference > 0).all() and len(difference.unique()) == 4
    # the masks of both lie before the features
    look, masked = features(), torch.cat([seen[0][:4], seen[1]])
    masked[..., 16:] = 0
    for ours, theirs in zip(compared[0], look(look.prepare(masked)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert not any(f.requires_grad for f in compared[0])
    assert all(f.requires_grad for f in compared[1])


@pytest.mark.parametrize(("noise", "equal"), [("shared", True), ("independent", False)])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(noise: str, equal: bool) -> None:
    g = network(TEACHER)
    settings = DistillationConfig(perceptual=0, relation=1.0, noise=noise)
    losses = steps(g, Lesson(g, settings, None, features()), style_mixing=1.0)()
    assert (losses["relation"] < 1e-7) == equal


def test_a_source_that_watches_the_teacher_sees_what_it_drew_last(tmp_path: Path) -> None:
    g = network(TEACHER)
    source = GeneratorFeatures(g, clusters=3, keep=[0, 1], num_samples=4)
    train_student(
        config(images=4), DistillationConfig(relation=1.0), network(STUDENT, 1), g, tmp_path,
        content=source, features=features(), progress=False,
    )
    assert float(log(tmp_path)[0]["relation"]) > 0


def test_the_relation_alone_pulls_the_student(tmp_path: Path) -> None:
    g, disturbed = network(TEACHER), network(TEACHER)
    with torch.no_grad():
        for p in disturbed.synthesis.parameters():
            if p.ndim == 4:
                p.add_(0.5 * torch.randn_like(p))
    train_student(
        config(images=8 * 40, batch_size=8, g_lr=0.003, log_every=10, r1_interval=0,
               path_interval=0, checkpoint_every=100),
        replace(ALONE, noise="shared"), disturbed, g, tmp_path, features=features(),
        progress=False,
    )
    losses = [float(row["relation"]) for row in log(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]


def test_what_a_relation_refuses(tmp_path: Path) -> None:
    def refused(words: str, student: Generator, **more: object) -> None:
        with pytest.raises(ValueError, match=f"^{words}"):
            train_student(
                config(**more), ALONE, student, network(TEACHER), tmp_path, features=look,
                progress=False,
            )

    look = features()
    narrow = GeneratorConfig(32, (4,) * 8, z_dim=128, w_dim=8, mapping_layers=2)
    refused("teacher: got w_dim 16, expected 8", network(narrow))
    refused("batch_size: got 2, expected at least 3 with relation", network(STUDENT), batch_size=2)
    look = None
    refused("features: got None, expected a network, as relation is not 0", network(STUDENT))
    assert not list(tmp_path.iterdir())


def test_a_relation_needs_no_other_loss_and_costs_nothing_at_zero() -> None:
    class Counting(nn.Module):
        channel_weights, seen = None, 0

        def prepare(self, images: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            return images

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [images]

    looks = []
    for weight in (0.0, 1.0):
        network_ = Counting()
        settings = DistillationConfig(perceptual=0, relation=weight)
        losses = steps(network(STUDENT, 1), Lesson(network(TEACHER), settings, None, network_))()
        looks.append((network_.seen, "relation" in losses))
    assert looks == [(0, False), (2, True)]
