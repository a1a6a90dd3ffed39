"""The training loop: exact resume, what a run leaves behind, what it refuses, that it learns."""

import copy
import errno
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from runs import assert_same, log
from torch import nn

from cagc_lib.checkpoints import load_checkpoint, load_training_state, save_training_state
from cagc_lib.content import GeneratorFeatures, ParserSource, content_source, everything, union
from cagc_lib.datasets import image_source, parameters_from_latents, render_parameters
from cagc_lib.distillation import DistillationConfig
from cagc_lib.networks import (
    Discriminator,
    FeatureNetwork,
    Generator,
    GeneratorConfig,
    Lineage,
    matching_discriminator,
)
from cagc_lib.training import Lesson, Steps, TrainConfig, TrainState, train_student, train_teacher
from cagc_lib.training import loop as training
from cagc_lib.training import steps as train_steps
from cagc_lib.training.run_folder import INPUTS, fingerprint
from cagc_lib.training.warm_start import Target, multiscale_l1

TEACHER = GeneratorConfig(16, (8,) * 6, z_dim=128, w_dim=16, mapping_layers=2)
STUDENT = GeneratorConfig(16, (4,) * 6, z_dim=128, w_dim=16, mapping_layers=2)
FINE = GeneratorConfig(32, (4,) * 8, z_dim=128, w_dim=8, mapping_layers=1)
# both regularisers run, and not in every step
SMALL = {
    "batch_size": 4, "r1_interval": 2, "path_interval": 2, "pool": 8, "warm_start_perceptual": 0,
    "log_every": 1, "sample_every": 2, "checkpoint_every": 2,
}
PIXELS = DistillationConfig(perceptual=0, rgb=1.0)


def config(**changes: object) -> TrainConfig:
    return TrainConfig(**({"images": 16} | SMALL | changes))


def teacher() -> Generator:
    g = Generator(TEACHER).requires_grad_(False)
    for conv in g.synthesis.convs:
        conv.noise_strength.fill_(0.1)
    return g


def student(first: int = 0) -> Generator:
    keep = tuple(torch.arange(first, first + 4) for _ in range(6))
    return Generator(STUDENT, Lineage(keep, TEACHER.channels, "abc"))


def run_teacher(out: Path, resume: bool = False, **changes: object) -> TrainState:
    return train_teacher(config(**changes), TEACHER, out, resume=resume, progress=False)


def run_student(
    out: Path, resume: bool = False, first: int = 0, **changes: object
) -> TrainState:
    torch.manual_seed(1)
    return train_student(
        config(**changes), PIXELS, student(first), teacher(), out, content=everything,
        resume=resume, progress=False,
    )


def new_discriminator() -> Discriminator:
    return Discriminator(matching_discriminator(TEACHER))


@pytest.mark.parametrize("autocast", ["off", "bfloat16"])
def test_a_resumed_teacher_is_the_same_to_the_bit(tmp_path: Path, autocast: str) -> None:
    # two steps of warm start and two adversarial ones, cut at the seam and again one step later
    changes = {"warm_start": 2, "autocast": autocast, "checkpoint_every": 1}
    straight = run_teacher(tmp_path / "a", images=8, **changes)
    run_teacher(tmp_path / "b", images=0, **changes)
    run_teacher(tmp_path / "b", resume=True, images=4, **changes)
    resumed = run_teacher(tmp_path / "b", resume=True, images=8, **changes)
    assert resumed.step == straight.step == 4
    assert straight.mean_path > 0
    assert_same(straight.state_dict(), resumed.state_dict())


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    state = run_student(tmp_path / "run", images=16)
    names = {file.name for file in (tmp_path / "run").iterdir()}
    sheets = {"samples-00000002.png", "samples-00000004.png"}
    assert names == {"config.json", "log.csv", "state.pt", "checkpoint.safetensors"} | sheets
    rows = log(tmp_path / "run")
    assert [(row["step"], row["images"]) for row in rows] == [
        ("1", "4"), ("2", "8"), ("3", "12"), ("4", "16")
    ]
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    assert all(row["d"] and row["g"] and row["l1"] and row["rgb"] for row in rows)
    assert [bool(row["r1"]) for row in rows] == [bool(row["path"]) for row in rows] == [
        True, False, True, False
    ]
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert_same(dict(saved.generator.state_dict()), dict(state.average.state_dict()))
    assert saved.generator.lineage.source_sha256 == "abc"
    assert saved.discriminator.config == matching_discriminator(TEACHER)
    with Image.open(tmp_path / "run" / "samples-00000004.png") as sheet:
        assert sheet.size == (8 * 16, 8 * 16)
    noted = json.loads((tmp_path / "run" / "config.json").read_text())
    assert TrainConfig.from_dict(noted["training"]) == config()
    assert DistillationConfig.from_dict(noted["distillation"]) == PIXELS
    assert GeneratorConfig.from_dict(noted["generator"]) == STUDENT


