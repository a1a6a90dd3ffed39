"""The house rules: the rooms' order, what `import cagc_lib` loads, sizes, docstrings, bans."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "cagc_lib"

# A room imports only from rooms above its own, through their doors (`from ..networks import ...`).
# Inside a room files may import one another, but never in a circle.
ROOMS = (
    "ops", "networks", "checkpoints", "datasets", "content", "importance", "pruning",
    "distillation", "training", "compression", "metrics", "editing", "scoreboard", "export", "cli",
    "__main__",
)
# what shows a notebook's pictures and checks its answers stands apart: it imports nothing of ours
APART = ("figures", "exercises")
CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))
FILES = sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")
MAX_LINES = 400
MAX_FUNCTION_LINES = 60


def room(path: Path) -> str:
    """Return the room that a file belongs to."""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[tuple[str, ...], str, int]]:
    """Yield (module's parts after cagc_lib, name, line) of a file's imports of the library."""
    package = ("cagc_lib", *path.relative_to(LIBRARY).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found = [(alias.name.split("."), "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = [*base, *(node.module.split(".") if node.module else [])]
            found = [(module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in found:
            if module[0] == "cagc_lib":
                yield tuple(module[1:]), name, node.lineno


def file_of(module: tuple[str, ...], name: str) -> Path:
    """Return the file that an import reads: a module's, or that of the module named."""
    for parts in ((*module, name), module):
        place = LIBRARY.joinpath(*parts)
        if place.with_suffix(".py").is_file():
            return place.with_suffix(".py")
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
    raise AssertionError(f"no file for {module} {name}")


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
    here = room(path)
    assert here in (*ROOMS, *APART), f"{path.name} is in no room"
    for module, name, line in imports(path):
        there = (*module, name)[0]
        if there == here:
            continue
        assert not {*APART} & {here, there}, f"line {line}: {here} imports {there}"
        assert ROOMS.index(there) < ROOMS.index(here), f"line {line}: imports {there}, further on"
        assert len(module) == 1, f"line {line}: imports from inside the room {there}"
        assert not name.startswith("_"), f"line {line}: imports {name}, which is {there}'s own"


def test_rooms_are_there() -> None:
    assert {room(path) for path in FILES} == {*ROOMS, *APART}


def test_an_installation_has_every_room() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {f.parent.relative_to(ROOT) for f in LIBRARY.rglob("__init__.py")}
    assert {*listed} == {".".join(folder.parts) for folder in folders} | {"cagc_lib.data"}


def test_no_circles() -> None:
    """A file's imports can be followed to their end; a room's door belongs to the files behind."""
    graph = {}
    for path in FILES:
        behind = path.parent if path.name == "__init__.py" else None
        reads = {file_of(module, name) for module, name, _ in imports(path)}
        graph[path] = {p for p in reads if behind or room(p) == room(path)} - {path}
    assert {*TopologicalSorter(graph).static_order()} >= {*FILES}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapters_import_from_rooms(path: Path) -> None:
    """Never a file inside a room, never a name of its own."""
    doors = {".".join(f.parent.relative_to(ROOT).parts) for f in LIBRARY.rglob("__init__.py")}
    doors |= {f"cagc_lib.{f.stem}" for f in LIBRARY.glob("*.py")}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cagc_lib"):
                assert node.module in doors, node.module
                assert not [a.name for a in node.names if a.name.startswith("_")], node.module


@by_file
def test_sizes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    for function, _ in functions(path):
        first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        length = (function.end_lineno or first) - first + 1
        if ast.get_docstring(function):
            # code is counted: arguments and examples want room
            text = function.body[0]
            length -= (text.end_lineno or text.lineno) - text.lineno + 1
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
        assert name != "torch.load" or path.name == "torch_files.py", where


def test_torch_load_reads_weights_only() -> None:
    """One call, no second try: whatever torch refuses stays refused."""
    calls = []
    for node in ast.walk(tree(LIBRARY / "checkpoints/formats/torch_files.py")):
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
    heavy = ("triton", "plotly", "ipywidgets", "transformers", "matplotlib", "IPython",
             "torchvision", "gdown")
    code = f"import sys, cagc_lib; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
