"""Both reference implementations' numbers, through the loader: 2e-5 of the largest, in float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cagc_lib.checkpoints import Checkpoint, load_checkpoint
from cagc_lib.networks import Generator, r1_penalty
from cagc_lib.training import path_lengths

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 2e-5


def vectors(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / name) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


ROSINALITY, NVIDIA = vectors("rosinality.npz"), vectors("nvidia_ada.npz")
# format, channels of the generator and of the discriminator
FILES = {
    "rosinality.pt": ("rosinality", (24, 24, 24, 20, 20, 16, 16, 12), (32,) * 4),
    "rosinality_pruned70.pt": ("rosinality", (8, 8, 8, 6, 6, 5, 5, 4), (32,) * 4),
    "nvidia_ada.pkl": ("nvidia", (32, 32, 32, 32, 16, 16, 8, 8), (8, 16, 32, 32)),
}


def assert_agrees(ours: torch.Tensor, golden: torch.Tensor) -> None:
    assert ours.dtype == golden.dtype == torch.float32
    assert ours.shape == golden.shape
    assert (ours - golden).abs().max() <= TOLERANCE * golden.abs().max()


@pytest.fixture(scope="module")
def loaded() -> dict[str, Checkpoint]:
    return {name: load_checkpoint(GOLDEN / name) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_recognised(loaded: dict[str, Checkpoint], name: str) -> None:
    kind, of_generator, of_discriminator = FILES[name]
    assert loaded[name].format == kind
    assert loaded[name].generator.config.channels == of_generator
    assert loaded[name].discriminator.config.channels == of_discriminator


def mixed(g: Generator) -> torch.Tensor:
    first, second = g.mapping(ROSINALITY["z"]), g.mapping(ROSINALITY["z2"])
    return g.synthesis(torch.stack([first] * 3 + [second] * (g.config.num_ws - 3), dim=1))


@pytest.mark.parametrize(
    ("name", "compute", "golden"),
    [
        ("rosinality.pt", lambda g: g.mapping(ROSINALITY["z"]), ROSINALITY["w"]),
        ("rosinality.pt", lambda g: g.w_avg, ROSINALITY["w_avg"]),
        ("rosinality.pt", lambda g: g.synthesis(ROSINALITY["w"]), ROSINALITY["img"]),
        ("rosinality.pt", lambda g: g(ROSINALITY["z"], 0.7), ROSINALITY["img_psi07"]),
        ("rosinality.pt", mixed, ROSINALITY["img_mix3"]),
        ("rosinality_pruned70.pt", lambda g: g(ROSINALITY["z"]), ROSINALITY["p70_img"]),
        ("nvidia_ada.pkl", lambda g: g.mapping(NVIDIA["z"]), NVIDIA["w"]),
        ("nvidia_ada.pkl", lambda g: g(NVIDIA["z"]), NVIDIA["img_const"]),
        ("nvidia_ada.pkl", lambda g: g(NVIDIA["z"], noise="none"), NVIDIA["img_none"]),
        ("nvidia_ada.pkl", lambda g: g(NVIDIA["z"], 0.7), NVIDIA["img_psi07"]),
    ],
)
@torch.no_grad()
def test_generators(
    loaded: dict[str, Checkpoint], name: str, compute: Callable[[Generator], torch.Tensor],
    golden: torch.Tensor,
) -> None:
    assert_agrees(compute(loaded[name].generator), golden)


@torch.no_grad()
def test_running_rgb(loaded: dict[str, Checkpoint]) -> None:
    rgbs = loaded["rosinality.pt"].generator.synthesis(ROSINALITY["w"], return_rgbs=True)
    assert len(rgbs) == 4
    for k, rgb in enumerate(rgbs):
        assert_agrees(rgb, ROSINALITY[f"rgb_{k}"])


def test_discriminators_and_r1(loaded: dict[str, Checkpoint]) -> None:
    with torch.no_grad():
        d = loaded["nvidia_ada.pkl"].discriminator
        assert_agrees(d(NVIDIA["img_const"]), NVIDIA["d_out"])
    for name in ("rosinality.pt", "rosinality_pruned70.pt"):
        images = ROSINALITY["img"].clone().requires_grad_(True)
        logits = loaded[name].discriminator(images)
        assert_agrees(logits.detach(), ROSINALITY["d_out"])
        assert_agrees(r1_penalty(logits, images).detach(), ROSINALITY["r1_per_sample"])


def test_path_lengths(loaded: dict[str, Checkpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    g = loaded["rosinality.pt"].generator
    ws = ROSINALITY["w"][:, None].repeat(1, g.config.num_ws, 1).requires_grad_(True)
    images = g.synthesis(ws)
    # the library draws y and divides it by sqrt(pixels); the golden y is already divided
    y = ROSINALITY["ppl_y"] * g.config.resolution
    monkeypatch.setattr(torch, "randn", lambda *args, **options: y)
    assert_agrees(path_lengths(images, ws).detach(), ROSINALITY["path_lengths"])