# the last two were cut off by a full disk
@pytest.mark.parametrize("row", ["3,12,9.9,1.0,,,,,,,\n", "3,12,9", "1"])
def test_resuming_drops_rows_after_the_checkpoint(tmp_path: Path, row: str) -> None:
    run_teacher(tmp_path, images=8)
    with (tmp_path / "log.csv").open("a") as file:
        file.write(row)
    run_teacher(tmp_path, resume=True, images=12)
    rows = log(tmp_path)
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert rows[-1]["d"]


@pytest.mark.parametrize("row", ["3" + "," * 30 + "1", "three", ",,", "\xff"])
def test_a_damaged_log_is_one_line(tmp_path: Path, row: str) -> None:
    run_teacher(tmp_path, images=4)
    with (tmp_path / "log.csv").open("a", encoding="latin-1") as file:
        file.write(row + "\n")
    before = (tmp_path / "log.csv").read_bytes()
    with pytest.raises(ValueError, match=r"^resume: .*log\.csv") as caught:
        run_teacher(tmp_path, resume=True, images=8)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "log.csv").read_bytes() == before


def test_callers_networks_and_random_numbers_are_left_alone(tmp_path: Path) -> None:
    big, small, d = teacher(), student(), new_discriminator()
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in (big, small, d)]
    draws = torch.get_rng_state()
    train_student(config(images=4), PIXELS, small, big, tmp_path, d, progress=False)
    assert torch.equal(draws, torch.get_rng_state())
    for net, old in zip((big, small, d), before, strict=True):
        assert_same(dict(net.state_dict()), old)
    assert not any(p.requires_grad for p in big.parameters())


def be_struck(out: Path, step: int, number: int, place: str, **changes: object) -> None:
    """Train, and send oneself a signal at that step: in it, or while writing a file after it."""
    note, fsync, now = training.RunFolder.note, os.fsync, [0]

    def strike(here: str) -> None:
        if (here, now[0]) == (place, step):
            os.kill(os.getpid(), number)

    def noting(folder: object, *losses: object) -> None:
        now[0] = folder.state.step
        note(folder, *losses)
        strike("step")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: (strike("file"), fsync(file)))
        patch.setattr(training.RunFolder, "note", noting)
        run_teacher(out, **changes)


LONG = {"warm_start": 4, "images": 24, "log_every": 5, "checkpoint_every": 6, "sample_every": 4}


def start(out: Path, step: int, number: int, place: str) -> subprocess.Popen:
    """`be_struck` in a process of its own."""
    call = f"test_loop.be_struck(out, {step}, {int(number)}, {place!r}, **test_loop.LONG)"
    code = f"import conftest, test_loop; from pathlib import Path; out = Path({str(out)!r}); "
    paths = os.pathsep.join(str(path) for path in Path(__file__).parents[:3])
    return subprocess.Popen(
        [sys.executable, "-c", f"{code}conftest.pytest_configure(); {call}"],
        env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL,
    )


