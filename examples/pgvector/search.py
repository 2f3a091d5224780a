"""Find pictures by words: pgvector retrieves, a minireranker sidecar puts the best in order.

    python search.py --pictures FOLDER "a large red star above a blue circle"

An application's half of a two-stage search. The table holds one vector a picture, the sidecar what
its reranker has read of it; the id is all that the two have in common. Pictures are read once, when
they are added: a query sends words and ids.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import TupleRow

from minireranker import Document, Embedder
from minireranker.errors import UnknownDocumentError
from minireranker.scenes import draw, random_scene
from minireranker.serve.client import Client, Id
from minireranker.serve.client_options import ClientOptions
from minireranker.serve.jobs import IndexOutcome, Outcome

__all__ = ["Found", "Search", "main"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
BATCH = 64
"""Pictures that are embedded, registered and stored together."""
MOST_DIMENSIONS = 1_024
"""Of a vector that is wider, the beginning: pgvector's HNSW takes up to 2 000."""

_CREATE: LiteralString = """
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE TABLE IF NOT EXISTS {table} (
        id text PRIMARY KEY, path text NOT NULL, embedding vector({width}) NOT NULL);
    CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw (embedding vector_cosine_ops);
"""
_STORE: LiteralString = "INSERT INTO {table} VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"
_NEAREST: LiteralString = """
    SELECT id, path, 1 - (embedding <=> %(query)s::vector) FROM {table}
    ORDER BY embedding <=> %(query)s::vector LIMIT %(count)s
"""


@dataclass(frozen=True)
class Found:
    """One picture, as both stages see it."""

    id: str
    retrieved: int
    """Its place among what was retrieved, 1 is the nearest."""
    cosine: float
    """Of the query's and the picture's vectors."""
    score: float
    """Of the reranker: the raw logit difference."""


class Search:
    """Pictures in a table and a sidecar, which the caller opens and closes."""

    def __init__(
        self, connection: psycopg.Connection[TupleRow], client: Client, embedder: Embedder
    ) -> None:
        """Make the table, if need be. ``connection``: commits by itself; may create things."""
        self._connection, self._client, self._embedder = connection, client, embedder
        self._width = min(embedder.hidden_size, MOST_DIMENSIONS)
        # Vectors of two embedders have nothing to say to each other: each has a table of its own.
        self._table = f"picture_{embedder.identity[:16]}"
        connection.execute(self._sql(_CREATE))

    def add(self, folder: Path) -> list[str]:
        """Embed, register and store a folder's new pictures; in words, those that cannot be read.

        A picture's id is its path below the folder. One that is known is not read again.
        """
        rows = self._connection.execute(self._sql("SELECT id FROM {table}"))
        known = {name for (name,) in rows}
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
        paths = {path.relative_to(folder).as_posix(): path.resolve() for path in files}
        fresh = [Document(image=paths[name], id=name) for name in paths if name not in known]
        failed: list[str] = []
        for batch in _batches(fresh):
            embedded = self._embedder.encode(batch, dim=self._width)
            found = zip(batch, embedded, strict=True)
            vectors = {str(one.id): vector.pooled for one, vector in found if vector is not None}
            # Before it is stored: a row says that the sidecar has taken the picture.
            outcome = self._register({name: paths[name] for name in vectors})
            self._store({name: paths[name] for name in outcome.ids if name is not None}, vectors)
            failed += map(str, embedded.failed)
            failed += [f"{one.id}: {one.error}" for one in outcome.failed]
        return failed

    def ask(self, query: str, retrieve: int = 50) -> tuple[list[Found], list[str]]:
        """Of the ``retrieve`` nearest pictures: the best for a query first, and what went wrong."""
        rows = self._nearest(query, retrieve)
        outcome = self._rank(query, {name: Path(path) for name, path, _ in rows})
        cosines = {name: cosine for name, _, cosine in rows}
        places = {name: place for place, name in enumerate(cosines, 1)}
        found = [
            Found(hit.id, places[hit.id], cosines[hit.id], hit.score)
            for hit in outcome.results
            if hit.id is not None
        ]
        return found, [f"{one.id}: {one.error}" for one in outcome.failed]

    def _nearest(self, query: str, count: int) -> list[TupleRow]:
        """Ids, paths and cosines."""
        vector = _written(self._embedder.encode([query], dim=self._width).pooled[0])
        # An HNSW scan ends with as many rows as it has candidates: no fewer than asked for.
        candidates = str(min(1_000, max(40, count)))
        with self._connection.transaction():
            self._connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [candidates])
            asked = {"query": vector, "count": count}
            return self._connection.execute(self._sql(_NEAREST), asked).fetchall()

    def _rank(self, query: str, paths: Mapping[str, Path]) -> Outcome:
        """By ids alone. What the sidecar does not know any more is sent again, once."""
        ids = [Id(name) for name in paths]
        outcome = self._client.rank(query, ids)
        lost = {
            one.id: paths[one.id]
            for one in outcome.failed
            if one.id is not None and isinstance(one.error, UnknownDocumentError)
        }
        there = {name: path for name, path in lost.items() if path.is_file()}
        if not there:
            return outcome
        self._register(there)
        return self._client.rank(query, ids)

    def _register(self, paths: Mapping[str, Path]) -> IndexOutcome:
        return self._client.index({"id": name, "image": path} for name, path in paths.items())

    def _store(self, paths: Mapping[str, Path], vectors: Mapping[str, NDArray[np.float32]]) -> None:
        rows = [(name, str(path), _written(vectors[name])) for name, path in paths.items()]
        with self._connection.cursor() as cursor:
            cursor.executemany(self._sql(_STORE), rows)

    def _sql(self, text: LiteralString) -> sql.Composed:
        return sql.SQL(text).format(
            table=sql.Identifier(self._table),
            index=sql.Identifier(f"{self._table}_embedding"),
            width=sql.Literal(self._width),
        )


