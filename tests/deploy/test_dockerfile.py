"""deploy/Dockerfile and .dockerignore against the tree: what would rot unseen, as nobody builds."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from minireranker.serve.config_sources import PREFIX, settle

FINAL = ("cpu", "cuda", "default", "example")


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_default_is_the_cpu_image_and_the_names_are_those_people_are_told(
    stages: dict[str, Any], root: Path
) -> None:
    assert list(stages)[-1] == "default"
    assert stages["default"].lines == stages["cpu"].lines
    for name in ("deploy/README.md", "deploy/Dockerfile", "deploy/compose.yaml"):
        told = re.findall(r"target[: ] ?(\w+)", (root / name).read_text(encoding="utf-8"))
        assert told
        assert set(told) <= set(stages), name


def test_what_is_copied_is_there_and_reaches_the_builder(
    stages: dict[str, Any], root: Path, ignored: Callable[[str], bool]
) -> None:
    copied = {rest for stage in stages.values() for rest in stage.all("COPY")}
    sources = {name for rest in copied for name in shlex.split(rest)[:-1]}
    assert "." in sources
    for name in sources - {"."}:
        assert (root / name).exists(), name
        assert not ignored(name.strip("/")), name


def test_mounts_are_of_earlier_stages_and_find_their_files(
    stages: dict[str, Any], root: Path
) -> None:
    mounts = [
        dict(pair.split("=") for pair in found.split(","))
        for found in re.findall(
            r"--mount=(\S+)", " ".join(stages["cpu"].all("RUN") + stages["cuda"].all("RUN"))
        )
    ]
    assert len(mounts) == 4
    (wheels,) = re.findall(r"--wheel-dir (\S+)", *stages["wheel"].all("RUN"))
    (source,) = stages["wheel"].all("WORKDIR")
    for mount in mounts:
        assert mount["from"] == "wheel"
        inside = PurePosixPath(mount["source"])
        is_file = inside.is_relative_to(source) and (root / inside.relative_to(source)).is_file()
        assert is_file or mount["source"] == wheels


def test_the_builder_gets_all_that_the_wheel_is_made_of(
    pyproject: dict[str, Any], root: Path, ignored: Callable[[str], bool]
) -> None:
    setuptools = pyproject["tool"]["setuptools"]
    data = setuptools["package-data"]
    needed = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    for package in setuptools["packages"]:
        folder = root.joinpath(*package.split(".")[1:])
        for pattern in ("*.py", *data.get(package, ())):
            needed |= {path.relative_to(root).as_posix() for path in folder.glob(pattern)}
    assert len(needed) > 300
    assert sorted(filter(ignored, needed)) == []


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", ".typecheck/minireranker", "build/lib/a.py"),
        *("tests/serve/core/conftest.py", "cache/__pycache__/a.pyc", "bench/results/a.json"),
        *("deploy/compose.yaml", "deploy/kubernetes/service.yaml", "demo/pictures/000.png"),
        "minireranker.egg-info/PKG-INFO",
    ],
)
def test_the_builder_does_not_get_the_rest(path: str, ignored: Callable[[str], bool]) -> None:
    assert ignored(path)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_wheel_is_installed_with_extras_there_are_and_the_tested_torch(
    name: str, stages: dict[str, Any], pyproject: dict[str, Any], root: Path
) -> None:
    text = (root / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert set(extras.split(",")) <= set(pyproject["project"]["optional-dependencies"])
    assert {"serve", "http"} <= set(extras.split(","))
    assert "EXTRAS" in stages[name].all("ARG")  # else empty there
    install = stages[name].all("RUN")[-1]
    commands = [shlex.split(one) for one in install.split("&&")]
    assert [one[-1] for one in commands] == ["torch", "$(echo /wheels/*.whl)[$EXTRAS]"]
    for command in commands:
        assert command[command.index("-c") + 1] == "/constraints.txt"
    assert "target=/constraints.txt" in install


def test_python_is_one_the_package_runs_on(stages: dict[str, Any], root: Path) -> None:
    text = (root / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ARG PYTHON=([\d.]+)-slim-\w+$", text, re.MULTILINE)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert SpecifierSet(project["requires-python"]).contains(version)
    assert stages["base"].all("FROM") == ["python:${PYTHON}"]


def test_variables_are_settings_and_ports_are_exposed(stages: dict[str, Any]) -> None:
    variables = stages["cpu"].variables
    settled = settle(None, variables)
    ours = {name.removeprefix(PREFIX).lower() for name in variables if name.startswith(PREFIX)}
    assert ours == {name for name, origin in settled.origins.items() if origin == "environment"}
    config = settled.config
    assert config.host == "0.0.0.0"
    exposed = {int(port) for rest in stages["cpu"].all("EXPOSE") for port in rest.split()}
    assert exposed == {config.grpc_port, config.http_port}


def test_what_is_written_is_in_the_volume(stages: dict[str, Any]) -> None:
    variables = stages["cpu"].variables
    (volume,) = stages["cpu"].all("VOLUME")
    assert variables["HOME"] == volume
    assert PurePosixPath(variables[f"{PREFIX}CACHE"]).is_relative_to(volume)
    assert variables["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("name", FINAL)
def test_it_runs_as_a_user_of_its_own(name: str, stages: dict[str, Any]) -> None:
    (uid,) = re.findall(r"useradd --uid (\d+) --user-group", " ".join(stages[name].all("RUN")))
    assert int(uid) > 0
    assert stages[name].all("USER")[-1] == f"{uid}:{uid}"


@pytest.mark.parametrize("name", ["cpu", "cuda", "default"])
def test_signals_reach_the_server(name: str, stages: dict[str, Any]) -> None:
    assert json.loads(*stages[name].all("ENTRYPOINT")) == ["minireranker", "serve"]
    assert stages[name].all("STOPSIGNAL") == ["SIGTERM"]


def test_programs_are_where_they_are_called(stages: dict[str, Any], root: Path) -> None:
    (check,) = stages["cpu"].all("HEALTHCHECK")
    program = PurePosixPath(json.loads(check.partition("CMD ")[2])[1])
    assert f"deploy/{program.name} {program.parent}/" in stages["cpu"].all("COPY")
    example = PurePosixPath(json.loads(*stages["example"].all("CMD"))[0])
    assert f"examples/pgvector/ {example.parent}/" in stages["example"].all("COPY")
    assert (root / "examples" / "pgvector" / example.name).is_file()
    assert stages["example"].all("HEALTHCHECK")[-1] == "NONE"


def test_requirements_of_the_example_are_readable(root: Path) -> None:
    text = (root / "examples" / "pgvector" / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [Requirement(line).name for line in lines] == ["psycopg"]
