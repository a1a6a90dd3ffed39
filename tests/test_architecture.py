"""The house rules: the order of the road, what `import cagc_lib` loads, sizes, docstrings, bans."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "cagc_lib"

# A file imports only from entries above its own. A folder is one entry; its files may import one
# another. Folders first, so that the files built on them follow.
ROAD = (
    "ops",
    "protocol",
    "generator",
    "discriminator",
    "sngan",
    "sngan_discriminator",
    "networks",
    "artefacts",
    "downloads",
    "formats",
    "pickle_reader",
    "checkpoints",
    "rendering",
    "portraits",
    "supervised",
    "images",
    "masks",
    "cifar10",
    "classifier",
    "parser",
    "features",
    "standard_features",
    "landmarks",
    "pretrained_parsers",
    "generator_features",
    "content",
    "distances",
    "importance",
    "pruning",
    "calibration",
    "distillation",
    "adversarial",
    "train_state",
    "train_steps",
    "training",
    "costs",
    "conversion",
    "metrics",
    "editing",
    "figures",
    "static_slider",
    "widgets",
    "choices",
    "commands",
    "arguments",
    "__main__",
)
FILES = sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")
MAX_LINES = 400
MAX_FUNCTION_LINES = 60


def entry(path: Path) -> str:
    """Return the road entry that a file belongs to."""
    first = path.relative_to(LIBRARY).parts[0]
    return first.removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_entries(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (road entry, line) for every import of the library in a file, at any depth."""
    package = ("cagc_lib", *path.relative_to(LIBRARY).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "cagc_lib" and len(parts) > 1:
                yield parts[1], node.lineno


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield (function, public) for the functions of a file; nested ones are never public."""

    def walk(node: ast.AST, public: bool) -> Iterator[tuple[ast.FunctionDef, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                named = not child.name.startswith("_") or child.name == "__init__"
                yield child, public and named
                yield from walk(child, False)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, public and not child.name.startswith("_"))
            else:
                yield from walk(child, public)

    yield from walk(tree(path), True)


by_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))


@by_file
def test_imports_never_step_back(path: Path) -> None:
    assert entry(path) in ROAD, f"{path.name} has no place on the road"
    here = ROAD.index(entry(path))
    for name, line in imported_entries(path):
        if name == entry(path) and path.parent != LIBRARY:
            continue
        assert name in ROAD, f"line {line}: imports {name}, which is not a file of the road"
        assert ROAD.index(name) < here, f"line {line}: imports {name}, which lies further on"


def test_road_has_no_empty_place() -> None:
    present = {entry(path) for path in FILES}
    assert [name for name in ROAD if name not in present] == []


@by_file
def test_sizes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    for function, _ in functions(path):
        first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        length = (function.end_lineno or first) - first + 1
        assert length <= MAX_FUNCTION_LINES, f"{function.name}: {length} lines"


@by_file
def test_public_functions_are_typed_and_described(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "no module docstring"
    for function, public in functions(path):
        if not public:
            continue
        where = f"line {function.lineno}: {function.name}"
        # an __init__ is described by its class
        if function.name != "__init__":
            assert ast.get_docstring(function), f"{where} has no docstring"
        assert function.returns or function.name == "__init__", f"{where}: no return annotation"
        named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        extra = [a for a in (function.args.vararg, function.args.kwarg) if a]
        for argument in [*named, *extra]:
            typed = argument.annotation or argument.arg in ("self", "cls")
            assert typed, f"{where}: {argument.arg} is not annotated"


@by_file
def test_unsafe_loading_stays_out(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert "*" not in [alias.name for alias in node.names], f"line {node.lineno}: import *"
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        name = f"{node.value.id}.{node.attr}"
        where = f"line {node.lineno}: {name}"
        assert name not in ("pickle.load", "pickle.loads", "pickle.Unpickler"), where
        assert name != "torch.load" or path.name == "checkpoints.py", where


def test_torch_load_reads_weights_only() -> None:
    """One call, no second try: whatever torch refuses stays refused."""
    calls = []
    for node in ast.walk(tree(LIBRARY / "checkpoints.py")):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            calls.append({k.arg: ast.unparse(k.value) for k in node.keywords})
    assert [options.get("weights_only") for options in calls] == ["True"]


@by_file
def test_no_other_door_to_unpickling(path: Path) -> None:
    banned = ("pickle", "_pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names] if not node.level else []
            names += [str(node.module).partition(".")[0]] if not node.level else []
        elif isinstance(node, ast.keyword):
            asked = (node.arg, ast.unparse(node.value))
            assert asked not in (("weights_only", "False"), ("allow_pickle", "True")), asked
            continue
        else:
            continue
        for name in names:
            assert name not in (*banned, "torch.load", "torch.serialization.load"), name


@by_file
def test_only_downloads_use_a_network(path: Path) -> None:
    banned = {"socket", "urllib", "http", "requests", "ftplib", "gdown", "huggingface_hub"}
    if path.name == "downloads.py":
        return
    # it fetches data sets, and unpickles them
    banned |= {"torchvision"} if path.name != "cifar10.py" else set()
    for node in ast.walk(tree(path)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not banned & {name.partition(".")[0] for name in names}, names


def test_import_loads_nothing_heavy() -> None:
    heavy = ("triton", "plotly", "ipywidgets", "matplotlib", "IPython", "torchvision", "gdown")
    code = f"import sys, cagc_lib; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
