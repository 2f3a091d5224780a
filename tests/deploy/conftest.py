"""What is deployed, read from its files; a real PostgreSQL with pgvector; a serving process."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
PROGRAMS = Path("pginstall", "bin")
PATIENCE = 600
SERVE = "from minireranker.cli import main; main()"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@dataclass(frozen=True)
class Stage:
    """One FROM of the Dockerfile, and all that those it stands on say before it."""

    name: str
    lines: tuple[tuple[str, str], ...]
    """Instructions in capitals, and the rest of their lines."""

    def all(self, instruction: str) -> list[str]:
        """What follows an instruction, each time."""
        return [rest for word, rest in self.lines if word == instruction]

    @property
    def variables(self) -> dict[str, str]:
        """Of ENV."""
        pairs = (pair for rest in self.all("ENV") for pair in shlex.split(rest))
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


@pytest.fixture(scope="session")
def stages(root: Path) -> dict[str, Stage]:
    """Of deploy/Dockerfile, by name."""
    found: dict[str, Stage] = {}
    for word, rest in _instructions(root / "deploy" / "Dockerfile"):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            inherited = found[base].lines if base in found else ((word, base),)
            found[name] = Stage(name, inherited)
        elif found:
            (name, last) = list(found.items())[-1]
            found[name] = Stage(name, (*last.lines, (word, rest)))
    return found


def _instructions(path: Path) -> Iterator[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line:
            word, _, rest = line.partition(" ")
            yield word, rest


@pytest.fixture(scope="session")
def ignored(root: Path) -> Callable[[str], bool]:
    """Whether .dockerignore keeps a path, from the root, out of what is sent to the builder."""
    rules = []
    for line in (root / ".dockerignore").read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            parts = re.split(r"(\*\*/|\*)", line.removeprefix("!"))
            wild = {"**/": "(.*/)?", "*": "[^/]*"}
            pattern = "".join(wild.get(part, re.escape(part)) for part in parts)
            rules.append((re.compile(f"{pattern}(/.*)?"), not line.startswith("!")))

    def check(path: str) -> bool:
        hits = [is_out for rule, is_out in rules if rule.fullmatch(path)]
        return bool(hits) and hits[-1]

    return check


@pytest.fixture(scope="session")
def compose(root: Path) -> dict[str, Any]:
    """deploy/compose.yaml."""
    return dict(yaml.safe_load((root / "deploy" / "compose.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Where an empty database is, of a server that only the module's tests know."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector here: pip install pgserver")
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            programs = _handed_over(programs, folder)
        data = folder / "data"
        _run(
            programs / "initdb", "-D", data, "-U", "postgres", "--no-sync", "--no-locale", "-EUTF8"
        )
        control = (programs / "pg_ctl", "-D", data, "-w", "-t", PATIENCE)
        # No port: a socket in the folder, which nobody else finds.
        _run(*control, "-l", folder / "log", "-o", f"-k {folder} -h '' -F", "start")
        try:
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            _run(*control, "-m", "immediate", "stop")


def _programs() -> Path | None:
    """Those of the package pgserver, which brings pgvector along."""
    spec = importlib.util.find_spec("pgserver")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / PROGRAMS


def _handed_over(programs: Path, folder: Path) -> Path:
    """A copy for nobody, who must be able to read it: PostgreSQL refuses to run as root."""
    package = programs.parents[1]
    # The libraries that its programs link lie beside the package.
    for part in (package, *package.parent.glob("pgserver.libs")):
        unused = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(part, folder / part.name, symlinks=True, ignore=unused)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return folder / package.name / PROGRAMS


def _run(*command: object) -> None:
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    # A server that stays would hold a pipe open for as long as it lives.
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(
            list(map(str, command)), stdout=said, stderr=said, cwd="/", timeout=PATIENCE, **who
        )
        said.seek(0)
        assert done.returncode == 0, said.read()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., dict[str, Any]]]:
    """``serve(*flags)``: starts `minireranker serve`; the log line that says it is ready."""
    started: list[tuple[subprocess.Popen[str], threading.Thread]] = []

    def start(*flags: object, **environment: str) -> dict[str, Any]:
        command = [sys.executable, "-P", "-c", SERVE, "serve", *map(str, flags)]
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("{") and json.loads(line)["event"] == "ready":
                # Nobody reads what comes after; a full pipe would stop the server.
                reader = threading.Thread(target=process.stderr.read)
                reader.start()
                started.append((process, reader))
                return dict(json.loads(line))
        raise AssertionError(f"it ended with {process.wait()} before it was ready: {said}")

    yield start
    for process, reader in started:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()
