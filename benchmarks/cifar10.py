"""What do the students of the CIFAR-10 network look like in numbers?

    python benchmarks/cifar10.py [--data cifar10] [--only cifar10-random-50 ...] [--seeds 0 1]

Measures the shipped SN-GAN and its students, every network of data/manifest.json that the plan
below names, against as many test images, which none has seen, in the features of a classifier that
only measures; content is where the other one looks, that of the losses. The row "training images"
puts real images in a generator's place, as a yardstick. Students of seed 0 ship; those of
another seed are made by the same command with that seed, in a folder under --runs, where a stopped
one goes on. One row a network in data/cifar10.csv; one is left alone if it was measured on the same
files, and what is not there stands as "not run". Several processes may share the table. Where the
sparse training of slimming at 0.7 is at hand, its gains go to data/cifar10_gains.csv: of the last
weights, and of their average, which is scored. Chapter 12 reads both.
The photographs behind the committed table are JPEG copies (data/cifar10/SOURCE.md).

Slimming trains the teacher before it prunes, so its students saw more images than the others. Two
more students at 0.7 tell what that gave them: "-short" has its sparse training counted into the
images that all others saw; "-choice" is the teacher pruned to the channels of slimming's gains,
with the lessons of all others.
"""

import argparse
import hashlib
import json
import pathlib
import re
import shlex
import sys

import torch
from filelock import FileLock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.checkpoints import atomic_write, load_classifier, load_training_state, manifest
from cagc_lib.cli import main as command_line
from cagc_lib.datasets import image_source
from cagc_lib.metrics import compare_features
from cagc_lib.networks import Classifier, SNGANConfig, first_parameter
from cagc_lib.scoreboard import device_name, read_table, write_table

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "cifar10.csv"
TEACHER, REAL = "cifar10-sngan", "training images"
METHODS = ("random", "l1-out", "slimming", "content-aware")
# seeds by ratio: the comparison of methods is made at 0.7
SEEDS = {0.5: (0,), 0.7: (0, 1)}
SLIMMING = "cifar10-slimming-70"
SHORT, CHOICE = f"{SLIMMING}-short", f"{SLIMMING}-choice"
RESOLUTION = 32
REPORT = tuple(f.name for f in cagc.Report.__dataclass_fields__.values() if f.name != "seed")
COLUMNS = (
    "name", "method", "ratio", "seed", "status", "sha256", "classifier_sha256", "content_sha256",
    "images", "seconds", "device", "threads", "torch", *REPORT,
)


def planned() -> dict[tuple[str, str], dict]:
    """Every row there should be, by name and seed, in the table's order."""
    rows = [{"name": name, "seed": ""} for name in (REAL, TEACHER)]
    rows += [
        {"name": f"cifar10-{m}-{100 * r:.0f}", "method": m, "ratio": r, "seed": str(seed)}
        for r, seeds in SEEDS.items()
        for m in METHODS
        for seed in seeds
    ]
    rows += [
        {"name": name, "method": "slimming", "ratio": 0.7, "seed": str(seed)}
        for name in (SHORT, CHOICE)
        for seed in SEEDS[0.7]
    ]
    return {(row["name"], row["seed"]): row | {"status": "not run"} for row in rows}


def record(table: pathlib.Path, done: dict | None = None) -> dict[tuple[str, str], dict]:
    """Put a measured row into the table, bring that up to date and return its rows."""
    with FileLock(table.with_suffix(".lock")):
        rows = planned()
        rows |= {(r["name"], r["seed"]): r for r in read_table(table) if r["status"] == "measured"}
        if done is not None:
            rows[done["name"], done["seed"]] = done
        write_table(rows.values(), COLUMNS, table)
    return rows


def real(args: argparse.Namespace, network: Classifier) -> dict:
    """Training images measured as if a generator had drawn them."""
    embedded = []
    for split in ("test", "train"):
        source = image_source(str(args.data / split), RESOLUTION)
        starts = range(0, args.samples, 500)
        counts = [min(500, args.samples - start) for start in starts]
        with torch.no_grad():
            parts = [network.embed(source(s, n)) for s, n in zip(starts, counts, strict=True)]
        embedded.append(torch.cat(parts))
    return {"num_samples": args.samples} | compare_features(*embedded)


