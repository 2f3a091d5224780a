"""A server in processes of its own, as it is deployed, and a look at their memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minireranker.errors import MinirerankerError

__all__ = ["Served", "serving"]

_PROGRAM = """
import json, sys
from minireranker.serve.config import ServeConfig
from minireranker.serve.process import run
sys.exit(run(ServeConfig(**json.loads(sys.argv[1]))))
"""


class Served:
    """Attributes: ``address`` (host:port of gRPC), ``exit_code`` (None until ``stop``)."""

    def __init__(self, settings: dict[str, Any], log: Path) -> None:
        """Start it and wait until it is ready. Raises MinirerankerError where it does not start."""
        given = json.dumps({"grpc_port": 0, **settings})
        command = [sys.executable, "-P", "-c", _PROGRAM, given]
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stderr=out)
        self.exit_code: int | None = None
        try:
            self.address = f"127.0.0.1:{self._port(log)}"
        except BaseException:
            self.kill()
            raise

    def resident(self) -> int | None:
        """Bytes in memory now, of the server and its engine, what they share once.

        None where the system does not say.
        """
        texts = self._proc("smaps_rollup")
        lines = [line for text in texts for line in text.splitlines() if line.startswith("Pss:")]
        return sum(int(line.split()[1]) for line in lines) * 1024 or None

    def cpu_seconds(self) -> float | None:
        """Of all their threads so far; None where the system does not say."""
        times = [text.rpartition(")")[2].split()[11:13] for text in self._proc("stat")]
        ticks = sum(int(user) + int(system) for user, system in times)
        return ticks / os.sysconf("SC_CLK_TCK") or None

    def _proc(self, name: str) -> list[str]:
        """A file of the system's, of the server and each of its children; none if it has none."""
        own = self._process.pid
        try:
            children = Path(f"/proc/{own}/task/{own}/children").read_text(encoding="utf-8")
            return [
                Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
                for pid in (own, *children.split())
            ]
        except OSError:
            return []

    def stop(self) -> None:
        """As an orchestrator would: SIGTERM, and wait."""
        self._process.send_signal(signal.SIGTERM)
        self.exit_code = self._process.wait()

    def kill(self) -> None:
        """If it still runs."""
        self._process.kill()
        self._process.wait()

    def _port(self, log: Path) -> int:
        with log.open(encoding="utf-8") as lines:
            while True:
                line = lines.readline()
                if line.endswith("\n") and '"event": "ready"' in line:
                    return int(json.loads(line)["grpc_port"])
                if not line:
                    try:
                        code = self._process.wait(0.05)
                    except subprocess.TimeoutExpired:
                        continue
                    raise MinirerankerError(f"the server ended with {code}: see {log}")


@contextmanager
def serving(settings: dict[str, Any], log: Path) -> Iterator[Served]:
    """One that is gone afterwards, whatever happens."""
    served = Served(settings, log)
    try:
        yield served
    finally:
        served.kill()
