"""The kernels compile for GPUs: Triton's compiler needs none to be there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# the shared memory that one program may have
SHARED = {"80": 163 * 1024, "90": 227 * 1024}
PRODUCTS = {"_convolve", "_convolve:reduce", "_convolve_up", "_weight_gradient"}


@pytest.mark.parametrize(("arch", "dtype"), [("80", "fp32"), ("90", "bf16"), ("80", "fp16")])
def test_every_kernel_compiles(arch: str, dtype: str, tmp_path: Path) -> None:
    keep = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "compile_kernels.py"), arch, dtype],
        env=keep | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["kernel"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows.keys() >= PRODUCTS and len(rows) == 9
    assert all(row["shared"] <= SHARED[arch] for row in rows.values())
    # padded channels come 16 bytes at a time, while the products before run
    assert all(rows[name]["copies"] > 0 for name in PRODUCTS), rows
    assert all(row["spilled"] <= 128 for row in rows.values()), rows
    if dtype != "fp32":
        # products of half precision run on the matrix units
        kind = "wgmma" if arch == "90" else "mma"
        assert all(rows[name][kind] > 0 for name in PRODUCTS), rows
