"""What a training run leaves on disk, and how it is taken up again.

    config.json               what was asked for, and hashes of what it was done with
    log.csv                   step, images, seconds, images/s, mean losses since the last row
    samples-00001000.png      fixed latents; for a student under its teacher's images
    checkpoint.safetensors    the averaged generator and the discriminator, for `load_checkpoint`
    state.pt                  everything needed to continue bit for bit

Every file but the log is replaced whole or not at all. One process at a time works in the folder;
meanwhile the file .owner names it. Chapter 8.
"""

import csv
import hashlib
import inspect
import io
import json
import math
import os
import platform
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ..checkpoints import (
    atomic_write, load_training_state, reason_of, remove_temporaries, save_checkpoint,
    save_training_state, writing,
)
from ..datasets import image_sizes, mixed_seed, save_sheet
from ..distillation import DistillationConfig
from ..networks import ImageFeatures
from .config import TrainConfig
from .state import TrainState
from .steps import Lesson, Losses

LOSS_COLUMNS = ("d", "g", "l1", "perceptual", "rgb", "relation", "r1", "path", "sparsity")
COLUMNS = ("step", "images", "seconds", "images_per_second", *LOSS_COLUMNS)
# these may differ between a run and its resumption without changing what was computed so far;
# `images` only where no rate decays toward the run's end
CHANGEABLE = ("images", "log_every", "sample_every", "checkpoint_every", "compile")
# what a run depends on beside its settings; another is refused unless its name is allowed
INPUTS = ("teacher", "content", "features", "data")
SHEET = 64
# what a run writes, those of `compress` included
_FILES = (
    ".owner", "config.json", "log.csv", "samples-*.png", "checkpoint.safetensors", "state.pt",
    "compress.json", "pruned.safetensors",
)


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, which is made if absent.

    What a process that was killed left there, its lock and half-written files, is removed.

    Raises:
        ValueError: another process, which the error names, is there; not a folder to write to.
    """
    file, owner = (out.resolve() / name for name in (".lock", ".owner"))
    lock = FileLock(file)
    try:
        out.mkdir(parents=True, exist_ok=True)
        # the system frees it when its process ends, in whatever way
        lock.acquire(timeout=0)
    except Timeout:
        used = f"{out} is in use by {owner.read_text()}, expected a folder of one's own"
        raise ValueError(f"out: {used}; wait for that process, or end it") from None
    except OSError as error:
        raise ValueError(f"out: {out} is not a folder to write to ({reason_of(error)})") from None
    try:
        for name in _FILES:
            remove_temporaries(out / name)
        atomic_write(owner, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        # the folder may be gone by now, or read-only
        with suppress(OSError):
            owner.unlink()
            file.unlink()
        lock.release()


def fingerprint(value: Any, above: tuple[int, ...] = ()) -> str:
    """Hash what a network, a content source or any other value is made of: 16 hexadecimal digits.

    A network counts with its state, a function with its name, what it closes over and, unless it is
    the library's own, its code and the networks and numbers it names; what an object calls _private
    or device does not count. `above` are the ids of what the value is part of.
    """
    says, parts = type(value).__qualname__.encode(), []
    if isinstance(value, torch.Tensor):
        says += value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        parts = [str(value.dtype), *value.shape]
    elif isinstance(value, str | bytes | int | float | None):
        says += repr(value).encode()
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, set | frozenset):
        parts = sorted(value, key=repr)
    elif isinstance(value, dict):
        parts = [(k, v) for k, v in value.items() if str(k)[:1] != "_" and k != "device"]
    elif isinstance(value, torch.nn.Module):
        parts = [*value.state_dict().items(), vars(value)]
    elif inspect.isfunction(value):
        named, code = inspect.getclosurevars(value), value.__code__
        parts = [value.__qualname__, value.__defaults__, named.nonlocals]
        # the library's own code may change from version to version
        if not str(value.__module__).startswith("cagc_lib."):
            kinds = torch.nn.Module | torch.Tensor | int | float
            seen = {name: v for name, v in named.globals.items() if isinstance(v, kinds)}
            parts += [code.co_code, code.co_names, code.co_consts, seen]
    else:
        # what copies are made from; what cannot be copied, such as a lock, tells nothing apart
        with suppress(TypeError):
            parts = value.__reduce_ex__(4)[1:]
    digest = hashlib.sha256(says)
    for part in parts:
        inner = "a circle" if id(part) in above else fingerprint(part, (*above, id(value)))
        digest.update(inner.encode())
    return digest.hexdigest()[:16]


class RunFolder:
    """What a run leaves on disk.

    Args:
        out: the folder, which must be `held`.
        state: the run's state; loaded from the folder where there is one and `resume` is set.
        lesson: what a student learns from; the teacher's images are on the sample sheets.
        features: what the perceptual distance to portraits is measured with.
        resume: continue what is there; otherwise a folder with a run is an error.
        allow: names out of INPUTS that may be others than the run was started with.
    """

    def __init__(
        self, out: Path, state: TrainState, lesson: Lesson | None, features: ImageFeatures | None,
        resume: bool, allow: Collection[str],
    ) -> None:
        self.out, self.state, self.lesson = out, state, lesson
        self._seconds = 0.0
        saved, described, rows = out / "state.pt", _described(state, lesson, features), []
        if saved.exists() and not resume:
            raise ValueError(f"out: {out} holds a run already; resume it or choose another folder")
        if saved.exists():
            check_resumed(out / "config.json", described, allow)
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
                where = f"at step {self.state.step}; the last checkpoint is in {self.out}"
                raise ValueError(f"loss {name} became {number} {where}")
            self.state.sums.setdefault(name, []).append(number)

    def log(self) -> dict[str, str]:
        """Append one row to log.csv; return its numbers for the progress bar."""
        state = self.state
        rate = (state.drawn - self._since) / max(self._seconds, 1e-9)
        means = {name: sum(values) / len(values) for name, values in state.sums.items()}
        row = {"step": state.step, "images": state.images, "seconds": f"{state.seconds:.1f}"}
        row |= {"images_per_second": f"{rate:.2f}"}
        row |= {name: f"{value:.6g}" for name, value in means.items()}
        path = self.out / "log.csv"
        with writing(path), path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        state.sums, self._seconds, self._since = {}, 0.0, state.drawn
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

    @contextmanager
    def outlived(self) -> Iterator[None]:
        """Add to an OSError inside the block what is left of the run, and how to go on."""
        try:
            yield
        except OSError as error:
            whole = "the last checkpoint is whole: put this right, then resume"
            left = (self.out / "state.pt").exists()
            raise OSError(f"{error}; {whole if left else 'no checkpoint is left'}") from error


def _described(
    state: TrainState, lesson: Lesson | None, features: ImageFeatures | None
) -> dict[str, Any]:
    """What config.json holds: part -> setting -> value."""
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    config, inputs = state.config, {}
    record = {"training": config.to_dict(), "inputs": inputs}
    if config.data != "portraits":
        found = image_sizes(Path(config.data))
        inputs["data"] = f"{len(found)} pictures, SHA-256 {fingerprint(found)}"
    if config.looks_at_features:
        inputs["features"] = fingerprint(features)
    record |= {name: network.config.to_dict() for name, network in networks.items()}
    if lesson is not None:
        record |= {"distillation": lesson.config.to_dict(), "kept": {}}
        if state.generator.lineage is not None:
            # students of equal widths may hold other channels of the teacher
            indices = json.dumps([keep.tolist() for keep in state.generator.lineage.keep])
            record["kept"]["channels"] = hashlib.sha256(indices.encode()).hexdigest()[:16]
        inputs["teacher"] = fingerprint(lesson.teacher)
        inputs["content"] = fingerprint(lesson.content if lesson.config.mask_content else None)
        inputs["features"] = fingerprint(
            lesson.features if lesson.config.looks_at_features else None
        )
    return record


def _read_log(path: Path, last: int) -> list[dict[str, str]]:
    """Read log.csv's rows up to a step; an older run's may have fewer columns."""
    try:
        # the last row has no end where the disk was full; it is later than the checkpoint
        whole = path.read_bytes().rpartition(b"\n")[0].decode()
        rows = list(csv.DictReader(io.StringIO(whole, newline="")))
        for line, row in enumerate(rows, start=2):
            if not set(row) <= set(COLUMNS) or not (row.get("step") or "").isdecimal():
                cells = ",".join(str(cell) for cell in row.values())
                raise ValueError(f"line {line}: got {cells[:60]!r}, expected a row")
    except (OSError, ValueError) as error:
        raise ValueError(f"resume: {path} cannot be read ({error})") from None
    return [row for row in rows if int(row["step"]) <= last]


def check_resumed(path: Path, now: dict[str, Any], allow: Collection[str] = ()) -> None:
    """Refuse to resume a run under other settings than it was started with.

    Args:
        path: the JSON file of those.
        now: setting -> value or, for a training, part -> setting -> value.
        allow: names out of INPUTS that may be others.
    """
    if not isinstance(allow, Collection) or not {*allow} <= {*INPUTS}:
        raise ValueError(f"allow: got {allow!r}, expected some of {', '.join(INPUTS)}")
    try:
        noted = dict(json.loads(path.read_text(encoding="utf-8")))
        if "training" in now:
            # a setting that did not exist then had its default; what was not noted is trusted
            noted["training"] = TrainConfig.from_dict(noted["training"]).to_dict()
            if "distillation" in noted:
                known = DistillationConfig.from_dict(noted["distillation"])
                noted["distillation"] = known.to_dict()
            noted = {part: now.get(part) for part in ("kept", "inputs")} | noted
        else:
            noted = {"content_sha256": now.get("content_sha256")} | noted
            noted, now = {"": noted}, {"": now}
        if wrong := [part for part, values in noted.items() if not isinstance(values or {}, dict)]:
            raise ValueError(f"{wrong[0]}: got no table of settings")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"resume: {path} cannot be read ({reason_of(error)})") from None
    decays = noted.get("training", {}).get("lr_decay", "none") != "none"
    for part in sorted(noted.keys() | now.keys()):
        then, wanted = noted.get(part) or {}, now.get(part) or {}
        for key in sorted(then.keys() | wanted.keys()):
            name, reason = key.removesuffix("_sha256"), ""
            if then.get(key) == wanted.get(key) or name in allow:
                continue
            if name in INPUTS:
                reason = f"; where that is meant, allow it: --allow {name}, allow=({name!r},)"
            elif decays and key == "images":
                reason = ", which its lr_decay counted on"
            elif key in CHANGEABLE:
                continue
            now_is = f"{f'{part} {key}'.strip()} is {wanted.get(key)!r}"
            was = f"the run was started with {then.get(key)!r}"
            raise ValueError(f"resume: {now_is}, but {was}{reason}")
