"""The tree's own sources, read and parsed once for every structure test."""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE = {"tests", "build", "dist", "demo", "deploy", "examples"}
"""Folders of the root that are no part of the package; so are hidden ones and *.egg-info."""


@dataclass(frozen=True)
class Source:
    """One file: ``path`` from the root, ``name`` as imported, ``room`` its top-level folder."""

    path: Path
    text: str

    @property
    def name(self):
        parts = ("minireranker", *self.path.with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self):
        """Folder of the root, or the file's own stem; "" is the package's face, __init__.py."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def folder(self):
        """The package a relative import of this file starts from."""
        return self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]

    @property
    def lines(self):
        return len(self.text.splitlines())

    @cached_property
    def tree(self):
        return ast.parse(self.text, filename=str(self.path))


def _read(paths):
    return [Source(p.relative_to(ROOT), p.read_text(encoding="utf-8")) for p in sorted(paths)]


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def rooms():
    """The root's folders that belong to the package."""
    return sorted(
        path
        for path in ROOT.iterdir()
        if path.is_dir()
        and path.name not in OUTSIDE
        and not path.name.startswith((".", "__"))
        and path.suffix != ".egg-info"
    )


@pytest.fixture(scope="session")
def sources(rooms):
    """Every Python file of the package."""
    return _read([*ROOT.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))])


@pytest.fixture(scope="session")
def test_sources():
    """Every Python file of the tests."""
    return _read((ROOT / "tests").rglob("*.py"))


@pytest.fixture(scope="session")
def source_of():
    """A Source from a path and a text, to show a check what it must object to."""
    return lambda path, text: Source(Path(path), text)
