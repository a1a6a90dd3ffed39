"""Conversions are proven by images, refused where they differ; cards say what a file holds."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from cagc_lib.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from cagc_lib.cli import card
from cagc_lib.export import convert
from cagc_lib.networks import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    Lineage,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def pruned() -> Generator:
    g = Generator(GeneratorConfig(8, (3, 3, 2, 2), 4, 4, mapping_layers=2, conv_clamp=256))
    keep = tuple(torch.arange(width) for width in g.config.channels)
    g.lineage = Lineage(keep, (6, 6, 4, 4), "ab" * 32, "preserved")
    return g


@pytest.mark.parametrize("name", ["rosinality.pt", "rosinality_pruned70.pt", "nvidia_ada.pkl"])
@pytest.mark.parametrize("extension", [".safetensors", ".pt"])
def test_conversion_keeps_every_image(tmp_path: Path, name: str, extension: str) -> None:
    source = load_checkpoint(GOLDEN / name)
    out = tmp_path / f"x{extension}"
    result = convert(source, out)
    assert (result.images.of_values, result.logits.of_values) == (0, 0)
    assert result.images.up_to > 1
    assert result.sha256 == load_checkpoint(out).sha256
    assert "8 images before and after: largest difference 0, of values" in result.summary()
    assert [file.name for file in tmp_path.iterdir()] == [out.name]
    with pytest.raises(FileNotFoundError, match="absent"):
        convert(source, tmp_path / "absent" / out.name)


def test_what_was_drawn_is_told(tmp_path: Path) -> None:
    result = convert(load_checkpoint(GOLDEN / "rosinality_pruned70.pt"), tmp_path / "x.safetensors")
    assert result.made_up == ("average w (absent, mean of 10000 mapped z with seed 0)",)
    assert "written as drawn: average w" in result.summary()


def test_half_is_told_not_refused(tmp_path: Path) -> None:
    source = load_checkpoint(GOLDEN / "rosinality.pt")
    result = convert(source, tmp_path / "x.safetensors", half=True)
    assert 0 < result.images.of_values < 0.01 * result.images.up_to


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("wrong", [1e-3, torch.nan])
def test_a_file_that_differs_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, wrong: float
) -> None:
    source = load_checkpoint(GOLDEN / "rosinality.pt")
    out = tmp_path / "x.pt"
    out.write_bytes(b"old")

    def load(path: Path) -> Checkpoint:
        loaded = load_checkpoint(path)
        *_, bias = getattr(loaded, part).parameters()
        with torch.no_grad():
            bias += wrong
        return loaded

    monkeypatch.setattr(sys.modules["cagc_lib.export.convert"], "load_checkpoint", load)
    with pytest.raises(ValueError, match=r"x.pt: (images|logits): got largest difference"):
        convert(source, out)
    assert out.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.parametrize("extension", [".pt", ".safetensors"])
def test_a_clamp_that_never_acts_is_dropped(tmp_path: Path, extension: str) -> None:
    g, d = pruned(), Discriminator(DiscriminatorConfig(8, (3, 4), conv_clamp=256))
    out = tmp_path / f"x{extension}"
    source = Checkpoint(g, d, "safetensors", "", {})
    result = convert(source, out, drop_clamp=True)
    assert (result.images.of_values, result.logits.of_values) == (0, 0)
    assert "left out, as none of them shows it: conv_clamp 256" in result.summary()
    loaded = load_checkpoint(out)
    assert loaded.generator.config == dataclasses.replace(g.config, conv_clamp=None)
    assert loaded.discriminator.config == dataclasses.replace(d.config, conv_clamp=None)
    # the source is as it was, and .safetensors keeps where it comes from
    assert g.config.conv_clamp == 256
    if extension == ".safetensors":
        assert loaded.generator.lineage.source_sha256 == "ab" * 32
    # the discriminator's alone
    only = dataclasses.replace(loaded, discriminator=d)
    assert convert(only, out, drop_clamp=True).left_out == ("conv_clamp 256",)
    # nothing to drop
    again = convert(loaded, tmp_path / "y.safetensors", drop_clamp=True)
    assert again.left_out == ()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("part", ["images", "logits"])
def test_a_clamp_that_acts_is_not_dropped(tmp_path: Path, part: str, half: bool) -> None:
    clamps = {"images": (1e-3, 256.0), "logits": (256.0, 1e-3)}[part]
    g = Generator(GeneratorConfig(8, (3, 3, 2, 2), 4, 4, 2, conv_clamp=clamps[0]))
    d = Discriminator(DiscriminatorConfig(8, (3, 4), conv_clamp=clamps[1]))
    source = Checkpoint(g.eval(), d.eval(), "safetensors", "", {})
    with pytest.raises(ValueError, match=rf"{part}: got .* expected none at all: the clamp acts$"):
        convert(source, tmp_path / "x.safetensors", half, drop_clamp=True)
    assert list(tmp_path.iterdir()) == []


def test_a_discriminator_that_a_format_cannot_hold_is_told_with_a_way_out(tmp_path: Path) -> None:
    g = Generator(GeneratorConfig(8, (3, 3, 2, 2), 4, 4, 2)).eval()
    d = Discriminator(DiscriminatorConfig(8, (3, 4), mbstd_group=8)).eval()
    message = "discriminator: got conv_clamp None and mbstd_group 8, expected None and 4 .*--gen"
    with pytest.raises(ValueError, match=f"^{message}"):
        convert(Checkpoint(g, d, "safetensors", "", {}), tmp_path / "x.pt")


def test_card_of_a_pruned_network(tmp_path: Path) -> None:
    save_checkpoint(pruned(), None, tmp_path / "x.safetensors")
    loaded = load_checkpoint(tmp_path / "x.safetensors")
    lines = dict(line.split("  ", 1) for line in card(loaded, "x.safetensors").splitlines())
    assert {key: value.strip() for key, value in lines.items()} == {
        "file": "x.safetensors", "format": "safetensors of this project", "SHA-256": loaded.sha256,
        "network": "StyleGAN2", "resolution": "8 px", "widths": "3x2,2x2",
        "latents": "z 4, w 4, 2 mapping layers", "activations": "clamp 256", "parameters": "355",
        "MACs": "5,076", "pruned from": "widths 6x2,4x2", "teacher": "SHA-256 " + "ab" * 32,
        "kept": "indices of all 4 layers; RGB gain preserved",
        "missing": "discriminator",
    }


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nvidia_ada.pkl",
         ["NVIDIA .pkl", "32x4,16x2,8x2", "70,507", "2,731,520", "not run",
          "widths 8,16,32x2, 54,889 parameters", "kept indices and teacher's hash",
          "not read       G, training_set_kwargs"]),
        ("rosinality.pt",
         ["rosinality/CAGC .pt", "24x3,20x2,16x2,12", "g, g_optim, d_optim, args"]),
        ("rosinality_pruned70.pt", ["average w: absent, mean of 10000 mapped z"]),
    ],
)
def test_card_of_foreign_files(file: str, words: list[str]) -> None:
    loaded = load_checkpoint(GOLDEN / file)
    printed = card(loaded, "x")
    for word in (loaded.sha256, *words):
        assert word in printed


def test_card_stays_on_its_lines() -> None:
    loaded = load_checkpoint(GOLDEN / "rosinality.pt")
    hostile = dataclasses.replace(loaded, meta={"not_read": ["a\nSHA-256  0000\x1b[31m"]})
    printed = card(hostile, "x")
    assert "\x1b" not in printed
    hashes = [line for line in printed.splitlines() if line.startswith("SHA-256")]
    assert hashes == [f"SHA-256        {loaded.sha256}"]
