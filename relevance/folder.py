"""Datasets in folders, as BEIR and MTEB have them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from minireranker.engine.content import Document, Query
from minireranker.errors import ConfigurationError, InputError

from .choosing import chosen, unordered
from .content import content_fields, identifier, made
from .dataset import RELEVANT, Dataset
from .judgments import Listing, Place, read_candidates, read_qrels
from .lines import Line, read_lines

__all__ = ["open_folder"]

log = logging.getLogger(__name__)

_IDS = ("_id", "id")
_ENDINGS = (".tsv", ".txt", ".trec", ".run", ".qrels", ".jsonl")
_UNORDERED = "top_ranked"
"""MTEB's name of a list that says what is to be ranked, the relevant ones first in many."""
_CANDIDATES = ("candidates", _UNORDERED, "run")


def open_folder(folder: Path, split: str | None, only_candidates: bool) -> Dataset:
    """See ``open_dataset``."""
    file = _qrels_file(folder, split)
    qrels = read_qrels(file)
    queries, instructions = _queries(folder / "queries.jsonl")
    _check_known(qrels.queries, queries, "query", "queries.jsonl")
    found_split = None if file.parent == folder else file.stem
    listed, is_ranked = _listed(folder, found_split, queries, qrels)
    named = {**qrels.documents, **(listed.documents if listed else {})}
    wanted = _wanted(qrels, listed) if only_candidates else None
    documents, seen = _documents(folder / "corpus.jsonl", wanted, named)
    _check_known(named, seen, "document", "corpus.jsonl")
    judged = qrels.numbers
    candidates = _ordered(listed, is_ranked) if listed else chosen(judged, documents)
    unjudged = len(queries) - len(judged)
    if unjudged:
        log.info("%s: %d queries without judgments left out", folder, unjudged)
    return Dataset(
        folder.resolve().name,
        {name: queries[name] for name in judged},
        documents,
        judged,
        {name: candidates[name] for name in judged},
        {name: text for name, text in instructions.items() if name in judged},
        _instruction(folder),
        is_ranked,
        listed is not None,
        folder,
        unjudged,
    )


def _qrels_file(folder: Path, split: str | None) -> Path:
    """Of the split asked for; of "test", or the only one there is. Raises ConfigurationError."""
    found = _files(folder, "qrels", split)
    if not found:
        which = "" if split is None else f" of the split {split!r}"
        raise ConfigurationError(
            f"{folder}: there are no judgments{which}; write qrels.tsv or qrels/test.tsv there, "
            "with the columns query-id, corpus-id, score"
        )
    if split is None and len(found) > 1:
        found = [path for path in found if path.stem == "test"] or found
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        raise ConfigurationError(f"{folder}: there are {names}; say which with a split")
    return found[0]


def _files(folder: Path, name: str, split: str | None) -> list[Path]:
    """``name.tsv`` and ``name/*.tsv``, in any ending; with a split only ``name/split.tsv``."""
    inside = sorted((folder / name).glob("*")) if (folder / name).is_dir() else []
    beside = [] if split is not None else [folder / f"{name}{ending}" for ending in _ENDINGS]
    fitting = [path for path in inside if path.suffix in _ENDINGS and split in (None, path.stem)]
    return [path for path in (*beside, *fitting) if path.is_file()]


def _queries(path: Path) -> tuple[dict[str, Query], dict[str, str]]:
    """All queries, and the instructions of those that bring their own."""
    queries: dict[str, Query] = {}
    instructions = {}
    for line in read_lines(path):
        row = line.record()
        name = identifier(row, _IDS, line)
        if name in queries:
            raise line.wrong(f"a second query with the id {name!r}; give it its own")
        queries[name] = made(Query, content_fields(row, line), line)
        own = row.get("instruction")
        if isinstance(own, str) and own.strip():
            instructions[name] = own
    return queries, instructions


def _documents(
    path: Path, wanted: Collection[str] | None, named: Collection[str]
) -> tuple[dict[str, Document], set[str]]:
    """Those wanted (None: all), and which of the named ones there are."""
    documents: dict[str, Document] = {}
    seen = set()
    for line in read_lines(path):
        row = line.record()
        name = identifier(row, _IDS, line)
        if name in documents:
            raise line.wrong(f"a second document with the id {name!r}; give it its own")
        if name in named:
            seen.add(name)
        if wanted is None or name in wanted:
            documents[name] = made(Document, {**_content(row, line), "id": name}, line)
    return documents, seen


def _content(row: dict[str, Any], line: Line) -> dict[str, Any]:
    """A document's fields. An empty text is one too: of BEIR's corpora some have such rows."""
    if row.get("text") == "" and not any(row.get(name) for name in ("title", "image", "video")):
        return {"text": ""}
    return content_fields(row, line)


def _listed(
    folder: Path, split: str | None, queries: Collection[str], qrels: Listing
) -> tuple[Listing | None, bool]:
    """What the candidates file says, None where there is none; whether in a retriever's order.

    ``split``: of the judgments.
    """
    file = _candidates_file(folder, split)
    if file is None:
        return None, False
    listing = read_candidates(file)
    _check_known(listing.queries, queries, "query", "queries.jsonl")
    for query, (path, number) in qrels.queries.items():
        if query not in listing.numbers:
            raise InputError(
                f"{path}, line {number}: query {query!r} is judged, but {file} lists no "
                "candidates for it; add them, or leave its judgments out"
            )
    is_list_alone = _UNORDERED in (file.stem, file.parent.name)
    return listing, not is_list_alone or listing.scored == listing.numbers.keys()


def _ordered(listed: Listing, is_ranked: bool) -> dict[str, list[str]]:
    found = listed.ordered()
    return found if is_ranked else {query: unordered(names) for query, names in found.items()}


def _candidates_file(folder: Path, split: str | None) -> Path | None:
    for name in _CANDIDATES:
        found = _files(folder, name, split) if split else []
        found = found or _files(folder, name, None)
        if len(found) > 1:
            names = ", ".join(path.relative_to(folder).as_posix() for path in found)
            raise ConfigurationError(f"{folder}: there are {names}; leave one, or name a split")
        if found:
            return found[0]
    return None


def _wanted(qrels: Listing, listed: Listing | None) -> set[str] | None:
    """Documents that will be some judged query's candidates; None: all of the corpus."""
    if listed is not None:
        return {name for query in qrels.numbers for name in listed.numbers[query]}
    if all(min(judged.values()) < RELEVANT for judged in qrels.numbers.values()):
        return {name for judged in qrels.numbers.values() for name in judged}
    return None


def _check_known(named: Mapping[str, Place], known: Collection[str], what: str, home: str) -> None:
    for name, (path, number) in named.items():
        if name not in known:
            raise InputError(
                f"{path}, line {number}: {what} {name!r} is not in {home}; add it there, or leave "
                "this line out"
            )


def _instruction(folder: Path) -> str | None:
    path = folder / "instruction.txt"
    if not path.is_file():
        return None
    return " ".join(line.text.strip() for line in read_lines(path)) or None
