"""The CIFAR-10 table's script, on networks too small to paint."""

import argparse
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib.checkpoints import artefacts, save_checkpoint, save_network
from cagc_lib.checkpoints import checkpoint as checkpoints
from cagc_lib.networks import (
    Classifier,
    SNGANConfig,
    SNGANDiscriminator,
    SNGANDiscriminatorConfig,
    SNGANGenerator,
)
from cagc_lib.pruning import PruningPlan, prune

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
    # a small discriminator: the one that would be built takes seconds a step
    d = SNGANDiscriminator(SNGANDiscriminatorConfig(32, (4, 4)))
    save_checkpoint(g, d, data / "cifar10-sngan.safetensors")
    for name in ("classifier", "perceptual", "sngan"):
        how = "train teacher --images 640 --out runs" if name == "sngan" else "train classifier"
        artefacts.write_manifest_entry(data / f"cifar10-{name}.safetensors", how)
    return tmp_path


def rows_of(cifar10: ModuleType, table: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["name"], row["seed"]): row for row in cifar10.read_table(table)}


def test_it_measures_what_is_there_once(
    cifar10: ModuleType, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(place / "cifar10"), "--samples", "12"]
    arguments += ["--table", str(place / "table.csv"), "--runs", str(place / "runs")]
    cifar10.main(arguments)
    table = rows_of(cifar10, place / "table.csv")
    assert list(table) == list(cifar10.planned())
    measured = [name for (name, _), row in table.items() if row["status"] == "measured"]
    assert measured == ["training images", "cifar10-sngan"]
    # both halves of this data set are the same images
    teacher, real = table["cifar10-sngan", ""], table["training images", ""]
    assert float(real["frechet"]) == pytest.approx(0, abs=1e-4)
    assert float(teacher["frechet"]) > 0
    assert teacher["images"] == "640"
    assert {row["frechet"] for row in table.values() if row["status"] == "not run"} == {""}

    # what a command makes and ships is measured, and made again with the other seed; so are the
    # two students that part what slimming's sparse training gave it
    name, image_folder = "cifar10-slimming-70", str(place / "cifar10" / "train")
    options = ["--ratio", "0.7", "--method", "slimming", "--content", "everything"]
    options += ["--perceptual", "0", "--batch-size", "4"]
    options += ["--sparse-images", "4", "--distil-images", "8", "--set", "d_steps=1"]
    options += ["--data", image_folder, "--run", str(place / name)]
    options += ["--out", str(place / "x.safetensors")]
    assert not cifar10.command_line(["compress", "cifar10-sngan", *options, "--register", name])
    capsys.readouterr()
    cifar10.main(arguments)
    printed = capsys.readouterr().out.splitlines()
    printed = [line.split(":")[0] for line in printed if "Frechet" in line]
    images = {name: "12", f"{name}-short": "8", f"{name}-choice": "8"}
    assert printed == [f"{which} {seed}" for seed in "01" for which in images]
    table = rows_of(cifar10, place / "table.csv")
    slim = [table[which, seed] for which in images for seed in "01"]
    for row in slim:
        assert (row["method"], row["ratio"]) == ("slimming", "0.7")
        assert row["images"] == images[row["name"]]
        assert float(row["teacher_l1"]) > 0 and row["seconds"] != ""
        assert int(row["macs"]) < int(teacher["macs"])
    assert len({row["sha256"] for row in slim}) == 6
    gains = [tuple(row.values()) for row in cifar10.read_table(place / "table_gains.csv")]
    expected = [(s, str(k), str(c)) for s in "01" for k in range(7) for c in range(4)]
    assert [row[:3] for row in gains] == expected
    sparse = checkpoints.load_generator(place / name / "sparse" / "checkpoint.safetensors")
    averages = torch.cat(sparse.gains(torch.zeros(1, 8))).tolist()
    assert [float(row[4]) for row in gains[:28]] == pytest.approx(averages, rel=1e-5)
    (again,) = (place / "runs").glob(f"{name}-1-*.safetensors")
    assert again.read_bytes() != (place / "x.safetensors").read_bytes()
    # the short one trained sparsely as the shipped one did, then less
    (short,) = (place / "runs").glob(f"{name}-short-0-*/sparse/log.csv")
    assert len(short.read_text().splitlines()) == 2
    (less,) = (place / "runs").glob(f"{name}-short-0-*/log.csv")
    assert less.read_text().splitlines()[-1].split(",")[1] == "4"
    # the choice alone: slimming's channels, the teacher's weights
    (pruned,) = (place / "runs").glob(f"{name}-choice-0-*/pruned.safetensors")
    g, slimmed = (checkpoints.load_generator(path) for path in (pruned, place / "x.safetensors"))
    pairs = zip(g.lineage.keep, slimmed.lineage.keep, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    plan = PruningPlan(g.lineage.keep, (4,) * 7, 0.7)
    whole = checkpoints.load_checkpoint("cifar10-sngan")
    weights = prune(whole.generator, plan).state_dict()
    assert all(torch.equal(weights[key], value) for key, value in g.state_dict().items())
    assert g.lineage.source_sha256 == whole.sha256
    shutil.rmtree(place / "runs")
    cifar10.main(arguments)
    assert capsys.readouterr().out == "", "all stand in the table"


def test_the_committed_table_is_whole_and_of_what_would_be_made(cifar10: ModuleType) -> None:
    args = argparse.Namespace(table=cifar10.TABLE)
    table = rows_of(cifar10, cifar10.TABLE)
    assert list(table) == list(cifar10.planned())
    for (name, seed), row in table.items():
        assert row["status"] == "measured"
        if name != cifar10.REAL:
            assert row["sha256"] == cifar10.made(name, seed, args)


def test_a_name_outside_the_plan_is_refused(
    cifar10: ModuleType, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cifar10.main(["--only", "cifar10-sgnan", "--table", str(place / "table.csv")])
    assert "--only: got 'cifar10-sgnan', expected some of: training" in capsys.readouterr().err
    assert not (place / "table.csv").exists()
