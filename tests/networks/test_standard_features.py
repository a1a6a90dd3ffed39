"""Inception and VGG behind our interface, with small networks of the packages' shape."""

import sys
import types
import urllib.error

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import cagc_lib as cagc
from cagc_lib.checkpoints import load_standard_features
from cagc_lib.networks import Generator, GeneratorConfig, StandardFeatures, perceptual_distance


class Extractor(nn.Module):
    """Takes bytes and answers with a tuple, as torch-fidelity's does."""

    def __init__(self, name: str = "", features_list: tuple[str, ...] = ("2048",)) -> None:
        super().__init__()
        assert name in ("", "inception-v3-compat") and list(features_list) == ["2048"]

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        assert pixels.dtype == torch.uint8
        return (F.adaptive_avg_pool2d(pixels.float(), 4).flatten(1),)


class Head(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))


class LPIPS(nn.Module):
    """Scaling, trunk and heads under the package's names, and its distance, written out."""

    def __init__(self, net: str = "vgg", verbose: bool = True) -> None:
        super().__init__()
        assert net == "vgg" and not verbose
        self.scaling_layer = nn.BatchNorm2d(3).eval()
        self.stages = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, stride=2)])
        self.lins = nn.ModuleList(Head(c) for c in (4, 6)).eval()
        for lin in self.lins:
            nn.init.uniform_(lin.model[1].weight)

    @property
    def net(self) -> nn.Module:
        stages = self.stages

        class Trunk(nn.Module):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
                first = stages[0](x).relu()
                return first, stages[1](first).relu()

        return Trunk()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        total = 0
        maps = (self.net(self.scaling_layer(x)) for x in (a, b))
        for f, g, lin in zip(*maps, self.lins, strict=True):
            unit = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (f, g)]
            total = total + lin.model((unit[0] - unit[1]).square()).mean((2, 3))
        return total[:, 0]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages need torchvision, which has no build for torch on a CPU."""
    names = ("lpips", "torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3")
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["lpips"].LPIPS = LPIPS
    sys.modules[names[2]].FeatureExtractorInceptionV3 = Extractor


def test_the_distance_is_lpips(packages: None) -> None:
    torch.manual_seed(0)
    whole = LPIPS(verbose=False)
    weights = [lin.model[-1].weight for lin in whole.lins]
    network = StandardFeatures(Extractor(), whole.scaling_layer, whole.net, weights)
    a, b = torch.rand(2, 3, 3, 40, 40) * 2 - 1
    torch.testing.assert_close(
        perceptual_distance(network, a, b), whole(a, b), rtol=1e-3, atol=1e-5
    )
    assert not any(p.requires_grad for p in network.parameters())
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(perceptual_distance(network, a, b).sum(), a)
    assert gradient.abs().sum() > 0


def test_large_images_reach_vgg_at_256_and_inception_as_they_are(packages: None) -> None:
    network = load_standard_features()
    assert network.prepare(torch.zeros(1, 3, 512, 512)).shape == (1, 3, 256, 256)
    small = torch.zeros(1, 3, 64, 64)
    assert network.prepare(small) is small
    images = torch.tensor([-1.0, 0.0, 1.0, 7.0])[:, None, None, None].expand(4, 3, 8, 8)
    levels = network.embed(images)[:, 0]
    assert levels.tolist() == [0, 128, 255, 255]
    with pytest.raises(ValueError, match="images must be"):
        network.embed(torch.zeros(3, 8, 8))


def test_evaluate_and_distil_take_it_like_any_other(packages: None) -> None:
    g = Generator(GeneratorConfig(16, (4,) * 6, z_dim=8, w_dim=8, mapping_layers=1))
    network = load_standard_features()
    drawn = torch.rand(6, 3, 16, 16)
    report = cagc.evaluate(
        g, 6, teacher=g, features=network, reference=lambda i, count: drawn[i : i + count]
    )
    assert report.frechet > 0
    assert report.teacher_perceptual == 0


def test_weights_that_cannot_be_fetched_are_told(
    packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> None:
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(sys.modules["lpips"], "LPIPS", fail)
    message = r"^features: cannot fetch standard's weights \(Name or service not known\)$"
    with pytest.raises(OSError, match=message):
        load_standard_features()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # what Python does with a module that is None is not to find it
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ValueError, match=r"^features: standard needs torch-fidelity and lpips"):
        load_standard_features()
