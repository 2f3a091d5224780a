"""A serving process of its own, and what it has logged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from minireranker.serve.generated import reranker_pb2 as pb

CODE = """
import sys
from pathlib import PosixPath
from minireranker.serve.config import ServeConfig
from minireranker.serve.process import run
given = {"grpc_port": 0, **eval(sys.argv[1])}
sys.exit(run(ServeConfig(**{"model": "builtin", "dtype": "float32", **given})))
"""


class Server:
    """Started at once; ``until("ready")`` waits for it."""

    def __init__(self, **config: Any) -> None:
        command = [sys.executable, "-P", "-c", CODE, repr(config)]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.lines: list[dict[str, Any]] = []

    @property
    def engines(self) -> list[int]:
        """Numbers of its processes: one, once there is one."""
        own = self.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text(encoding="utf-8")
        return [int(child) for child in children.split()]

    @property
    def engine(self) -> int:
        """Number of the engine's process."""
        (child,) = self.engines
        return child

    def until(self, event: str) -> dict[str, Any]:
        """The line that tells of it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            assert line.startswith("{"), line + self.process.stderr.read()
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"{event} never came: {self.lines}")

    def end(self) -> int:
        """Wait for it; the exit code."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            assert line.startswith("{"), line + self.process.stderr.read()
            self.lines.append(json.loads(line))
        return self.process.wait(300)


def asking(count: int, words: str = "circle") -> pb.RerankRequest:
    """For a red circle among so many texts."""
    texts = (f"{words} {number}" for number in range(count))
    documents = [pb.Document(content=pb.Content(texts=[text])) for text in texts]
    return pb.RerankRequest(query=pb.Content(texts=["a red circle"]), documents=documents)
