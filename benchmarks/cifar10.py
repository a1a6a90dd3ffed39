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
weights, and of their average, which is scored. Chapter 11 reads these two and nothing else.
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

from rows import device_name, read_table, write_table

import cagc_lib as cagc
from cagc_lib.__main__ import main as command_line
from cagc_lib.artefacts import manifest
from cagc_lib.checkpoints import load_training_state
from cagc_lib.classifier import Classifier, load_classifier
from cagc_lib.distances import compare_features
from cagc_lib.images import image_source
from cagc_lib.protocol import like
from cagc_lib.sngan import SNGANConfig

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "cifar10.csv"
TEACHER, REAL = "cifar10-sngan", "training images"
METHODS = ("random", "l1-out", "slimming", "content-aware")
# seeds by ratio: the comparison of methods is made at 0.7
SEEDS = {0.5: (0,), 0.7: (0, 1)}
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


def made(name: str, seed: str) -> str:
    """What identifies a network: the hash of the file that ships, or of its command and teacher."""
    shipped = manifest()
    if name not in shipped:
        return ""
    if seed in ("", "0"):
        return shipped[name]["sha256"]
    text = json.dumps([shipped[name]["how"], seed, shipped[TEACHER]["sha256"]])
    return hashlib.sha256(text.encode()).hexdigest()


def run_folder(name: str, seed: str, args: argparse.Namespace) -> pathlib.Path:
    """Where a network was trained: what its command says, or a folder of the seed's own."""
    if seed not in ("", "0"):
        return args.runs / f"{name}-{seed}-{made(name, seed)[:16]}"
    words = shlex.split(manifest()[name]["how"])
    options = [option for option in ("--run", "--out") if option in words]
    return pathlib.Path(words[words.index(options[0]) + 1])


def seconds(folder: pathlib.Path) -> int | str:
    """What a training took, by its own log; nothing where that is not here."""
    logs = [log for log in (folder / "sparse/log.csv", folder / "log.csv") if log.exists()]
    return round(sum(float(read_table(log)[-1]["seconds"]) for log in logs)) if logs else ""


def trained_again(name: str, seed: str, args: argparse.Namespace) -> pathlib.Path:
    """The shipped student's file with another seed; made if it is not there."""
    folder = run_folder(name, seed, args)
    out = folder.with_suffix(".safetensors")
    if not out.exists():
        # all behind "python -m cagc_lib"; of an option given twice the last one counts
        words = shlex.split(manifest()[name]["how"])[3:]
        at = words.index("--register")
        del words[at : at + 2]
        args.runs.mkdir(parents=True, exist_ok=True)
        words += ["--data", str(args.data / "train"), "--seed", seed, "--resume"]
        if status := command_line([*words, "--run", str(folder), "--out", str(out)]):
            sys.exit(status)
    return out


def seen(how: str) -> int:
    """Real images that a network's training showed, read off the command that made it."""
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
        columns.append([gains.tolist() for gains in g.gains(like(g))])
    rows = [
        {"seed": seed, "width": k, "channel": c, "gain": f"{last:.6g}", "average": f"{mean:.6g}"}
        for k, pair in enumerate(zip(*columns, strict=True))
        for c, (last, mean) in enumerate(zip(*pair, strict=True))
    ]
    with FileLock(table.with_suffix(".lock")):
        others = [row for row in read_table(table) if row["seed"] != seed]
        write_table(sorted(others + rows, key=lambda row: row["seed"]), list(rows[0]), table)


def fill(name: str, seed: str, args: argparse.Namespace, network: Classifier) -> None:
    """Make one row, unless it is there or its network does not ship."""
    shipped = manifest()
    if name not in shipped and name != REAL:
        return
    row = record(args.table)[name, seed]
    hashes = {
        "sha256": made(name, seed), "classifier_sha256": shipped["cifar10-classifier"]["sha256"],
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
        file = name if seed in ("", "0") else trained_again(name, seed, args)
        row["images"] = seen(shipped[name]["how"])
        row["seconds"] = seconds(run_folder(name, seed, args))
        measured = generated(cagc.load_generator(file), args, network)
    row |= {k: round(v, 5) if isinstance(v, float) else v for k, v in measured.items()}
    record(args.table, row)
    if name == "cifar10-slimming-70":
        gains = args.table.with_name(f"{args.table.stem}_gains.csv")
        record_gains(gains, seed, run_folder(name, seed, args) / "sparse")
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
