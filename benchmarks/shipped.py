"""How good are the students that ship, and on how many images was each trained?

    python benchmarks/shipped.py

Every student of the portraits in data/manifest.json, with the ratio and the number of images in the
command that made it, is measured on 2,000 samples beside its teacher. Each becomes one row of
data/shipped.csv, from the lowest ratio to the highest; a row stays while its hash, of the student,
the teacher and the networks that look, is today's. The budgets differ: a row says its own, and two
rows of different ones do not compare ratios. Chapter 1 reads the table.
"""

import argparse
import hashlib
import itertools
import json
import pathlib
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import device_name, read_table, write_table
from students import REPORT, measure, networks

import cagc_lib as cagc
from cagc_lib.checkpoints import manifest

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "shipped.csv"
COLUMNS = ("name", "ratio", "images", "sha256", "device", *REPORT)


def shipped(teacher: str) -> list[dict]:
    """The manifest's students of a teacher: name, ratio and images, smallest ratio first."""
    rows = []
    for name, entry in manifest().items():
        words = shlex.split(entry["how"])
        if ["compress", teacher] == words[3:5]:
            said = dict(itertools.pairwise(words))
            ratio, images = float(said["--ratio"]), int(said["--distil-images"])
            rows.append({"name": name, "ratio": ratio, "images": images})
    return sorted(rows, key=lambda row: row["ratio"])


def hashed(name: str, args: argparse.Namespace) -> str:
    """The first 16 digits of a hash of all that a row's measures depend on."""
    files = [manifest()[each]["sha256"] for each in (name, args.teacher)]
    text = json.dumps([*files, args.samples, networks()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def options() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="portraits")
    parser.add_argument("--samples", type=int, default=2_000, help="images measured")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure the students that the table lacks."""
    args = options().parse_args(arguments)
    teacher = cagc.load_generator(args.teacher)
    old = {row["name"]: row for row in read_table(args.table)}
    rows = []
    for row in shipped(args.teacher):
        sha256 = hashed(row["name"], args)
        if old.get(row["name"], {}).get("sha256") != sha256:
            student = cagc.load_generator(row["name"])
            row |= {"sha256": sha256, "device": device_name()} | measure(student, teacher, args)
            old[row["name"]] = row
            print(f"{row['name']}, {row['images']:,} images: Frechet {row['frechet']:.2f}, "
                  f"inside {row['content_frechet']:.2f}", flush=True)
        rows.append(old[row["name"]])
        write_table(rows, COLUMNS, args.table)


if __name__ == "__main__":
    main()
