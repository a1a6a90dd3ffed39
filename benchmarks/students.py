"""What does each ingredient of content-aware compression buy?

    python benchmarks/students.py [--rows "both masks" random ...] [--seeds 0 1 2]
    python benchmarks/students.py --latencies

Every row prunes the portraits teacher and trains the student; for the same seed, all see the same
portraits in the same order. Rows of one budget differ in one ingredient. Each run is measured on
2,000 samples and becomes one row of data/students.csv: what it was, its measures, seed, a hash of
all settings and networks, images seen, device, seconds. A run in the table is left alone if its
hash is today's, and made again if not; a run that was stopped goes on from its folder under --runs;
planned runs stand in the table as "not run"; a row that lacks a measure is measured again; a longer
budget goes on from the longest measured shorter one of the same settings whose folder is still
there. Several processes may share the table. Latency depends on the widths alone and wants a quiet
machine: --latencies measures it once a ratio, for all rows there are, and trains nothing. Chapter 9
reads the table.

The questions and the measures that decide them were named on 30 November 2026. Not blindly in all:
seeds 0 to 2 of the square (the first four rows), of "l1-out", "random", "no teacher" and the rows
from "fresh weights" to "statistics and ToRGBs refitted" had been run, and seed 0 of two budgets of
40,000 and of the ratios. What counts: `frechet`, the whole picture beside real portraits;
`content_frechet`, its content beside theirs; `teacher_content_perceptual`, how far the content is
from the teacher's. Any other column, and any row added later, is a finding and no test.

    do masked scores help?       the four rows of the square, averaged over both distillations
    do masked losses help?       "both masks, matched" beside "no mask in distillation": the masked
                                 losses weigh more, so that their gradient at the start is as long
                                 as that of the unmasked ones (data/gradient_lengths.csv)
    is it the edge?              "dilated mask, matched" beside "both masks, matched"
    is it the content?           "background, matched" and "background scores", the controls
    does the budget turn it?     the same rows at 40,000 images
    is there a better score?     "taylor" and "ablation" beside "both masks"
    is a teacher needed at all?  "no teacher" and its longer budgets, until doubling the images
                                 lowers the Frechet distance by less than a twentieth

Added on 1 December 2026, so a finding: "far mask, matched", as many pixels as the dilated mask has,
but far from the content: is it the edge, or only more pixels? And the dilated mask at 40,000.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from filelock import FileLock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import device_name, read_table, write_table

import cagc_lib as cagc
from cagc_lib.checkpoints import manifest
from cagc_lib.content import ContentSource, complement, dilation, union
from cagc_lib.distillation import DistillationConfig
from cagc_lib.training import TrainConfig, TrainState, train_student

# fields of both configs that are younger than the first rows of the table
YOUNGER = ("loss", "adam_beta2", "lr_decay", "d_steps", "sparsity", "gains_lr", "relation")
TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "students.csv"
RATIO = 0.7
# of the dilated mask: a twentieth of the picture's side
RADIUS = 3
# further than this from the content there are as many pixels as within RADIUS: 15% of the picture
FAR = 8


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Attributes:
        method: how channels are scored.
        scoring: the content that scoring looks at, a key of `sources`.
        compared: the content that distillation looks at, likewise.
        distillation: what differs from the method's distillation.
        ratio: share of the channels to remove.
        teacher: whether there is one to learn from; without, the discriminator is new too.
        calibrated: correct the pruned network's statistics before training.
        longer: multiple of the budget.
        score_samples: pictures that scoring looks at; None is what the command line says.
        seeds: how many of the seeds it runs with; one where the row carries no claim.
    """

    method: str = "content-aware"
    scoring: str = "portraits"
    compared: str = "portraits"
    distillation: dict = field(default_factory=dict)
    ratio: float = RATIO
    teacher: bool = True
    calibrated: bool = False
    longer: int = 1
    score_samples: int | None = None
    seeds: int = 3


