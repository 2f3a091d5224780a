"""What `client` sends of what was named, and what it shows of the answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minireranker.errors import InputError

from .failures import show_failures
from .printable import printable

if TYPE_CHECKING:
    from minireranker.serve.jobs import Failed, IndexOutcome, Outcome

__all__ = ["readable", "show_ids", "show_info", "show_ranking"]


def readable(documents: Iterable[Any], failed: list[Failed]) -> Iterator[Any]:
    """Documents as they are sent, read one by one; ``failed`` gets those that cannot be read."""
    from minireranker.serve.client_messages import document_of
    from minireranker.serve.jobs import Failed

    for index, document in enumerate(documents):
        try:
            yield document_of(document)
        except InputError as error:
            failed.append(Failed(index, document.id, error))


def show_ranking(outcome: Outcome, failed: Sequence[Failed], *, is_json: bool) -> None:
    """A table and a line of times on stdout, what failed on stderr; or all as one JSON object."""
    if is_json:
        results = [
            {"rank": rank, "id": hit.id, "score": hit.score, "probability": hit.probability}
            for rank, hit in enumerate(outcome.results, 1)
        ]
        _json(results=results, failed=failed, outcome=outcome)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rank", "score", "probability"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    for rank, hit in enumerate(outcome.results, 1):
        name = printable(hit.id or f"document {hit.index}")
        table.add_row(f"{rank}", f"{hit.score:.4f}", f"{hit.probability:.4f}", Text(name))
    if outcome.results:
        Console().print(table)
    times, tokens = outcome.timings, outcome.tokens
    typer.echo(
        f"{times.total / 1e9:.3f} s on the server, {times.queue / 1e9:.3f} of it waiting; "
        f"{tokens.computed} tokens computed, {tokens.cached} from the cache"
    )
    _failures(failed)


def show_ids(outcome: IndexOutcome, failed: Sequence[Failed], *, is_json: bool) -> None:
    """One id a line on stdout, what failed on stderr; or all as one JSON object."""
    ids = [name for name in outcome.ids if name is not None]
    if is_json:
        _json(ids=ids, failed=failed)
        return
    for name in ids:
        typer.echo(printable(name))
    _failures(failed)


def show_info(info: Any) -> None:
    """One JSON object; fields of their message's names."""
    fields = {field.name: getattr(info, field.name) for field in info.DESCRIPTOR.fields}
    typer.echo(json.dumps(fields))


def _json(failed: Sequence[Failed], outcome: Outcome | None = None, **more: Any) -> None:
    listed = [
        {"id": one.id, "error": type(one.error).__name__, "reason": str(one.error)}
        for one in failed
    ]
    answer: dict[str, Any] = {**more, "failed": listed}
    if outcome is not None:
        answer["timings_ns"] = dataclasses.asdict(outcome.timings)
        answer["tokens"] = dataclasses.asdict(outcome.tokens)
    typer.echo(json.dumps(answer, allow_nan=False))


def _failures(failed: Sequence[Failed]) -> None:
    show_failures((f"failed: {one.id or 'a document'}", str(one.error)) for one in failed)
