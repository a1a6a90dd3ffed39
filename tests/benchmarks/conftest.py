"""The benchmark scripts as modules, and a teacher small enough to run them on."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cagc_lib.checkpoints import save_checkpoint
from cagc_lib.networks import Discriminator, Generator, GeneratorConfig, matching_discriminator

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@contextmanager
def script(name: str) -> Iterator[ModuleType]:
    """Import benchmarks/NAME.py, and forget it afterwards."""
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCHMARKS))
    del sys.modules[name]
    for other in ("rows", "textbook", "modulated_conv_gpu"):
        sys.modules.pop(other, None)


@pytest.fixture(scope="module")
def students() -> Iterator[ModuleType]:
    with script("students") as module:
        yield module


@pytest.fixture(scope="module")
def teachers() -> Iterator[ModuleType]:
    with script("teacher") as module:
        yield module


@pytest.fixture(scope="module")
def cifar10() -> Iterator[ModuleType]:
    with script("cifar10") as module:
        yield module


@pytest.fixture(scope="module")
def cpu() -> Iterator[ModuleType]:
    with script("cpu") as module:
        yield module


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    with script("modulated_conv_gpu") as module:
        measure_once(module)
        yield module


@pytest.fixture(scope="module")
def tune() -> Iterator[ModuleType]:
    with script("tune_kernels") as module:
        measure_once(sys.modules["modulated_conv_gpu"])
        yield module


def measure_once(module: ModuleType) -> None:
    """Let a measurement be one call: in Triton's interpreter that takes a tenth of a second."""
    module.WARM_UP, module.FEWEST = 0, 1


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(32, (8,) * 8, z_dim=16, w_dim=16, mapping_layers=1))
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_checkpoint(g, Discriminator(matching_discriminator(g.config)), path)
    return path