def generated(g: cagc.SNGANGenerator, args: argparse.Namespace, network: Classifier) -> dict:
    """The report of a generator; of a student also against its teacher."""
    report = cagc.evaluate(
        g, args.samples, content=cagc.content_source("class-activation"),
        teacher=None if g.lineage is None else cagc.load_generator(TEACHER),
        reference=str(args.data / "test"), features=network,
    )
    return {k: v for k, v in report.to_dict().items() if k != "seed"}


def ships(name: str, seed: str) -> bool:
    """Whether a row is of a network in data/."""
    return seed in ("", "0") and name not in (SHORT, CHOICE)


def command(name: str) -> str:
    """The command that makes a network; "" where the one that it is derived from does not ship."""
    entry = manifest().get(SLIMMING if name in (SHORT, CHOICE) else name)
    how = "" if entry is None else entry["how"]
    if name == SHORT and how:
        sparse, distil = (re.search(rf"--{k}-images (\d+)", how)[1] for k in ("sparse", "distil"))
        rest = int(distil) - int(sparse)
        how = how.replace(f"--distil-images {distil}", f"--distil-images {rest}")
    if name == CHOICE:
        # the pruned network in the place of "-"
        how = re.sub(r"compress (\S+) .*?--content", r"train student - --teacher \1 --content", how)
        how = re.sub(r" --(sparse-images|sparsity|run) \S+", "", how).replace("--distil-", "--")
    return how


def chosen(seed: str, args: argparse.Namespace) -> list[list[int]]:
    """Per width, the channels that slimming at 0.7 chose; none where its gains are not known."""
    widths: dict[str, list[float]] = {}
    for row in read_table(gains_table(args)):
        if row["seed"] == seed:
            widths.setdefault(row["width"], []).append(abs(float(row["average"])))
    scores = [torch.tensor(gains) for gains in widths.values()]
    return [keep.tolist() for keep in cagc.plan_pruning(scores, 0.7).keep] if scores else []


def gains_table(args: argparse.Namespace) -> pathlib.Path:
    """Where the gains of slimming's sparse training stand, beside the table."""
    return args.table.with_name(f"{args.table.stem}_gains.csv")


def made(name: str, seed: str, args: argparse.Namespace) -> str:
    """What identifies a network: the hash of the file that ships, or of all that makes it."""
    how = command(name)
    if ships(name, seed):
        return manifest()[name]["sha256"] if how else ""
    facts = [how, seed, manifest()[TEACHER]["sha256"]]
    if name == CHOICE:
        facts.append(chosen(seed, args))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest() if all(facts) else ""


def run_folder(name: str, seed: str, args: argparse.Namespace) -> pathlib.Path:
    """Where a network was trained: what its command says, or a folder of its own."""
    if not ships(name, seed):
        return args.runs / f"{name}-{seed}-{made(name, seed, args)[:16]}"
    words = shlex.split(command(name))
    options = [option for option in ("--run", "--out") if option in words]
    return pathlib.Path(words[words.index(options[0]) + 1])


def seconds(folder: pathlib.Path) -> int | str:
    """What a training took, by its own log; nothing where that is not here."""
    logs = [log for log in (folder / "sparse/log.csv", folder / "log.csv") if log.exists()]
    return round(sum(float(read_table(log)[-1]["seconds"]) for log in logs)) if logs else ""


def trained(name: str, seed: str, args: argparse.Namespace) -> pathlib.Path:
    """The file of a student that does not ship; made if it is not there."""
    folder = run_folder(name, seed, args)
    out = folder.with_suffix(".safetensors")
    if out.exists():
        return out
    # all behind "python -m cagc_lib"; of an option given twice the last one counts
    words = shlex.split(command(name))[3:]
    at = words.index("--register")
    del words[at : at + 2]
    words += ["--data", str(args.data / "train"), "--seed", seed, "--resume"]
    folder.mkdir(parents=True, exist_ok=True)
    if name == CHOICE:
        words[words.index("-")] = str(folder / "pruned.safetensors")
        save_chosen(seed, args, folder / "pruned.safetensors")
        words += ["--out", str(folder)]
    else:
        words += ["--run", str(folder), "--out", str(out)]
    if status := command_line(words):
        sys.exit(status)
    if name == CHOICE:
        atomic_write(out, (folder / "checkpoint.safetensors").read_bytes())
    return out


