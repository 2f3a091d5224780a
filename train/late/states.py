"""A frozen model's token states, computed once and kept in a file.

``states-NAME.bin``    rows of numbers, an input behind another: the states of the tokens SMART
                       keeps, then that of the last token, which is the pooled vector's
``states-NAME.jsonl``  whose they are, then a line an input: its rows, or why it has none

A line is written once its rows are, so that a collection that was killed goes on behind its last
whole line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.content import Content
from minireranker.engine.embedder import Embedder
from minireranker.engine.embedder_pass import Wanted, embed_segments
from minireranker.engine.embeddings import Embedding
from minireranker.engine.features import FeatureReader
from minireranker.engine.packing import Packer
from minireranker.engine.progress import Progress
from minireranker.engine.work import Meter

from .backbone import Backbone, Writing, passes
from .lessons import Input


@dataclass(eq=False)
class States:
    """Of the inputs that can be read."""

    path: Path
    width: int
    dtype: str
    """Of the numbers in the file: float32 of a model in float32 or wider, else float16."""
    extents: dict[Input, tuple[int, int]] = field(default_factory=dict)
    """First row, and rows."""
    failed: dict[int, str] = field(default_factory=dict)
    """Contents that cannot be used, and why."""
    rows: int = 0

    def kept(self, item: Input) -> Tensor:
        """States of the tokens that are kept, [tokens, dim] float32."""
        return self._rows(item)[:-1]

    def pooled(self, item: Input) -> Tensor:
        """The last token's state, [dim] float32."""
        return self._rows(item)[-1]

    def _rows(self, item: Input) -> Tensor:
        first, rows = self.extents[item]
        size = self.width * np.dtype(self.dtype).itemsize
        found: NDArray[Any] = np.fromfile(
            self.path, self.dtype, rows * self.width, offset=first * size
        )
        return torch.from_numpy(found.astype(np.float32)).view(rows, self.width)

    def note(self, item: Input, fact: int | str) -> None:
        """An input's rows, which are the next in the file; or why it has none."""
        if isinstance(fact, str):
            self.failed[item.content] = fact
        else:
            self.extents[item] = self.rows, fact
            self.rows += fact


def collect(backbone: Backbone, items: Sequence[Input], path: Path, tokens: int) -> States:
    """States of all ``items``; what ``path`` (a name without ending) has already is not read again.

    ``tokens``: of a pass. Memory in use is that of a pass and the inputs decoded ahead of it.
    """
    model = backbone.model
    dtype = "<f4" if model.dtype.itemsize >= 4 else "<f2"
    states = States(path.with_suffix(".bin"), model.width, dtype)
    lines = path.with_suffix(".jsonl")
    whose = {"model": model.identity, "data": backbone.examples.digest(), "dtype": dtype}
    done = _resume(states, lines, whose, items)
    if done < len(items):
        with Progress("encoding", len(items), model.progress) as bar:
            bar.advance(done)
            with states.path.open("ab") as data, lines.open("a", encoding="utf-8") as log:
                for item, fact in _encoded(backbone, items[done:], tokens, dtype, data):
                    data.flush()
                    states.note(item, fact)
                    log.write(json.dumps(fact) + "\n")
                    log.flush()
                    bar.advance()
    return states


def _resume(states: States, lines: Path, whose: dict[str, str], items: Sequence[Input]) -> int:
    """Take over what is there of the same inputs, and cut off the rest. Returns the inputs done."""
    found = lines.read_bytes().splitlines(keepends=True) if lines.is_file() else []
    head = (json.dumps(whose) + "\n").encode()
    size = states.width * np.dtype(states.dtype).itemsize
    there = states.path.stat().st_size if states.path.is_file() else 0
    whole = [head]
    for item, line in zip(items, found[1:] if found[:1] == [head] else [], strict=False):
        fact = json.loads(line) if line.endswith(b"\n") else None
        rows = fact if isinstance(fact, int) else 0
        if fact is None or (states.rows + rows) * size > there:
            break
        states.note(item, fact)
        whole.append(line)
    lines.write_bytes(b"".join(whole))
    states.path.touch()
    os.truncate(states.path, states.rows * size)
    return len(whole) - 1


def _encoded(
    backbone: Backbone, items: Sequence[Input], tokens: int, dtype: str, data: IO[bytes]
) -> Iterator[tuple[Input, int | str]]:
    """Each input with the rows it has written, or its error, in their order."""
    model, embedder = backbone.model, backbone.embedder
    wanted = Wanted(model.width, states=True)
    meter = Meter()
    packer = Packer(
        model.network, FeatureReader(model.network, *embedder.pixel_statistics, meter), meter
    )
    sizes = ((w, 0 if w.segment is None else len(w.segment)) for w in backbone.written(items))
    for group in passes(sizes, tokens):
        segments = [writing.segment for writing in group if writing.segment is not None]
        with torch.no_grad():
            found = iter(
                embed_segments(packer, segments, wanted, model.backend) if segments else ()
            )
        for writing in group:
            embedding = None if writing.segment is None else next(found)
            content = backbone.examples.contents[writing.item.content]
            yield writing.item, _written(writing, embedding, embedder, content, dtype, data)


def _written(
    writing: Writing,
    embedding: Embedding | None,
    embedder: Embedder,
    content: Content,
    dtype: str,
    data: IO[bytes],
) -> int | str:
    if embedding is None or embedding.states is None:
        return str(writing.error)
    kept = _kept(embedding.token_ids, embedder, content, is_query=writing.item.is_query)
    places = np.append(kept, len(embedding.token_ids) - 1)
    rows = embedding.states.numpy()[places].astype(dtype)
    if not np.isfinite(rows).all():
        return "the embedding model gave NaN or infinity; load it with another dtype"
    data.write(rows.tobytes())
    return len(rows)


def _kept(
    token_ids: NDArray[np.int64], embedder: Embedder, content: Content, *, is_query: bool
) -> NDArray[np.int64]:
    """Places of the tokens that ``Smart`` compares; the last one where there is no other."""
    dropped = embedder.special_ids
    if is_query and content.is_visual and any(text.strip() for text in content.texts):
        dropped |= embedder.visual_ids
    places = np.flatnonzero(~np.isin(token_ids, list(dropped)))
    return places if len(places) else np.array([len(token_ids) - 1])
