"""Bad input on the command line: one line on stderr, exit status 2, nothing half-written."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from cagc_lib import compression
from cagc_lib.checkpoints import save_generator
from cagc_lib.cli import main
from cagc_lib.networks import Generator, GeneratorConfig, SNGANConfig, SNGANGenerator

SMALL = GeneratorConfig(16, (6,) * 6, z_dim=8, w_dim=8, mapping_layers=1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a good network and several bad files."""
    save_generator(Generator(SMALL), tmp_path / "good.safetensors")
    for source, name in (
        (tmp_path / "good.safetensors", "half.safetensors"),
        (ROOT / "tests/golden/rosinality.pt", "half.pt"),
    ):
        data = source.read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    (tmp_path / "text.pt").write_text("not a network\n" * 100)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    safetensors.torch.save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refuses(place: Path, capsys: pytest.CaptureFixture, arguments: list[str], *words: str) -> None:
    """The command ends with status 2 and one line that holds the words; no file changes."""
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*")}
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    # a progress bar may have been drawn before
    assert lines[-1].startswith("cagc_lib: ")
    assert "Traceback" not in captured.err
    assert len(lines[-1]) < 600
    for word in words:
        assert word in lines[-1], lines[-1]
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == before


def compress(file: str = "good.safetensors", **options: str) -> list[str]:
    options = {"content": "everything", "out": "s.safetensors", "num-samples": "2"} | options
    pairs = [(f"--{name}", value) for name, value in options.items()]
    return ["compress", file, *[part for pair in pairs for part in pair]]


@pytest.mark.parametrize(
    "file",
    ["absent.safetensors", "half.pt", "half.safetensors", "text.pt", "image.png",
     "other.safetensors", "arrays.npz", "."],
)
def test_a_file_that_is_no_network(place: Path, capsys, file: str) -> None:
    refuses(place, capsys, compress(file), file)
    refuses(place, capsys, ["generate", file, "--out", "sheet.png"], file)
    refuses(place, capsys, ["evaluate", file, "--content", "none"], file)
    refuses(place, capsys, ["convert", file, "s.safetensors"], file)
    refuses(place, capsys, ["inspect", file], file)
    student = ["train", "student", "good.safetensors", "--content", "everything", "--out", "run"]
    refuses(place, capsys, [*student, "--teacher", file], file)


def photographs(place: Path, *classes: str) -> str:
    """A folder of class folders with two pictures each; its name is the classes'."""
    folder = place / "-".join(classes)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (90 * i, 0, 50)).save(folder / name / f"{i}.png")
    return folder.name


