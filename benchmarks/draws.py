"""How far do the measures of the teacher and of `portraits-11x` move with the latents drawn?

    python benchmarks/draws.py

Both are measured again on five draws of 2,000 latents, beside the same 2,000 real portraits; every
draw becomes one row of data/draws.csv. What this leaves out is the luck of the real portraits and
of the one training run. Chapter 9.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.scoreboard import device_name, write_table

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "draws.csv"
MEASURES = ("frechet", "content_frechet", "precision", "recall", "content_recall")
COLUMNS = ("name", "seed", "num_samples", "device", *MEASURES)


def main(arguments: list[str] | None = None) -> None:
    """Measure each network on each draw and write the table once all are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", default=["portraits", "portraits-11x"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--samples", type=int, default=2_000, help="images measured")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    content, rows = cagc.content_source("portraits"), []
    for name in args.names:
        g = cagc.load_generator(name)
        for seed in args.seeds:
            report = cagc.evaluate(g, args.samples, seed, content=content).to_dict()
            measures = {key: round(report[key], 5) for key in MEASURES}
            rows.append({
                "name": name, "seed": seed, "num_samples": args.samples, "device": device_name(),
                **measures,
            })
            print(f"{name}, draw {seed}: Frechet {report['frechet']:.2f}, inside "
                  f"{report['content_frechet']:.2f}", flush=True)
    write_table(rows, COLUMNS, args.table)


if __name__ == "__main__":
    main()
