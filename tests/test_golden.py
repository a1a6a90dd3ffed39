"""Both reference implementations' numbers, through the loader: 2e-5 of the largest, in float32."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cagc_lib.checkpoints import Checkpoint, load_checkpoint
from cagc_lib.networks import r1_penalty
from cagc_lib.training import path_lengths

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 2e-5


def vectors(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / name) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def assert_agrees(ours: torch.Tensor, golden: torch.Tensor) -> None:
    assert ours.dtype == golden.dtype == torch.float32
    assert ours.shape == golden.shape
    assert (ours - golden).abs().max() <= TOLERANCE * golden.abs().max()


@pytest.fixture(scope="module")
def rosinality() -> Checkpoint:
    return load_checkpoint(GOLDEN / "rosinality.pt")


@pytest.fixture(scope="module")
def nvidia() -> Checkpoint:
    return load_checkpoint(GOLDEN / "nvidia_ada.pkl")


ROSINALITY = vectors("rosinality.npz")
NVIDIA = vectors("nvidia_ada.npz")


def test_rosinality_is_recognised(rosinality: Checkpoint) -> None:
    assert rosinality.format == "rosinality"
    config = rosinality.generator.config
    assert config.channels == (24, 24, 24, 20, 20, 16, 16, 12)
    assert (config.resolution, config.z_dim, config.w_dim, config.mapping_layers) == (32, 64, 64, 4)
    assert rosinality.discriminator.config.channels == (32, 32, 32, 32)


@torch.no_grad()
def test_rosinality_mapping(rosinality: Checkpoint) -> None:
    assert_agrees(rosinality.generator.mapping(ROSINALITY["z"]), ROSINALITY["w"])
    assert_agrees(rosinality.generator.w_avg, ROSINALITY["w_avg"])


@torch.no_grad()
def test_rosinality_running_rgb(rosinality: Checkpoint) -> None:
    rgbs = rosinality.generator.synthesis(ROSINALITY["w"], return_rgbs=True)
    assert len(rgbs) == 4
    for k, rgb in enumerate(rgbs):
        assert_agrees(rgb, ROSINALITY[f"rgb_{k}"])
    assert_agrees(rgbs[-1], ROSINALITY["img"])


@torch.no_grad()
def test_rosinality_truncation_and_mixing(rosinality: Checkpoint) -> None:
    g = rosinality.generator
    assert_agrees(g(ROSINALITY["z"], truncation_psi=0.7), ROSINALITY["img_psi07"])
    first, second = g.mapping(ROSINALITY["z"]), g.mapping(ROSINALITY["z2"])
    ws = torch.stack([first] * 3 + [second] * (g.config.num_ws - 3), dim=1)
    assert_agrees(g.synthesis(ws), ROSINALITY["img_mix3"])


def test_rosinality_discriminator_and_r1(rosinality: Checkpoint) -> None:
    images = ROSINALITY["img"].clone().requires_grad_(True)
    logits = rosinality.discriminator(images)
    assert_agrees(logits.detach(), ROSINALITY["d_out"])
    assert_agrees(r1_penalty(logits, images).detach(), ROSINALITY["r1_per_sample"])


def test_rosinality_path_lengths(rosinality: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    g = rosinality.generator
    ws = ROSINALITY["w"][:, None].repeat(1, g.config.num_ws, 1).requires_grad_(True)
    images = g.synthesis(ws)
    # the library draws y and divides it by sqrt(pixels); the golden y is already divided
    y = ROSINALITY["ppl_y"] * g.config.resolution
    monkeypatch.setattr(torch, "randn", lambda *args, **options: y)
    assert_agrees(path_lengths(images, ws).detach(), ROSINALITY["path_lengths"])


@torch.no_grad()
def test_pruned_rosinality() -> None:
    checkpoint = load_checkpoint(GOLDEN / "rosinality_pruned70.pt")
    assert checkpoint.generator.config.channels == (8, 8, 8, 6, 6, 5, 5, 4)
    assert_agrees(checkpoint.generator(ROSINALITY["z"]), ROSINALITY["p70_img"])
    assert_agrees(checkpoint.discriminator(ROSINALITY["img"]), ROSINALITY["d_out"])


def test_nvidia_is_recognised(nvidia: Checkpoint) -> None:
    assert nvidia.format == "nvidia"
    assert nvidia.generator.config.channels == (32, 32, 32, 32, 16, 16, 8, 8)
    assert nvidia.discriminator.config.channels == (8, 16, 32, 32)


@torch.no_grad()
def test_nvidia_generator(nvidia: Checkpoint) -> None:
    g, z = nvidia.generator, NVIDIA["z"]
    assert_agrees(g.mapping(z), NVIDIA["w"])
    assert_agrees(g(z), NVIDIA["img_const"])
    assert_agrees(g(z, noise="none"), NVIDIA["img_none"])
    assert_agrees(g(z, truncation_psi=0.7), NVIDIA["img_psi07"])


@torch.no_grad()
def test_nvidia_discriminator(nvidia: Checkpoint) -> None:
    assert_agrees(nvidia.discriminator(NVIDIA["img_const"]), NVIDIA["d_out"])
