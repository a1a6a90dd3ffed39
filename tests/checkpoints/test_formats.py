"""Every container that users of the public projects bring, made from the golden files."""

import argparse
import collections
from collections.abc import Callable
from pathlib import Path, PosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from hostile import zipped

from book._tools.snapshots import discriminator_module, dump, generator_module, shells, snapshot
from cagc_lib.checkpoints import Checkpoint, load_checkpoint, load_generator, read_nvidia_pickle
from cagc_lib.checkpoints import module_tensors as tensors_of
from cagc_lib.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

GOLDEN = Path(__file__).parents[1] / "golden"


def content_of(name: str) -> dict[str, Any]:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(GOLDEN / name, weights_only=True)


def without_noises(state: dict) -> dict:
    return {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}


def prefixed(state: dict, prefix: str = "module.") -> dict:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def compiled(prefix: str) -> tuple:
    parts = ("g", "g_ema", "d")
    return (
        "rosinality_pruned70.pt", lambda c: {part: prefixed(c[part], prefix) for part in parts},
        True, {"w_avg"},
    )


def lightning(content: dict, *parts: str) -> dict:
    state: dict = {}
    for part in parts:
        state |= prefixed(content["d" if part == "discriminator" else "g_ema"], f"{part}.")
    return {"state_dict": state, "epoch": 3, "callbacks": {argparse.Namespace: {"best": NAMESPACE}}}


def pick(*keys: str, **more: Any) -> Callable[[dict], dict]:
    return lambda content: {key: content[key] for key in keys} | more


