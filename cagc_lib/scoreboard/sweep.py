"""Runs a table: every run trains and measures one network, once.

A run in the table is left alone if its hash is today's and none of its measures is missing. A run
that was stopped goes on from its folder; a longer one goes on from the longest shorter one of the
same settings whose folder is still there. Several processes may share table and folders: each takes
the next run that no other is at. Latency depends on the widths alone and wants a quiet machine, so
`fill_latencies` measures all widths in turns, afterwards.
"""

import multiprocessing
import os
import shutil
import statistics
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..checkpoints import load_features, load_generator
from ..content import ContentSource, find_content
from ..importance import ChannelScores, score_channels
from ..metrics import latency
from ..networks import PrunableGenerator, check, check_positive
from ..pruning import plan_pruning, prune
from ..training import TrainConfig, TrainState, calibrate, train_student
from .measures import GROUPS, MEASURES, Subject, columns_of, measure
from .recipes import Run, Sweep, read_sweep
from .table import Row, device_name, record

PLAN = (
    "row", "network", "method", "scoring", "compared", "ratio", "distillation", "images", "seed",
    "status",
)
RUN = ("config_sha256", "device", "threads", "torch", "seconds")
COLUMNS = (*PLAN, *RUN, *MEASURES)
TURNS = 20
# an empty file in a run folder: its network is finished, and the table's row is its
MEASURED = "measured"


@dataclass(frozen=True)
class Place:
    """Where a sweep works.

    Attributes:
        table: the CSV.
        runs: a folder for the run folders.
        device: where to compute.
        progress: show a bar for each training.
    """

    table: Path
    runs: Path
    device: torch.device | str = "cpu"
    progress: bool = False


def run_sweep(
    path: str | Path, place: Place, rows: Collection[str] = (), seeds: Collection[int] = (),
    processes: int = 1,
) -> None:
    """Do the runs of a TOML file that its table lacks, seed by seed.

    So a table that is cut short still compares all rows. SIGINT finishes a training's step and
    leaves a checkpoint; the table is whole at any time.

    Args:
        path: the TOML file, see recipes.py.
        place: where the table and the runs are.
        rows, seeds: only these; none is all.
        processes: how many work at once, each with its share of the processor.

    Raises:
        ValueError: settings that do not fit, an unknown row or seed, a run whose loss is no longer
            finite; says which run's.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    check_positive("processes", processes)
    sweep = read_sweep(path)
    names = list(dict.fromkeys(run.name for run in sweep.runs))
    for row in rows:
        check(row in names, "rows", row, f"out of {', '.join(names)}")
    known = {run.seed for run in sweep.runs if run.seed is not None}
    for seed in seeds:
        check(seed in known, "seeds", seed, f"out of {sorted(known)}")
    wanted = [
        run for run in sweep.runs
        if (not rows or run.name in rows) and (not seeds or run.seed in (None, *seeds))
    ]
    wanted.sort(key=lambda run: -1 if run.seed is None else run.seed)
    place.runs.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        _work(sweep, wanted, place)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    spawn = multiprocessing.get_context("spawn")
    keys = [run.key for run in wanted]
    workers = [
        spawn.Process(target=_worker, args=(path, keys, place, threads)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    # a signal from the terminal reaches the workers too, and each ends by itself
    stopped = False
    for worker in workers:
        while worker.is_alive():
            try:
                worker.join()
            except KeyboardInterrupt:
                stopped = True
    if stopped or any(worker.exitcode == 130 for worker in workers):
        raise KeyboardInterrupt("stopped, to be gone on with by the same command")
    failed = [worker for worker in workers if worker.exitcode]
    check(not failed, "processes", f"{len(failed)} that failed", "none, see what they said")


def _worker(path: str | Path, keys: list[tuple[str, str]], place: Place, threads: int) -> None:
    torch.set_num_threads(threads)
    sweep = read_sweep(path)
    runs = {run.key: run for run in sweep.runs}
    try:
        _work(sweep, [runs[key] for key in keys], place)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        raise SystemExit(f"cagc_lib: {' '.join(str(error).split())}") from None


def _work(sweep: Sweep, wanted: list[Run], place: Place) -> None:
    for run in wanted:
        if not missing(run, table_rows(sweep, place)[run.key]):
            continue
        claim = FileLock(place.runs / f"{run.folder}.lock", timeout=0)
        try:
            claim.acquire()
        except Timeout:
            continue
        try:
            # another process may have made it since
            old = table_rows(sweep, place)[run.key]
            if not missing(run, old):
                continue
            row = make_row(sweep, run, place, old)
        except ValueError as error:
            raise ValueError(f"{run.title}: {error}") from None
        finally:
            claim.release()
        record(place.table, COLUMNS, planned(sweep), [row])
        if not run.recipe.network:
            (place.runs / run.folder / MEASURED).touch()
        print(f"{run.title}: {len(columns_of(run.measures))} measures", flush=True)


def planned(sweep: Sweep) -> list[Row]:
    """Every row there should be, in the table's order, as not run."""
    rows = []
    for run in sweep.runs:
        recipe, row = run.recipe, {"row": run.name, "seed": run.key[1], "status": "not run"}
        names = ["network", "ratio", "images"]
        if not recipe.network:
            names += ["method", "scoring", "compared"]
            said = [f"{name}={value}" for name, value in recipe.distillation.items()]
            row["distillation"] = " ".join(said)
        rows.append(row | {name: str(getattr(recipe, name)) for name in names})
    return rows


