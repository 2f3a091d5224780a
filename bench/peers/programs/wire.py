"""The peer's side of the protocol: a JSON object a line in, one out, until quit or end of input.

{"op": "load", "model", "dtype", "device", "threads", "methods", "keep_bytes"}
    -> {"ok": true, "versions": {...}, "load_s"}
{"op": "score", "method", "query": {...}, "documents": [{...}], "instruction"}
    -> {"scores": [...], "kind", "seconds", "peak_memory", ...}
{"op": "quit"} -> the process ends
whatever fails -> {"error": text}, its traceback on stderr
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Protocol, TextIO

MOST_CHARACTERS = 1_000
"""Of an error; all of it is on stderr."""


class Program(Protocol):
    """What each peer's module offers as ``Peer``."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the checkpoint; returns ``versions``."""

    def score(self, request: dict[str, Any]) -> dict[str, Any]:
        """Score the request's documents; returns ``scores``, ``kind`` and what else it can tell."""


def serve(peer: Program) -> None:
    """Answer requests until told to quit; ends the process at the end of stdin, work or none."""
    requests, answers = _private_streams()
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests, lines), daemon=True).start()
    while True:
        try:
            request = json.loads(lines.get())
            if request["op"] == "quit":
                return
            answer = _answer(peer, request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:MOST_CHARACTERS]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(peer: Program, request: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    if request["op"] == "load":
        # Read by OpenMP when torch is imported, which happens in load.
        os.environ["OMP_NUM_THREADS"] = str(request["threads"])
        found = peer.load(request)
        return {"ok": True, **found, "load_s": time.perf_counter() - start}
    if request["op"] == "score":
        found = peer.score(request)
        return {**found, "seconds": time.perf_counter() - start, "peak_memory": peak_memory()}
    raise ValueError(f"op {request['op']!r}: send load, score or quit")


def _private_streams() -> tuple[TextIO, TextIO]:
    """The protocol's two ends; whatever libraries print goes to stderr, what they read is empty."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def _listen(requests: TextIO, lines: queue.Queue[str]) -> None:
    for line in requests:
        lines.put(line)
    # The parent is gone, perhaps in the middle of a long answer that nobody will read.
    os._exit(0)


def peak_memory() -> int:
    """Bytes: of CUDA where torch has allocated some, else the largest resident set."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    # Not ru_maxrss: it starts at the size of whoever started this process.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions, and of Python."""
    from importlib.metadata import version

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    return found | {name: version(name) for name in names}
