"""Imports run downward only, and importing the package costs next to nothing."""

import ast
import graphlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

import minireranker

FLOORS = {
    "errors": -1,
    "kernels": 0,
    "configs": 0,
    "models": 1,
    "cache": 1,
    "engine": 2,
    "retrieval": 3,
    "relevance": 3,
    "scenes": 0,
    **dict.fromkeys(("cli", "commands", "report", "serve", "bench", "train", "probe"), 4),
}
TOP = 4
HEAVY = {
    *("torch", "transformers", "tokenizers", "safetensors"),
    *("numpy", "PIL", "av", "pypdfium2", "triton"),
}


@dataclass(frozen=True)
class Import:
    """One imported name, wherever in a file it stands: ``target`` is absolute."""

    line: int
    level: int
    target: str


def imports_of(source):
    """All imports of a file: of functions, under TYPE_CHECKING, and import_module("...") too."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(source, node.level, node.module)
            for alias in node.names:
                # A name of a deeper module does not change the room; one of the root does.
                target = f"{base}.{alias.name}" if base == "minireranker" else base
                yield Import(node.lineno, node.level, target)
        elif isinstance(node, ast.Call) and callee(node) in ("import_module", "__import__"):
            yield Import(node.lineno, *dynamic_target(source, node.args[0]))


def absolute(source, level, module):
    if not level:
        return module
    parts = source.folder.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


def callee(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def dynamic_target(source, argument):
    """Level and target of import_module(argument), as far as the text shows them."""
    if isinstance(argument, ast.JoinedStr):
        argument = argument.values[0]
    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
        return 0, "minireranker.?"
    name = argument.value
    level = len(name) - len(name.lstrip("."))
    return level, absolute(source, level, name.lstrip("."))


def room_of(target):
    """The room an absolute name lives in; None for other packages and for __version__."""
    package, _, rest = target.partition(".")
    room = rest.partition(".")[0]
    if package != "minireranker" or room == "__version__":
        return None
    home = minireranker._HOMES.get(room)
    return room_of(home) if home else room


def upward(source):
    """Imports of a file that do not lead to a lower floor. The face, __init__.py, may see all."""
    if source.room == "":
        return
    for found in imports_of(source):
        room = room_of(found.target)
        if room in (None, source.room):
            continue
        here, there = FLOORS.get(source.room, -2), FLOORS.get(room, TOP)
        if not (there < here or here == there == TOP):
            yield f"{source.path}:{found.line} imports {found.target}"


def crooked(source, names):
    """Imports that are relative between folders, or of a room under its bare name."""
    for found in imports_of(source):
        if found.level > 1 or (found.level == 1 and room_of(found.target) != source.room):
            yield f"{source.path}:{found.line} imports {found.target} relatively"
        if found.target.partition(".")[0] in names:
            yield f"{source.path}:{found.line} imports a bare {found.target}"


def path_changes(source):
    """Every mention of sys.path, whatever it is for, and site.addsitedir."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            names = [f"{getattr(node.value, 'id', '')}.{node.attr}"]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        if {"sys.path", "site.addsitedir"} & set(names):
            yield f"{source.path}:{node.lineno} touches {names[0]}"


def test_imports_run_downward(sources):
    assert [line for source in sources for line in upward(source)] == []


def test_every_room_has_a_floor(sources):
    assert {source.room for source in sources} - {""} <= set(FLOORS)


def test_the_top_floor_has_no_circles(sources):
    graph = {}
    for source in sources:
        if FLOORS.get(source.room) == TOP:
            seen = {room_of(found.target) for found in imports_of(source)}
            graph.setdefault(source.room, set()).update(seen - {source.room, None})
    assert "commands" in graph["cli"]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_errors_needs_only_the_standard_library(sources):
    (errors,) = (source for source in sources if source.room == "errors")
    roots = {found.target.partition(".")[0] for found in imports_of(errors)}
    assert roots <= sys.stdlib_module_names


def test_between_folders_imports_are_absolute_and_under_the_package(sources, rooms):
    names = {room.name for room in rooms} | {"cli", "errors"}
    assert [line for source in sources for line in crooked(source, names)] == []


def test_tests_import_the_package_by_its_name(test_sources, rooms):
    names = {room.name for room in rooms} | {"cli", "errors", "tests", "conftest"}
    found = [line for source in test_sources for line in crooked(source, names)]
    assert [line for line in found if "bare" in line] == []


