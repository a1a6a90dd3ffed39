"""What do the students of the CIFAR-10 network look like in numbers?

    python benchmarks/cifar10.py [--data cifar10] [--only cifar10-random-50 ...]

Measures the shipped SN-GAN and its students, every network of data/manifest.json that the plan
below names, against as many test images, which none has seen, in the features of a classifier that
only measures; content is where the other one looks, that of the losses. The row "training images"
puts real images in a generator's place: the best that can be. One row a network in
data/cifar10.csv; one is left alone if it was measured on the same files, and networks that are not
there stand as "not run". Chapter 11 reads the table and nothing else.
"""

import argparse
import pathlib
import re
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import device_name, read_table, write_table

import cagc_lib as cagc
from cagc_lib.artefacts import manifest
from cagc_lib.classifier import Classifier, load_classifier
from cagc_lib.distances import compare_features
from cagc_lib.images import image_source

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "cifar10.csv"
TEACHER, REAL = "cifar10-sngan", "training images"
METHODS = ("random", "l1-out", "slimming", "content-aware")
RATIOS = (0.5, 0.7)
RESOLUTION = 32
REPORT = tuple(f.name for f in cagc.Report.__dataclass_fields__.values() if f.name != "seed")
COLUMNS = (
    "name", "method", "ratio", "status", "sha256", "classifier_sha256", "content_sha256", "images",
    "device", "threads", "torch", *REPORT,
)


def planned() -> dict[str, dict]:
    """Every row there should be, in the table's order."""
    rows = [{"name": REAL}, {"name": TEACHER}]
    rows += [
        {"name": f"cifar10-{method}-{100 * ratio:.0f}", "method": method, "ratio": ratio}
        for ratio in RATIOS
        for method in METHODS
    ]
    return {row["name"]: row | {"status": "not run"} for row in rows}


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


def generated(name: str, args: argparse.Namespace, network: Classifier) -> dict:
    """The report of a shipped network; of a student also against its teacher."""
    report = cagc.evaluate(
        cagc.load_generator(name), args.samples, content=cagc.content_source("class-activation"),
        teacher=None if name == TEACHER else cagc.load_generator(TEACHER),
        reference=str(args.data / "test"), features=network,
    )
    return {k: v for k, v in report.to_dict().items() if k != "seed"}


def seen(how: str) -> int:
    """Real images that a network's training showed, read off the command that made it."""
    return sum(int(n) for n in re.findall(r"--(?:distil-|sparse-)?images (\d+)", how))


def main(arguments: list[str] | None = None) -> None:
    """Measure what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("cifar10"),
                        help="holds the class folders of train/ and test/ (cifar10)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="; ".join(planned()))
    parser.add_argument("--samples", type=int, default=5_000, help="images measured")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    rows = planned()
    if unknown := sorted(set(args.only or ()) - set(rows)):
        parser.error(f"--only: got {unknown[0]!r}, expected some of: {'; '.join(rows)}")
    rows |= {r["name"]: r for r in read_table(args.table) if r["status"] == "measured"}
    shipped = manifest()
    network = load_classifier("cifar10-classifier")
    networks = {
        "classifier_sha256": shipped["cifar10-classifier"]["sha256"],
        "content_sha256": shipped["cifar10-perceptual"]["sha256"],
    }
    for name in args.only or planned():
        entry = shipped.get(name, {"sha256": "", "how": ""})
        hashes = {"sha256": entry["sha256"]} | networks
        if name not in shipped and name != REAL:
            continue
        if {key: rows[name].get(key) for key in hashes} == hashes:
            continue
        measured = real(args, network) if name == REAL else generated(name, args, network)
        rows[name] = planned()[name] | hashes | {
            "status": "measured", "images": seen(entry["how"]) or "", "device": device_name(),
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        } | {k: round(v, 5) if isinstance(v, float) else v for k, v in measured.items()}
        write_table(rows.values(), COLUMNS, args.table)
        print(f"{name}: Frechet {rows[name]['frechet']:.2f}", flush=True)
    write_table(rows.values(), COLUMNS, args.table)


if __name__ == "__main__":
    main()