# in the warm start; while a file is written, where the step after it is the last; hard
@pytest.mark.parametrize(
    ("step", "number", "place"),
    [
        (3, signal.SIGTERM, "step"), (4, signal.SIGINT, "file"), (9, signal.SIGKILL, "step"),
        (10, signal.SIGKILL, "file"),
    ],
)
def test_a_stopped_run_is_taken_up_to_the_bit(
    tmp_path: Path, step: int, number: int, place: str
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    if number == signal.SIGKILL:
        assert start(b, step, number, place).wait(120) == -number
        last = 6
    else:
        last = step + (place == "file")
        with pytest.raises(KeyboardInterrupt, match=f"stopped at step {last}, checkpoint in "):
            be_struck(b, step, number, place, **LONG)
    assert load_training_state(b / "state.pt")["step"] == last
    assert len(list(b.glob(".*.tmp"))) == (step == 10)
    (b / ".notes.txt.0123abcd.tmp").write_text("a stranger's")
    assert_same(*(run_teacher(out, resume=out == b, **LONG).state_dict() for out in (a, b)))
    rows = [[row | {"seconds": 0, "images_per_second": 0} for row in log(out)] for out in (a, b)]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == ["5", "10"]
    file = "checkpoint.safetensors"
    assert (a / file).read_bytes() == (b / file).read_bytes()
    assert [file.name for file in b.glob(".*")] == [".notes.txt.0123abcd.tmp"]


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    first = start(tmp_path, 4, signal.SIGSTOP, "step")
    os.waitpid(first.pid, os.WUNTRACED)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    owner = rf"^out: .* is in use by process {first.pid} on {platform.node()}, expected"
    for run in (run_teacher, run_student, functools.partial(run_teacher, resume=True, **LONG)):
        with pytest.raises(ValueError, match=owner):
            run(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    first.kill()
    first.wait()
    assert (tmp_path / ".lock").exists()
    assert run_teacher(tmp_path, resume=True, **LONG).step == 10


@pytest.mark.parametrize("file", ["log.csv", "state.pt", "samples-00000004.png"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT])
def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, file: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, opened = tmp_path / "run", Path.open

    def failing(path: Path, mode: str = "r", *more: object, **options: object) -> object:
        if file in path.name and mode[0] != "r" and (out / "state.pt").exists():
            if number == errno.EROFS:
                raise OSError(number, os.strerror(number))
            if number == errno.ENOENT:
                shutil.rmtree(out)
            else:
                # Linux's file that is always full
                path, mode = Path("/dev/full"), mode.replace("x", "w")
        return opened(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", failing)
    left = "no checkpoint is" if number == errno.ENOENT else "the last checkpoint is whole: put th"
    words = rf"{file}: cannot be written \({os.strerror(number)}\); {left}"
    with pytest.raises(OSError, match=words):
        run_teacher(out, images=24)
    monkeypatch.undo()
    straight = run_teacher(tmp_path / "straight", images=24)
    assert_same(straight.state_dict(), run_teacher(out, resume=True, images=24).state_dict())


def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(*arguments: object) -> object:
        source = image_source(*arguments)
        return lambda position, n: source(position, n) * (1 if position < 12 else torch.inf)

    monkeypatch.setattr(training, "image_source", poisoned)
    with pytest.raises(ValueError, match=r"loss d became \w+ at step 4") as caught:
        run_teacher(tmp_path, images=80)
    assert "\n" not in str(caught.value)
    # the last checkpoint is the one from before
    assert load_training_state(tmp_path / "state.pt")["step"] == 2
    saved = load_checkpoint(tmp_path / "checkpoint.safetensors").discriminator
    assert all(p.isfinite().all() for p in saved.parameters())


def test_another_run_neither_overwrites_nor_resumes(tmp_path: Path) -> None:
    run_teacher(tmp_path, images=4)
    with pytest.raises(ValueError, match="holds a run already"):
        run_teacher(tmp_path, images=8)
    for name, value in {"seed": 1, "batch_size": 8, "r1_gamma": 1.0}.items():
        with pytest.raises(ValueError, match=f"training {name} is"):
            run_teacher(tmp_path, resume=True, **{name: value})
    with pytest.raises(ValueError, match="channels is"):
        train_teacher(config(), STUDENT, tmp_path, resume=True, progress=False)


def test_a_run_whose_rates_decay_keeps_its_length(tmp_path: Path) -> None:
    run_teacher(tmp_path, images=8, lr_decay="linear")
    before = (tmp_path / "config.json").read_bytes()
    words = r"^resume: training images is 12, but the run was started with 8, which its lr_decay "
    with pytest.raises(ValueError, match=words + r"counted on$"):
        run_teacher(tmp_path, resume=True, images=12, lr_decay="linear")
    assert (tmp_path / "config.json").read_bytes() == before
    # what else may change still may
    state = run_teacher(tmp_path, resume=True, images=8, lr_decay="linear", log_every=2)
    assert state.images == 8


def test_a_student_with_other_channels_kept_does_not_resume(tmp_path: Path) -> None:
    run_student(tmp_path, images=8)
    with pytest.raises(ValueError, match=r"^resume: kept channels is '.*', but the run was"):
        run_student(tmp_path, resume=True, first=1)


class Edges(nn.Conv2d):
    """A network of features that takes the smallest images."""

    channel_weights, prepare = None, nn.Identity()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [super().forward(images)]


def brighter(threshold: float) -> Callable:
    return lambda images: images[:, :1] > threshold


PARSER = nn.Conv2d(3, 19, 1)


def by_parser(images: torch.Tensor) -> torch.Tensor:
    """A source of one's own, as in a notebook: its network is a global name."""
    return PARSER(images) > 0


@pytest.mark.parametrize("name", INPUTS)
def test_a_run_resumes_with_what_it_was_started_with(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (80 * i, 0, 0)).save(tmp_path / f"photos/{i}.png")

    def run(images: int, **more: object) -> TrainState:
        torch.manual_seed(1)
        used = {"teacher": teacher(), "content": brighter(0.0), "features": Edges(3, 2, 3)}
        return train_student(
            config(images=images, data=str(tmp_path / "photos")), DistillationConfig(), student(),
            out=tmp_path / "run", resume=True, progress=False, **(used | more),
        )

    run(4)
    others = {"teacher": teacher(), "content": brighter(0.5), "features": Edges(3, 2, 3)}
    other = {name: others[name]} if name != "data" else {}
    if name == "data":
        (tmp_path / "photos/1.png").unlink()
    record = tmp_path / "run/config.json"
    before = record.read_bytes()
    with pytest.raises(ValueError, match=rf"^resume: inputs {name} is .*; .* --allow {name}, a"):
        run(8, **other)
    with pytest.raises(ValueError, match=r"^allow: got 'data', expected some of teacher, content"):
        run(8, allow="data", **other)
    assert record.read_bytes() == before
    # what is allowed once is what the run is done with
    assert run(8, allow=[name], **other).step == 2
    assert run(12, **other).step == 3
    # runs of earlier versions noted nothing
    noted = json.loads(record.read_text())
    del noted["inputs"]
    record.write_text(json.dumps(noted))
    assert run(16).step == 4


def test_fingerprints_tell_content_sources_apart() -> None:
    torch.manual_seed(0)
    mask = torch.eye(4, dtype=torch.bool)
    g = teacher()

    def sources(threshold: float, classes: list[str], mask: torch.Tensor, keep: int) -> list:
        nn.init.constant_(PARSER.weight, threshold)
        painted = content_source("painted", mask=mask)
        return [
            by_parser, brighter(threshold), ParserSource(PARSER), ParserSource(g, classes),
            painted, painted.__call__, GeneratorFeatures(g, 3, [keep], 2),
            functools.partial(max, threshold), union(everything, brighter(threshold)),
        ]

    a, b, c = (
        [fingerprint(source) for source in sources(*values)]
        for values in [(0.1, ["skin"], mask, 1)] * 2 + [(0.2, ["hair"], ~mask, 2)]
    )
    assert a == b
    assert len({*a, *c}) == 2 * len(a)


def test_settings_younger_than_the_run_have_their_defaults(tmp_path: Path) -> None:
    run_teacher(tmp_path, images=4)
    noted = json.loads((tmp_path / "config.json").read_text())
    del noted["training"]["anchor"]
    (tmp_path / "config.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match=r"training anchor is 1, but the run was started with 0"):
        run_teacher(tmp_path, resume=True, images=8, anchor=1)
    assert run_teacher(tmp_path, resume=True, images=8).step == 2
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"resume: .*config\.json cannot be read"):
        run_teacher(tmp_path, resume=True, images=12)


def test_a_resumed_student_is_the_same_to_the_bit(tmp_path: Path) -> None:
    straight = run_student(tmp_path / "a", images=16)
    old = tmp_path / "b"
    run_student(old, images=4)
    run_student(old, resume=True, images=8)
    # what is left was made before SN-GAN, and before kept channels were noted
    noted = json.loads((old / "config.json").read_text())
    state = load_training_state(old / "state.pt")
    assert noted.pop("kept")["channels"] and noted.pop("inputs")["teacher"]
    del state["sums"]
    for name in ("loss", "adam_beta2", "lr_decay", "d_steps", "sparsity", "gains_lr"):
        del noted["training"][name], state["config"][name]
    del noted["distillation"]["relation"]
    (old / "config.json").write_text(json.dumps(noted))
    save_training_state(state, old / "state.pt")
    lines = (old / "log.csv").read_text().splitlines()
    # its log had a column fewer
    assert lines[0].endswith(",sparsity")
    (old / "log.csv").write_text("".join(line.rpartition(",")[0] + "\r\n" for line in lines))
    resumed = run_student(old, resume=True, images=16)
    assert_same(straight.state_dict(), resumed.state_dict())
    rows = [(row["step"], row["sparsity"]) for row in log(old)]
    assert rows == [(str(n), "") for n in range(1, 5)]


def trained_state() -> dict:
    """The state after one adversarial step, as `state_dict` gives it."""
    steps = adversarial_steps(teacher())
    steps()
    return copy.deepcopy(steps.state.state_dict())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: s.pop("mean_path"), "KeyError: 'mean_path'"),
        (lambda s: s.update(kind="cagc-checkpoint"), "got kind cagc-checkpoint, expected cagc-tr"),
        (lambda s: s.update(generator_config="a\nb"), "got generator_config a b, expected {"),
        (lambda s: s.update(step="three"), "invalid literal"),
        (lambda s: s["generator"].popitem(), "RuntimeError: Error(s) in"),
        (lambda s: s.update(sums={"d": ["three"]}), "could not convert string to float"),
        (lambda s: s["generator"].update({"\x1b\n": torch.ones(1)}), "Unexpected key(s) in "),
        (lambda s: s.update(g_optimiser=None), "'NoneType' object"),
        (lambda s: s["d_optimiser"]["param_groups"].clear(), "ValueError: loaded state dict"),
    ],
)
def test_a_damaged_state_is_told_in_one_line(
    damage: Callable[[dict], object], words: str
) -> None:
    state, fresh = trained_state(), adversarial_steps(teacher()).state
    damage(state)
    with pytest.raises(ValueError, match=r"^training state: not of this run, or dam") as caught:
        fresh.load_state_dict(state)
    assert words in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_a_file_with_another_state_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    run_teacher(tmp_path, images=4)
    whole = load_training_state(tmp_path / "state.pt")
    files = [tmp_path / name for name in ("config.json", "log.csv")]
    before = [file.read_bytes() for file in files]
    half = (tmp_path / "state.pt").read_bytes()[:5_000]
    other = {**whole, "generator": whole["discriminator"]}
    for state in ([1, 2], {"kind": whole["kind"]}, other, half):
        torch.save(state, tmp_path / "state.pt")
        if state is half:
            (tmp_path / "state.pt").write_bytes(half)
        with pytest.raises(ValueError, match=r"^training state: |state\.pt") as caught:
            run_teacher(tmp_path, resume=True, images=8)
        assert "\n" not in str(caught.value)
        assert [file.read_bytes() for file in files] == before