def test_nothing_touches_the_search_path(sources, test_sources):
    found = [line for source in sources + test_sources for line in path_changes(source)]
    assert found == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("errors.py", "from minireranker.configs import Profile"),
        ("kernels/band_attention/api.py", "import minireranker.configs.profile"),
        ("configs/profile.py", "from minireranker.kernels import band_attention"),
        ("models/weights.py", "from minireranker.cache import MemoryCache"),
        ("cache/disk.py", "def get():\n    from minireranker.models import weights"),
        ("cache/disk.py", "if TYPE_CHECKING:\n    import minireranker.engine.types"),
        ("engine/types.py", "from minireranker import cli"),
        ("models/weights.py", "from minireranker import Reranker"),
        ("engine/types.py", "import minireranker"),
        ("engine/types.py", "importlib.import_module('minireranker.report')"),
        ("engine/types.py", "importlib.import_module(name)"),
        ("configs/profile.py", "from ..engine import types"),
        ("attic/old.py", "from minireranker.errors import InputError"),
    ],
)
def test_an_upward_import_is_seen(source_of, path, text):
    assert len(list(upward(source_of(path, text)))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("kernels/band_attention/api.py", "from minireranker.errors import InputError"),
        ("kernels/band_attention/api.py", "import_module(f'.{name}', __package__)"),
        ("engine/reranker.py", "from minireranker.cache import MemoryCache\nfrom . import types"),
        ("engine/reranker.py", "from minireranker import __version__"),
        ("commands/rank.py", "from minireranker import Reranker\nimport minireranker.report.html"),
        ("models/qwen3_vl/model.py", "from minireranker.models.shard import read"),
    ],
)
def test_a_downward_import_is_not(source_of, path, text):
    source = source_of(path, text)
    assert [*upward(source), *crooked(source, {"kernels", "engine"})] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/prefix.py", "from ..errors import InputError"),
        ("models/qwen3_vl/model.py", "from ..shard import read"),
        ("cli.py", "from .commands import rank"),
        ("engine/prefix.py", "import kernels"),
        ("engine/prefix.py", "from kernels.band_attention import api"),
    ],
)
def test_a_crooked_import_is_seen(source_of, path, text):
    assert len(list(crooked(source_of(path, text), {"kernels", "engine"}))) == 1


@pytest.mark.parametrize("text", ["sys.path.insert(0, '.')", "from sys import path as p"])
def test_a_touched_search_path_is_seen(source_of, text):
    assert len(list(path_changes(source_of("cli.py", text)))) == 1


def modules_after(*lines):
    """Modules loaded in a fresh interpreter once these lines have run."""
    report = "import json, sys; print(); print(json.dumps(list(sys.modules)))"
    done = fresh_python("-P", "-c", "\n".join([*lines, report]))
    return set(json.loads(done.stdout.splitlines()[-1]))


def fresh_python(*arguments, **options):
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    return done


HELP = """
import sys
from minireranker.cli import main
sys.argv = ["minireranker", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("import minireranker", "minireranker"),
        ("import minireranker.errors", "minireranker.errors"),
        ("import minireranker.configs", "minireranker.configs.profile"),
        ("import minireranker.cli", "minireranker.commands"),
        (HELP, "minireranker.commands"),
    ],
    ids=["package", "errors", "configs", "cli", "help"],
)
def test_a_light_import_loads_nothing_heavy(code, module):
    loaded = modules_after(code)
    assert module in loaded
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


NO_TRITON = """
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize("block", ["", NO_TRITON], ids=["as-installed", "triton-blocked"])
def test_kernels_load_nothing_heavier_than_torch(rooms, block):
    (kernels,) = (room for room in rooms if room.name == "kernels")
    operators = [f"minireranker.kernels.{p.parent.name}" for p in kernels.glob("*/__init__.py")]
    # What torch itself loads is torch's affair: it is taken off before the kernels are looked at.
    forget = "import sys, torch; alone = {name.partition('.')[0] for name in sys.modules}"
    imports = "\n".join(f"import {name}" for name in ["minireranker.kernels", *operators])
    verdict = f"heavy = ({HEAVY} - alone) & {{name.partition('.')[0] for name in sys.modules}}"
    loaded = modules_after("import sys", block, forget, imports, verdict, "assert not heavy, heavy")
    assert operators
    assert loaded.issuperset(operators)


def test_transformers_still_loads_from_the_checkout(root):
    """``python -c`` puts the root on the search path: its folders must not shadow a package."""
    environment = {name: os.environ[name] for name in os.environ.keys() - {"PYTHONSAFEPATH"}}
    code = "import minireranker, transformers.modeling_utils, sys; print(sys.path[0] == '')"
    done = fresh_python("-W", "ignore", "-c", code, cwd=root, env=environment)
    assert done.stdout.strip() == "True"
