"""The README's section on serving: its fenced blocks, and a session that runs them in order.

Nothing of a block is changed but the two port numbers. `minireranker serve` stands last in its
block: it is left running until the next one, or the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"
PORTS = "50051", "8080"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE = re.compile(r"^minireranker serve (?!.*--print-config).*\Z", re.MULTILINE)
_STANDS_IN = Path(__file__).with_name("grpcurl.py")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    kind: str
    """bash or python."""
    code: str


def section() -> str:
    """From its title to the next."""
    text = README.read_text(encoding="utf-8")
    found = re.search(r"^## Serve\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{README} has no section on serving"
    return found[1]


def blocks() -> list[Block]:
    """All of them."""
    return [Block(*found) for found in _FENCE.findall(section())]


def values(text: str) -> list[Any]:
    """What is JSON in an output, in order; anything between is passed over."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while start := re.compile(r"[\[{]").search(text, at):
        try:
            one, at = decoder.raw_decode(text, start.start())
            found.append(one)
        except ValueError:
            at = start.end()
    return found


class Session:
    """A folder, variables and a server that go from one block to the next."""

    def __init__(self, folder: Path) -> None:
        """``folder``: empty; gets a ``bin`` with what stands in for grpcurl where there is none."""
        self._folder = folder
        self._ports = dict(zip(PORTS, map(str, _free_ports(len(PORTS))), strict=True))
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        if shutil.which("grpcurl") is None:
            program = bin_folder / "grpcurl"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{_STANDS_IN}" "$@"\n')
            program.chmod(0o755)
        path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.defpath])
        kept = {name: value for name, value in os.environ.items() if not _is_ours(name)}
        self._variables = {
            **kept,
            "PATH": path,
            "OMP_NUM_THREADS": "1",
            # Where a block does not name the port of gRPC, it has to be another too.
            "MINIRERANKER_SERVE_GRPC_PORT": self._ports["50051"],
            "MINIRERANKER_SERVE_DTYPE": "float32",
        }
        self._server: subprocess.Popen[str] | None = None

    def run(self, block: Block) -> str:
        """What it writes to stdout. Fails with all it wrote where one of its commands does."""
        code = re.sub(r"\b(50051|8080)\b", lambda found: self._ports[found[1]], block.code)
        if block.kind == "python":
            return self._done([sys.executable, "-P", "-c", code])
        serving = _SERVE.search(code.rstrip())
        code = code[: serving.start()] if serving else code
        written = self._done(["bash", "-euo", "pipefail", "-c", f"{code}\nenv -0 > .variables"])
        self._carry()
        if serving:
            self.stop()
            self._serve(serving[0])
        return written

    def stop(self) -> None:
        """End the server as an operator does, and hold it to its exit code."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGTERM)
        _, said = self._server.communicate(timeout=300)
        code, self._server = self._server.returncode, None
        assert code == 0, said

    def _done(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _carry(self) -> None:
        file = self._folder / ".variables"
        pairs = file.read_text().rstrip("\0").split("\0")
        self._variables = dict(pair.split("=", 1) for pair in pairs)

    def _serve(self, line: str) -> None:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=self._folder,
            env=self._variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        said = ""
        for entry in server.stderr:
            said += entry
            if '"event": "ready"' in entry:
                self._server = server
                return
        server.communicate()
        raise AssertionError(f"it ended instead of serving:\n{said}")


def _is_ours(name: str) -> bool:
    return name.startswith("MINIRERANKER_") or name.lower().endswith("_proxy")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