def test_warm_start_learns_the_portraits(tmp_path: Path) -> None:
    state = run_teacher(
        tmp_path, images=0, warm_start=60, batch_size=16, log_every=10, sample_every=60,
        checkpoint_every=60, warm_start_lr=0.01, warm_start_perceptual=0.0,
    )
    losses = [float(row["l1"]) for row in log(tmp_path)]
    assert losses[-1] < 0.6 * losses[0]
    assert state.images == 0
    # the noise was left out, and the adversarial phase starts from the average
    assert all(conv.noise_strength == 0 for conv in state.generator.synthesis.convs)
    assert_same(dict(state.generator.named_parameters()), dict(state.average.named_parameters()))


def test_warm_start_has_a_batch_of_its_own(tmp_path: Path) -> None:
    state = run_teacher(tmp_path, images=8, warm_start=3, warm_start_batch=2)
    assert state.images == 8 and state.drawn == 3 * 2 + 8


def test_warm_start_can_leave_the_background_out(tmp_path: Path) -> None:
    z = torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    portraits = render_parameters(parameters_from_latents(z), 32)
    person = (portraits.parsing > 0)[:, None]
    disturbed = torch.where(person, portraits.images, -portraits.images)
    losses = []
    for weight in (0.0, 0.5, 1.0):
        steps = warm_steps(warm_start=1, warm_start_background=weight)
        # full resolution alone keeps the two regions apart
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cagc_lib.training.warm_start.WARM_START_SCALES", 1)
            losses.append(steps._regression(disturbed, Target.of(z, 32))["l1"].item())
    assert losses[0] == 0 < losses[1] < losses[2]


