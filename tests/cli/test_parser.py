"""The command line end to end, on tiny networks and on a file this project did not make."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import cagc_lib as cagc
from cagc_lib import compression
from cagc_lib.checkpoints import artefacts, load_checkpoint, save_checkpoint
from cagc_lib.checkpoints.formats.rosinality import pack
from cagc_lib.cli import commands, main
from cagc_lib.cli.parser import COMMANDS
from cagc_lib.networks import (
    Discriminator,
    FeatureNetwork,
    Generator,
    GeneratorConfig,
    matching_discriminator,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "rosinality.pt"
CONFIG = GeneratorConfig(32, (8,) * 8, z_dim=128, w_dim=16, mapping_layers=2)
QUICK = ("--num-samples", "4", "--score-batch", "2")
TINY = (
    "--data", "portraits", "--batch-size", "4", "--set", "pool=8", "--set", "log_every=1",
    "--set", "checkpoint_every=1", "--perceptual", "0",
)


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    g, d = Generator(CONFIG), Discriminator(matching_discriminator(CONFIG))
    save_checkpoint(g, d, tmp_path / "teacher.safetensors")
    return str(tmp_path / "teacher.safetensors")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand a folder of its own in for data/."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(artefacts, "data_dir", lambda: folder)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_compressing_a_rosinality_file(tmp_path: Path, capsys) -> None:
    out = tmp_path / "s.safetensors"
    status = run(
        "compress", GOLDEN, "--ratio", "0.7", "--content", "everything", "--num-samples", "20",
        "--out", out,
    )
    assert status == 0
    student = cagc.load_generator(out)
    assert student.config.channels == (8, 8, 8, 6, 6, 5, 5, 4)
    assert cagc.macs(student) == 416_320
    assert student.lineage.source_channels == (24, 24, 24, 20, 20, 16, 16, 12)
    printed = capsys.readouterr().out
    for word in ("8x3,6x2,5x2,4", "416,320", "3,853,696", "9.26x fewer", "the speed", str(out)):
        assert word in printed
    assert [file.name for file in tmp_path.iterdir()] == ["s.safetensors"]


def test_compress_options_reach_the_plan(teacher: str, tmp_path: Path) -> None:
    outs = [tmp_path / f"{name}.safetensors" for name in "abc"]
    common = ("compress", teacher, "--content", "everything", *QUICK, "--ratio", "0.5")
    assert run(*common, "--out", outs[0]) == 0
    assert run(*common, "--out", outs[1], "--seed", "1", "--method", "random") == 0
    assert run(*common, "--out", outs[2], "--round-to", "3", "--rgb-gain", "preserved") == 0
    a, b, c = (cagc.load_generator(out) for out in outs)
    assert a.config.channels == b.config.channels == (4,) * 8
    assert c.config.channels == (6,) * 8
    assert any(not torch.equal(x, y) for x, y in zip(a.lineage.keep, b.lineage.keep, strict=True))
    assert (a.lineage.rgb_gain, c.lineage.rgb_gain) == ("recomputed", "preserved")


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("a.pt", "b.pt")]
    for out in outs:
        assert run("compress", GOLDEN, "--content", "everything", *QUICK, "--out", out) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert load_checkpoint(outs[0]).format == "rosinality"


def test_compress_distils_and_resumes(teacher: str, tmp_path: Path, capsys) -> None:
    common = ("compress", teacher, "--content", "everything", *QUICK, *TINY)
    straight, cut = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert run(*common, "--distil-images", "12", "--out", straight) == 0
    assert run(*common, "--distil-images", "4", "--out", cut) == 0
    assert run(*common, "--distil-images", "12", "--out", cut, "--resume") == 0
    a, b = cagc.load_generator(straight), cagc.load_generator(cut)
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name
    assert all(torch.equal(x, y) for x, y in zip(a.lineage.keep, b.lineage.keep, strict=True))
    assert (tmp_path / "a.run" / "log.csv").exists()
    capsys.readouterr()
    assert run(*common, "--distil-images", "12", "--out", cut) == 2
    assert "holds a run already" in capsys.readouterr().err
    # a run that was never started again leaves its pruned network to be replaced
    (tmp_path / "b.run" / "state.pt").rename(tmp_path / "state.pt")
    assert run(*common, "--distil-images", "4", "--out", cut, "--seed", "1") == 0
    assert run(*common, "--distil-images", "8", "--out", cut, "--seed", "1", "--resume") == 0
    other = ("--distil-images", "16", "--seed", "1", "--out", cut, "--resume", "--ratio", "0.5")
    assert run(*common, *other) == 2
    assert "ratio is 0.5, but the run was started with 0.7" in capsys.readouterr().err


def test_training_a_teacher_then_a_student(tmp_path: Path, capsys) -> None:
    run_folder = tmp_path / "runs" / "teacher"
    shapes = ("--resolution", "16", "--channels", "8x4,6x2", "--w-dim", "16")
    status = run(
        "train", "teacher", *shapes, "--mapping-layers", "2", "--warm-start", "1", "--images", "8",
        "--set", "warm_start_perceptual=0", *TINY[:-2], "--out", run_folder,
    )
    assert status == 0
    assert "8 images seen" in capsys.readouterr().out
    checkpoint = load_checkpoint(run_folder / "checkpoint.safetensors")
    assert checkpoint.generator.config.channels == (8, 8, 8, 8, 6, 6)
    assert checkpoint.discriminator.config.channels == (6, 8, 8)
    pruned = tmp_path / "pruned.safetensors"
    teacher = run_folder / "checkpoint.safetensors"
    everything = ("--content", "everything")
    assert run("compress", teacher, *everything, *QUICK, "--out", pruned) == 0
    student = ("train", "student", pruned, "--teacher", teacher, *everything, *TINY)
    out = tmp_path / "runs" / "student"
    assert run(*student, "--images", "4", "--rgb", "1", "--out", out) == 0
    seen = json.loads((out / "config.json").read_text())
    assert seen["distillation"]["rgb"] == 1.0
    assert seen["training"]["autocast"] == "bfloat16"


def test_a_student_of_another_teacher_is_reported(teacher: str, tmp_path: Path, capsys) -> None:
    g, d = Generator(CONFIG), Discriminator(matching_discriminator(CONFIG))
    save_checkpoint(g, d, tmp_path / "other.safetensors")
    hashes = [load_checkpoint(f).sha256[:16] for f in (tmp_path / "other.safetensors", teacher)]
    pruned = tmp_path / "pruned.safetensors"
    assert run("compress", teacher, "--content", "everything", *QUICK, "--out", pruned) == 0
    student = ("train", "student", pruned, "--content", "everything", "--images", "4", *TINY)
    capsys.readouterr()
    assert run(*student, "--teacher", teacher, "--out", tmp_path / "a") == 0
    assert "the student was pruned from" not in capsys.readouterr().err
    # trained all the same: a converted teacher has another hash too
    other = ("--teacher", tmp_path / "other.safetensors", "--out", tmp_path / "b")
    assert run(*student, *other) == 0
    assert (
        f"teacher: got SHA-256 {hashes[0]}..., but the student was pruned from {hashes[1]}...\n"
    ) in capsys.readouterr().err


def test_shipped_networks_mean_portraits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def train(config, distillation, student, teacher, out, discriminator, content, features, *_,
              **__):
        seen.update(data=config.data, source=type(content).__name__,
                    network=type(features).__name__)
        raise ValueError("enough")

    for module in (commands, compression):
        monkeypatch.setattr(module, "train_student", train)
    common = ("compress", "portraits", *QUICK, "--distil-images", "8")
    assert run(*common, "--out", tmp_path / "s.safetensors") == 2
    expected = {"data": "portraits", "source": "ParserSource", "network": "FeatureNetwork"}
    assert seen == expected
    record = json.loads((tmp_path / "s.run" / "compress.json").read_text())
    assert record["content"] == "portraits"
    pruned = tmp_path / "s.run" / "pruned.safetensors"
    seen.clear()
    student = ("train", "student", pruned, "--teacher", "portraits", "--out", tmp_path / "run")
    assert run(*student) == 2
    assert seen == expected

    def evaluate(g, *arguments, reference, features, **options):
        seen.update(content=arguments[2], reference=reference, features=features)
        raise ValueError("enough")

    monkeypatch.setattr(commands, "evaluate", evaluate)
    # the student knows whom it was pruned from
    for arguments in ((pruned,), ("portraits",), (GOLDEN, "--teacher", "portraits")):
        seen.clear()
        assert run("evaluate", *arguments) == 2
        assert seen == dict.fromkeys(("content", "reference", "features"), "portraits")


def test_registering_records_the_command(teacher: str, tmp_path: Path, data: Path) -> None:
    out = tmp_path / "s.safetensors"
    status = run(
        "compress", teacher, "--content", "everything", *QUICK, "--out", out, "--register",
        "small", "--resume",
    )
    assert status == 0
    entry = json.loads((data / "manifest.json").read_text())["artefacts"][0]
    assert entry["name"] == "small"
    assert entry["how"].startswith("python -m cagc_lib compress ")
    assert entry["how"].endswith("--register small")
    stored = cagc.load_generator("small")
    assert stored.config == cagc.load_generator(out).config
    # half precision
    assert (data / "small.safetensors").stat().st_size < 0.7 * out.stat().st_size


@pytest.mark.parametrize("what", ["parser", "features", "autoencoder"])
def test_training_the_small_networks(
    what: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def train(kind: str, out: Path, **settings: object) -> None:
        asked.append((kind, settings))
        out.write_bytes(b"network")

    monkeypatch.setattr(commands, "train_network", train)
    options = ("--steps", "3", "--batch-size", "2", "--seed", "5")
    assert run("train", what, *options, "--out", tmp_path / "net.safetensors") == 0
    assert run("train", what, *options, "--register", f"portraits-{what}") == 0
    assert asked == [(what, {"steps": 3, "batch_size": 2, "seed": 5})] * 2
    assert (tmp_path / "net.safetensors").exists()
    assert set(artefacts.manifest()) == {f"portraits-{what}"}


def test_evaluate_prints_and_writes(
    teacher: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = FeatureNetwork({"a": [0.0, 1.0]}, (4, 4, 6, 6, 6)).eval().requires_grad_(False)
    measures = sys.modules["cagc_lib.metrics.evaluate"]
    monkeypatch.setattr(measures, "load_features", lambda _: network)
    table = tmp_path / "table.csv"
    for seed in ("0", "1"):
        status = run(
            "evaluate", teacher, "--teacher", teacher, "--num-samples", "8", "--content",
            "everything", "--reference", "portraits", "--features", "portraits", "--seed", seed,
            "--json", tmp_path / "r.json", "--csv", table,
        )
        assert status == 0
    printed = capsys.readouterr().out
    assert "frechet" in printed
    assert "teacher_l1" in printed
    report = cagc.Report.from_json((tmp_path / "r.json").read_text())
    assert (report.seed, report.num_samples, report.teacher_l1) == (1, 8, 0.0)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert rows[0]["file"] == teacher


def test_generate_draws_one_image_a_seed(teacher: str, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert run("generate", teacher, "--seeds", "0-3,7", "--columns", "3", "--out", out) == 0
    with Image.open(out) as sheet:
        assert sheet.size == (3 * 32, 2 * 32)
        first = sheet.crop((0, 0, 32, 32)).tobytes()
        last = sheet.crop((32, 32, 64, 64)).tobytes()
    assert run("generate", teacher, "--seeds", "7,0", "--out", out) == 0
    with Image.open(out) as sheet:
        # an image depends on its own seed alone
        assert sheet.crop((0, 0, 32, 32)).tobytes() == last
        assert sheet.crop((32, 0, 64, 32)).tobytes() == first


def test_convert_proves_itself(tmp_path: Path, capsys) -> None:
    out = tmp_path / "x.pt"
    assert run("convert", GOLDEN.with_name("nvidia_ada.pkl"), out, "--generator-only") == 0
    printed = capsys.readouterr().out
    assert "8 images before and after: largest difference 0, of values up to" in printed
    converted = load_checkpoint(out)
    assert f"{out}: {out.stat().st_size:,} bytes, SHA-256 {converted.sha256}" in printed
    assert (converted.format, converted.discriminator) == ("rosinality", None)
    assert [file.name for file in tmp_path.iterdir()] == ["x.pt"]


def test_inspect_prints_a_card(capsys) -> None:
    assert run("inspect", "portraits-11x") == 0
    printed = capsys.readouterr().out
    for word in ("safetensors", "64 px", "48x6,24x2,12x2", "490,860", "25,185,536", "160x6,80x2"):
        assert word in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_every_command_chooses_and_leaves_out(tmp_path: Path, capsys) -> None:
    content = pack(cagc.load_generator(GOLDEN), None)["g"]
    broken = {"final_linear.1.weight": torch.ones(1)}
    torch.save({"one": content, "two": content, "d": broken}, file := tmp_path / "x.pt")
    everything, pruned = ("--content", "everything"), tmp_path / "s.safetensors"
    for arguments in (
        ("compress", file, *everything, *QUICK, "--out", pruned),
        ("train", "student", pruned, "--teacher", file, *everything, "--images", "4", *TINY,
         "--out", tmp_path / "run"),
        ("generate", file, "--seeds", "0", "--out", tmp_path / "x.png"),
        ("convert", file, tmp_path / "y.pt"),
        ("evaluate", file, "--content", "none", "--reference", "portraits", "--features",
         "portraits", "--num-samples", "5"),
        ("inspect", file),
    ):  # fmt: skip
        for options, message in (((), "one, two"), (("--key", "one"), "--generator-only")):
            assert run(*arguments, *options) == 2
            assert message in capsys.readouterr().err
        assert run(*arguments, "--key", "one", "--generator-only") == 0
        shown = capsys.readouterr()
        assert f"{file}: read one, by its name no moving average (g_ema)\n" in shown.err
    card = dict(line.split(maxsplit=1) for line in shown.out.splitlines())
    assert card["read"] == "one, by its name no moving average (g_ema)"
    assert card["not"].split(maxsplit=1) == ["read", "two, d"]


@pytest.mark.parametrize("command", ["", "train", *COMMANDS])
def test_help_reads_well(command: str, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run(*command.split(), "--help") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python -m cagc_lib")
    assert max(map(len, printed.splitlines())) <= 100
    words = {
        "": ("train", "compress", "evaluate", "generate", "convert", "inspect", "--ratio 0.7"),
        "compress": ("images to score with (400)", "depends on least.", "compress portraits --rat"),
        "evaluate": ("images to measure (2000)", "mean little.", "One line a measure"),
    }
    for word in words.get(command, ()):
        assert word in printed


def test_a_students_losses_are_its_options(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(_config: object, lessons: object, *given: object, **_: object) -> None:
        # a relation looks through the features without a perceptual loss, too
        raise ValueError(f"{lessons} {type(given[5]).__name__}")

    monkeypatch.setattr(commands, "train_student", asked)
    student = ("train", "student", teacher, "--teacher", teacher, "--content", "everything", *TINY)
    for options, words in (
        (("--relation", "30", "--rgb", "2"), ("rgb=2.0", "relation=30.0", " FeatureNetwork")),
        ((), ("rgb=0.0", "relation=0.0", " NoneType")),
    ):
        error = io.StringIO()
        monkeypatch.setattr(sys, "stderr", error)
        assert run(*student, *options, "--out", tmp_path / "run") == 2
        assert all(word in error.getvalue() for word in words), error.getvalue()
