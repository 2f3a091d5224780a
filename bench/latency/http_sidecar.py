"""A running sidecar over HTTP: documents travel with every query, as all HTTP clients send them.

The server finds them in its cache by their content. Nothing but the standard library is needed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .connections import Connections, HttpFailure
from .drawing import Item
from .remote import Remote, failed_there

__all__ = ["HttpSidecar"]

_TOO_LATE = 504
_WARMING = "warming up"


class HttpSidecar(Remote):
    """Driven through ``POST /v1/rerank``, one connection for each call at a time."""

    def __init__(self, url: str, token: str | None = None, *, most_bytes: int = 16 * 2**20) -> None:
        """Connects when first used. Raises ConfigurationError for what is no such URL.

        ``most_bytes``: of a body, about; a list over it goes in several calls. A server's own
        limit is 64 MiB where nobody changed it.
        """
        self._connections = Connections(url, token)
        super().__init__(f"sidecar at {self._connections.place}, HTTP")
        self._documents: dict[str, Item] = {}
        self._most, self._bytes = most_bytes, 0

    def index(self, documents: Sequence[Item]) -> None:
        """Have the server read documents: by ranking them, for there is no other call over HTTP.

        Raises ConfigurationError for the first that failed.
        """
        self._documents |= {item.name: item for item in documents}
        for chunk in _chunks([_written(item) for item in documents], self._most):
            self._warm(chunk)

    def rank(self, query: Item, ids: Sequence[str]) -> list[float]:
        """Scores in the order of ``ids``. Raises ConfigurationError where a document failed."""
        asked, scores = _written(query), list[float]()
        written = (_written(self._documents[name]) for name in ids)
        for chunk in _chunks(written, self._most - len(asked)):
            body = _body(asked, chunk)
            answer = self._connections.post("/v1/rerank", body)
            scores += _scores(answer, len(chunk))
            self._note(len(chunk), answer["timings_ns"])
            with self._lock:
                self._bytes += len(body)
        return scores

    def remarks(self) -> list[str]:
        """What travels."""
        if not self._pairs:
            return []
        return [
            f"over HTTP documents travel with every query, {self._bytes / self._pairs / 1e3:,.4g} "
            "kB each, and the server knows them again by their content: base64, JSON and sockets "
            "are in every latency; over gRPC (--target grpc://host:port) they are uploaded once",
            "over HTTP a document is read ahead by ranking it for one query: its time of reading "
            "has that pair in it",
        ]

    def close(self) -> None:
        """End the connections."""
        self._connections.close()

    def _warm(self, chunk: Sequence[bytes]) -> None:
        """One call; where the server's deadline passes, half of it at a time."""
        body = _body(json.dumps(_WARMING).encode(), chunk)
        try:
            _scores(self._connections.post("/v1/rerank", body), len(chunk))
        except HttpFailure as error:
            if error.status != _TOO_LATE or len(chunk) == 1:
                raise
            middle = len(chunk) // 2
            self._warm(chunk[:middle])
            self._warm(chunk[middle:])


def _written(item: Item) -> bytes:
    """A side as JSON; pictures are encoded anew each time, as a client has to."""
    side: dict[str, Any] = {} if item.text is None else {"text": item.text}
    if item.image is not None:
        side["image"] = _data_uri(item.image)
    if item.frames:
        # A list of videos; a video that is no file is a list of frames.
        side["video"] = [[_data_uri(frame) for frame in item.frames]]
    return json.dumps(side).encode()


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _chunks(written: Sequence[bytes] | Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    """Lists of documents of at most so many bytes; what is larger goes alone."""
    chunk, size = list[bytes](), 0
    for each in written:
        if chunk and size + len(each) > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += len(each)
    if chunk:
        yield chunk


def _body(query: bytes, documents: Sequence[bytes]) -> bytes:
    fields = b'{"query":', query, b',"return_documents":false,"documents":['
    return b"".join((*fields, b",".join(documents), b"]}"))


def _scores(answer: dict[str, Any], count: int) -> list[float]:
    """Raw scores in the documents' order. Raises ConfigurationError where one failed."""
    if failed := answer["failed"]:
        raise failed_there(len(failed), failed[0]["index"], failed[0]["error"])
    scores = [float("nan")] * count
    for entry in answer["results"]:
        scores[entry["index"]] = entry["raw_score"]
    return scores