UNMASKED = {"mask_content": False}
NO_TEACHER = {"l1": 0.0, "perceptual": 0.0, "init": "fresh"}
# 3 and 3, times the unmasked gradient's length over the masked one's: `gradient_lengths.py`
MATCHED = {"l1": 7.0, "perceptual": 3.7}
MATCHED_DILATED = {"l1": 4.8, "perceptual": 4.1}
MATCHED_FAR = {"l1": 5.4, "perceptual": 3.3}
MATCHED_BACKGROUND = {"l1": 4.5, "perceptual": 2.8}
RECIPES = {
    "both masks": Recipe(seeds=5),
    "no mask in scoring": Recipe(scoring="everything", seeds=5),
    "no mask in distillation": Recipe(distillation=UNMASKED, seeds=5),
    "no masks": Recipe(scoring="everything", distillation=UNMASKED, seeds=5),
    "both masks, matched": Recipe(distillation=MATCHED, seeds=5),
    "dilated mask, matched": Recipe(compared="dilated", distillation=MATCHED_DILATED),
    "far mask, matched": Recipe(compared="far", distillation=MATCHED_FAR),
    "background, matched": Recipe(compared="background", distillation=MATCHED_BACKGROUND),
    "background scores": Recipe(scoring="background"),
    "taylor": Recipe("taylor"),
    "ablation": Recipe("ablation", score_samples=24),
    "l1-out": Recipe("l1-out"),
    "random": Recipe("random"),
    "no teacher": Recipe("random", distillation=NO_TEACHER, teacher=False),
    "fresh weights": Recipe(distillation={"init": "fresh"}),
    "L1 only": Recipe(distillation={"perceptual": 0.0}),
    "with intermediate RGB": Recipe(distillation={"rgb": 3.0}),
    "no distillation": Recipe(distillation={"l1": 0.0, "perceptual": 0.0}),
    "statistics and ToRGBs refitted": Recipe(calibrated=True),
    "both masks, 40,000": Recipe(longer=4),
    "both masks, matched, 40,000": Recipe(distillation=MATCHED, longer=4),
    "dilated mask, matched, 40,000": Recipe(
        compared="dilated", distillation=MATCHED_DILATED, longer=4
    ),
    "no mask in distillation, 40,000": Recipe(distillation=UNMASKED, longer=4),
    "no masks, 40,000": Recipe(scoring="everything", distillation=UNMASKED, longer=4),
    "no teacher, 40,000": Recipe(
        "random", distillation=NO_TEACHER, teacher=False, longer=4, seeds=1
    ),
    "no teacher, 80,000": Recipe(
        "random", distillation=NO_TEACHER, teacher=False, longer=8, seeds=1
    ),
    "no teacher, 160,000": Recipe(
        "random", distillation=NO_TEACHER, teacher=False, longer=16, seeds=1
    ),
    "no teacher, 320,000": Recipe(
        "random", distillation=NO_TEACHER, teacher=False, longer=32, seeds=1
    ),
    "ratio 0.3": Recipe(ratio=0.3, seeds=1),
    "ratio 0.5": Recipe(ratio=0.5, seeds=1),
    "ratio 0.8": Recipe(ratio=0.8, seeds=1),
    "ratio 0.9": Recipe(ratio=0.9, seeds=1),
}
PLAN = (
    "row", "method", "scoring", "compared", "ratio", "calibrated", "distillation", "seed", "status",
)
RUN = (
    "images", "config_sha256", "device", "threads", "torch", "seconds", "latency_1_ms",
    "latency_16_ms",
)
REPORT = tuple(f.name for f in cagc.Report.__dataclass_fields__.values() if f.name != "seed")
COLUMNS = (*PLAN, *RUN, *REPORT)


def planned(seeds: list[int]) -> list[dict]:
    """Every run there should be, in the table's order: the teacher, then recipe by recipe."""
    rows = [{"row": "teacher", "seed": "", "status": "not run"}]
    for name, recipe in RECIPES.items():
        plain = {
            "row": name, "method": recipe.method, "scoring": recipe.scoring,
            "compared": recipe.compared, "ratio": recipe.ratio, "calibrated": recipe.calibrated,
            "distillation": json.dumps(recipe.distillation),
        }
        chosen = seeds[: recipe.seeds]
        rows += [plain | {"seed": str(seed), "status": "not run"} for seed in chosen]
    return rows


def record(
    table: pathlib.Path, seeds: list[int], done: dict | None = None
) -> dict[tuple[str, str], dict]:
    """Bring the table up to date under a lock and return its rows by name and seed.

    Args:
        table: the CSV.
        seeds: those that are planned.
        done: a measured row to put in its place.
    """
    with FileLock(table.with_suffix(".lock")):
        rows = {(row["row"], row["seed"]): row for row in planned(seeds)}
        old = read_table(table)
        rows |= {(r["row"], r["seed"]): r for r in old if r["status"] == "measured"}
        if done is not None:
            rows[done["row"], done["seed"]] = done
        write_table(rows.values(), COLUMNS, table)
    return rows