def table_rows(sweep: Sweep, place: Place) -> dict[tuple[str, str], Row]:
    """Bring the table up to date and return its rows by name and seed."""
    return record(place.table, COLUMNS, planned(sweep))


def missing(run: Run, row: Row) -> tuple[str, ...]:
    """The groups of measures that a table's row lacks; all where it is not today's run's."""
    if row.get("config_sha256") != run.sha256:
        return run.measures
    return tuple(
        group for group in run.measures
        if not all(row.get(name) for name in columns_of((group,), run.beside_teacher))
    )


def make_row(sweep: Sweep, run: Run, place: Place, old: Row) -> Row:
    """Train, if there is something to train, measure, and return the table's row.

    Measures that the old row has stay, if they are of this very network: of a file, or of a run
    whose folder is still there. What was measured on another machine is of another network.
    """
    row = {
        "status": "measured", "config_sha256": run.sha256, "device": device_name(place.device),
        "threads": str(torch.get_num_threads()), "torch": torch.__version__,
    }
    same = bool(run.recipe.network) or (place.runs / run.folder / MEASURED).exists()
    groups = missing(run, old) if same else run.measures
    replaced = groups if same else tuple(GROUPS)
    kept = [n for n in COLUMNS if n not in MEASURES or MEASURES[n].group not in replaced]
    if run.recipe.network:
        g = load_generator(run.recipe.network)
    else:
        state = train(sweep, run, place)
        g = state.average
        row["seconds"] = str(round(state.seconds))
    device = torch.device(place.device)
    teacher = sweep.teacher.generator.to(device) if run.beside_teacher else None
    subject = Subject(g.to(device), teacher, _content(run.content), run.samples, device)
    found = measure(subject, groups)
    row |= {n: str(v) if isinstance(v, int) else f"{v:.6g}" for n, v in found.items()}
    return {name: old[name] for name in kept if name in old} | row


@cache
def _content(text: str) -> ContentSource:
    # the real portraits' features are kept for one and the same source
    return find_content(text)


def train(sweep: Sweep, run: Run, place: Place) -> TrainState:
    """Score, prune and train; return the final state. A finished run is only loaded."""
    recipe, teacher = run.recipe, sweep.teacher
    scores = _scores(sweep, run, place)
    plan = plan_pruning(scores, recipe.ratio)
    student = prune(teacher.generator.cpu(), plan, "preserved", teacher.sha256)
    if recipe.calibrated:
        student = calibrate(student, teacher.generator, seed=run.seed)
    folder = place.runs / run.folder
    _begin_with_shorter(sweep, run, place)
    return _learn(sweep, run, place, run.training, student, folder)


def _scores(sweep: Sweep, run: Run, place: Place) -> ChannelScores:
    """The scores, for method "slimming" of a copy whose gains were driven toward zero first."""
    recipe, g = run.recipe, sweep.teacher.generator
    if recipe.sparse_images:
        config = replace(run.training, images=recipe.sparse_images, sparsity=recipe.sparsity)
        folder = place.runs / f"{run.folder}.sparse"
        g = _learn(sweep, run, place, config, g, folder).average
    return score_channels(
        g.to(place.device), find_content(recipe.scoring, g), recipe.method, recipe.score_samples,
        seed=run.seed, per_sample=recipe.per_sample,
    )


def _learn(
    sweep: Sweep, run: Run, place: Place, config: TrainConfig, student: PrunableGenerator,
    folder: Path,
) -> TrainState:
    recipe, teacher = run.recipe, sweep.teacher
    d = teacher.discriminator if recipe.discriminator == "teacher" else None
    return train_student(
        config, recipe.lessons(), student, teacher.generator, folder, d,
        find_content(recipe.compared, teacher.generator),
        load_features(place.device, "portraits-perceptual"), resume=True, device=place.device,
        progress=place.progress,
    )


def _begin_with_shorter(sweep: Sweep, run: Run, place: Place) -> None:
    """Copy the run of a smaller budget, so that the larger one need only go on from its end."""
    folder = place.runs / run.folder
    for shorter in () if folder.exists() else sweep.shorter(run):
        old = place.runs / shorter.folder
        if (old / MEASURED).exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(old, part, ignore=shutil.ignore_patterns(MEASURED))
            part.rename(folder)
            return


def fill_latencies(path: str | Path, place: Place, turns: int = TURNS) -> None:
    """Measure one network of each size, for all rows there are.

    In turns, so that whatever else the machine does meets all alike; the median counts.
    """
    sweep = read_sweep(path)
    rows = [row for row in table_rows(sweep, place).values() if row["status"] == "measured"]
    teacher = sweep.teacher.generator
    scores = score_channels(teacher, find_content("everything"), "l1-out")
    sizes = [row["macs"] or row["network"] or row["ratio"] for row in rows]
    networks = {
        size: load_generator(row["network"]) if row["network"]
        else prune(teacher, plan_pruning(scores, float(row["ratio"])))
        for size, row in dict(zip(sizes, rows, strict=True)).items()
    }
    columns: dict[str, Row] = {size: {} for size in networks}
    for n in (1, 16):
        times = [
            [latency(g, n, repeats=1, warmup=1).p50 for g in networks.values()]
            for _ in range(turns)
        ]
        for size, seconds in zip(networks, zip(*times, strict=True), strict=True):
            columns[size][f"latency_{n}_ms"] = f"{1e3 * statistics.median(seconds):.4g}"
    done = [row | columns[size] for row, size in zip(rows, sizes, strict=True)]
    record(place.table, COLUMNS, planned(sweep), done)