def test_folders_that_are_no_classes(place: Path, capsys) -> None:
    good, other, one = (photographs(place, *c) for c in (("a", "b"), ("a", "c"), ("a",)))
    photographs(place / "above", "train", "test")
    (place / "above/train-test").rename(place / "above/x")
    (place / "empty").mkdir()
    (place / "broken" / "a").mkdir(parents=True)
    (place / "broken" / "b").mkdir()
    for name in ("a", "b"):
        (place / "broken" / name / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    train = ["train", "classifier", "--resolution", "8", "--steps", "1", "--batch-size", "4",
             "--out", "c.safetensors", "--data"]
    refuses(place, capsys, [*train, "absent"], "data: got", "folder of class folders")
    refuses(place, capsys, [*train, "empty"], "data: no class folder in empty")
    refuses(place, capsys, [*train, "text.pt"], "data: got", "folder of class folders")
    refuses(place, capsys, [*train, one], "data: got one class, a, expected two or more")
    refuses(place, capsys, [*train, "above"], "is in a folder inside that of a class")
    refuses(place, capsys, [*train, "broken"], "x.png is not a readable image")
    # what is wrong with the test images is told before the training, which leaves no file
    refuses(place, capsys, [*train, good, "--test", other], "test: got classes a, c, expected a, b")
    broken = "test: broken/a/x.png is not a readable image"
    refuses(place, capsys, [*train, good, "--test", "broken"], broken)
    refuses(place, capsys, [*train, good, "--test", "absent"], "test: got 'absent', expected a")
    assert main([*train, good, "--test", good]) == 0


def test_reference_images_that_are_none_or_too_few(place: Path, capsys) -> None:
    evaluate = ["evaluate", "good.safetensors", "--content", "none", "--features",
                "cifar10-classifier", "--num-samples", "6", "--reference"]
    folder = photographs(place, "a", "b")
    refuses(place, capsys, [*evaluate, folder], "reference: got 4 images", "expected at least 6")
    (place / "empty").mkdir()
    for i in range(6):
        (place / folder / f"{i}.png").write_bytes(b"no")
    for name, words in (
        ("absent", "got 'absent', expected"), ("empty", "no image in empty"),
        ("text.pt", "text.pt is no whole zip archive"),
        (folder, "is not a readable image"),
    ):
        refuses(place, capsys, [*evaluate, name], "cagc_lib: reference: ", words)


def test_files_that_are_not_there_are_named(place: Path, capsys) -> None:
    evaluate = ["evaluate", "good.safetensors", "--features", "cifar10-classifier",
                "--num-samples", "6", "--reference", photographs(place, "a", "b", "c")]
    words = "cagc_lib: painted mask: no file absent.png, expected an image"
    refuses(place, capsys, [*evaluate, "--content", "painted=absent.png"], words)
    refuses(place, capsys, ["sweep", "absent.toml"], "cagc_lib: absent.toml: No such file")
    refuses(place, capsys, ["sweep", "."], "cagc_lib: ")


def test_a_teacher_of_another_kind(place: Path, capsys) -> None:
    save_generator(SNGANGenerator(SNGANConfig(16, (4,) * 5, z_dim=8)), place / "sn.safetensors")
    evaluate = ["evaluate", "good.safetensors", "--teacher", "sn.safetensors", "--content", "none",
                "--reference", photographs(place, "a", "b", "c"), "--num-samples", "6"]
    words = "teacher: got kind SN-GAN, expected StyleGAN2"
    refuses(place, capsys, [*evaluate, "--features", "cifar10-classifier"], words)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("ratio", "much", "number"), ("ratio", "1.5", "got 1.5, expected a number in [0, 1)"),
        ("ratio", "-0.1", "got -0.1, expected"), ("ratio", "1", "got 1.0, expected"),
        *(("ratio", value, f"got '{value}', expected a fin") for value in ("nan", "inf", "-inf")),
        ("seed", "one", "integer"), ("seed", "1.5", "integer"),
        ("seed", "", "integer"), ("num-samples", "0", ">= 1"), ("num-samples", "1e3", "int value"),
        ("score-batch", "-3", ">= 1"), ("round-to", "0", ">= 1"), ("noise-prob", "p", "number"),
        ("noise-prob", "2", "(0, 1]"), ("method", "best", "content-aware"),
        ("rgb-gain", "kept", "preserved"), ("content", "cats", "portraits"),
        ("content", "hair,cats", "hair"), ("content", "", "portraits"), ("device", "tpu9", "cpu"),
        ("autocast", "int8", "bfloat16"), ("set", "r1_gamma", "NAME=VALUE"),
        ("teacher-noise", "none", "shared"), ("init", "zero", "fresh"),
        ("register", "My Net", "small letters"),
    ],
)
def test_a_wrong_option(place: Path, capsys, option: str, value: str, expected: str) -> None:
    # "--ratio=-0.1", as argparse takes a separate -0.1 for an option
    refuses(place, capsys, [*compress(), f"--{option}={value}"], option.split("-")[0], expected)


def test_fewer_images_than_none(place: Path, capsys) -> None:
    for option in ("distil", "sparse"):
        arguments = [*compress(method="slimming"), "--data", "portraits", f"--{option}-images=-1"]
        refuses(place, capsys, arguments, "images: got -1, expected an integer >= 0")


@pytest.mark.parametrize(
    ("out", "word"),
    [("s.onnx", ".safetensors"), ("nowhere/s.safetensors", "nowhere"), ("s", ".safetensors"),
     (".", ".safetensors"), ("folder.safetensors", "is a folder"),
     # not even root makes files there
     ("/proc/s.safetensors", "/proc")],
)
def test_an_output_that_cannot_be_written(place: Path, capsys, out: str, word: str) -> None:
    (place / "folder.safetensors").mkdir()
    refuses(place, capsys, compress(out=out), "out", word)


