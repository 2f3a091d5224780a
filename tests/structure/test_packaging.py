"""pyproject, Makefile and wheel say the same as the tree."""

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import minireranker

IMPORTED_AS = {
    "PIL": "pillow",
    "google": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "grpc_tools": "grpcio-tools",
    "opentelemetry": "opentelemetry-sdk",
}
"""Import names that differ from the name of their distribution."""
BROUGHT_ALONG = {
    "h11": "uvicorn",
    "huggingface_hub": "transformers",
    "starlette": "fastapi",
    "triton": "torch",
}
"""Imported, not declared: these come with a declared distribution, in the version that fits it."""


@pytest.fixture(scope="module")
def pyproject(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def makefile(root):
    return (root / "Makefile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def packages(root, rooms):
    """Folder of every package in the tree, by its name."""
    folders = [path.parent for room in rooms for path in room.rglob("__init__.py")]
    names = [".".join(("minireranker", *path.relative_to(root).parts)) for path in folders]
    return {"minireranker": root, **dict(zip(names, folders, strict=True))}


@pytest.fixture(scope="module")
def data_files(pyproject, packages):
    """Files matched by each package-data pattern, by (package, pattern)."""
    declared = pyproject["tool"]["setuptools"]["package-data"]
    return {
        (package, pattern): sorted(packages[package].glob(pattern))
        for package, patterns in declared.items()
        for pattern in patterns
    }


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """A wheel built from a copy, so that the checkout gets no build folder and no metadata."""
    copy, out = tmp_path_factory.mktemp("tree") / "copy", tmp_path_factory.mktemp("wheel")
    unwanted = {"build", "dist", "demo"}
    shutil.copytree(
        root,
        copy,
        ignore=lambda folder, names: [
            name
            for name in names
            if name in ("__pycache__", "minireranker.egg-info")
            or (Path(folder) == root and (name in unwanted or name.startswith(".")))
        ],
    )
    command = [sys.executable, "-P", "-m", "build", "--wheel", "--no-isolation", "--outdir", out]
    done = subprocess.run([*command, copy], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def requirement(specifiers, name):
    (found,) = (r for r in map(Requirement, specifiers) if canonicalize_name(r.name) == name)
    return found


def test_packages_are_those_of_the_tree(pyproject, packages):
    assert pyproject["tool"]["setuptools"]["packages"] == sorted(packages)


def test_no_module_lies_outside_a_package(sources, packages):
    assert {source.folder for source in sources} <= set(packages)


def test_every_data_pattern_matches(data_files):
    assert [key for key, files in data_files.items() if not files] == []


def test_every_data_file_of_a_package_is_declared(root, packages, data_files):
    declared = {path for files in data_files.values() for path in files}
    present = {path for folder in packages.values() if folder != root for path in folder.iterdir()}
    files = {path for path in present if path.is_file() and path.suffix not in (".py", ".md")}
    assert sorted(map(str, files - declared)) == []


def test_the_wheel_holds_the_package_and_nothing_else(root, wheel, sources, data_files):
    expected = {source.path.as_posix() for source in sources}
    expected |= {p.relative_to(root).as_posix() for files in data_files.values() for p in files}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {f"minireranker/{name}" for name in expected}
    assert {"minireranker/py.typed", "minireranker/configs/mini-2b.toml"} <= packed


def test_the_wheel_says_what_it_is(root, wheel):
    info = f"minireranker-{minireranker.__version__}.dist-info"
    headers = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert headers["Version"] == minireranker.__version__
    assert headers["License-Expression"] == "Apache-2.0"
    licence = wheel.read(f"{info}/licenses/LICENSE").decode()
    assert licence == (root / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0", licence)
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "minireranker = minireranker.cli:main" in entry_points


def test_the_wheel_works_without_the_tree(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = (
        "import minireranker, minireranker.configs as configs\n"
        "print(minireranker.__file__, *configs.available_profiles())\n"
        "from minireranker import *"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    home, *profiles = done.stdout.split()
    assert Path(home).is_relative_to(tmp_path)
    assert {"dense", "mini-2b", "mini-4b", "mini-8b"} <= set(profiles)


@pytest.mark.parametrize(
    ("name", "lowest", "too_old"), [("torch", "2.9.0", "2.8.9"), ("transformers", "5.3.0", "5.2.9")]
)
def test_ranges_start_where_they_must_and_stay_open(pyproject, name, lowest, too_old):
    found = requirement(pyproject["project"]["dependencies"], name).specifier
    assert found.contains(lowest)
    assert not found.contains(too_old)
    assert {item.operator for item in found} == {">="}


def test_python_starts_at_3_11(pyproject):
    allowed = SpecifierSet(pyproject["project"]["requires-python"])
    assert [allowed.contains(version) for version in ("3.10", "3.11", "3.14")] == [0, 1, 1]


def test_pyproject_names_no_index(pyproject, root):
    project = pyproject["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    assert [r for each in lists for r in map(Requirement, each) if r.url] == []
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"index-url|https?://", text)


def test_constraints_pin_one_torch_within_the_range(pyproject, root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pin = requirement([line for line in lines if line and not line.startswith("#")], "torch")
    (only,) = pin.specifier
    assert only.operator == "=="
    assert requirement(pyproject["project"]["dependencies"], "torch").specifier.contains(
        only.version
    )


@pytest.mark.parametrize("target", ["dev", "demo", "test", "lint", "wheel", "bench"])
def test_make_has_the_target_whatever_lies_in_the_tree(makefile, target):
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    # A folder of that name (bench/, and demo/ once made) would make it "up to date" for ever.
    phony = re.search(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    assert target in phony[1].split()


def test_make_installs_under_the_constraints(makefile):
    installs = [line for line in makefile.splitlines() if "pip install" in line and "-e" in line]
    assert len(installs) == 1
    assert "-c constraints.txt" in installs[0]
    assert "[dev]" in installs[0]


def test_ci_lints_and_tests(root):
    script = root / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert os.access(script, os.X_OK)
    assert any(line.startswith("set -e") for line in lines)
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test"]


def third_party(node):
    """Import names outside the package and the standard library, directly at this node."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
    tops = {name.partition(".")[0] for name in names}
    return tops - sys.stdlib_module_names - {"minireranker"}


def on_import(node):
    """Nodes that run when the module is imported: not functions, nor what only mypy reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from on_import(child)


def distributions(names):
    known = BROUGHT_ALONG | IMPORTED_AS
    return {canonicalize_name(known.get(name, name)) for name in names}


def test_what_is_imported_is_declared(pyproject, sources):
    project = pyproject["project"]
    required = {Requirement(text).name for text in project["dependencies"]}
    extra = {
        name: {Requirement(text).name for text in texts}
        for name, texts in project["optional-dependencies"].items()
        if name not in ("all", "dev")
    }
    # Of a peer's own environment, and what regenerates the protocols' code.
    elsewhere = {"sentence-transformers", "torchvision", "vllm", "grpcio-tools"}
    extras = set().union(*extra.values(), elsewhere)
    serving = required | extra["serve"] | extra["http"]
    for source in sources:
        anywhere = {name for node in ast.walk(source.tree) for name in third_party(node)}
        at_import = {name for node in on_import(source.tree) for name in third_party(node)}
        assert distributions(anywhere) <= required | extras, source.path
        # Nothing but the command `serve` and its clients imports this room.
        allowed = serving if source.room == "serve" else required
        assert distributions(at_import) <= allowed, source.path


def test_what_is_required_is_imported(pyproject, sources):
    names = {n for source in sources for node in ast.walk(source.tree) for n in third_party(node)}
    required = {Requirement(text).name for text in pyproject["project"]["dependencies"]}
    assert required <= distributions(names)


@pytest.mark.parametrize(("name", "carrier"), [("huggingface_hub", "transformers")])
def test_what_is_brought_along_really_is(name, carrier):
    requirements = [Requirement(text) for text in metadata.requires(carrier)]
    always = {canonicalize_name(r.name) for r in requirements if r.marker is None}
    assert canonicalize_name(name) in always
