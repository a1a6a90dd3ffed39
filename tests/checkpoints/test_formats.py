"""Every container that users of the public projects bring, made from the golden files."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cagc_lib.checkpoints import Checkpoint, load_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


def content_of(name: str) -> dict[str, Any]:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(GOLDEN / name, weights_only=True)


def without_noises(state: dict) -> dict:
    return {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}


def prefixed(state: dict) -> dict:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def pick(*keys: str, **more: Any) -> Callable[[dict], dict]:
    return lambda content: {key: content[key] for key in keys} | more


OPTIMISER = {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.002}]}
NAMESPACE = argparse.Namespace(size=32, batch=16, path="x", local_rank=0, augment=True)
CONTAINERS = {
    # name: (golden file, container, has a discriminator, what was made up)
    "rosinality, old": (
        "rosinality.pt",
        lambda c: {
            "g": without_noises(c["g"]), "d": c["d"], "g_ema": without_noises(c["g_ema"]),
            "g_optim": OPTIMISER, "d_optim": OPTIMISER,
        },
        True, {"noises", "w_avg"},
    ),
    "rosinality, new": (
        "rosinality.pt",
        pick("g", "d", "g_ema", "g_optim", "d_optim", args=NAMESPACE, ada_aug_p=0.25),
        True, {"w_avg"},
    ),
    "rosinality, converter": ("rosinality.pt", pick("g_ema", "latent_avg"), False, set()),
    "rosinality, converter with both": (
        "rosinality.pt", pick("g", "d", "g_ema", "latent_avg"), True, set(),
    ),
    "CAGC, full, in training": (
        "rosinality.pt", pick("g", "d", "g_ema", "g_optim", "d_optim"), True, {"w_avg"},
    ),
    "CAGC, pruned": (
        "rosinality_pruned70.pt",
        lambda c: {"g": c["g_ema"], "d": c["d"], "g_ema": c["g_ema"]}, True, {"w_avg"},
    ),
    "CAGC, pruned, retrained": (
        "rosinality_pruned70.pt", pick("g", "d", "g_ema", g_optim=OPTIMISER, d_optim=OPTIMISER),
        True, {"w_avg"},
    ),
    "CAGC, 1024 px release, no discriminator": (
        "rosinality_pruned70.pt", pick("g_ema"), False, {"w_avg"},
    ),
    "DCP-GAN, pruned": ("rosinality_pruned70.pt", pick("g", "g_ema"), False, {"w_avg"}),
    "DCP-GAN, retrained": (
        "rosinality_pruned70.pt",
        pick("g", "d", "g_ema", g_optim=OPTIMISER, d_optim=OPTIMISER, mean_path=torch.zeros(())),
        True, {"w_avg"},
    ),
    "StyleKD": ("rosinality_pruned70.pt", pick("g", "d", "g_ema"), True, {"w_avg"}),
    "DataParallel": (
        "rosinality_pruned70.pt",
        lambda c: {part: prefixed(c[part]) for part in ("g", "d", "g_ema")}, True, {"w_avg"},
    ),
    "DataParallel, old": (
        "rosinality_pruned70.pt",
        lambda c: {
            "g_ema": prefixed(without_noises(c["g_ema"])), "d": prefixed(c["d"]), "args": NAMESPACE,
        },
        True, {"noises", "w_avg"},
    ),
    "bare state dict": ("rosinality_pruned70.pt", lambda c: c["g_ema"], False, {"w_avg"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def golden() -> dict[str, Checkpoint]:
    return {n: load_checkpoint(GOLDEN / n) for n in ("rosinality.pt", "rosinality_pruned70.pt")}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", CONTAINERS)
@torch.no_grad()
def test_containers_load(
    tmp_path: Path, golden: dict[str, Checkpoint], name: str, zipped: bool
) -> None:
    source, contain, has_discriminator, made_up = CONTAINERS[name]
    path = tmp_path / "file"
    torch.save(contain(content_of(source)), path, _use_new_zipfile_serialization=zipped)
    loaded, plain = load_checkpoint(path), golden[source]
    assert loaded.format == "rosinality"
    assert loaded.generator.config == plain.generator.config
    assert {"noises", "w_avg"} & set(loaded.meta) == made_up
    z = torch.randn(2, plain.generator.config.z_dim)
    noise = "none" if "noises" in made_up else "const"
    image = plain.generator(z, noise=noise)
    assert torch.equal(loaded.generator(z, noise=noise), image)
    assert (loaded.discriminator is not None) == has_discriminator
    if has_discriminator:
        assert torch.equal(loaded.discriminator(image), plain.discriminator(image))


def test_a_prefix_on_some_tensors_only_is_an_error(tmp_path: Path) -> None:
    content = content_of("rosinality_pruned70.pt")
    state = content["g_ema"]
    state["module.input.input"] = state.pop("input.input")
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"tensor input.input is missing"):
        load_checkpoint(tmp_path / "x.pt")