def _batches(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for start in range(0, len(documents), BATCH):
        yield documents[start : start + BATCH]


def _written(vector: NDArray[np.float32]) -> str:
    """As pgvector reads it: [0.25,-1.0]."""
    return f"[{','.join(map(str, vector.tolist()))}]"


def _draw(folder: Path, count: int) -> None:
    """Scenes of coloured figures, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:04d}.png"
        if not path.exists():
            draw(random_scene(Random(f"pgvector/{number}"))).save(path)


def _show(query: str, found: Sequence[Found]) -> None:
    print(f"\n{query}\nrank     score  retrieved  cosine  picture")
    for rank, one in enumerate(found, 1):
        print(f"{rank:4}  {one.score:8.3f}  {one.retrieved:9}  {one.cosine:6.3f}  {one.id}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Find pictures by words.")
    parser.add_argument("queries", nargs="*", metavar="QUERY")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="Add its new pictures.")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="Draw N into it first.")
    parser.add_argument("--sidecar", default="localhost:50051", metavar="HOST:PORT")
    parser.add_argument("--embedder", default="builtin", help="A checkpoint, or builtin.")
    parser.add_argument("--retrieve", type=int, default=50, metavar="N", help="Of the table.")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="Of those.")
    parser.epilog = "The database is $DATABASE_URL, a token is $MINIRERANKER_CLIENT_TOKEN."
    return parser


def main() -> None:
    """Add pictures, then answer queries."""
    given = _parser().parse_args()
    options = ClientOptions(token=os.environ.get("MINIRERANKER_CLIENT_TOKEN") or None)
    database = os.environ.get("DATABASE_URL", "")
    with psycopg.connect(database, autocommit=True) as base, Client(given.sidecar, options) as side:
        search = Search(base, side, Embedder.from_pretrained(given.embedder))
        failed: list[str] = []
        if given.pictures is not None:
            _draw(given.pictures, given.draw)
            failed += search.add(given.pictures)
        for query in given.queries:
            found, unranked = search.ask(query, given.retrieve)
            _show(query, found[: given.show])
            failed += unranked
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