def save_chosen(seed: str, args: argparse.Namespace, path: pathlib.Path) -> None:
    """Write the teacher pruned to the channels that slimming chose, its weights as they were."""
    teacher = cagc.load_checkpoint(TEACHER)
    keep = tuple(torch.tensor(numbers) for numbers in chosen(seed, args))
    plan = cagc.PruningPlan(keep, tuple(teacher.generator.config.channels), 0.7, method="slimming")
    cagc.save_generator(cagc.prune(teacher.generator, plan, source_sha256=teacher.sha256), path)


def seen(how: str) -> int:
    """Real images that a network's training showed, read off the command that makes it."""
    return sum(int(n) for n in re.findall(r"--(?:distil-|sparse-)?images (\d+)", how))


def record_gains(table: pathlib.Path, seed: str, folder: pathlib.Path) -> None:
    """Put the gains that a sparse training left into their table, a row a channel."""
    if not (folder / "state.pt").exists():
        return
    state = load_training_state(folder / "state.pt")
    g = cagc.SNGANGenerator(SNGANConfig.from_dict(state["generator_config"]))
    columns = []
    for part in ("generator", "average"):
        g.load_state_dict(state[part])
        columns.append([gains.tolist() for gains in g.gains(first_parameter(g))])
    rows = [
        {"seed": seed, "width": k, "channel": c, "gain": f"{last:.6g}", "average": f"{mean:.6g}"}
        for k, pair in enumerate(zip(*columns, strict=True))
        for c, (last, mean) in enumerate(zip(*pair, strict=True))
    ]
    with FileLock(table.with_suffix(".lock")):
        others = [row for row in read_table(table) if row["seed"] != seed]
        write_table(sorted(others + rows, key=lambda row: row["seed"]), list(rows[0]), table)


def fill(name: str, seed: str, args: argparse.Namespace, network: Classifier) -> None:
    """Make one row, unless it is there or its network cannot be made."""
    shipped = manifest()
    identity = made(name, seed, args) if name != REAL else ""
    if not identity and name != REAL:
        return
    row = record(args.table)[name, seed]
    hashes = {
        "sha256": identity, "classifier_sha256": shipped["cifar10-classifier"]["sha256"],
        "content_sha256": shipped["cifar10-perceptual"]["sha256"],
    }
    if {key: row.get(key) for key in hashes} == hashes:
        return
    row = planned()[name, seed] | hashes | {
        "status": "measured", "device": device_name(), "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if name == REAL:
        measured = real(args, network)
    else:
        file = name if ships(name, seed) else trained(name, seed, args)
        row["images"] = seen(command(name))
        row["seconds"] = seconds(run_folder(name, seed, args))
        measured = generated(cagc.load_generator(file), args, network)
    row |= {k: round(v, 5) if isinstance(v, float) else v for k, v in measured.items()}
    record(args.table, row)
    if name == SLIMMING:
        record_gains(gains_table(args), seed, run_folder(name, seed, args) / "sparse")
    print(f"{name} {seed}".rstrip() + f": Frechet {row['frechet']:.2f}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure what the table lacks."""
    names = list(dict.fromkeys(name for name, _ in planned()))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("cifar10"),
                        help="holds the class folders of train/ and test/ (cifar10)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="; ".join(names))
    parser.add_argument("--seeds", nargs="+", type=int, choices=[0, 1], default=[0, 1])
    parser.add_argument("--samples", type=int, default=5_000, help="images measured")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/cifar10"))
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.only or ()) - set(names)):
        parser.error(f"--only: got {unknown[0]!r}, expected some of: {'; '.join(names)}")
    record(args.table)
    network = load_classifier("cifar10-classifier")
    # seed by seed, so that a table cut short still compares all rows
    for wanted in ("", *map(str, args.seeds)):
        for name, seed in planned():
            if seed == wanted and name in (args.only or names):
                fill(name, seed, args, network)


if __name__ == "__main__":
    main()
