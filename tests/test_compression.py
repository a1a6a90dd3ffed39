"""The road in one call: what stands for nothing, and what each word stands for."""

import dataclasses
from pathlib import Path

import pytest
import torch

import cagc_lib as cagc
from cagc_lib import compression
from cagc_lib.checkpoints import Checkpoint, load_checkpoint
from cagc_lib.compression import compress, draws_portraits, or_portraits, perceptual_network
from cagc_lib.content import (
    GeneratorFeatures,
    dilation,
    everything,
    find_content,
    read_content,
)
from cagc_lib.datasets import CLASS_NAMES
from cagc_lib.networks import Generator, GeneratorConfig, Lineage

CONFIG = GeneratorConfig(16, (4,) * 6, z_dim=8, w_dim=8, mapping_layers=1)


def test_shipped_networks_and_their_students_draw_portraits(tmp_path: Path) -> None:
    shipped = load_checkpoint("portraits")
    assert draws_portraits(shipped)
    assert draws_portraits(load_checkpoint("portraits-11x"))
    keep = tuple(torch.arange(4) for _ in CONFIG.channels)
    for source, expected in ((shipped.sha256, True), ("ab" * 32, False), ("", False)):
        student = Generator(CONFIG, Lineage(keep, CONFIG.channels, source))
        assert draws_portraits(Checkpoint(student, None, "safetensors", "cd" * 32)) is expected
    stranger = dataclasses.replace(shipped, generator=Generator(CONFIG), sha256="cd" * 32)
    assert not draws_portraits(stranger)


def test_only_a_network_of_portraits_needs_no_word() -> None:
    assert or_portraits("data", None, True, "--data FOLDER") == "portraits"
    assert or_portraits("data", "photos", True, "--data FOLDER") == "photos"
    assert or_portraits("data", "portraits", False, "--data FOLDER") == "portraits"
    # nothing was said is not the same as an empty word
    assert or_portraits("content", "", True, "--content SOURCE") == ""
    with pytest.raises(ValueError) as error:
        or_portraits("data", None, False, "--data FOLDER")
    message = "data: got nothing, expected --data FOLDER (portraits are for the shipped teacher)"
    assert str(error.value) == message


def test_a_generator_by_itself_is_a_stranger() -> None:
    g = Generator(CONFIG).eval()
    with pytest.raises(ValueError, match=r'^content: got nothing, expected "everything", say '):
        compress(g, 0.5)
    with pytest.raises(ValueError, match=r"^teacher: got <class 'int'>, expected a file, name or"):
        compress(5, 0.5)
    assert compress(g, 0.5, "everything", num_samples=1).config.channels == (2,) * 6


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("everything", "everything", {}), ("portraits", "portraits", {}),
        ("hair,hat", "portraits", {"classes": ["hair", "hat"]}), ("attention", "attention", {}),
        ("attention=0,3", "attention", {"keep": [0, 3]}),
        ("painted=a=b.png", "painted", {"mask": "a=b.png"}),
        ("bisenet=w.pth", "bisenet", {"weights": "w.pth"}),
        ("segformer-face-parsing=folder", "segformer-face-parsing", {"weights": "folder"}),
        ("outside hair,hat within 3", "portraits", {"classes": ["hair", "hat"]}),
        ("attention=0 beyond 8", "attention", {"keep": [0]}),
    ],
)
def test_content_is_read(text: str, name: str, options: dict) -> None:
    assert read_content(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cats", f"got 'cats', expected portraits, everything, .* out of {CLASS_NAMES[0]}"),
        ("painted", "got 'painted', expected painted=FILE"),
        ("painted=", "got 'painted=', expected painted=FILE"),
        ("attention=", "got 'attention=', expected clusters, as in attention=0,3"),
        ("attention=a", "got 'attention=a', expected clusters"),
        ("attention=0,,3", "got 'attention=0,,3', expected clusters"),
        ("attention=-1", "got 'attention=-1', expected clusters"),
        ("everything=x", "got 'everything=x', expected portraits"),
        ("portraits within 0", "got 'portraits within 0', expected within 1 pixel or more"),
        ("portraits around 3", "got 'portraits around 3', expected portraits, everything"),
    ],
)
def test_content_that_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^content: {message}"):
        read_content(text)


def test_attention_asks_the_generator_for_the_clusters_named() -> None:
    g = Generator(CONFIG).eval()
    source = find_content("attention=0,3", g)
    assert isinstance(source, GeneratorFeatures)
    assert source.kept == (0, 3)
    with pytest.raises(ValueError, match=r"keep: got \[9\], expected .*clusters 0 to 7"):
        find_content("attention=9", g)
    assert find_content("everything") is everything


def test_content_is_made_of_other_content() -> None:
    images = cagc.render_portraits([1, 2], 64).images
    portraits = cagc.content_source("portraits")
    near, far = dilation(portraits, 3), dilation(portraits, 8)
    for text, expected in (
        ("outside portraits", ~portraits(images)), ("portraits within 3", near(images)),
        ("outside portraits within 3", ~near(images)),
        ("portraits beyond 8", portraits(images) | ~far(images)),
    ):
        assert torch.equal(find_content(text)(images), expected), text
        assert 0 < expected.float().mean() < 1
    report = {"num_samples": 5, "batch_size": 5}
    with pytest.raises(ValueError, match="a source that knows one generator's last images only"):
        cagc.evaluate(Generator(CONFIG), content="attention within 3", **report)


def test_the_perceptual_network_knows_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("load_features", "load_classifier", "load_standard_features"):
        monkeypatch.setattr(compression, name, lambda *a, name=name: asked.append((name, *a)))
    for name, kind, data in (
        (None, "stylegan2", "portraits"), ("ours", "stylegan2", "photos"),
        ("standard", "stylegan2", "photos"), (None, "sngan", "photos"),
    ):
        perceptual_network(name, kind, data, "cpu")
    assert asked == [
        ("load_features", "cpu", "portraits-perceptual"),
        ("load_features", "cpu", "portraits-perceptual"),
        ("load_standard_features", "cpu"), ("load_classifier", "cifar10-perceptual", "cpu"),
    ]
    message = r"^perceptual-network: got nothing, .* standard, .* --perceptual 0 \(ours knows por"
    with pytest.raises(ValueError, match=message):
        perceptual_network(None, "stylegan2", "photos", "cpu")
