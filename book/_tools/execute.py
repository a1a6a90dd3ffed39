"""Run notebooks and store clean outputs.

    python book/_tools/execute.py                 run every chapter, in order, in place
    python book/_tools/execute.py 01 07           only these
    python book/_tools/execute.py 01 --out DIR    write the executed copy to DIR instead

Each notebook runs in its own folder with a fresh kernel of this Python. What differs from run to
run is not stored: times, widget state, the outputs of cells tagged `remove-output`, progress bars
on stderr. `tests/book/test_notebooks.py` checks the result.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parents[1]


def clean(notebook: NotebookNode) -> None:
    """Drop what a reader does not see and what would change on every run."""
    notebook.metadata = NotebookNode(
        kernelspec={
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        language_info={"name": "python"},
    )
    for cell in notebook.cells:
        for key in ("execution", "collapsed", "scrolled", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if "remove-output" in cell.metadata.get("tags", []):
            cell.outputs = []
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        for output in cell.outputs:
            # IPython stores a PIL image twice; the page shows the PNG
            if "image/png" in output.get("data", {}):
                output.data.pop("image/jpeg", None)


def execute(path: Path, out: Path | None, timeout: int) -> float:
    """Run one notebook and write it; return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=timeout,
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute()
    clean(notebook)
    target = path if out is None else out / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return time.perf_counter() - start


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description="Run notebooks and store clean outputs."
    )
    parser.add_argument(
        "chapters", nargs="*", help="chapter numbers, as in 01 07; none for all"
    )
    parser.add_argument("--out", type=Path, help="folder for the executed copies")
    parser.add_argument(
        "--timeout", type=int, default=600, help="seconds for one cell"
    )
    args = parser.parse_args()
    paths = sorted(BOOK.glob("*.ipynb"))
    for number in args.chapters:
        if not any(p.name.startswith(number) for p in paths):
            parser.error(
                f"no chapter {number}; there are {[p.name[:2] for p in paths]}"
            )
    if args.chapters:
        paths = [p for p in paths if p.name.startswith(tuple(args.chapters))]
    for path in paths:
        seconds = execute(path, args.out, args.timeout)
        print(f"{path.name}: ran in {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
