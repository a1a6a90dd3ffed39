"""The benchmark scripts as modules."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str) -> Callable[[], Iterator[ModuleType]]:
    """Make a fixture that imports benchmarks/NAME.py, and forgets what it imported afterwards."""

    @pytest.fixture(scope="module")
    def module() -> Iterator[ModuleType]:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(BENCHMARKS)
            imported = importlib.import_module(name)
            if gpu := sys.modules.get("modulated_conv_gpu"):
                # a measurement is one call: in the interpreter that takes a tenth of a second
                gpu.WARM_UP, gpu.FEWEST = 0, 1
            yield imported
        for path in BENCHMARKS.glob("*.py"):
            sys.modules.pop(path.stem, None)

    return module


teachers, cifar10, cpu = map(script, ("teacher", "cifar10", "cpu"))
gradients, draws, agreement = map(script, ("gradient_lengths", "draws", "agreement"))
sample_size, latent_space = map(script, ("sample_size", "latent_space"))
gpu, tune = map(script, ("modulated_conv_gpu", "tune_kernels"))


@pytest.fixture(scope="session")
def teacher(small_teacher: Path) -> Path:
    return small_teacher
