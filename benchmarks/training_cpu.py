"""How many images a second does the CPU train on?

    python benchmarks/training_cpu.py [--network sngan] [--threads 2] [--rounds 3] [--compile]

Times rounds of 16 steps, so that R1 and path length come at their own pace, of the default 64 px
teacher and of its 70% student with all losses; or of the SN-GAN that ships and its 70% student, by
their recipes, on the photographs in data/cifar10. The settings take turns, so that a busy machine
treats all alike. Networks that only look at images have new weights: time does not depend on them.
Prints images per second and appends them to data/benchmarks/training_cpu.csv. Chapters 8 and 11.
"""

import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, arguments, quantiles

from cagc_lib.checkpoints import data_dir
from cagc_lib.content import ClassActivation, ParserSource
from cagc_lib.datasets import image_source
from cagc_lib.distillation import DistillationConfig
from cagc_lib.networks import (
    Classifier,
    FeatureNetwork,
    GeneratorConfig,
    Parser,
    SNGANConfig,
    build,
    matching_discriminator,
)
from cagc_lib.training import SNGAN_RECIPE, Lesson, Steps, TrainConfig, TrainState

STEPS = 16
SHAPES = {
    "stylegan2": (
        GeneratorConfig(64, (160,) * 6 + (80,) * 2 + (40,) * 2, 128, 128, 4),
        GeneratorConfig(64, (48,) * 6 + (24,) * 2 + (12,) * 2, 128, 128, 4),
    ),
    "sngan": (SNGANConfig(), SNGANConfig(channels=(77,) * 7)),
}


def lesson(network: str) -> Lesson:
    """What a student learns from: a teacher, content and features, all with new weights."""
    teacher = build(SHAPES[network][0]).requires_grad_(False)
    if network == "sngan":
        features = Classifier([f"class {k}" for k in range(10)]).eval().requires_grad_(False)
        return Lesson(teacher, DistillationConfig(), ClassActivation(features), features)
    features = FeatureNetwork({"a": [0.0, 1.0]}).eval().requires_grad_(False)
    return Lesson(teacher, DistillationConfig(), ParserSource(Parser()), features)


def recipes(network: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what is trained, its arithmetic, and the fields of its TrainConfig."""
    if network == "sngan":
        # as the shipped ones were trained; float32 would take minutes a round
        values = SNGAN_RECIPE | {"d_lr": 4e-4, "flip": True, "data": str(data_dir() / "cifar10")}
        yield "teacher", "bfloat16", values | {"d_steps": 2}
        yield "student", "bfloat16", values | {"d_steps": 1}
        return
    for autocast in ("off", "bfloat16"):
        for name in ("teacher", "student"):
            yield name, autocast, {"data": "portraits", "pool": 64}


def settings(network: str, compiled: bool) -> dict[str, Steps]:
    """Build one runner a line of the table."""
    whole, small = SHAPES[network]
    taught = lesson(network)
    runners = {}
    for name, autocast, values in recipes(network):
        for fast in (False, True) if compiled else (False,):
            config = TrainConfig.from_dict(values | {"autocast": autocast, "compile": fast})
            g = build(whole if name == "teacher" else small)
            state = TrainState(g, build(matching_discriminator(whole)), config)
            source = image_source(config.data, whole.resolution, 0, config.pool, config.flip)
            label = "SN-GAN " * (network == "sngan") + name
            label += f", {'float32' if autocast == 'off' else autocast}"
            tutor = None if name == "teacher" else taught
            runners[label + (", compiled" if fast else "")] = Steps(state, source, tutor)
    return runners


def main() -> None:
    """Measure, print and record one line a setting."""
    parser = arguments(__doc__, __file__)
    parser.add_argument("--network", choices=list(SHAPES), default="stylegan2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="minutes of compiling first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runners = settings(args.network, args.compile)
    rates: dict[str, list[float]] = {label: [] for label in runners}
    for steps in runners.values():
        steps()
    for _ in range(args.rounds):
        for label, steps in runners.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                steps()
            images = STEPS * steps.state.config.batch_size
            rates[label].append(images / (time.perf_counter() - start))
    rows = []
    for label, found in rates.items():
        p20, p50, p80 = (round(rate, 1) for rate in quantiles(found))
        print(f"{label:32s} p20 {p20:6.1f}  p50 {p50:6.1f}  p80 {p80:6.1f} images/s")
        rows.append({
            "rounds": args.rounds, "batch": runners[label].state.config.batch_size,
            "setting": label,
            "p20_images_per_s": p20, "p50_images_per_s": p50, "p80_images_per_s": p80,
        })
    append(rows, args.csv)


if __name__ == "__main__":
    main()
