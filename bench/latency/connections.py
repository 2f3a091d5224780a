"""HTTP connections to one server: kept open, one for each call that is under way."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from minireranker.errors import ConfigurationError

__all__ = ["Connections", "HttpFailure"]

_PATIENCE = 600.0
"""Seconds for an answer; a server's own deadline is shorter."""


class HttpFailure(ConfigurationError):
    """A call that was not answered with 200. Attributes: ``status`` (of HTTP)."""

    def __init__(self, message: str, status: int) -> None:
        """See above."""
        super().__init__(message)
        self.status = status


class Connections:
    """Posts JSON to a server; safe between threads."""

    def __init__(self, url: str, token: str | None) -> None:
        """``url``: http(s)://host[:port]. Raises ConfigurationError for another."""
        self._url, parts = url, urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
        if parts.scheme not in ("http", "https") or not host or not plain:
            raise ConfigurationError(f"--target {url}: give http://host:port or https://host:port")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._make = partial(kind, host, port, timeout=_PATIENCE)
        self.place = parts.netloc
        """For people: host:port."""
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """The answer's object. Raises HttpFailure, and ConfigurationError where nobody answers."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        try:
            if kept is not None:
                # A server may close what was idle for long: only a new connection tells.
                with suppress(HTTPException, ConnectionError):
                    return self._ask(kept, path, body)
            return self._ask(self._make(), path, body)
        except (HTTPException, OSError) as error:
            said = str(error) or type(error).__name__
            raise ConfigurationError(
                f"--target {self._url}: {said}; see whether a sidecar with HTTP listens there"
            ) from error

    def close(self) -> None:
        """End those that are idle."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _ask(self, connection: HTTPConnection, path: str, body: bytes) -> dict[str, Any]:
        """One call; the connection is kept where it was answered in full, else closed."""
        try:
            connection.request("POST", path, body, self._headers)
            response = connection.getresponse()
            answered, status = response.read(), response.status
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)
        return self._read(answered, status)

    def _read(self, answered: bytes, status: int) -> dict[str, Any]:
        try:
            found = json.loads(answered)
        except ValueError:
            found = None
        if status == 200 and isinstance(found, dict):
            return found
        said = found.get("error") if isinstance(found, dict) else None
        advice = "; give its token" if status == 401 else ""
        raise HttpFailure(
            f"--target {self._url} answered {status}: {said or 'nothing that is understood'}"
            f"{advice}",
            status,
        )
