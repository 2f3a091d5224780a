"""A peer's virtual environment: where it lies, what goes into it, and whether that was finished."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Environment", "environments"]

_HERE = Path(__file__).resolve().parent


def environments() -> Path:
    """The folder of all of them: ``build/peers`` of the checkout, else of the current folder."""
    root = _HERE.parents[1]
    above = root if (root / "pyproject.toml").is_file() else Path.cwd()
    return above / "build" / "peers"


@dataclass(frozen=True)
class Environment:
    """The environment of the peer ``name`` under ``folder``; looking at it changes nothing."""

    name: str
    folder: Path
    requirements: Path = _HERE / "requirements"
    """The folder of pip's lists."""

    @property
    def path(self) -> Path:
        """Its own folder."""
        return self.folder / self.name

    @property
    def python(self) -> Path:
        """Its interpreter, there or not."""
        return self.path / "bin" / "python"

    @property
    def receipt(self) -> Path:
        """What was installed; written last."""
        return self.path / "installed.json"

    @property
    def lists(self) -> tuple[Path, Path | None]:
        """pip's lists for this machine: what is installed, and what of it is taken out again."""
        cuda = self.requirements / f"{self.name}-cuda.txt"
        if cuda.is_file() and shutil.which("nvidia-smi"):
            return cuda, None
        unwanted = self.requirements / f"{self.name}-unwanted.txt"
        return self.requirements / f"{self.name}.txt", unwanted if unwanted.is_file() else None

    def digests(self) -> dict[str, str]:
        """Hex SHA-256 of each list, by its file name."""
        found = [path for path in self.lists if path is not None]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    @property
    def fault(self) -> str | None:
        """Why it cannot be used, and what to do; None where it can."""
        cure = f"run `minireranker bench peers install {self.name}`"
        try:
            receipt = json.loads(self.receipt.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"absent: {cure}"
        if not self.python.exists() or receipt.get("lists") != self.digests():
            return f"out of date: {cure}"
        return None