def test_an_output_that_could_not_hold_the_student(
    place: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = Generator(dataclasses.replace(SMALL, w_dim=4))
    save_generator(g, place / "two.safetensors")
    # refused before the scores are computed
    monkeypatch.setattr(compression, "score_channels", None)
    refuses(place, capsys, compress("two.safetensors", out="s.pt"), "z_dim", "for a .pt file")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["epochs=3"], ("epochs", "images")), (["r1_gamma=high"], ("r1_gamma", "high")),
        (["log_every=0"], ("log_every", "0", ">= 1")), (["style_mixing=2"], ("style_mixing",)),
    ],
)
def test_wrong_training_settings(place: Path, capsys, settings: list[str], words) -> None:
    arguments = ["train", "teacher", "--out", "run"]
    refuses(place, capsys, [*arguments, *[f"--set={s}" for s in settings]], *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resolution", "65"], ("resolution", "65", "power of two")),
        (["--channels", "8x4"], ("channels", "4", "10")),
        (["--channels", "wide"], ("channels", "wide", "160x6")),
        (["--channels", "0x10"], ("channels", "0")),
        (["--data", "no-such-folder"], ("data", "no-such-folder", "portraits")),
        (["--data", "empty"], ("data", "empty")), (["--data", "text.pt"], ("no whole zip",)),
        (["--out", "good.safetensors"], ("good.safetensors",)),
    ],
)
def test_a_teacher_that_cannot_be_trained(place: Path, capsys, options, words) -> None:
    (place / "empty").mkdir()
    arguments = ["train", "teacher", "--out", "run", "--channels", "4x10", *options]
    refuses(place, capsys, arguments, *words)


def test_latents_too_short_for_a_warm_start(place: Path, capsys) -> None:
    options = ["--channels", "4x10", "--warm-start", "3", "--z-dim", "8", "--images", "0"]
    # found by the first step, when the run folder exists already
    assert main(["train", "teacher", "--out", "run", *options]) == 2
    assert "z" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("seeds", ["one", "3-1", "1.5", "", "-4", "0-99999999", "1,,2"])
def test_wrong_seeds(place: Path, capsys, seeds: str) -> None:
    arguments = ["generate", "good.safetensors", f"--seeds={seeds}", "--out", "sheet.png"]
    refuses(place, capsys, arguments, "seeds", "expected")


def test_wrong_outputs_of_the_other_commands(place: Path, capsys) -> None:
    generate = ["generate", "good.safetensors", "--out"]
    refuses(place, capsys, [*generate, "sheet.jpg"], ".png")
    refuses(place, capsys, [*generate, "sheet.png", "--psi=nan"], "--psi: got 'nan', expected a")
    evaluate = ["evaluate", "good.safetensors", "--content", "none", "--reference", "portraits"]
    evaluate += ["--features", "portraits"]
    refuses(place, capsys, [*evaluate, "--json", "nowhere/r.json"], "nowhere")
    refuses(place, capsys, [*evaluate, "--csv", "table.txt"], ".csv")
    refuses(place, capsys, [*evaluate, "--num-samples", "2"], "num_samples", "at least 5")


def test_conversions_that_cannot_be(place: Path, capsys) -> None:
    clamped = GeneratorConfig(16, (6,) * 6, z_dim=8, w_dim=8, mapping_layers=1, conv_clamp=256)
    save_generator(Generator(clamped), place / "clamped.safetensors")
    for out, *words in (
        ("s.onnx", ".safetensors or .pt"), ("nowhere/s.pt", "nowhere"), (".", ".safetensors"),
        ("s.pt", "s.pt: a .pt file has no place for conv_clamp, got 256", "convert --drop-clamp"),
        ("clamped.safetensors", "is the file to be converted"), ("/proc/s.pt", "/proc"),
    ):
        refuses(place, capsys, ["convert", "clamped.safetensors", out], *words)
    refuses(place, capsys, ["convert", "good.safetensors", "s.pt", "--half"], "float16")
    two_sizes = GeneratorConfig(16, (6,) * 6, z_dim=6, w_dim=8, mapping_layers=1)
    save_generator(Generator(two_sizes), place / "two.safetensors")
    words = "z_dim: got 6, expected w_dim 8 for a .pt file"
    refuses(place, capsys, ["convert", "two.safetensors", "s.pt"], words)
    refuses(place, capsys, ["convert", "good.safetensors"], "OUT")
    refuses(place, capsys, ["inspect"], "FILE")
    refuses(place, capsys, ["inspect", "portrait"], "portraits, portraits-11x")


