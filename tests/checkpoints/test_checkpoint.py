"""Round trips of every format, what is inferred, what is refused."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from cagc_lib.checkpoints import (
    generator_names,
    load_checkpoint,
    load_generator,
    load_network,
    load_training_state,
    save_checkpoint,
    save_generator,
    save_network,
    save_training_state,
)
from cagc_lib.checkpoints.formats.layouts import W_AVG_SAMPLES
from cagc_lib.networks import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    Lineage,
)

GOLDEN = Path(__file__).parents[1] / "golden"
CHANNELS = (7, 6, 5, 4, 3, 2)


def make_generator(clamp: float | None = None, lineage: Lineage | None = None) -> Generator:
    config = GeneratorConfig(16, CHANNELS, 12, 12, mapping_layers=3, conv_clamp=clamp)
    g = Generator(config, lineage)
    with torch.no_grad():
        for tensor in g.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape))
    return g


def make_discriminator(**options: Any) -> Discriminator:
    return Discriminator(DiscriminatorConfig(16, (4, 5, 6), **options))


def make_lineage() -> Lineage:
    keep = tuple(torch.arange(width) * 2 + 1 for width in CHANNELS)
    return Lineage(keep, tuple(2 * width for width in CHANNELS), "ab" * 32, "preserved")


def assert_same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    assert a.config == b.config
    ours, theirs = a.state_dict(), b.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        assert theirs[name].dtype == torch.float32
        assert torch.equal(ours[name], theirs[name]), name


def edit_golden(path: Path, change) -> Path:
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(GOLDEN / "rosinality.pt", weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("extension", [".safetensors", ".pt"])
@torch.no_grad()
def test_round_trip_is_exact(tmp_path: Path, extension: str) -> None:
    g, d, z = make_generator(), make_discriminator(), torch.randn(2, 12)
    path = tmp_path / f"file{extension}"
    save_checkpoint(g, d, path)
    loaded = load_checkpoint(path)
    assert_same(g, loaded.generator)
    assert_same(d, loaded.discriminator)
    assert loaded.generator.lineage is None
    assert loaded.format == {".pt": "rosinality"}.get(extension, "safetensors")
    # as the official pruning writes it, g is g_ema
    assert loaded.meta == ({"not_read": ["g"]} if extension == ".pt" else {})
    assert torch.equal(g(z, truncation_psi=0.7), loaded.generator(z, truncation_psi=0.7))
    assert list(tmp_path.iterdir()) == [path]


def test_saved_pt_has_exactly_the_public_layout(tmp_path: Path) -> None:
    """Names in their order, shapes and filters as in the file that the public code wrote.

    The official pruning pairs tensors by their order in the file.
    """
    source = load_checkpoint(GOLDEN / "rosinality.pt")
    save_checkpoint(source.generator, source.discriminator, tmp_path / "x.pt")
    ours = torch.load(tmp_path / "x.pt", weights_only=True)
    with torch.serialization.safe_globals([argparse.Namespace]):
        golden = torch.load(GOLDEN / "rosinality.pt", weights_only=True)
    for part in ("g_ema", "d"):
        assert list(ours[part]) == list(golden[part])
        for name, tensor in golden[part].items():
            assert torch.equal(ours[part][name], tensor), name
    assert torch.equal(ours["latent_avg"], golden["latent_avg"])
    assert set(ours) == {"g", "g_ema", "d", "latent_avg"}


def test_equal_content_is_equal_bytes(tmp_path: Path) -> None:
    g, d = make_generator(lineage=make_lineage()), make_discriminator()
    for extension in (".safetensors", ".pt"):
        files = [tmp_path / f"{name}{extension}" for name in "ab"]
        for file in files:
            save_checkpoint(g, d, file)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_clamped_generator_alone_with_its_lineage(tmp_path: Path) -> None:
    lineage = make_lineage()
    g = make_generator(clamp=256.0, lineage=lineage)
    save_generator(g, tmp_path / "x.safetensors")
    checkpoint = load_checkpoint(tmp_path / "x.safetensors")
    assert checkpoint.discriminator is None
    assert_same(g, checkpoint.generator)
    loaded = checkpoint.generator.lineage
    assert loaded.source_channels == lineage.source_channels
    assert (loaded.source_sha256, loaded.rgb_gain) == (lineage.source_sha256, lineage.rgb_gain)
    assert len(loaded.keep) == len(lineage.keep)
    for a, b in zip(loaded.keep, lineage.keep, strict=True):
        assert a.dtype == torch.int64
        assert torch.equal(a, b)


def test_half_loads_as_float32(tmp_path: Path) -> None:
    g = load_generator(GOLDEN / "rosinality.pt")
    save_checkpoint(g, None, tmp_path / "half.safetensors", half=True)
    loaded = load_generator(tmp_path / "half.safetensors")
    assert_same(g.half().float(), loaded)


def test_loading_is_in_eval_mode_and_leaves_the_seed_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert not load_generator(GOLDEN / "rosinality_pruned70.pt").training
    assert torch.equal(torch.rand(1), expected)


def test_extension_does_not_decide_the_format(tmp_path: Path) -> None:
    save_generator(make_generator(), tmp_path / "ours.safetensors")
    sources = {
        "rosinality": GOLDEN / "rosinality.pt",
        "nvidia": GOLDEN / "nvidia_ada.pkl",
        "safetensors": tmp_path / "ours.safetensors",
    }
    for kind, source in sources.items():
        for name in ("x.pt", "x.pth", "x.pkl", "x.ckpt", "x.safetensors", "x.png", "x"):
            (tmp_path / name).write_bytes(source.read_bytes())
            assert load_checkpoint(tmp_path / name).format == kind


def test_absent_noise_and_average_are_drawn_and_said(tmp_path: Path) -> None:
    def strip(content):
        del content["latent_avg"], content["d"]
        for name in [n for n in content["g_ema"] if n.startswith("noises.")]:
            del content["g_ema"][name]

    path = edit_golden(tmp_path / "x.pt", strip)
    loaded, again = load_checkpoint(path), load_checkpoint(path)
    assert loaded.discriminator is None
    assert loaded.meta == {
        "not_read": ["g", "g_optim", "d_optim", "args"],
        "noises": "absent, drawn with seed 0",
        "w_avg": f"absent, mean of {W_AVG_SAMPLES} mapped z with seed 0",
    }
    assert_same(loaded.generator, again.generator)
    assert loaded.generator.synthesis.convs[0].noise_const.std() > 0.5
    golden = load_generator(GOLDEN / "rosinality.pt")
    z = torch.randn(4, 64)
    assert torch.equal(golden(z, noise="none"), loaded.generator(z, noise="none"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["g_ema"].pop("convs.3.noise.weight"), r"1 missing \(convs.3.noise.weight\)"),
        (lambda c: c["g_ema"].pop("style.2.bias"), r"1 missing \(style.2.bias\)"),
        (lambda c: c["g_ema"].pop("noises.noise_2"), r"1 missing \(noises.noise_2\)"),
        (lambda c: c["g_ema"].pop("input.input"), r"input.input is missing"),
        (lambda c: c["g_ema"].update(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
        (lambda c: c["d"].pop("convs.2.conv1.1.bias"), r"1 missing \(convs.2.conv1.1.bias\)"),
        (lambda c: c["d"].update(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
        (lambda c: c["g_ema"].update({"conv1.activate.bias": torch.ones(3)}), "got shape \\[3\\]"),
        (lambda c: c["g_ema"]["to_rgbs.0.upsample.kernel"].mul_(2), "another resampling filter"),
        (lambda c: c["g_ema"]["input.input"].fill_(torch.nan), "got NaN or infinity"),
        (lambda c: c["g_ema"].update({"input.input": torch.ones(1, 24, 4, 4).int()}), "int32"),
        (lambda c: c["g_ema"].update({"input.input": 3}), "got a int, expected names and tensors"),
        (lambda c: c["g_ema"].update({5: torch.ones(1)}), "expected names and tensors"),
        (lambda c: c.update(g_ema={}), "g_ema: got dict, expected a dict of tensors"),
        (lambda c: (c.pop("g_ema"), c.pop("g")), r"keys \['d', 'g_op.*expected a StyleGAN2's ten"),
        (lambda c: c.update(latent_avg=torch.ones(3)), r"w_avg: got shape \[3\], expected \[64\]"),
        (lambda c: c.update(latent_avg=3), "latent_avg: got a int, expected a tensor"),
        (lambda c: c.update(d=[1]), "d: got list, expected a dict of tensors"),
        (
            lambda c: c["g_ema"].update({"input.input": torch.ones(1).expand(1, 10**7, 4, 4)}),
            r"g_ema.input.input: got a tensor reaching element 0, expected < 1",
        ),
        (
            lambda c: c["g_ema"].update({"input.input": torch.ones(1, 24, 4, 4).to_sparse()}),
            r"g_ema.input.input: got a torch._utils._rebuild_sparse_tensor, expected names and",
        ),
    ],
)
def test_wrong_rosinality_file_names_what_is_wrong(tmp_path: Path, change, message: str) -> None:
    path = edit_golden(tmp_path / "x.pt", change)
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("generator", "discriminator", "name", "message"),
    [
        (make_generator, None, "x.bin", r"got extension '.bin', expected .safetensors or .pt"),
        (make_generator, None, "x", r"got extension ''"),
        (
            make_generator, lambda: Discriminator(DiscriminatorConfig(8, (4, 4))), "x.safetensors",
            "got resolution 8, expected 16",
        ),
        (lambda: make_generator(clamp=256.0), None, "x.pt", "conv_clamp, got 256.0; write"),
        (make_generator, lambda: make_discriminator(mbstd_group=8), "x.pt", "mbstd_group 8, exp"),
        (make_generator, lambda: make_discriminator(conv_clamp=1.0), "x.pt", "conv_clamp 1.0 and"),
        (
            lambda: Generator(GeneratorConfig(8, (4, 4, 4, 4), 6, 5, 2)), None, "x.pt",
            "z_dim: got 6, expected w_dim 5",
        ),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, generator, discriminator, name, message) -> None:
    with pytest.raises(ValueError, match=message):
        save_checkpoint(generator(), discriminator and discriminator(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_half_is_for_safetensors_and_for_numbers_that_fit(tmp_path: Path) -> None:
    g = make_generator()
    with pytest.raises(ValueError, match=r"float16 is for \.safetensors"):
        save_checkpoint(g, None, tmp_path / "x.pt", half=True)
    g.synthesis.const.data[0] = 1e6
    with pytest.raises(ValueError, match=r"generator.synthesis.const: got values beyond float16"):
        save_checkpoint(g, None, tmp_path / "x.safetensors", half=True)
    g.synthesis.const.data[0] = torch.inf
    with pytest.raises(ValueError, match="beyond a finite number"):
        save_checkpoint(g, None, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extension", [".safetensors", ".pt"])
def test_failed_save_leaves_the_old_file(
    tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x{extension}"
    save_generator(make_generator(), path)
    before = path.read_bytes()

    def fail(*args: Any, **options: Any) -> None:
        if len(args) > 1 and hasattr(args[1], "write"):
            args[1].write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    monkeypatch.setattr(safetensors.torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_generator(make_generator(), path)
    with pytest.raises(OSError, match="disk full"):
        save_training_state({"a": 1}, tmp_path / "new.pt")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_offered_are_generators() -> None:
    names = generator_names()
    assert {"portraits", "portraits-11x"} <= set(names)
    assert not {"portraits-parser", "portraits-features", "portraits-perceptual"} & set(names)
    with pytest.raises(FileNotFoundError, match="portraits, portraits-11x") as error:
        load_generator("portrait")
    assert "parser" not in str(error.value)
    with pytest.raises(ValueError, match="'cagc-network', expected 'cagc-checkpoint'"):
        load_generator("portraits-parser")
    with pytest.raises(FileNotFoundError, match=r"file\.pt: no such file, nor a generator's name"):
        load_checkpoint("no/such/file.pt")


def test_training_state_round_trip(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3))
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    state = {
        "step": 3,
        "rng": torch.get_rng_state(),
        "optimiser": optimiser.state_dict(),
        "nested": {"list": [1.5, None, True, "text"], "tuple": (1, 2)},
    }
    save_training_state(state, tmp_path / "x.pt")
    loaded = load_training_state(tmp_path / "x.pt")
    assert torch.equal(loaded.pop("rng"), state.pop("rng"))
    moments, golden = loaded.pop("optimiser")["state"][0], state.pop("optimiser")["state"][0]
    assert all(torch.equal(moments[name], golden[name]) for name in golden)
    assert loaded == state


def test_training_state_takes_plain_values_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"state\['a'\]\[1\]: got PosixPath"):
        save_training_state({"a": [1, tmp_path]}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"got key 1.5"):
        save_training_state({1.5: 1}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
    save_generator(make_generator(), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="expected a training state"):
        load_training_state(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError):
        load_training_state(tmp_path / "absent.pt")


@pytest.mark.parametrize("half", [True, False])
def test_network_round_trip(tmp_path: Path, half: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    meta = {"kind": "parser", "widths": [4, 8]}
    save_network(network.state_dict(), meta, tmp_path / "x.safetensors", half=half)
    state, loaded = load_network(tmp_path / "x.safetensors", "parser")
    assert loaded == meta
    network.load_state_dict(state)
    for name, tensor in network.state_dict().items():
        assert state[name].dtype == tensor.dtype
        expected = tensor.half().float() if half and tensor.is_floating_point() else tensor
        assert torch.equal(state[name], expected)


def test_wrong_network_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_network({"a": torch.ones(1)}, {"kind": "parser"}, path)
    with pytest.raises(ValueError, match="got a network of kind 'parser', expected 'features'"):
        load_network(path, "features")
    save_generator(make_generator(), path)
    with pytest.raises(ValueError, match="'cagc-checkpoint', expected 'cagc-network'"):
        load_network(path, "parser")
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "absent.safetensors", "parser")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_network(GOLDEN / "rosinality.pt", "parser")
    with pytest.raises(ValueError, match="got kind None"):
        save_network({}, {}, path)
    with pytest.raises(ValueError, match=r"expected .safetensors"):
        save_network({}, {"kind": "parser"}, tmp_path / "x.pt")


def test_a_header_of_any_length_is_safetensors(tmp_path: Path) -> None:
    # its length comes first, and 0x80 is also how a pickle starts
    g = Generator(GeneratorConfig(8, (2, 2, 2, 2), z_dim=2, w_dim=2, mapping_layers=1))
    lengths = set()
    for i in range(0, 260, 8):
        keep = tuple(torch.arange(2) for _ in range(4))
        g.lineage = Lineage(keep, (2, 2, 2, 2), "a" * i)
        save_generator(g, tmp_path / "x.safetensors")
        lengths.add((tmp_path / "x.safetensors").read_bytes()[0])
        assert load_checkpoint(tmp_path / "x.safetensors").format == "safetensors"
    assert 0x80 in lengths
