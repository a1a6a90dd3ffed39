"""How many images a second does the CPU train on?

    python benchmarks/training_cpu.py [--threads 2] [--rounds 3] [--batch 16] [--compile]

Times rounds of 16 steps, so that R1 and path length come at their own pace, of the default 64 px
teacher and of its 70% student with all losses. The settings take turns, so that a busy machine
treats all alike. Parser and feature network have new weights: time does not depend on them. Prints
images per second and appends them to data/benchmarks/training_cpu.csv. Chapter 8.
"""

import pathlib
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, arguments, quantiles

from cagc_lib.discriminator import Discriminator
from cagc_lib.distillation import DistillationConfig
from cagc_lib.features import FeatureNetwork
from cagc_lib.generator import Generator, GeneratorConfig
from cagc_lib.images import RenderedPortraits
from cagc_lib.networks import matching_discriminator
from cagc_lib.parser import Parser, ParserSource
from cagc_lib.train_state import TrainConfig, TrainState
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
    """Measure, print and record one line a setting."""
    parser = arguments(__doc__, __file__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="minutes of compiling first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runners = settings(args.batch, args.compile)
    rates: dict[str, list[float]] = {label: [] for label in runners}
    for steps in runners.values():
        steps()
    for _ in range(args.rounds):
        for label, steps in runners.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                steps()
            rates[label].append(STEPS * args.batch / (time.perf_counter() - start))
    rows = []
    for label, found in rates.items():
        p20, p50, p80 = (round(rate, 1) for rate in quantiles(found))
        print(f"{label:32s} p20 {p20:6.1f}  p50 {p50:6.1f}  p80 {p80:6.1f} images/s")
        rows.append({
            "rounds": args.rounds, "batch": args.batch, "setting": label,
            "p20_images_per_s": p20, "p50_images_per_s": p50, "p80_images_per_s": p80,
        })
    append(rows, args.csv)


if __name__ == "__main__":
    main()
