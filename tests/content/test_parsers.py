"""Parsers of photographs, through the packages that carry their networks, without a download."""

import builtins
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from cagc_lib.content import content_source
from cagc_lib.content.parsers import ParserSource, photograph_input
from cagc_lib.datasets import CLASS_NAMES

LABELS = ["background", "skin", "nose", "hair", "cloth"]


class Bands(nn.Module):
    """Class k in the k-th of equal vertical bands, whatever the image."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        band = torch.arange(128) * self.classes // 128
        logits = torch.eye(self.classes)[band].T[None, :, None].expand(len(images), -1, 128, -1)
        return logits.contiguous()


def of_photographs(network: nn.Module, classes: object, names: list[str]) -> ParserSource:
    return ParserSource(network, classes, names, photograph_input, batch_size=8)


def test_content_is_all_but_background_and_cloth() -> None:
    source = of_photographs(Bands(5), None, LABELS)
    mask = source(torch.zeros(9, 3, 40, 40))
    assert mask.shape == (9, 1, 40, 40)
    assert torch.equal(mask[0, 0, 0], (torch.arange(40) >= 8) & (torch.arange(40) < 32))
    hair = of_photographs(Bands(5), ["hair"], LABELS)
    assert hair(torch.zeros(1, 3, 40, 40)).float().mean() == pytest.approx(0.2)


def test_the_network_sees_512_pixels_in_imagenets_units() -> None:
    network = Bands(5)
    source = of_photographs(network, None, LABELS)
    expected = source(torch.ones(1, 3, 64, 64))
    seen = network.seen[0]
    assert seen.shape == (1, 3, 512, 512)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(seen[0, :, 0, 0], (1 - mean) / std)
    # too bright is as bright as can be
    assert torch.equal(source(torch.full((1, 3, 64, 64), 3.0)), expected)
    assert torch.equal(network.seen[1], seen)


def test_a_parser_without_the_rules_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^unknown class 'cloth'; known: background, skin$"):
        of_photographs(Bands(2), None, ["background", "skin"])


def test_a_segformer_comes_through_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the package transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[4, 8, 8, 8], decoder_hidden_size=8,
        num_attention_heads=[1, 1, 1, 1], id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    network = transformers.SegformerForSemanticSegmentation(config)
    network.save_pretrained(tmp_path)
    source = content_source("segformer-face-parsing", weights=tmp_path)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    ids = source.parse(images)
    assert ids.shape == (2, 64, 64)
    assert source(images).shape == (2, 1, 64, 64)
    assert source.names == tuple(LABELS)
    with pytest.raises(OSError, match="cannot load a SegFormer") as info:
        content_source("segformer-face-parsing", weights=tmp_path / "absent")
    assert "\n" not in str(info.value)


class FakeBiSeNet(nn.Module):
    """Names and heads as the package's, three tensors instead of 31 million numbers."""

    def __init__(self, num_class: int) -> None:
        super().__init__()
        self.conv_out = nn.Conv2d(3, num_class, 1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return self.conv_out(self.bn(images)), None, None


@pytest.fixture
def facexlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package needs torchvision, which has no build for torch on a CPU."""
    for name in ("facexlib", "facexlib.parsing", "facexlib.parsing.bisenet"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["facexlib.parsing.bisenet"].BiSeNet = FakeBiSeNet


def test_bisenet_loads_the_weights_it_is_given(facexlib: None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FakeBiSeNet(19)
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "79999_iter.pth")
    source = content_source("bisenet", weights=tmp_path / "79999_iter.pth")
    assert source.names == CLASS_NAMES
    assert torch.equal(source.parser.conv_out.weight, network.conv_out.weight)
    assert source(torch.rand(1, 3, 32, 32)).shape == (1, 1, 32, 32)


@pytest.mark.parametrize(("name", "size"), [("weight", 0), ("weight", 4), ("gain", 3)])
def test_other_weights_are_not_bisenets(
    facexlib: None, tmp_path: Path, name: str, size: int
) -> None:
    state = {**FakeBiSeNet(19).state_dict(), f"bn.{name}": torch.ones(size)}
    if not size:
        del state[f"bn.{name}"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x.pth: got other weights at bn\..*expected BiSeNet's$"):
        content_source("bisenet", weights=tmp_path / "x.pth")
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"file.epoch: got a int, expected names and tensors"):
        content_source("bisenet", weights=tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("name", "package"),
    [("bisenet", "facexlib"), ("segformer-face-parsing", "transformers"),
     ("face-alignment", "face-alignment")],
)
def test_a_missing_package_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def without(wanted: str, *rest: object) -> object:
        if wanted.partition(".")[0] == package.replace("-", "_"):
            raise ImportError(f"no {wanted}")
        return plain(wanted, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=f'^content source "{name}" needs.*pip install {package}'):
        content_source(name)