@cache
def sources() -> dict[str, ContentSource]:
    """What scores and losses may look at; single objects, as evaluate() remembers its content's."""
    content = cagc.content_source("portraits")
    return {
        "portraits": content, "everything": cagc.content_source("everything"),
        "dilated": dilation(content, RADIUS), "background": complement(content),
        "far": union(content, complement(dilation(content, FAR))),
    }


def measure(g: cagc.Generator, teacher: cagc.Generator | None, args: argparse.Namespace) -> dict:
    """Report of a generator, as columns."""
    content = sources()["portraits"]
    report = cagc.evaluate(g, args.samples, content=content, teacher=teacher).to_dict()
    return {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in report.items()
        if name != "seed"
    }


@dataclass(frozen=True)
class Setting:
    """Everything that decides a run's result.

    Attributes:
        teacher: the checkpoint.
        training, distillation: the configs.
        sha256: the first 16 digits of a hash of these, the recipe and the networks that look.
    """

    teacher: cagc.Checkpoint
    training: TrainConfig
    distillation: DistillationConfig
    sha256: str


def setting(name: str, seed: int, args: argparse.Namespace) -> Setting:
    """Gather a run's settings."""
    recipe = RECIPES[name]
    teacher = cagc.load_checkpoint(args.teacher)
    training = TrainConfig(
        images=recipe.longer * args.images, autocast="bfloat16", r1_gamma=1, path_weight=0,
        # runs this short need a longer average than the default share of them
        average_rampup=0.2, pool=args.pool, seed=seed,
    )
    distillation = DistillationConfig(**recipe.distillation)
    choices = [recipe.method, recipe.scoring, recipe.ratio, recipe.teacher, recipe.calibrated]
    if recipe.compared != "portraits":
        choices.append(recipe.compared)
    text = json.dumps({
        "teacher": teacher.sha256, "training": hashed(training),
        "samples": [recipe.score_samples or args.score_samples, args.samples], "recipe": choices,
        "distillation": hashed(distillation), "networks": networks(),
    }, sort_keys=True)
    sha256 = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Setting(teacher, training, distillation, sha256)


def hashed(config: TrainConfig | DistillationConfig) -> dict:
    """What of a config goes into the hash.

    A younger field at its default leaves the hash, and so the row and its run folder, as they were
    before the field existed.
    """
    values, usual = config.to_dict(), type(config)().to_dict()
    return {k: v for k, v in values.items() if k not in YOUNGER or v != usual[k]}


def networks() -> list[str]:
    """Hashes of the networks that masks, losses and measures look through."""
    names = ("parser", "perceptual", "features")
    return [manifest()[f"portraits-{name}"]["sha256"] for name in names]


def run_folder(name: str, seed: int, sha256: str, args: argparse.Namespace) -> pathlib.Path:
    """Where a run of these settings is kept."""
    return args.runs / f"{name.replace(' ', '-')}-{seed}-{sha256}"


def begin_with_shorter(
    folder: pathlib.Path, name: str, seed: int, args: argparse.Namespace
) -> None:
    """Copy the run of a smaller budget, so that the larger one need only go on from its end."""
    recipe = RECIPES[name]
    if folder.exists():
        return
    # a row that is measured has a run that is finished
    finished = {r["config_sha256"] for r in read_table(args.table) if r["status"] == "measured"}
    alike = [
        n for n, r in RECIPES.items()
        if r.longer < recipe.longer
        and replace(r, longer=recipe.longer, seeds=recipe.seeds) == recipe
    ]
    for shorter in sorted(alike, key=lambda n: RECIPES[n].longer, reverse=True):
        sha256 = setting(shorter, seed, args).sha256
        old = run_folder(shorter, seed, sha256, args)
        if sha256 in finished and old.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(old, part)
            part.rename(folder)
            return


def train(name: str, seed: int, chosen: Setting, args: argparse.Namespace) -> TrainState:
    """Score, prune and train; return the final state. A finished run is only loaded."""
    recipe, teacher = RECIPES[name], chosen.teacher
    scores = cagc.score_channels(
        teacher.generator, sources()[recipe.scoring], recipe.method,
        num_samples=recipe.score_samples or args.score_samples, seed=seed,
    )
    plan = cagc.plan_pruning(scores, recipe.ratio)
    student = cagc.prune(teacher.generator, plan, "preserved", teacher.sha256)
    if recipe.calibrated:
        student = cagc.calibrate(student, teacher.generator, seed=seed)
    folder = run_folder(name, seed, chosen.sha256, args)
    folder.parent.mkdir(parents=True, exist_ok=True)
    begin_with_shorter(folder, name, seed, args)
    return train_student(
        chosen.training, chosen.distillation, student, teacher.generator, folder,
        teacher.discriminator if recipe.teacher else None, sources()[recipe.compared],
        cagc.load_features(name="portraits-perceptual"), resume=True, progress=args.progress,
    )


