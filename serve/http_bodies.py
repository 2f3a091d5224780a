"""Bodies of HTTP requests: bounded in bytes and seconds while they arrive, then parsed strictly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from minireranker.errors import InputError

from .config import ServeConfig
from .holding import Holding
from .refusals import QueueFullError

__all__ = ["Bodies", "BodyError", "checked"]

_M = TypeVar("_M", bound=BaseModel)
_DEEPEST = 64
"""Lists and objects inside each other. What Python can read of them it could not always write."""
_SMALL = 2**18
"""Bytes that are parsed on the event loop."""


class BodyError(InputError):
    """A body that cannot be taken.

    Attributes: ``status`` (of HTTP: 400, 408, 413 or 415).
    """

    def __init__(self, message: str, status: int = 400) -> None:
        """See above."""
        super().__init__(message)
        self.status = status


class Bodies:
    """Reads bodies; all that are in use at a time are bounded together."""

    def __init__(self, config: ServeConfig) -> None:
        """``message_bytes`` of one, ``queue_bytes`` of all, ``request_seconds`` to arrive."""
        self._config = config
        self._holding = Holding(config.queue_bytes)

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """The object a request's body is; its bytes are counted until the block is left.

        Raises BodyError, QueueFullError where too many bodies are in use, and ClientDisconnect.
        """
        _check_type(request)
        taken: list[int] = []
        try:
            async with asyncio.timeout(self._config.request_seconds):
                data = await self._read(request, taken)
        except TimeoutError:
            self._holding.release(sum(taken))
            seconds = self._config.request_seconds
            raise BodyError(f"the body did not arrive in {seconds:g} s: send faster", 408) from None
        except BaseException:
            self._holding.release(sum(taken))
            raise
        try:
            if len(data) <= _SMALL:
                yield _parsed(data)
            else:
                yield await asyncio.to_thread(_parsed, data)
        finally:
            self._holding.release(sum(taken))

    async def _read(self, request: Request, taken: list[int]) -> bytes:
        most = self._config.message_bytes
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > most:
            raise _too_large(most)
        data = bytearray()
        async for part in request.stream():
            if len(data) + len(part) > most:
                raise _too_large(most)
            if not self._holding.take(len(part)):
                raise QueueFullError("the bodies of too many requests are in use", 1.0)
            taken.append(len(part))
            data += part
        return bytes(data)


def checked(kind: type[_M], fields: dict[str, Any]) -> _M:
    """Fields as a model. Raises BodyError naming the first field at fault, never its value."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step)[:64] for step in first["loc"]) or "body"
        raise BodyError(f"{where}: {first['msg']}; see /docs") from None


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise BodyError("the body is no UTF-8: encode it so") from None
    except (ValueError, RecursionError):
        raise BodyError("the body is no JSON, or nested too deep: check it") from None
    if not isinstance(fields, dict):
        raise BodyError("the body is no JSON object: send one, see /docs")
    _check_depth(fields)
    return fields


def _check_depth(fields: dict[str, Any]) -> None:
    level: list[Any] = [fields]
    for _ in range(_DEEPEST):
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [each for one in inside for each in one if isinstance(each, dict | list)]
        if not level:
            return
    raise BodyError(f"the body is nested over {_DEEPEST} levels deep: flatten it")


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _check_type(request: Request) -> None:
    """A page of another site may send forms and plain text to any address, but no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BodyError("the body is not declared as application/json: set Content-Type", 415)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise BodyError("the body has a Content-Encoding: send it as it is, not compressed", 415)


def _too_large(most: int) -> BodyError:
    return BodyError(f"the body has over {most} bytes: split the call, or send smaller images", 413)