OPTIMISER = {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.002}]}
# what stands beside weights: none of it needs to be understood
ODD = {
    "fid": np.float64(3.5), "best_fid": np.float32(2.5), "real": np.zeros(3), "seed": 3_000_000_000,
    "id": 1 << 3000, "args": argparse.Namespace(out=PosixPath("x"), data=PureWindowsPath("c:\\x")),
    "optim": {"state": {140_000_000_000_000: {"exp_avg": torch.zeros(4, dtype=torch.complex64)}}},
    "scores": collections.defaultdict(list, a=[1]), "dtype": torch.float16, "tuple": {(1, 2): {3}},
    "module": torch.nn.Linear(2, 2), "sparse": torch.eye(3).to_sparse(),
}  # fmt: skip
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
    "Anycost GAN and others": (
        "rosinality_pruned70.pt", pick("g", "g_ema", "d", **ODD), True, {"w_avg"},
    ),
    "torch.compile": compiled("_orig_mod."),
    "torch.compile in DataParallel": compiled("module._orig_mod."),
    "DataParallel in torch.compile": compiled("_orig_mod.module."),
    "only g": ("rosinality_pruned70.pt", pick("g", "d"), True, {"w_avg"}),
    "Lightning": (
        "rosinality.pt", lambda c: lightning(c, "g_ema", "generator", "discriminator"),
        True, {"w_avg"},
    ),
    "Lightning without an average": (
        "rosinality.pt", lambda c: lightning(c, "generator"), False, {"w_avg"},
    ),
    "pSp": (
        "rosinality.pt",
        lambda c: lightning(c, "decoder") | {"latent_avg": c["latent_avg"].repeat(8, 1)},
        False, set(),
    ),
    "one row of latents": (
        "rosinality.pt", lambda c: {"g_ema": c["g_ema"], "latent_avg": c["latent_avg"][None]},
        False, set(),
    ),
    "bare state dict": ("rosinality_pruned70.pt", lambda c: c["g_ema"], False, {"w_avg"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def golden() -> dict[str, Checkpoint]:
    return {n: load_checkpoint(GOLDEN / n) for n in ("rosinality.pt", "rosinality_pruned70.pt")}


@pytest.mark.parametrize("zip_", [True, False])
@pytest.mark.parametrize("name", CONTAINERS)
@torch.no_grad()
def test_containers_load(
    tmp_path: Path, golden: dict[str, Checkpoint], name: str, zip_: bool
) -> None:
    source, contain, has_discriminator, made_up = CONTAINERS[name]
    path = tmp_path / "file"
    torch.save(contain(content_of(source)), path, _use_new_zipfile_serialization=zip_)
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


def test_which_network_is_read(tmp_path: Path) -> None:
    two = content_of("rosinality_pruned70.pt")["g_ema"]
    one = two | {"input.input": two["input.input"] + 1}
    path = tmp_path / "x.pt"

    def constant(content: dict, key: str | None = None) -> float:
        torch.save(content, path)
        loaded = load_checkpoint(path, key=key)
        assert ("network" in loaded.meta) == (key is not None)
        return (loaded.generator.synthesis.const - two["input.input"][0]).mean().item()

    assert constant({"g": one, "g_ema": two}) == 0
    assert constant({"g": one, "g_ema": two}, "g") == pytest.approx(1)
    assert constant({"one": one, "two": two}, "one") == pytest.approx(1)
    for key, named in ((None, "several networks"), ("g", "key 'g'")):
        with pytest.raises(ValueError, match=rf"got {named}, expected --key .* one of: one, two$"):
            constant({"one": one, "two": two}, key)
    loaded = load_checkpoint(path, key="two")
    assert loaded.meta["network"] == "two, by its name no moving average (g_ema)"
    assert loaded.meta["not_read"] == ["one"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rows", lambda c: c.update(latent_avg=torch.randn(8, 64)), "got 8 rows that differ, exp"),
        ("heads", lambda c: c["d"].update(aux=torch.ones(1)), r"\(aux\), .*--generator-only \(g"),
        ("heads", lambda c: c["d"].update({"head.0.bias": torch.ones(2)}), r"\(head.0.bias\), "),
        ("heads", lambda c: c["d"].update({"final_linear.2.weight": torch.ones(1, 8)}), "--gener"),
        ("two critics", lambda c: c.update(d1=c["d"], d2=c.pop("d")), "got discriminators d1, d2"),
        (
            "non-square", lambda c: c["g_ema"].update({"input.input": torch.ones(1, 24, 4, 6)}),
            r"input.input: got non-square images \(4x6\), expected square ones",
        ),
        (
            "StyleGAN3", lambda c: c.update(g_ema={"synthesis.input.freqs": torch.ones(4, 2)}),
            "g_ema: got no StyleGAN2 .*; StyleGAN3 and StyleGAN-XL are not supported",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, change, message: str) -> None:
    content = content_of("rosinality.pt")
    change(content)
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x.pt")
    if name in ("heads", "two critics"):
        loaded = load_checkpoint(tmp_path / "x.pt", generator_only=True)
        assert loaded.discriminator is None
        assert {"d", "d1"} & set(loaded.meta["not_read"])
        load_generator(tmp_path / "x.pt", generator_only=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(b"", **{"constants.pkl": b""}), "got TorchScript, expected weights"),
        (zipped(b"", archive_format=b"pt2"), "got a program of torch.export, expected weights"),
        (dump({"G": {"a": np.zeros(3)}}), "as StyleGAN3, StyleGAN-XL and Projected GAN have"),
        (zipped(b"\x80\x02cmodel\nG\n)\x81}b.", version=b""), "got a whole model.G, expected a St"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("zip_", [True, False])
@pytest.mark.parametrize("kind", ["module", "modules", "state", "states", "state, compiled"])
def test_nvidia_networks_in_torch_files(tmp_path: Path, kind: str, zip_: bool) -> None:
    g = Generator(GeneratorConfig(16, (7, 6, 5, 4, 3, 2), 9, 8, conv_clamp=256.0))
    d = Discriminator(DiscriminatorConfig(16, (4, 5, 6), conv_clamp=256.0))
    path = tmp_path / "x.pt"
    path.write_bytes(snapshot(g, d))
    root = read_nvidia_pickle(path)
    states = {"G_ema": tensors_of(root["G_ema"]), "D": tensors_of(root["D"])}
    content = {
        "module": generator_module(g),
        "modules": {"G_ema": generator_module(g), "D": discriminator_module(d), "args": ODD},
        "state": states["G_ema"], "states": states,
        "state, compiled": prefixed(states["G_ema"], "_orig_mod."),
    }[kind]  # fmt: skip
    with shells():
        torch.save(content, path, _use_new_zipfile_serialization=zip_)
    loaded = load_checkpoint(path)
    assert loaded.format == "nvidia-torch"
    # a state dict does not say how its network is clamped
    stored = "module" in kind
    assert [k in loaded.meta for k in ("source_code_sha256", "conv_clamp")] == [stored, not stored]
    assert loaded.generator.config.conv_clamp == (256.0 if stored else None)
    assert (loaded.discriminator is None) == (kind not in ("modules", "states"))
    for name, tensor in g.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[name], tensor), name


@pytest.mark.parametrize("seed", [2**31, 3_000_000_000, -(2**40), 2**2100, -(2**2100)])
def test_integers_of_any_size_in_a_snapshot(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "x.pkl"
    network = generator_module(Generator(GeneratorConfig(8, (3, 3, 2, 2), 4, 4, 2)))
    path.write_bytes(dump({"training_set_kwargs": {"random_seed": seed}, "G_ema": network}))
    assert read_nvidia_pickle(path)["training_set_kwargs"]["random_seed"] == seed
    assert load_checkpoint(path).meta["not_read"] == ["training_set_kwargs"]
