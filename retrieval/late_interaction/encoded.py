"""What encoding gives, and how a list of inputs is worked through part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.content import Query
from minireranker.engine.given import given_queries
from minireranker.engine.types import FailedDocument
from minireranker.errors import EmptyQueryError, InputError
from minireranker.retrieval.vectors import TokenVectors


@dataclass(frozen=True, eq=False)
class EncodedDocuments:
    """Vectors of the sound documents of a call, and which these are."""

    vectors: TokenVectors
    """One item a sound document, in the order of the call."""
    places: tuple[int, ...]
    """Where each of them stood in the call."""
    failed: tuple[FailedDocument, ...] = ()
    """The others, and why."""
    importances: tuple[tuple[NDArray[np.float32], ...], ...] | None = None
    """For each sound document one array [frames, rows, columns] a visual; None: not asked for, or
    the encoder has none."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One input's vectors."""

    place: int
    tokens: Tensor
    """[tokens, dim] on the CPU."""
    pooled: Tensor | None = None
    """[pooled_dim] float32."""
    importances: tuple[NDArray[np.float32], ...] = ()


def gathered(items: Sequence[Encoded], dim: int, pooled_dim: int) -> TokenVectors:
    """All inputs' vectors as one record; there may be none."""
    ends = np.cumsum([0, *(len(item.tokens) for item in items)], dtype=np.int64)
    tokens = torch.cat([item.tokens for item in items]) if items else torch.empty(0, dim)
    rows = [item.pooled for item in items if item.pooled is not None]
    pooled = torch.stack(rows) if rows else torch.empty(0, pooled_dim)
    return TokenVectors(tokens, ends, None, pooled if pooled_dim else None)


def read_queries(queries: Any) -> list[Query]:
    """One query or several. Raises EmptyQueryError, and InputError for what is no query."""
    read = [Query.of(query) for query in given_queries(queries)]
    for index, query in enumerate(read):
        if query.content.is_empty:
            raise EmptyQueryError(
                f"query {index} has neither text nor an image nor a video; say what is searched for"
            )
    return read


def raise_first(failed: Sequence[FailedDocument]) -> None:
    """Raise the error of the first query that failed, if one did, with its place in the call."""
    if not failed:
        return
    error = failed[0].error
    if isinstance(error, InputError):
        raise type(error)(f"query {failed[0].index}: {error}") from error
    raise error


def moved(failed: FailedDocument, first: int) -> FailedDocument:
    """A failure of a part of a call, counted from the beginning of the call."""
    return dataclasses.replace(failed, index=failed.index + first)
