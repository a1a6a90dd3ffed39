"""How many images a second does the CPU train on?

Times rounds of 16 steps, so that R1 and path length come at their own pace, of the default 64 px
teacher and of its 70% student with all losses. The settings take turns, so that a busy machine
treats all alike. Parser and feature network have new weights: time does not depend on them.

    python benchmarks/training_cpu.py [--threads 2] [--rounds 3] [--batch 16] [--compile]
"""

from __future__ import annotations

import argparse
import time

import torch

from cagc_lib.content import Parser, ParserSource
from cagc_lib.discriminator import Discriminator
from cagc_lib.distillation import DistillationConfig
from cagc_lib.features import FeatureNetwork
from cagc_lib.generator import Generator, GeneratorConfig
from cagc_lib.images import RenderedPortraits
from cagc_lib.train_state import TrainConfig, TrainState, matching_discriminator
from cagc_lib.train_steps import Lesson, Steps

TEACHER = GeneratorConfig(64, (160,) * 6 + (80,) * 2 + (40,) * 2, 128, 128, 4)
STUDENT = GeneratorConfig(64, (48,) * 6 + (24,) * 2 + (12,) * 2, 128, 128, 4)
STEPS = 16


def settings(batch: int, compiled: bool) -> dict[str, Steps]:
    """Build one runner a line of the table."""
    teacher = Generator(TEACHER).requires_grad_(False)
    features = FeatureNetwork({"a": [0.0, 1.0]}).eval().requires_grad_(False)
    lesson = Lesson(teacher, DistillationConfig(), ParserSource(Parser()), features)
    source = RenderedPortraits(64, pool=64)
    runners = {}
    for autocast in ("off", "bfloat16"):
        for name, shapes, tutor in (("teacher", TEACHER, None), ("student", STUDENT, lesson)):
            for fast in (False, True) if compiled else (False,):
                config = TrainConfig(batch_size=batch, autocast=autocast, compile=fast)
                d = Discriminator(matching_discriminator(TEACHER))
                state = TrainState(Generator(shapes), d, config)
                label = f"{name}, {'float32' if autocast == 'off' else autocast}"
                runners[label + (", compiled" if fast else "")] = Steps(state, source, tutor)
    return runners


def main() -> None:
    """Measure and print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="minutes of compiling first")
    parser.add_argument("--cpu-time", action="store_true", help="this thread's time only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.thread_time if arguments.cpu_time else time.perf_counter
    runners = settings(arguments.batch, arguments.compile)
    rates: dict[str, list[float]] = {label: [] for label in runners}
    for steps in runners.values():
        steps()
    for _ in range(arguments.rounds):
        for label, steps in runners.items():
            start = clock()
            for _ in range(STEPS):
                steps()
            rates[label].append(STEPS * arguments.batch / (clock() - start))
    print(f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}")
    for label, found in rates.items():
        p20, p50, p80 = torch.tensor(found).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
        print(f"{label:32s} p20 {p20:6.1f}  p50 {p50:6.1f}  p80 {p80:6.1f} images/s")


if __name__ == "__main__":
    main()
