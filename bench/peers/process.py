"""A running peer, seen from this side."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .child import Child
from .failure import PeerError
from .scores import PeerScores
from .spec import PeerSpec

__all__ = ["PeerProcess"]

_LOG = logging.getLogger(__name__)


class PeerProcess:
    """Starts a peer's program and asks it things, one after the other; not for several threads.

    A context manager: leaving it ends the process. Should this process die, the peer ends itself.
    After a PeerError that says the peer has ended, every further call raises one.
    """

    def __init__(
        self,
        spec: PeerSpec,
        log: Callable[[str], None] | None = None,
        *,
        time_limit: float = 600.0,
    ) -> None:
        """Start the process; ``log`` gets a line before each slow step.

        ``time_limit``: seconds an answer may take before the peer is ended. Raises PeerError for a
        peer that is absent.
        """
        if spec.python is None:
            raise PeerError(f"peer {spec.name} is {spec.absence}")
        self.spec, self.time_limit = spec, time_limit
        self._say = log or _LOG.info
        try:
            self._child = Child([str(spec.python), *spec.arguments])
        except OSError as error:
            raise PeerError(
                f"peer {spec.name}: {spec.python} does not start ({error.strerror}); remove its "
                f"folder and run `minireranker bench peers install {spec.name}`"
            ) from error

    @property
    def pid(self) -> int:
        """Of the process; also of the process group of all it starts."""
        return self._child.pid

    def load(
        self,
        model: str | Path,
        dtype: str,
        device: str,
        threads: int,
        methods: Sequence[str],
        *,
        keep_bytes: int = 4 * 2**30,
    ) -> None:
        """Have it load a checkpoint directory; ``loaded`` comes next.

        ``dtype``: float32 or bfloat16. ``device``: cpu or cuda. ``threads``: of the CPU.
        ``keep_bytes``: how much of the first segments' keys and values may stay in memory.
        """
        self._say(f"peer {self.spec.name}: loading {model}")
        self._send(
            op="load",
            model=str(Path(model).absolute()),
            dtype=dtype,
            device=device,
            threads=threads,
            methods=[self._known(method) for method in methods],
            keep_bytes=keep_bytes,
        )

    def loaded(self) -> dict[str, Any]:
        """Wait until it is loaded.

        Returns ``versions`` (of packages), ``load_s`` (seconds) and ``environment`` (in words).
        """
        answer = self._receive("load")
        own = "a virtual environment of its own" if self.spec.in_venv else "this interpreter"
        answer.pop("ok", None)
        return {**answer, "environment": own}

    def score(
        self,
        method: str,
        query: dict[str, Any],
        documents: Sequence[dict[str, Any]],
        instruction: str | None = None,
    ) -> PeerScores:
        """Score one query's documents.

        Content: ``{"text": str?, "image": path?, "video": {"frames": [paths], "fps": float?}?}``;
        an image may be a list of paths. Files are known by path, size and time of change.
        """
        answer = self._ask(
            op="score",
            method=self._known(method),
            query=query,
            documents=list(documents),
            instruction=instruction,
        )
        try:
            return PeerScores.read(answer, len(documents))
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(
                f"peer {self.spec.name}: its answer to score is unusable ({error})"
                f"{self._child.last_words()}"
            ) from error

    def _known(self, method: str) -> str:
        if method not in self.spec.methods:
            has = ", ".join(self.spec.methods)
            raise PeerError(f"peer {self.spec.name} has no method {method!r}: use one of {has}")
        return method

    def _ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer; where none comes that can be read, the peer is ended."""
        self._send(**request)
        return self._receive(request["op"])

    def _send(self, **request: Any) -> None:
        if self._child.closed:
            raise PeerError(f"peer {self.spec.name} has ended: start another")
        op, deadline = request["op"], time.monotonic() + self.time_limit
        try:
            self._child.channel.send(json.dumps(request).encode(), deadline)
        except TimeoutError as error:
            raise self._late(op) from error
        except BrokenPipeError as error:
            raise self._end(f"ended during {op}") from error

    def _receive(self, op: str) -> dict[str, Any]:
        try:
            line = self._child.channel.receive(time.monotonic() + self.time_limit)
            answer = None if line is None else json.loads(line)
        except TimeoutError as error:
            raise self._late(op) from error
        except (ValueError, OverflowError) as error:
            raise self._end(f"answered {op} with what is no JSON and was ended") from error
        if answer is None:
            raise self._end(f"ended during {op}")
        if not isinstance(answer, dict):
            raise self._end(f"answered {op} with what is no JSON object and was ended")
        if "error" in answer:
            _LOG.debug("peer %s: %s failed%s", self.spec.name, op, self._child.last_words())
            raise PeerError(f"peer {self.spec.name}: {op} failed: {answer['error']}")
        return answer

    def _late(self, op: str) -> PeerError:
        less = f"gave no answer to {op} within {self.time_limit:g} s and was ended; "
        return self._end(f"{less}give it less to do, or more time")

    def _end(self, what: str) -> PeerError:
        """End the process; returns the error that says why."""
        code = self._child.stop(patience=0.5)
        error = PeerError(f"peer {self.spec.name} {what} (code {code}){self._child.last_words()}")
        self.close()
        return error

    def close(self) -> None:
        """End the process, however it is; again is nothing."""
        self._child.close()

    def __enter__(self) -> PeerProcess:
        """The process itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()
