"""Inputs of an embedding call: decoded ahead, written as prompts, read in packed groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minireranker.configs import Limits
from minireranker.errors import InputError, MinirerankerError, NonFiniteScoreError

from .content import Document
from .decoding import Decoding
from .draft import Segment
from .embedder_pass import Wanted, embed_segments
from .embedding_prompt import EmbeddingPrompt
from .embeddings import Embedding
from .packing import Packer
from .reading import Reading, read_content
from .work import Meter


@dataclass(eq=False)
class EmbeddingInput:
    """One input of a call, and what became of it."""

    index: int
    original: Any = None
    document: Document | None = None
    """Until it is read."""
    reading: Reading | None = None
    """Until its prompt is written."""
    segment: Segment | None = None
    """Until it is embedded."""
    embedding: Embedding | None = None
    error: MinirerankerError | None = None

    def open(self) -> None:
        """Look at the original, reading nothing."""
        try:
            document = Document.of(self.original)
            if document.is_reference:
                raise InputError(
                    f"{document.id!r} is the id of a document, whose pixels are not kept; pass the "
                    "document itself"
                )
            self.document = document
        except MinirerankerError as error:
            self.error = error

    def decode_ahead(self, limits: Limits, decoding: Decoding) -> None:
        """In another thread: its pixels, unless they are the caller's to make."""
        guard = None if self.document is None else decoding.guard(self.document.content)
        if guard is not None:
            with guard:
                self.decode(limits)

    def decode(self, limits: Limits) -> None:
        """Its pixels, if they have not been read."""
        document, self.document = self.document, None
        try:
            if document is not None:
                self.reading = read_content(document.content, limits)
        except MinirerankerError as error:
            self.error = error

    def write(self, prompt: EmbeddingPrompt, instruction: str) -> None:
        """Its prompt, if it could be read."""
        reading, self.reading = self.reading, None
        try:
            if reading is not None:
                self.segment = prompt.segment(reading.texts, reading.visuals, instruction)
        except MinirerankerError as error:
            self.error = error


@dataclass(frozen=True)
class Room:
    """What inputs are read within."""

    limits: Limits
    tokens: int
    """Of a pass; one input may exceed it alone."""
    extra: int
    """Tokens appended to each prompt."""


def grouped(
    inputs: Iterable[EmbeddingInput],
    prompt: EmbeddingPrompt,
    instruction: str,
    room: Room,
    meter: Meter,
) -> Iterator[list[EmbeddingInput]]:
    """Inputs with their prompts, as many at a time as there is room for; at least one."""
    group: list[EmbeddingInput] = []
    tokens = 0
    for item in inputs:
        with meter.stage("inputs"):
            item.decode(room.limits)
            item.write(prompt, instruction)
        size = 0 if item.segment is None else len(item.segment) + room.extra
        if group and tokens + size > room.tokens:
            yield group
            group, tokens = [], 0
        group.append(item)
        tokens += size
    if group:
        yield group


def embed_group(
    packer: Packer, group: Sequence[EmbeddingInput], wanted: Wanted, backend: str
) -> None:
    """Embed what has a prompt; NaN is an error of its input alone."""
    sound = [(item, item.segment) for item in group if item.segment is not None]
    if not sound:
        return
    with packer.meter.stage("embedder"):
        embedded = embed_segments(packer, [segment for _, segment in sound], wanted, backend)
    for (item, _), embedding in zip(sound, embedded, strict=True):
        item.segment = None
        if np.isfinite(embedding.pooled).all():
            item.embedding = embedding
        else:
            item.error = NonFiniteScoreError(
                "the embedding model gave NaN or infinity; load it with another dtype"
            )
