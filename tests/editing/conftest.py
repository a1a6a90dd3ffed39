"""A small random generator, and a pair whose attributes are known: one paints w, one reads it."""

import pytest
import torch
from torch import nn

from cagc_lib.networks import (
    FeatureNetwork,
    Generator,
    GeneratorConfig,
    SNGANConfig,
    SNGANGenerator,
)

W_DIM = 6


@pytest.fixture(scope="session")
def g() -> Generator:
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(32, (8,) * 8, z_dim=8, w_dim=8, mapping_layers=2)).double()
    g.update_means(torch.randn(100, 8).double())
    return g


@pytest.fixture(scope="session")
def sngan() -> SNGANGenerator:
    torch.manual_seed(0)
    return SNGANGenerator(SNGANConfig(32, (6,) * 7, z_dim=5)).double()


class Canvas(nn.Module):
    """Writes w, averaged over the layers, into the first pixels of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1).double())

    def forward(self, w: torch.Tensor, noise: object = "const") -> torch.Tensor:
        w = w.mean(1) if w.ndim == 3 else w
        images = torch.zeros(len(w), 3, 32, 32).to(w)
        images[:, :, 0, :W_DIM] = (w * self.scale)[:, None]
        return images


class Painter(nn.Module):
    """A generator whose images say what w was; its w's vary more along some axes than others."""

    def __init__(self) -> None:
        super().__init__()
        self.config = GeneratorConfig(32, (2,) * 8, z_dim=W_DIM, w_dim=W_DIM, mapping_layers=1)
        self.mapping = nn.Linear(W_DIM, W_DIM).double()
        self.synthesis = Canvas()


class Reader(FeatureNetwork):
    """Reads w back: attributes that are linear in it, and one that has nothing to do with it."""

    def __init__(self) -> None:
        kinds = {"number": [0.0, 1.0], "flag": [], "kind": [3], "noise": [], "still": []}
        super().__init__(kinds, (4, 4, 6, 6, 6))
        self.a = torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5, 0.0]).double()

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        w = images[:, 0, 0, :W_DIM] * 10
        return {
            "landmarks": w[:, None, :1] * torch.tensor([3.0, 4.0]).double() + torch.zeros(68, 1),
            "appearance": torch.zeros(len(w), 4, 4, 4),
            "number": w @ self.a,
            "flag": w[:, 1] > 0.3,
            "kind": (w[:, 2] > 0.4).long() + (w[:, 2] > 1).long(),
            "noise": (1e6 * w[:, 0]).sin() > 0,
            "still": w[:, 0] > 1e6,
        }


@pytest.fixture(scope="session")
def painter() -> Painter:
    torch.manual_seed(3)
    return Painter()


@pytest.fixture(scope="session")
def reader() -> Reader:
    torch.manual_seed(4)
    return Reader().eval().requires_grad_(False).double()
