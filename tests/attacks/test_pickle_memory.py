"""Peak memory of processes that load pickles: at most twice the file and 64 MB."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile import ATTACKS, TORCH, small_generator, zipped

from book._tools.snapshots import snapshot
from cagc_lib.checkpoints.formats import rosinality
from cagc_lib.networks import Generator, GeneratorConfig

ROOT = Path(__file__).resolve().parents[2]
MEASURE = """
import sys
from pathlib import Path
from cagc_lib.checkpoints import load_checkpoint

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

load_checkpoint("good.pkl")
before = peak()
for file in sys.argv[1:]:
    try:
        load_checkpoint(file)
        outcome = "loaded"
    except ValueError:
        outcome = "refused"
    print(file, Path(file).stat().st_size, peak() - before, outcome)
"""
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the peak"),
    pytest.mark.usefixtures("place"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.pkl").write_bytes(snapshot(small_generator()))


def measure(*files: str) -> list[tuple[str, int, int, str]]:
    """Load the files in one new process; return (name, bytes, peak so far, outcome) for each."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == list(files)
    for file, size, used, _ in rows:
        assert int(used) <= 2 * int(size) + 64 * 2**20, f"{file}: {size} bytes, peak {used}"
    return [(file, int(size), int(used), outcome) for file, size, used, outcome in rows]


def test_attacks() -> None:
    others = [zipped(data, version=b"3") for data in [*ATTACKS.values(), *TORCH.values()]]
    contents = sorted([*ATTACKS.values(), *others], key=len)
    for i, data in enumerate(contents):
        Path(f"attack{i}.pkl").write_bytes(data)
    rows = measure(*(f"attack{i}.pkl" for i in range(len(contents))))
    assert {outcome for *_, outcome in rows} == {"refused"}


def test_a_real_size() -> None:
    """The generator of 64 px with channel_base 16384; loaded, and refused at its last byte."""
    g = Generator(GeneratorConfig(64, (512,) * 8 + (256,) * 2, conv_clamp=256))
    data = snapshot(g)
    Path("whole.pkl").write_bytes(data)
    # POP, where STOP should be: every tensor has been read by then
    Path("late.pkl").write_bytes(data[:-1] + b"0.")
    for file, expected in (("whole.pkl", "loaded"), ("late.pkl", "refused")):
        ((_, size, used, outcome),) = measure(file)
        assert outcome == expected
        # the measurement itself: a file read whole is at least its own size
        assert size > 80 * 2**20
        assert used > 0.9 * size


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_not_asked_for_is_not_read(zipped: bool) -> None:
    g = Generator(GeneratorConfig(64, (512,) * 8 + (256,) * 2))
    content = rosinality.pack(g, None)
    size = sum(t.numel() * t.element_size() for t in content["g_ema"].values())
    moments = {"state": {0: {"exp_avg": torch.zeros(3 * size // 4)}}}
    torch.save(content | {"g_optim": moments}, "x.pt", _use_new_zipfile_serialization=zipped)
    ((_, _, used, outcome),) = measure("x.pt")
    assert outcome == "loaded"
    assert size < used < 2 * size + 64 * 2**20