def test_networks_that_do_not_fit(place: Path, capsys) -> None:
    other = GeneratorConfig(8, (4,) * 4, z_dim=8, w_dim=8, mapping_layers=1)
    save_generator(Generator(other), place / "smaller.safetensors")
    student = ["train", "student", "smaller.safetensors", "--teacher", "good.safetensors",
               "--content", "everything", "--data", "portraits", "--perceptual", "0"]
    refuses(place, capsys, [*student, "--out", "run"], "teacher", "resolution")


def test_missing_and_unknown_arguments(place: Path, capsys) -> None:
    refuses(place, capsys, [], "COMMAND")
    refuses(place, capsys, ["shrink"], "shrink")
    refuses(place, capsys, ["compress", "good.safetensors"], "--out")
    refuses(place, capsys, [*compress(), "--fast"], "--fast")
    refuses(place, capsys, ["train", "parser"], "out")


def test_resuming_a_run_with_a_damaged_record(place: Path, capsys) -> None:
    run = place / "s.run"
    run.mkdir()
    save_generator(Generator(SMALL), run / "pruned.safetensors")
    (run / "compress.json").write_text("{")
    distil = ["--distil-images", "8", "--data", "portraits", "--perceptual", "0", "--resume"]
    refuses(place, capsys, [*compress(), *distil], "compress.json")
    # a source of the same name with other weights
    (run / "compress.json").write_text('{"content": "everything", "content_sha256": "ab"}')
    refuses(place, capsys, [*compress(), *distil], "content_sha256 is", "--allow content")
    refuses(place, capsys, [*compress(), *distil, "--allow", "content"], "method is")


NOTHING = "got nothing, expected"


def test_a_strangers_network_is_not_taken_for_portraits(
    place: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    # refused before the scores are computed
    monkeypatch.setattr(compression, "score_channels", None)
    (place / "photos").mkdir()
    Image.new("RGB", (16, 16)).save(place / "photos" / "0.png")
    portraits = "(portraits are for the shipped teacher)"
    out, content = ["--out", "s.safetensors"], ["--content", "everything"]
    student = ["train", "student", "good.safetensors", "--teacher", "good.safetensors"]
    data = f"data: {NOTHING} --data FOLDER of real pictures {portraits}"
    features = f"perceptual-network: {NOTHING} --perceptual-network standard"
    for command in (
        ["compress", "good.safetensors", *out, "--distil-images", "8"],
        ["compress", "good.safetensors", *out, "--sparse-images", "8", "--method", "slimming"],
        [*student, "--out", "run"],
    ):
        refuses(place, capsys, command, f"content: {NOTHING} --content SOURCE", portraits)
        refuses(place, capsys, [*command, *content], data)
        photos = [*command, *content, "--data", "photos"]
        refuses(place, capsys, photos, features, "--perceptual 0")
    refuses(place, capsys, ["compress", "good.safetensors", *out], f"content: {NOTHING}")
    evaluate = ["evaluate", "good.safetensors"]
    for option, value in (("content", "none"), ("reference", "photos"), ("features", "")):
        refuses(place, capsys, evaluate, f"{option}: {NOTHING} --{option} ", portraits)
        evaluate += [f"--{option}", value]


def test_what_training_needs_is_looked_at_before_the_scores(
    place: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "score_channels", None)
    (place / "empty").mkdir()
    distil = [*compress(), "--distil-images", "8", "--data"]
    refuses(place, capsys, [*distil, "absent"], "data: got 'absent'")
    refuses(place, capsys, [*distil, "empty"], "no image in empty")
    refuses(place, capsys, [*distil, "portraits", "--set", "r1_gamma=high"], "r1_gamma", "high")
    # a package is missing
    monkeypatch.setitem(sys.modules, "lpips", None)
    standard = [*distil, "portraits", "--perceptual-network", "standard"]
    refuses(place, capsys, standard, "features: standard needs torch-fidelity and lpips")


def test_the_process_itself_ends_with_status_two(place: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cagc_lib", *compress("absent.pt")], cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("cagc_lib: absent.pt: no such file")
    assert len(result.stderr.splitlines()) == 1
