"""Fetching CIFAR-10: through torchvision or not at all; nothing is fetched here."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from cagc_lib.datasets import ClassFolders, cifar10, fetch_cifar10


class StandIn:
    """Has what is used of torchvision's CIFAR10."""

    classes = ("cat", "dog")
    made = 0

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        StandIn.made += 1
        self.size = 6 if train else 2

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32), (number, 0, 0)), number % 2


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torchvision.datasets")
    module.CIFAR10 = StandIn
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    monkeypatch.setattr(cifar10, "SPLITS", {"train": 6, "test": 2})
    monkeypatch.setattr(StandIn, "made", 0)


def test_class_folders_are_written_once(torchvision: None, tmp_path: Path) -> None:
    folder = fetch_cifar10(tmp_path / "c", progress=False)
    train, test = ClassFolders(folder / "train", 32), ClassFolders(folder / "test", 32)
    assert train.classes == test.classes == ("cat", "dog")
    assert (len(train), len(test)) == (6, 2)
    images, labels = train[range(6)]
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() == [0, 2, 4, 1, 3, 5]
    assert StandIn.made == 2
    fetch_cifar10(folder, progress=False)
    assert StandIn.made == 2


def test_a_damaged_download_is_one_line(
    torchvision: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Dataset not found or corrupted.\nUse download=True")

    monkeypatch.setattr(sys.modules["torchvision.datasets"], "CIFAR10", refuse)
    expected = r"^cifar10: the download is damaged \(Dataset not found or corrupted\.\)$"
    with pytest.raises(ValueError, match=expected):
        fetch_cifar10(tmp_path / "c", progress=False)


def test_half_a_data_set_is_refused(
    torchvision: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "SPLITS", {"train": 7, "test": 2})
    with pytest.raises(ValueError, match=r"^cifar10: got 6 train images, expected 7$"):
        fetch_cifar10(tmp_path, progress=False)


def test_without_torchvision_the_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ValueError, match=r"^cifar10 needs torchvision .*pip install torchvision"):
        fetch_cifar10(tmp_path)
