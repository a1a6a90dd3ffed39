"""The CIFAR-10 table's script, on networks too small to paint."""

import csv
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib import artefacts
from cagc_lib.checkpoints import save_checkpoint, save_network
from cagc_lib.classifier import Classifier
from cagc_lib.pruning import plan_pruning, prune
from cagc_lib.sngan import SNGANConfig, SNGANGenerator

IMAGES = artefacts.data_dir() / "cifar10"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set of twelve images, and artefacts of its own."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "manifest.json").write_text(json.dumps({"artefacts": []}))
    monkeypatch.setattr(artefacts, "data_dir", lambda: data)
    for split in ("train", "test"):
        shutil.copytree(IMAGES, tmp_path / "cifar10" / split)
    torch.manual_seed(0)
    classes = sorted(folder.name for folder in IMAGES.iterdir() if folder.is_dir())
    meta = {"kind": "classifier", "classes": classes, "widths": [4, 6, 8], "depth": 1}
    for name in ("classifier", "perceptual"):
        network = Classifier(classes, (4, 6, 8), depth=1)
        save_network(network.state_dict(), meta, data / f"cifar10-{name}.safetensors")
    g = SNGANGenerator(SNGANConfig(32, (4,) * 7, z_dim=8)).eval()
    save_checkpoint(g, None, data / "cifar10-sngan.safetensors")
    for name in ("classifier", "perceptual", "sngan"):
        how = "train teacher --images 640" if name == "sngan" else "train classifier"
        artefacts.write_manifest_entry(data / f"cifar10-{name}.safetensors", how)
    return tmp_path


def rows(place: Path) -> dict[str, dict[str, str]]:
    with (place / "table.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_it_measures_what_is_there_once(
    cifar10: ModuleType, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(place / "cifar10"), "--samples", "12"]
    arguments += ["--table", str(place / "table.csv")]
    cifar10.main(arguments)
    table = rows(place)
    assert list(table) == list(cifar10.planned())
    measured = [name for name, row in table.items() if row["status"] == "measured"]
    assert measured == ["training images", "cifar10-sngan"]
    # both halves of this data set are the same images
    assert float(table["training images"]["frechet"]) == pytest.approx(0, abs=1e-4)
    assert float(table["cifar10-sngan"]["frechet"]) > 0
    assert table["cifar10-sngan"]["images"] == "640"
    assert {row["frechet"] for row in table.values() if row["status"] == "not run"} == {""}

    g = artefacts.data_dir() / "cifar10-sngan.safetensors"
    teacher = cifar10.cagc.load_generator(g)
    half = prune(teacher, plan_pruning([torch.rand(c) for c in teacher.config.channels], 0.5))
    path = g.with_name("cifar10-slimming-50.safetensors")
    save_checkpoint(half, None, path)
    artefacts.write_manifest_entry(path, "compress --sparse-images 64 --distil-images 128")
    capsys.readouterr()
    cifar10.main(arguments)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [path.stem]
    row = rows(place)[path.stem]
    assert (row["method"], row["ratio"], row["images"]) == ("slimming", "0.5", "192")
    assert float(row["teacher_l1"]) > 0
    assert int(row["macs"]) < int(table["cifar10-sngan"]["macs"])


def test_a_name_outside_the_plan_is_refused(
    cifar10: ModuleType, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cifar10.main(["--only", "cifar10-sgnan", "--table", str(place / "table.csv")])
    assert "--only: got 'cifar10-sgnan', expected some of: training" in capsys.readouterr().err
    assert not (place / "table.csv").exists()
