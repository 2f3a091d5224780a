"""One HTTP call: from its body to the service and back, given up when nobody waits any more."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request

from minireranker.errors import InputError, MinirerankerError

from .config import ServeConfig
from .http_bodies import BodyError
from .http_documents import given_document, given_query, listed_documents
from .http_models import RerankBody, TextsBody
from .jobs import Given, Job, Outcome, Refused
from .logs import request_id
from .refusals import DeadlineError
from .seams import MediaReader
from .service import Service

__all__ = ["Calls", "ClientGoneError"]

_T = TypeVar("_T")


class ClientGoneError(Exception):
    """The client closed the connection: there is nobody to answer."""


class Calls:
    """Makes jobs of bodies and has them served."""

    def __init__(
        self,
        service: Service,
        media: MediaReader,
        config: ServeConfig,
        cut_text: Callable[[str, int], str],
    ) -> None:
        """``cut_text``: the beginning of a text that has so many tokens."""
        self._service, self._media, self._config = service, media, config
        self._cut_text = cut_text

    async def rerank(self, request: Request, body: RerankBody) -> tuple[list[Any], Outcome]:
        """The documents as they were sent, and how they rank. Raises what ``Service`` does."""
        documents = listed_documents(body.documents)
        await self._service.check_room("rerank", 1, len(documents), request.scope["tenant"])
        givens = await asyncio.to_thread(self._givens, body, documents)
        job = {"top_k": body.top_n or None, "instruction": body.instruction or None}
        asked = await asyncio.to_thread(
            given_query, body.query, self._cut(body.max_tokens_per_query)
        )
        work = self._serve(request, asked, givens, want_kept=body.return_kept, **job)
        return documents, await self._while_connected(request, work)

    async def texts(self, request: Request, body: TextsBody) -> Outcome:
        """How texts rank. Raises what ``Service`` does."""
        await self._service.check_room("rerank", 1, len(body.texts), request.scope["tenant"])
        await self._check_lengths(body)
        givens = [Given((text,)) for text in body.texts]
        work = self._serve(request, Given((body.query,)), givens)
        return await self._while_connected(request, work)

    async def _check_lengths(self, body: TextsBody) -> None:
        """Raise InputError for text that would be cut and may not be, or not there."""
        is_left = body.truncation_direction.lower() == "left"
        if body.truncate is not False and not is_left:
            return
        found = await self._service.overlong(body.query, body.texts)
        if found is not None:
            how = "texts are cut at their end only" if is_left else "set truncate"
            raise InputError(f"{found}; {how}, or shorten it")

    def _givens(self, body: RerankBody, documents: Sequence[Any]) -> list[Given | Refused]:
        cut = self._cut(body.max_tokens_per_doc)
        found: list[Given | Refused] = []
        for document in documents:
            try:
                found.append(given_document(document, body.rank_fields, cut))
            except MinirerankerError as error:
                found.append(Refused(error))
        return found

    def _cut(self, tokens: int | None) -> Callable[[str], str]:
        """Of a text with no more characters than tokens allowed, all is left."""
        if not tokens:
            return lambda text: text
        return lambda text: text if len(text) <= tokens else self._cut_text(text, tokens)

    async def _serve(
        self, request: Request, asked: Given, givens: Sequence[Given | Refused], **options: Any
    ) -> Outcome:
        deadline = time.monotonic() + self._seconds(request)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                try:
                    query = await self._media.query(asked)
                except InputError as error:
                    raise type(error)(f"query: {error}") from None
                documents = await asyncio.gather(*map(self._document, givens))
        except TimeoutError:
            raise DeadlineError("the deadline passed while files were read; allow more") from None
        job = Job(
            kind="rerank",
            documents=tuple(documents),
            queries=(query,),
            tenant=request.scope["tenant"],
            deadline=deadline,
            request_id=request_id.get(),
            **options,
        )
        return await self._service.rerank(job)

    async def _document(self, given: Given | Refused) -> Any:
        if isinstance(given, Refused):
            return given
        try:
            return await self._media.document(given)
        except MinirerankerError as error:
            return Refused(error, given.id)

    def _seconds(self, request: Request) -> float:
        """Until the deadline: what the client allows, at most what the server does."""
        text = request.headers.get("x-request-timeout")
        try:
            seconds = math.inf if text is None else float(text)
        except ValueError:
            seconds = math.nan
        if not seconds > 0:
            raise BodyError("X-Request-Timeout is no number of seconds above 0: send one")
        return min(seconds, self._config.deadline_seconds)

    async def _while_connected(self, request: Request, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of ``work``. Raises ClientGoneError, with ``work`` cancelled."""
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientGoneError
            return working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


async def _gone(request: Request) -> None:
    """Until the client has closed the connection; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
