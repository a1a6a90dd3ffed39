"""The training loop, one for teacher and student, in a run folder.

A first SIGINT or SIGTERM finishes the step, writes a checkpoint and stops; whatever comes harder
leaves the last checkpoint. `run_folder` says what a run leaves on disk. Chapter 8.
"""

import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..content import ContentSource, check_source, following
from ..datasets import image_source, mixed_seed
from ..distillation import DistillationConfig
from ..networks import (
    ImageFeatures, PrunableGenerator, Shapes, build, check, check_pair, matching_discriminator,
)
from .config import TrainConfig, check_zero
from .run_folder import RunFolder, held
from .state import TrainState, placed
from .steps import Lesson, Steps


def train_teacher(
    config: TrainConfig, generator: Shapes, out: str | Path, discriminator: Any = None,
    features: ImageFeatures | None = None, resume: bool = False, device: torch.device | str = "cpu",
    progress: bool = True, allow: Collection[str] = (),
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
        allow: what may be another than the resumed run's, out of `run_folder.INPUTS`.

    Returns:
        The final state; `state.average` is the network to use.

    Raises:
        ValueError: settings that do not fit, a folder that holds a run already or that another
            process works in, other inputs than the resumed run's, a loss that is no longer finite.
        OSError: a file cannot be written; says whether there is a checkpoint to resume from.
    """
    if config.looks_at_features and features is None:
        raise ValueError("features: got None, expected a network for warm_start_perceptual")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, 4))
        g = build(generator)
        d = build(discriminator or matching_discriminator(generator))
    state = TrainState(g, d, config, device)
    return _train(state, None, features, Path(out), resume, progress, allow)


def train_student(
    config: TrainConfig, distillation: DistillationConfig, student: PrunableGenerator,
    teacher: PrunableGenerator, out: str | Path, discriminator: nn.Module | None = None,
    content: ContentSource | None = None, features: ImageFeatures | None = None,
    resume: bool = False, device: torch.device | str = "cpu", progress: bool = True,
    allow: Collection[str] = (),
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
        features: needed where `distillation.looks_at_features`.
        resume, device, progress, allow: as for `train_teacher`.

    Returns:
        The final state; `state.average` is the network to use.

    Raises:
        ValueError, OSError: as `train_teacher`, or networks that do not fit together.
    """
    if content is not None:
        check_source(content)
    sizes = ["resolution", "z_dim", *(["w_dim"] if distillation.relation else [])]
    check_pair(teacher.config, student.config, "teacher", *sizes)
    check_lessons(config, distillation, student.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, 4))
        if distillation.init == "fresh":
            student = type(student)(student.config, lineage=student.lineage)
        if discriminator is None:
            discriminator = build(matching_discriminator(teacher.config))
    state = TrainState(student, discriminator, config, device)
    # a copy of its own: the caller's teacher stays where and as it is
    teacher = placed(teacher, state.device).eval().requires_grad_(False)
    lesson = Lesson(teacher, distillation, following(content, teacher), features)
    return _train(state, lesson, None, Path(out), resume, progress, allow)


def _train(
    state: TrainState, lesson: Lesson | None, features: ImageFeatures | None, out: Path,
    resume: bool, progress: bool, allow: Collection[str],
) -> TrainState:
    config, resolution = state.config, state.generator.config.resolution
    source = image_source(
        config.data, resolution, config.first_seed, config.pool, config.flip, config.seed
    )
    steps = Steps(state, source, lesson, features)
    with held(out):
        folder = RunFolder(out, state, lesson, features, resume, allow)
        bar = tqdm(total=config.steps, initial=state.step, disable=not progress, unit="step")
        stop = state.step >= config.steps
        with bar, folder.outlived(), _deferred_signals() as received:
            while not stop:
                start = time.perf_counter()
                losses = steps()
                folder.note(losses, time.perf_counter() - start)
                bar.update()
                stop = state.step == config.steps
                if state.step % config.log_every == 0 or stop:
                    bar.set_postfix(folder.log(), refresh=False)
                # a signal after this line waits for the next step, which then leaves a checkpoint
                stop = stop or bool(received)
                if state.step % config.sample_every == 0 or stop:
                    folder.sample()
                if state.step % config.checkpoint_every == 0 or stop:
                    folder.checkpoint()
    if received:
        raise KeyboardInterrupt(f"stopped at step {state.step}, checkpoint in {out}")
    return state


def check_lessons(config: TrainConfig, distillation: DistillationConfig, student: Shapes) -> None:
    """Refuse, with a ValueError, what a student of these shapes does not learn from."""
    check_zero(config, ("warm_start", "anchor"), "a student")
    if student.num_ws == 1:
        # one w makes the whole image at once: there are no sums of RGB on the way to it; and it is
        # z, in which no direction stands out
        check_zero(distillation, ("rgb", "relation"), "an SN-GAN")
    if distillation.relation:
        # of a smaller batch's half, an image would be compared to one other image or none
        check(config.batch_size > 2, "batch_size", config.batch_size, "at least 3 with relation")
    config.check_use(student)


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of the first; a second one acts at once."""
    received: list[int] = []
    # only the main thread can take signals
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    old = {number: signal.getsignal(number) for number in numbers}

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
