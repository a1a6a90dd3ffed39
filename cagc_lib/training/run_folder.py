"""What a training run leaves on disk, and how it is taken up again.

    config.json               what was asked for
    log.csv                   step, images, seconds, images/s, mean losses since the last row
    samples-00001000.png      fixed latents; for a student under its teacher's images
    checkpoint.safetensors    the averaged generator and the discriminator, for `load_checkpoint`
    state.pt                  everything needed to continue bit for bit

Every file is replaced whole or not at all. Chapter 8.
"""

import csv
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import (
    atomic_write,
    load_training_state,
    reason_of,
    save_checkpoint,
    save_training_state,
)
from ..datasets import mixed_seed, save_sheet
from .config import TrainConfig
from .state import TrainState
from .steps import Lesson, Losses

LOSS_COLUMNS = ("d", "g", "l1", "perceptual", "rgb", "r1", "path", "sparsity")
COLUMNS = ("step", "images", "seconds", "images_per_second", *LOSS_COLUMNS)
# these may differ between a run and its resumption without changing what was computed so far;
# `images` only where no rate decays toward the run's end
CHANGEABLE = ("images", "log_every", "sample_every", "checkpoint_every", "compile")
SHEET = 64


class RunFolder:
    """What a run leaves on disk.

    Args:
        out: the folder.
        state: the run's state; loaded from the folder where there is one and `resume` is set.
        lesson: what a student learns from; the teacher's images are on the sample sheets.
        resume: continue what is there; otherwise a folder with a run is an error.
    """

    def __init__(self, out: Path, state: TrainState, lesson: Lesson | None, resume: bool) -> None:
        self.out, self.state, self.lesson = out, state, lesson
        self._sums: dict[str, list[float]] = {}
        self._seconds = 0.0
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"out: {out} is not a folder to write to ({error})") from error
        saved, described, rows = out / "state.pt", _described(state, lesson), []
        if saved.exists() and not resume:
            raise ValueError(f"out: {out} holds a run already; resume it or choose another folder")
        if saved.exists():
            check_resumed(out / "config.json", described)
            state.load_state_dict(load_training_state(saved))
            rows = _read_log(out / "log.csv", state.step)
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
        row = {"step": state.step, "images": state.images, "seconds": f"{state.seconds:.1f}"}
        row |= {"images_per_second": f"{rate:.2f}"}
        row |= {name: f"{value:.6g}" for name, value in means.items()}
        with (self.out / "log.csv").open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        self._sums, self._seconds, self._since = {}, 0.0, state.drawn
        return {"img/s": f"{rate:.1f}", **{name: f"{value:.3f}" for name, value in means.items()}}

    @torch.no_grad()
    def sample(self) -> None:
        """Write a sheet of 64 images; for a student 32 under those of its teacher."""
        self.state.update_means()
        teachers = [] if self.lesson is None else [self.lesson.teacher]
        networks = [*teachers, self.state.average]
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


def _described(state: TrainState, lesson: Lesson | None) -> dict[str, Any]:
    """What config.json holds: part -> setting -> value."""
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    told = {"training": state.config.to_dict()}
    told |= {name: network.config.to_dict() for name, network in networks.items()}
    if lesson is not None:
        told |= {"distillation": lesson.config.to_dict(), "kept": {}}
        if state.generator.lineage is not None:
            # students of equal widths may hold other channels of the teacher
            indices = json.dumps([keep.tolist() for keep in state.generator.lineage.keep])
            told["kept"]["channels"] = hashlib.sha256(indices.encode()).hexdigest()[:16]
    return told


def _read_log(path: Path, last: int) -> list[dict[str, str]]:
    """Read log.csv's rows up to a step; an older run's may have fewer columns."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for line, row in enumerate(rows, start=2):
            if not set(row) <= set(COLUMNS) or not (row.get("step") or "").isdecimal():
                cells = ",".join(str(cell) for cell in row.values())
                raise ValueError(f"line {line}: got {cells[:60]!r}, expected a row")
    except (OSError, ValueError) as error:
        raise ValueError(f"resume: {path} cannot be read ({error})") from None
    return [row for row in rows if int(row["step"]) <= last]


def check_resumed(record: Path, now: dict[str, Any]) -> None:
    """Refuse to resume a run under other settings than it was started with.

    Args:
        record: the JSON file of those.
        now: setting -> value or, for a training, part -> setting -> value.
    """
    try:
        told = dict(json.loads(record.read_text(encoding="utf-8")))
        if "training" in now:
            # a setting that did not exist then had its default; so are channels taken on trust
            told["training"] = TrainConfig.from_dict(told["training"]).to_dict()
            told.setdefault("kept", now.get("kept"))
        else:
            told, now = {"": told}, {"": now}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"resume: {record} cannot be read ({reason_of(error)})") from None
    decays = told.get("training", {}).get("lr_decay", "none") != "none"
    for part in sorted(told.keys() | now.keys()):
        then, wanted = told.get(part) or {}, now.get(part) or {}
        for key in sorted(then.keys() | wanted.keys()):
            reason = ", which its lr_decay counted on" if decays and key == "images" else ""
            if then.get(key) != wanted.get(key) and (reason or key not in CHANGEABLE):
                raise ValueError(
                    f"resume: {f'{part} {key}'.strip()} is {wanted.get(key)!r}, but the run was "
                    f"started with {then.get(key)!r}{reason}"
                )
