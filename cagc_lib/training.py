"""The training loop, one for teacher and student, in a run folder.

    config.json               what was asked for
    log.csv                   step, images, seconds, images/s, mean losses since the last row
    samples-00001000.png      fixed latents; for a student under its teacher's images
    checkpoint.safetensors    the averaged generator and the discriminator, for `load_checkpoint`
    state.pt                  everything needed to continue bit for bit

Every file is replaced whole or not at all. A first SIGINT or SIGTERM finishes the step, writes a
checkpoint and stops; whatever comes harder leaves the last checkpoint. Chapter 8.
"""

import csv
import hashlib
import io
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from .artefacts import atomic_write
from .checkpoints import load_training_state, save_checkpoint, save_training_state
from .content import ContentSource, check_source, following
from .distillation import DistillationConfig
from .images import image_source, mixed_seed, save_sheet
from .networks import build, kind_of, matching_discriminator
from .protocol import ImageFeatures, Lineage, PrunableGenerator, Shapes
from .train_state import TrainConfig, TrainState
from .train_steps import Lesson, Losses, Steps

LOSS_COLUMNS = ("d", "g", "l1", "perceptual", "rgb", "r1", "path", "sparsity")
COLUMNS = ("step", "images", "seconds", "images_per_second", *LOSS_COLUMNS)
# these may differ between a run and its resumption without changing what was computed so far;
# `images` only where no rate decays toward the run's end
CHANGEABLE = ("images", "log_every", "sample_every", "checkpoint_every", "compile")
SHEET = 64


def train_teacher(
    config: TrainConfig,
    generator: Shapes,
    out: str | Path,
    discriminator: Any = None,
    features: ImageFeatures | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> TrainState:
    """Train a generator and its discriminator from new weights.

    Args:
        config: how to train.
        generator: the generator's shapes, which say what kind of network it is.
        out: the run folder; made if absent.
        discriminator: its config, of the same kind; None is `networks.matching_discriminator`'s.
        features: needed where `config.looks_at_features`.
        resume: continue from the folder's last checkpoint, or start if there is none.
        device: where to train.
        progress: show a progress bar.

    Returns:
        The final state; `state.average` is the network to use.

    Raises:
        ValueError: settings that do not fit, a folder that holds a run already, a loss that is no
            longer finite.
    """
    if config.looks_at_features and features is None:
        raise ValueError("features: got None, expected a network for warm_start_perceptual")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, 4))
        g = build(generator)
        d = build(discriminator or matching_discriminator(generator))
    state = TrainState(g, d, config, device)
    described = {"generator": generator.to_dict(), "discriminator": d.config.to_dict()}
    return _train(state, None, features, Path(out), described, resume, progress)


def train_student(
    config: TrainConfig,
    distillation: DistillationConfig,
    student: PrunableGenerator,
    teacher: PrunableGenerator,
    out: str | Path,
    discriminator: nn.Module | None = None,
    content: ContentSource | None = None,
    features: ImageFeatures | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> TrainState:
    """Train a pruned generator against its teacher.

    Args:
        config: how to train; without warm start and anchor, which are for teachers.
        distillation: the losses, and whether `student`'s weights are kept or drawn anew.
        student: the pruned generator; not changed.
        teacher: the full-size generator; not changed.
        out: the run folder; made if absent.
        discriminator: the teacher's; a copy is trained. None starts a new one.
        content: images -> content mask; None compares everywhere.
        features: needed where `distillation.perceptual` is not 0.
        resume, device, progress: as for `train_teacher`.

    Returns:
        The final state; `state.average` is the network to use.

    Raises:
        ValueError: as `train_teacher`, or networks that do not fit together.
    """
    if content is not None:
        check_source(content)
    _check_pair(student.config, teacher.config)
    check_lessons(config, distillation, student.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, 4))
        if distillation.init == "fresh":
            student = type(student)(student.config, lineage=student.lineage)
        if discriminator is None:
            discriminator = build(matching_discriminator(teacher.config))
    state = TrainState(student, discriminator, config, device)
    # a copy of its own: the caller's teacher stays where and as it is
    teacher = TrainState(teacher, discriminator, config, device).average
    lesson = Lesson(teacher, distillation, following(content, teacher), features)
    described = {
        "generator": student.config.to_dict(),
        "discriminator": discriminator.config.to_dict(),
        "distillation": distillation.to_dict(),
        "kept": _kept(student.lineage),
    }
    return _train(state, lesson, features, Path(out), described, resume, progress)


