"""Training data: contents, each distinct one once, and judged pairs of them.

From JSONL files, one object a line in one of two forms, paths relative to the file::

    {"query": "a red circle", "document": {"image": "a.png"}, "label": 1, "instruction": "..."}
    {"query": {"image": "q.png"}, "positives": ["text"], "negatives": [{"text": "other"}]}

or from a folder as BEIR and MTEB have them (``relevance.open_dataset``).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.engine.content import Content, Document
from minireranker.engine.written import content_to_json
from minireranker.errors import ConfigurationError, InputError
from minireranker.relevance import Dataset, open_dataset
from minireranker.relevance.content import content_fields
from minireranker.relevance.lines import Line, read_lines

_LOG = logging.getLogger(__name__)

_JUDGED, _LISTED = ("document", "label"), ("positives", "negatives")
_KEYS = {"query", "instruction", *_JUDGED, *_LISTED}


@dataclass(frozen=True, slots=True)
class Pair:
    """One judged (query, document), by places in ``Examples.contents``."""

    query: int
    document: int
    label: float
    """0 to 1; between them, a graded judgement."""
    instruction: str | None = None


@dataclass(eq=False)
class Examples:
    """Pairs, and their sides: equal contents are one object, so that a pass reads them once."""

    contents: list[Content] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    """Where each content was first found: file and line, or dataset and id."""
    pairs: list[Pair] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """What makes each content the one it is; see ``content_key``."""
    _places: dict[str, int] = field(default_factory=dict, repr=False)
    _unread: set[str] = field(default_factory=set, repr=False)
    """Keys of rows that were warned of."""

    def place(self, fields: dict[str, Any], origin: str) -> int:
        """Where the content of a Document's fields is; added if it is new. Raises InputError."""
        content = Document.of(fields).content
        key = content_key(content)
        if key not in self._places:
            if content.is_empty:
                raise InputError("an empty side; give it a text, an image or a video")
            self._places[key] = len(self.contents)
            self.contents.append(content)
            self.origins.append(origin)
            self.keys.append(key)
        return self._places[key]

    def add_line(self, line: Line) -> None:
        """The pairs of one line. Raises InputError naming file and line.

        A key that nobody reads is named in the log, once: it may be a misspelt one.
        """
        row = line.record()
        for key in sorted(row.keys() - _KEYS - self._unread):
            self._unread.add(key)
            known = ", ".join(sorted(_KEYS))
            _LOG.warning(
                "%s, line %d: %r is not read, here or later; read are %s",
                *(line.path, line.number, key, known),
            )
        instruction = row.get("instruction")
        if not isinstance(instruction, str | None):
            raise line.wrong(f"instruction = {instruction!r:.80}; write a text, or leave it out")
        query = self._side(row.get("query"), line)
        for value, label in _judged(row, line):
            document = self._side(value, line)
            self.pairs.append(Pair(query, document, label, instruction or None))

    def add_dataset(self, dataset: Dataset, *, to_train: bool = False) -> None:
        """Each query with its candidates. Grades over 1 are taken as shares of the highest.

        ``to_train``: where no candidates were listed, with what was judged alone; that a document
        was judged for another query makes it no lesson for this one.
        """
        grades = [grade for judged in dataset.qrels.values() for grade in judged.values()]
        highest = max(1.0, *grades)
        for name, query in dataset.queries.items():
            origin = f"{dataset.source or dataset.name}, query {name}"
            asked = self.place(_fields(query), origin)
            judged = dataset.qrels[name]
            listed = dataset.candidates[name]
            for found in judged if to_train and not dataset.is_listed else listed:
                origin = f"{dataset.source or dataset.name}, document {found}"
                document = self.place(_fields(dataset.documents[found]), origin)
                label = max(judged.get(found, 0.0), 0.0) / highest
                self.pairs.append(Pair(asked, document, label, dataset.instruction_of(name)))

    def digest(self) -> str:
        """Hex SHA-256 over contents (of files: their paths) and pairs."""
        state = hashlib.sha256()
        for key in self.keys:
            state.update(key.encode("utf-8", "surrogatepass") + b"\n")
        for pair in self.pairs:
            line = f"{pair.query} {pair.document} {pair.label} {pair.instruction}\n"
            state.update(line.encode("utf-8", "surrogatepass"))
        return state.hexdigest()

    def _side(self, value: Any, line: Line) -> int:
        if value is None:
            raise line.wrong("no query or document; write both, and a label")
        fields = content_fields(value, line)
        if isinstance(value, dict) and value.get("importances") is not None:
            fields["importances"] = value["importances"]
        try:
            return self.place(fields, f"{line.path}, line {line.number}")
        except InputError as error:
            raise line.wrong(str(error)) from error


def content_key(content: Content) -> str:
    """Equal for equal texts, absolute paths and importances; in memory: for the same objects."""
    found = content_to_json(content)
    if found is None:
        return repr((content.texts, content.images, content.videos))
    return json.dumps(found, ensure_ascii=False)


def read_examples(paths: Iterable[str | Path], *, to_train: bool = False) -> Examples:
    """All pairs of JSONL files and dataset folders, in their order.

    No picture is opened: whether one can be read shows later, and costs no more than its own pairs.
    ``to_train``: of a folder with several splits, "train"; else see ``open_dataset``; and see
    ``add_dataset``. Raises InputError naming file and line, ConfigurationError for files that
    cannot be opened or have no pair.
    """
    examples = Examples()
    listed = [Path(path) for path in paths]
    for path in listed:
        if path.is_dir():
            split = "train" if to_train and any((path / "qrels").glob("train.*")) else None
            dataset = open_dataset(path, split=split, only_candidates=True)
            examples.add_dataset(dataset, to_train=to_train)
            continue
        for line in read_lines(path):
            examples.add_line(line)
    if not examples.pairs:
        names = ", ".join(map(str, listed)) or "no file"
        raise ConfigurationError(f"{names}: no pairs; write one JSON object a line")
    _warn_of_contradictions(examples)
    return examples


def _warn_of_contradictions(examples: Examples) -> None:
    labels: dict[tuple[int, int, str | None], float] = {}
    found = [
        pair
        for pair in examples.pairs
        if labels.setdefault((pair.query, pair.document, pair.instruction), pair.label)
        != pair.label
    ]
    if found:
        query, document = (examples.origins[at] for at in (found[0].query, found[0].document))
        _LOG.warning(
            "%d pairs have another label than the same query and document before; the first is the "
            "query of %s with the document of %s; each label is taken as it stands",
            *(len(found), query, document),
        )


def _fields(document: Any) -> dict[str, Any]:
    found = {name: getattr(document, name) for name in ("text", "image", "video", "importances")}
    return {name: value for name, value in found.items() if value is not None}


def _judged(row: dict[str, Any], line: Line) -> Iterator[tuple[Any, float]]:
    """Documents of a row with their labels."""
    if any(key in row for key in _JUDGED) and any(key in row for key in _LISTED):
        raise line.wrong(
            "document and label beside positives or negatives; write one of the two forms a line"
        )
    if "document" in row:
        yield row["document"], _label(row.get("label"), line)
        return
    found = 0
    for name, label in (("positives", 1.0), ("negatives", 0.0)):
        values = row.get(name, [])
        if not isinstance(values, list):
            raise line.wrong(f"{name} is {type(values).__name__}; write a list of documents")
        found += len(values)
        yield from ((value, label) for value in values)
    if not found:
        raise line.wrong("no document; write document and label, or positives and negatives")


def _label(value: Any, line: Line) -> float:
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise line.wrong(f"label = {value!r:.80}; write a number from 0 to 1, or true or false")