def fill_latencies(args: argparse.Namespace) -> None:
    """Measure one network of each ratio and write it into every row of that ratio."""
    teacher = cagc.load_generator(args.teacher)
    rows = [r for r in record(args.table, args.seeds).values() if r["status"] == "measured"]
    ratio_of = [float(row["ratio"]) if row.get("ratio") else 0.0 for row in rows]
    scores = cagc.score_channels(teacher, sources()["portraits"], "l1-out")
    networks = {
        ratio: cagc.prune(teacher, cagc.plan_pruning(scores, ratio)) for ratio in set(ratio_of)
    }
    columns: dict[float, dict] = {ratio: {} for ratio in sorted(networks)}
    for n in (1, 16):
        # in turns, so that whatever else the machine does meets all alike
        turns = [
            [cagc.latency(networks[r], n, repeats=1, warmup=1).p50 for r in columns]
            for _ in range(args.repeats)
        ]
        for ratio, seconds in zip(columns, zip(*turns, strict=True), strict=True):
            columns[ratio][f"latency_{n}_ms"] = round(1e3 * statistics.median(seconds), 2)
    for ratio, values in columns.items():
        print(f"ratio {ratio}: {values}", flush=True)
    for row, ratio in zip(rows, ratio_of, strict=True):
        record(args.table, args.seeds, row | columns[ratio])


def teacher_sha256(args: argparse.Namespace) -> str:
    """Hash of the teacher's own row."""
    text = json.dumps([cagc.load_checkpoint(args.teacher).sha256, args.samples, networks()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> None:
    """Do the runs asked for that the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=["teacher", *RECIPES], metavar="ROW",
                        default=["teacher", *RECIPES], help="; ".join(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="those planned")
    parser.add_argument("--only", nargs="+", type=int, help="seeds to run now; all where absent")
    parser.add_argument("--teacher", default="portraits")
    parser.add_argument("--images", type=int, default=10_000, help="budget of one run")
    parser.add_argument("--pool", type=int, default=6_000, help="portraits rendered once")
    parser.add_argument("--score-samples", type=int, default=400)
    parser.add_argument("--samples", type=int, default=2_000, help="images measured")
    parser.add_argument("--repeats", type=int, default=20, help="of each latency")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/students"))
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--latencies", action="store_true", help="measure these alone")
    parser.add_argument("--progress", action="store_true")
    args = parser.parse_args(arguments)
    args.only = args.only or args.seeds
    if args.latencies:
        fill_latencies(args)
        return
    # seed by seed, so that a table cut short still compares all rows
    wanted = [(row, str(seed)) for seed in args.only for row in args.rows if row != "teacher"]
    if "teacher" in args.rows:
        wanted.insert(0, ("teacher", ""))
    for name, seed in wanted:
        fill(name, seed, args)


def fill(name: str, seed: str, args: argparse.Namespace) -> None:
    """Make one row of the table, unless it is there, planned for other seeds only, or both."""
    row = record(args.table, args.seeds).get((name, seed))
    if row is None:
        return
    chosen = None if name == "teacher" else setting(name, int(seed), args)
    sha256 = chosen.sha256 if chosen else teacher_sha256(args)
    wanted = [c for c in REPORT if chosen or not c.startswith("teacher_")]
    if row.get("config_sha256") == sha256 and all(row.get(c, "") != "" for c in wanted):
        return
    start = time.perf_counter()
    columns = {
        "device": device_name(), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "config_sha256": sha256, "status": "measured",
    }
    if chosen is None:
        columns |= measure(cagc.load_generator(args.teacher), None, args)
    else:
        state = train(name, int(seed), chosen, args)
        columns |= {"images": state.images, "seconds": round(state.seconds)}
        columns |= measure(state.average, chosen.teacher.generator, args)
    record(args.table, args.seeds, row | columns)
    print(f"{name}, seed {seed}: Frechet {columns['frechet']:.2f}, inside "
          f"{columns['content_frechet']:.2f}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