def _train(
    state: TrainState, lesson: Lesson | None, features: ImageFeatures | None, out: Path,
    described: dict[str, Any], resume: bool, progress: bool,
) -> TrainState:
    config = state.config
    resolution = state.generator.config.resolution
    source = image_source(
        config.data, resolution, config.first_seed, config.pool, config.flip, config.seed
    )
    folder = RunFolder(out, {"training": config.to_dict(), **described}, state, lesson, resume)
    steps = Steps(state, source, lesson, features)
    bar = tqdm(total=config.steps, initial=state.step, disable=not progress, unit="step")
    with bar, _deferred_signals() as received:
        while state.step < config.steps and not received:
            start = time.perf_counter()
            losses = steps()
            folder.note(losses, time.perf_counter() - start)
            bar.update()
            if state.step % config.log_every == 0 or state.step == config.steps:
                bar.set_postfix(folder.log(), refresh=False)
            last = state.step == config.steps or received
            if state.step % config.sample_every == 0 or last:
                folder.sample()
            if state.step % config.checkpoint_every == 0 or last:
                folder.checkpoint()
    if received:
        raise KeyboardInterrupt(f"stopped at step {state.step}, checkpoint in {out}")
    return state


class RunFolder:
    """What a run leaves on disk.

    Args:
        out: the folder.
        described: written to config.json.
        state: the run's state; loaded from the folder where there is one and `resume` is set.
        lesson: gives the teacher for the sample sheets.
        resume: continue what is there; otherwise a folder with a run is an error.
    """

    def __init__(
        self, out: Path, described: dict[str, Any], state: TrainState, lesson: Lesson | None,
        resume: bool,
    ) -> None:
        self.out, self.state, self.lesson = out, state, lesson
        self._sums: dict[str, list[float]] = {}
        self._seconds = 0.0
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"out: {out} is not a folder to write to ({error})") from error
        saved = out / "state.pt"
        rows: list[dict[str, str]] = []
        if saved.exists() and not resume:
            raise ValueError(f"out: {out} holds a run already; resume it or choose another folder")
        if saved.exists():
            # runs from before channels were noted are taken on trust
            noted = {"kept": described.get("kept")} | _read_config(out / "config.json")
            _check_same(noted, described)
            state.load_state_dict(load_training_state(saved))
            rows = [row for row in _read_log(out / "log.csv") if int(row["step"]) <= state.step]
        self._since = state.drawn
        atomic_write(out / "config.json", (json.dumps(described, indent=2) + "\n").encode())
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(out / "log.csv", text.getvalue().encode())
        draw = torch.Generator().manual_seed(mixed_seed(state.config.seed, 5))
        z = torch.randn(SHEET, state.generator.config.z_dim, generator=draw)
        self._z = z.to(state.device)

    def note(self, losses: Losses, seconds: float) -> None:
        """Take in one step's losses; a loss that is not finite is a ValueError."""
        self.state.seconds += seconds
        self._seconds += seconds
        for name, value in losses.items():
            number = float(value)
            if not math.isfinite(number):
                raise ValueError(
                    f"loss {name} became {number} at step {self.state.step}; "
                    f"the last checkpoint is in {self.out}"
                )
            self._sums.setdefault(name, []).append(number)

    def log(self) -> dict[str, str]:
        """Append one row to log.csv; return its numbers for the progress bar."""
        state = self.state
        rate = (state.drawn - self._since) / max(self._seconds, 1e-9)
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        row = {
            "step": state.step,
            "images": state.images,
            "seconds": f"{state.seconds:.1f}",
            "images_per_second": f"{rate:.2f}",
            **{name: f"{value:.6g}" for name, value in means.items()},
        }
        with (self.out / "log.csv").open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        self._sums, self._seconds, self._since = {}, 0.0, state.drawn
        return {"img/s": f"{rate:.1f}", **{name: f"{value:.3f}" for name, value in means.items()}}

    @torch.no_grad()
    def sample(self) -> None:
        """Write a sheet of 64 images; for a student 32 under those of its teacher."""
        self.state.update_means()
        networks = [self.state.average]
        if self.lesson is not None:
            networks.insert(0, self.lesson.teacher)
        z = self._z[: SHEET // len(networks)]
        # rows of eight: teacher, student, teacher, ...
        rows = [network(part) for part in z.split(8) for network in networks]
        save_sheet(torch.cat(rows), self.out / f"samples-{self.state.step:08d}.png")

    def checkpoint(self) -> None:
        """Write the networks and the state."""
        state = self.state
        state.update_means()
        save_checkpoint(state.average, state.discriminator, self.out / "checkpoint.safetensors")
        save_training_state(state.state_dict(), self.out / "state.pt")


def _check_pair(student: Shapes, teacher: Shapes) -> None:
    """Refuse a teacher whose pictures the student could not paint."""
    got, expected = kind_of(teacher), kind_of(student)
    if got != expected:
        raise ValueError(f"teacher: got a {got} network, expected the student's kind, {expected}")
    for name in ("resolution", "z_dim"):
        got, expected = getattr(teacher, name), getattr(student, name)
        if got != expected:
            raise ValueError(f"teacher: got {name} {got}, expected the student's {expected}")


def check_lessons(config: TrainConfig, distillation: DistillationConfig, student: Shapes) -> None:
    """Refuse, with a ValueError, what a student of these shapes does not learn from."""
    for name in ("warm_start", "anchor"):
        if getattr(config, name):
            got = getattr(config, name)
            raise ValueError(f"{name}: got {got}, expected 0 for a student")
    # one w makes the whole image at once: there are no sums of RGB on the way to it
    if distillation.rgb and student.num_ws == 1:
        raise ValueError(f"rgb: got {distillation.rgb}, expected 0 for an SN-GAN")
    config.check_use(student)


def _kept(lineage: Lineage | None) -> dict[str, str]:
    """A hash of the teacher's channels that a student holds; of equal widths they may be others."""
    if lineage is None:
        return {}
    indices = json.dumps([keep.tolist() for keep in lineage.keep])
    return {"channels": hashlib.sha256(indices.encode()).hexdigest()[:16]}


def _read_log(path: Path) -> list[dict[str, str]]:
    """Read log.csv; an older run's may have fewer columns."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise ValueError(f"resume: {path} cannot be read ({error})") from None
    for line, row in enumerate(rows, start=2):
        if not set(row) <= set(COLUMNS) or not (row.get("step") or "").isdecimal():
            cells = ",".join(str(cell) for cell in row.values())
            raise ValueError(f"resume: {path}, line {line}: got {cells[:60]!r}, expected a row")
    return rows


def _read_config(path: Path) -> dict[str, Any]:
    """Read config.json; a setting that did not exist then had its default."""
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        training = TrainConfig.from_dict(described["training"]).to_dict()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"resume: {path} cannot be read ({error})") from None
    return {**described, "training": training}


def _check_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to resume a run under other settings than it was started with."""
    decays = old["training"]["lr_decay"] != "none"
    for part in sorted(old.keys() | new.keys()):
        before, now = old.get(part) or {}, new.get(part) or {}
        for key in sorted(before.keys() | now.keys()):
            told = ", which its lr_decay counted on" if decays and key == "images" else ""
            if before.get(key) != now.get(key) and (told or key not in CHANGEABLE):
                raise ValueError(
                    f"resume: {part} {key} is {now.get(key)!r}, but the run was started with "
                    f"{before.get(key)!r}{told}"
                )


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of the first; a second one acts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(number, old[number])

    for number in old:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