def warm_steps(**changes: object) -> Steps:
    torch.manual_seed(0)
    networks = Generator(FINE), Discriminator(matching_discriminator(FINE))
    state = TrainState(*networks, config(warm_start_batch=2, **changes))
    return Steps(state, image_source("portraits", 32))


def test_a_coarse_warm_start_leaves_the_fine_layers_alone() -> None:
    steps = warm_steps(warm_start=40, warm_start_coarse=36)
    before = copy.deepcopy(steps.state.generator.synthesis)
    changed = []
    for _ in range(37):
        steps()
        after = steps.state.generator.synthesis.convs
        pairs = zip(before.convs, after, strict=True)
        changed.append([not torch.equal(a.weight, b.weight) for a, b in pairs])
    # five convolutions up to 16x16, two more at 32x32
    assert changed[0] == changed[35] == [True] * 5 + [False] * 2
    assert changed[36] == [True] * 7


def test_a_warm_start_resumes_anywhere_to_the_bit() -> None:
    changes = {"warm_start": 40, "warm_start_coarse": 36}
    straight, first = warm_steps(**changes), warm_steps(**changes)
    for _ in range(40):
        straight()
    for _ in range(7):
        first()
    for cut in (30, 3):
        second = warm_steps(**changes)
        second.state.load_state_dict(copy.deepcopy(first.state.state_dict()))
        first = second
        for _ in range(cut):
            first()
    assert_same(straight.state.state_dict(), first.state.state_dict())


