"""Makes a peer's virtual environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

from .environment import Environment
from .failure import PeerError

__all__ = ["install"]

_TOLD = ("Collecting", "Downloading", "Installing", "Successfully")
"""Beginnings of pip's lines that are passed on."""
_LAST = 15
"""Lines of a failed command that its error shows."""


def install(home: Environment, say: Callable[[str], None], *, indexes: Sequence[str] = ()) -> None:
    """Make an environment, or finish one that was begun; nothing is done to one that is ready.

    ``say`` gets a line for each step, pip's own among them. ``indexes``: URLs that pip looks at
    beside its own. Raises PeerError where a step fails.
    """
    name = home.name
    if home.fault is None:
        say(f"{name}: is installed in {home.path}")
        return
    home.receipt.unlink(missing_ok=True)
    home.folder.mkdir(parents=True, exist_ok=True)
    say(f"{name}: making a virtual environment in {home.path}")
    _run([sys.executable, "-m", "venv", str(home.path)], name, say)
    wanted, unwanted = home.lists
    extra = [word for url in indexes for word in ("--extra-index-url", url)]
    _run([*_pip(home), "install", "-r", str(wanted), *extra], name, say)
    if unwanted is not None:
        _run([*_pip(home), "uninstall", "--yes", "-r", str(unwanted)], name, say)
    installed = _run([*_pip(home), "freeze"], name, say)
    receipt = {"lists": home.digests(), "installed": installed}
    home.receipt.write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    say(f"{name}: ready, {len(installed)} packages")


def _pip(home: Environment) -> list[str]:
    return [str(home.python), "-m", "pip", "--no-input", "--disable-pip-version-check"]


def _run(command: Sequence[str], name: str, say: Callable[[str], None]) -> list[str]:
    """Run a command to its end and pass on what it is at; returns its lines."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None, "a pipe was asked for"
        for line in map(str.strip, process.stdout):
            lines.append(line)
            if line.startswith(_TOLD):
                say(f"{name}: {line[:100]}")
    if process.returncode:
        last = "\n".join(deque(filter(None, lines), _LAST))
        raise PeerError(
            f"{name} could not be installed: {' '.join(command[:6])} ... ended with code "
            f"{process.returncode}. Look at its last lines, and run the command again: what was "
            f"done is kept\n{last}"
        )
    return lines