def test_the_anchor_fades(tmp_path: Path) -> None:
    run_teacher(tmp_path, images=16, style_mixing=0.0, anchor=1.0, anchor_images=8)
    assert [bool(row["l1"]) for row in log(tmp_path)] == [True, True, False, False]


def test_the_perceptual_loss_needs_its_network(tmp_path: Path) -> None:
    for changes in ({"warm_start": 1}, {"anchor": 1.0, "anchor_images": 8}):
        with pytest.raises(ValueError, match="features: got None, expected a network"):
            run_teacher(tmp_path, warm_start_perceptual=1.0, **changes)
    assert not list(tmp_path.iterdir())


def test_warm_start_takes_the_perceptual_loss(tmp_path: Path) -> None:
    features = FeatureNetwork({"a": [0.0, 1.0]}, (4, 4, 6, 6, 6)).eval().requires_grad_(False)
    settings = config(images=0, warm_start=2, warm_start_perceptual=0.5)
    train_teacher(settings, FINE, tmp_path, features=features, progress=False)
    assert all(float(row["perceptual"]) > 0 for row in log(tmp_path))


def test_distillation_pulls_the_student_to_its_teacher(tmp_path: Path) -> None:
    settings = DistillationConfig(perceptual=0, adversarial=0, noise="shared")
    g, disturbed = teacher(), Generator(TEACHER)
    disturbed.load_state_dict(
        {name: t + 0.3 * torch.randn_like(t) if t.ndim == 4 else t
         for name, t in g.state_dict().items()}
    )
    train_student(
        config(images=16 * 60, batch_size=16, g_lr=0.01, log_every=10, r1_interval=0,
               path_interval=0, sample_every=100, checkpoint_every=100),
        settings, disturbed, g, tmp_path, progress=False,
    )
    losses = [float(row["l1"]) for row in log(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("noise", "equal"), [("shared", True), ("independent", False)])
def test_teacher_and_student_see_the_same_latents(noise: str, equal: bool) -> None:
    # a student that is its teacher: with the same z, mixing layer and noise it has nothing to learn
    g, settings = teacher(), DistillationConfig(perceptual=0, rgb=1.0, noise=noise)
    losses = adversarial_steps(g, Lesson(g, settings), style_mixing=1.0)()
    # memory layouts differ, so equal means up to rounding
    assert (losses["l1"] < 1e-5) == (losses["rgb"] < 1e-5) == equal


def test_masks_come_from_the_teachers_image() -> None:
    seen = []

    def content(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.zeros_like(images[:, :1], dtype=torch.bool)

    lesson = Lesson(teacher(), PIXELS, content)
    losses = adversarial_steps(student(), lesson, autocast="bfloat16")()
    assert losses["l1"] == losses["rgb"] == 0
    assert seen[0].dtype == torch.float32
    assert seen[0].shape == (4, 3, 16, 16)


def test_fresh_students_start_from_new_weights(tmp_path: Path) -> None:
    source = student()
    settings = DistillationConfig(perceptual=0, init="fresh")
    # a rate of nothing shows the weights it starts from
    state = train_student(
        config(images=4, g_lr=0.0), settings, source, teacher(), tmp_path, progress=False
    )
    assert not torch.equal(state.generator.mapping.fc0.weight, source.mapping.fc0.weight)
    assert state.generator.lineage is not None
    inherited = TrainState(source, state.discriminator, config()).generator
    assert torch.equal(inherited.mapping.fc0.weight, source.mapping.fc0.weight)


def adversarial_steps(g: Generator, lesson: Lesson | None = None, **changes: object) -> Steps:
    state = TrainState(g, new_discriminator(), config(**changes))
    return Steps(state, image_source("portraits", 16, pool=8), lesson)


def test_the_discriminator_may_have_a_head_start() -> None:
    steps = adversarial_steps(teacher(), d_head_start=2)
    networks = [steps.state.generator.synthesis, steps.state.discriminator]
    changed = []
    for _ in range(3):
        before = [next(network.parameters()).clone() for network in networks]
        steps()
        after = [next(network.parameters()) for network in networks]
        changed.append([not torch.equal(a, b) for a, b in zip(before, after, strict=True)])
    assert changed == [[False, True], [False, True], [True, True]]


@pytest.mark.parametrize(
    ("changes", "least", "first"),
    [
        ({}, 1, 1), ({"d_steps": 3}, 9, 3), ({"d_head_start": 2}, 9, 3),
        ({"d_head_start": 2, "d_steps": 2}, 13, 4), ({"d_head_start": 1, "d_steps": 2}, 5, 2),
    ],
)
def test_a_run_trains_the_generator_or_is_refused(
    tmp_path: Path, changes: dict, least: int, first: int
) -> None:
    words = f"images: got {least - 1}, expected at least {least}: the generator first learns in "
    with pytest.raises(ValueError, match=rf"^{words}adversarial step {first}, of 4 images$"):
        config(images=least - 1, **changes)
    run_teacher(tmp_path, images=least, **changes)
    trained = [bool(row["g"]) for row in log(tmp_path)]
    assert trained == [False] * (first - 1) + [True]


def test_a_warm_start_alone_trains_the_generator(tmp_path: Path) -> None:
    assert config(images=0, warm_start=1, d_steps=5).steps == 1
    with pytest.raises(ValueError, match=r"^images: got 4, expected 0 or at least 17: "):
        config(images=4, warm_start=1, d_steps=5)
    with pytest.raises(ValueError, match=r"^images: got 0, expected at least 1: "):
        run_student(tmp_path / "run", images=0)
    assert not list(tmp_path.iterdir())


# the tracer itself reads .grad of what it meets and makes an autograd.Function object
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_steps_are_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the graphs are captured whole and run as they are: inductor itself would take minutes
    whole = functools.partial(torch.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(train_steps.torch, "compile", whole)
    run_teacher(tmp_path / "a", images=4, compile=True)
    monkeypatch.undo()
    run_teacher(tmp_path / "b", images=4)
    # equal up to rounding only: compiled graphs take the filter in another form, and the first
    # step of Adam turns a weight's gradient into its sign, so losses are compared, not weights
    rows = [log(tmp_path / run)[-1] for run in "ab"]
    for loss in ("d", "g", "r1", "path"):
        assert float(rows[0][loss]) == pytest.approx(float(rows[1][loss]), rel=1e-4), loss


def test_bfloat16_stays_close_to_float32(tmp_path: Path) -> None:
    rows = []
    for autocast in ("off", "bfloat16"):
        run_student(tmp_path / autocast, images=4, autocast=autocast)
        rows += log(tmp_path / autocast)
    for name in ("d", "g", "l1", "rgb"):
        assert float(rows[1][name]) == pytest.approx(float(rows[0][name]), rel=0.02), name
    # R1 is computed in float32; only D's one step before it was not
    assert float(rows[1]["r1"]) == pytest.approx(float(rows[0]["r1"]), rel=0.05)


def test_multiscale_l1_by_hand() -> None:
    a = torch.zeros(1, 1, 8, 8)
    b = a.clone()
    b[..., 0, 0] = 64.0
    everywhere = torch.ones(1, 1, 8, 8)
    assert multiscale_l1(a, b, everywhere).item() == pytest.approx(1.0)
    elsewhere = everywhere.clone()
    elsewhere[..., 4:, :] = 0.0
    # half the pixels count, the wrong one among them: twice the mean, but at 1/8 one pixel is all
    assert multiscale_l1(a, b, elsewhere).item() == pytest.approx(1.75)
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    # coarser than the pixel the squares cancel
    assert multiscale_l1(a, checks, everywhere).item() == pytest.approx(0.25)


def test_w_avg_is_the_mean_of_the_averages_mapping(tmp_path: Path) -> None:
    average = run_teacher(tmp_path, images=4).average
    w = average.mapping(torch.randn(20_000, 128, generator=torch.Generator().manual_seed(9)))
    spread = w.std(0) / 100
    assert ((average.w_avg - w.mean(0)).abs() < 6 * spread).all()


def test_config_round_trip() -> None:
    noted = config(warm_start=3, data="photos", flip=True)
    assert TrainConfig.from_dict(json.loads(json.dumps(noted.to_dict()))) == noted
    assert TrainConfig(images=33, batch_size=16, warm_start=5).steps == 8


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"images": -1}, ("images", "-1", "integer >= 0")),
        ({"images": 1.5}, ("images", "1.5", "integer")),
        ({"batch_size": 0}, ("batch_size", "0", ">= 1")), ({"g_lr": float("nan")}, ("g_lr", "nan")),
        ({"r1_gamma": True}, ("r1_gamma", "True")), ({"flip": 1}, ("flip", "1", "True or False")),
        ({"data": 3}, ("data", "3", "a text")),
        ({"autocast": "float16"}, ("autocast", "float16", "bfloat16")),
        ({"style_mixing": 1.5}, ("style_mixing", "1.5", "0 to 1")),
        ({"epochs": 3}, ("epochs", "images")),
        ({"warm_start": 2, "warm_start_coarse": 3}, ("warm_start_coarse: got 3", "warm_start, 2")),
    ],
)
def test_config_refuses(values: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        TrainConfig.from_dict(values)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_networks_that_do_not_fit_together(tmp_path: Path) -> None:
    other = Generator(GeneratorConfig(8, (4,) * 4, z_dim=128))
    with pytest.raises(ValueError, match="teacher: got resolution 8"):
        train_student(config(), PIXELS, student(), other, tmp_path, progress=False)
    for changes, words in (
        ({"warm_start": 1}, "warm_start: got 1, expected 0 for a student"),
        ({"anchor": 1.0}, r"anchor: got 1\.0, expected 0 for a student"),
        ({"batch_size": 6}, "batch_size: got 6, expected a multiple of 4"),
    ):
        with pytest.raises(ValueError, match=words):
            train_student(config(**changes), PIXELS, student(), teacher(), tmp_path)
    d = Discriminator(matching_discriminator(other.config))
    with pytest.raises(ValueError, match="discriminator: got resolution 8, expected 16"):
        train_student(config(), PIXELS, student(), teacher(), tmp_path, d)
    with pytest.raises(ValueError, match="content: got <class 'str'>, expected a source"):
        train_student(config(), PIXELS, student(), teacher(), tmp_path, content="everything")
    assert list(tmp_path.iterdir()) == []
