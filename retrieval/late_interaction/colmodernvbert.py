"""ColModernVBERT: a small encoder of its own, a vector a token, through transformers' classes.

Source: arXiv 2510.01149.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.configs import Limits
from minireranker.engine.content import Document, Query
from minireranker.engine.given import check_instruction, given_documents, name_of
from minireranker.engine.placement import find_device, find_dtype
from minireranker.engine.progress import Progress
from minireranker.engine.types import FailedDocument
from minireranker.errors import (
    CheckpointError,
    ConfigurationError,
    InputError,
    MinirerankerError,
    NonFiniteScoreError,
)
from minireranker.models import resolve
from minireranker.retrieval.vectors import TokenVectors

from .colmodernvbert_files import KIND, digest_files, load_files, read_model_type, stored_dtype
from .colmodernvbert_inputs import Reader, Strip, collate, grouped
from .encoded import Encoded, EncodedDocuments, gathered, raise_first, read_queries
from .identity import identity_of
from .scoring import interaction

_StripsOf: TypeAlias = Callable[[int, Any], list[Strip]]


class ColModernVBert:
    """A LateInteraction with ``score = sum_i max_j <q_i, d_j>`` over all tokens, and no pooled one.

    A document is an image (several: their vectors behind one another), a text, or both; a query is
    a text. Texts are tokenised as published, but a control token's name in one stays text.
    """

    name = KIND
    pooled_dim = 0

    def __init__(
        self,
        model: Any,
        reader: Reader,
        identity: str,
        *,
        augmented: bool = True,
        batch_tokens: int = 2_048,
    ) -> None:
        """Use ``from_pretrained``."""
        self.identity, self.augmented = identity, augmented
        self._model, self._reader, self._batch_tokens = model, reader, batch_tokens
        self.dim: int = model.config.embedding_dim

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        limits: Limits | None = None,
        augmented: bool = True,
        batch_tokens: int = 2_048,
    ) -> Self:
        """Load a directory or a hub id such as ModernVBERT/colmodernvbert-merged.

        ``limits``: what images may be; sizes are the processor's. ``augmented``: ten
        <end_of_utterance> behind each query, as published. ``batch_tokens`` bounds a pass, padding
        counted; one picture may exceed it alone. Raises CheckpointError and ConfigurationError.
        """
        if type(batch_tokens) is not int or batch_tokens < 1:
            raise ConfigurationError(f"batch_tokens = {batch_tokens!r}: allowed is 1 or more")
        path, limits = resolve(name), limits or Limits()
        if (found := read_model_type(path)) != KIND:
            raise CheckpointError(
                f"{path} is a checkpoint of {found}, not of {KIND}; pass that of ColModernVBERT, "
                "such as ModernVBERT/colmodernvbert-merged"
            )
        place = find_device(device)
        number = find_dtype(dtype, stored_dtype(path), place)
        model, processor = load_files(path, number, place)
        identity = identity_of(
            kind=KIND,
            files=digest_files(path),
            limits=dataclasses.asdict(limits),
            computed=[str(number), place.type],
        )
        positions = model.config.get_text_config().max_position_embeddings
        reader = Reader(processor, limits, positions)
        return cls(model, reader, identity, augmented=augmented, batch_tokens=batch_tokens)

    def encode_queries(
        self, queries: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> TokenVectors:
        """See LateInteraction. The model knows no instruction: one given changes nothing."""
        check_instruction(instruction)

        def strips_of(place: int, query: Query) -> list[Strip]:
            return [self._reader.query(place, query.content, augmented=self.augmented)]

        items, failed = self._encode(read_queries(queries), strips_of, "encoding queries", progress)
        raise_first(failed)
        return gathered(items, self.dim, self.pooled_dim)

    def encode_documents(
        self, documents: Iterable[Any], *, importances: bool = False, progress: bool | None = None
    ) -> EncodedDocuments:
        """See LateInteraction; there are no importances."""

        def strips_of(place: int, given: Any) -> list[Strip]:
            document = Document.of(given)
            if document.is_reference:
                raise InputError(
                    f"{document.id!r} is the id of a document; pass the document itself"
                )
            return self._reader.document(place, document.content)

        listed = given_documents(documents)
        items, failed = self._encode(listed, strips_of, "encoding documents", progress)
        places = tuple(item.place for item in items)
        return EncodedDocuments(gathered(items, self.dim, self.pooled_dim), places, tuple(failed))

    def score(self, queries: TokenVectors, documents: TokenVectors) -> NDArray[np.float32]:
        """See LateInteraction."""
        pool, scales = documents.vectors, documents.scales
        return self.score_rows(queries, pool, scales, documents.starts, documents.lengths, None)

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """See LateInteraction; ``pooled`` is not looked at.

        Equals the processor's ``score_retrieval`` over one document at a time: given several of
        different lengths, that takes the zeros it pads them with for tokens.
        """
        return interaction(queries, pool, scales, starts, lengths, reduce="sum")

    def _encode(
        self, inputs: Sequence[Any], strips_of: _StripsOf, label: str, progress: bool | None
    ) -> tuple[list[Encoded], list[FailedDocument]]:
        """Vectors of the sound inputs, and the others, both in order."""
        errors: dict[int, MinirerankerError] = {}
        parts: dict[int, list[Tensor]] = {}
        with Progress(label, len(inputs), progress) as bar:
            strips = _read(inputs, strips_of, errors, bar)
            for group in grouped(strips, self._batch_tokens):
                for strip, vectors in zip(group, self._vectors(group), strict=True):
                    parts.setdefault(strip.place, []).append(vectors)
        encoded = {place: torch.cat(several) for place, several in parts.items()}
        for place, vectors in encoded.items():
            if not torch.isfinite(vectors).all():
                errors[place] = NonFiniteScoreError(
                    "the model gave NaN or infinity; load it with another dtype"
                )
        failed = [
            FailedDocument(place, name_of(inputs[place]), errors[place], inputs[place])
            for place in sorted(errors)
        ]
        return [Encoded(p, each) for p, each in encoded.items() if p not in errors], failed

    @torch.inference_mode()
    def _vectors(self, strips: Sequence[Strip]) -> list[Tensor]:
        """[tokens, dim] a strip, in the model's dtype, on the CPU."""
        pad = self._model.config.get_text_config().pad_token_id
        batch = collate(strips, pad, self._model.device)
        found = self._model(**batch).embeddings.cpu()
        return [row[: len(strip)].clone() for row, strip in zip(found, strips, strict=True)]


def _read(
    inputs: Sequence[Any],
    strips_of: _StripsOf,
    errors: dict[int, MinirerankerError],
    bar: Progress,
) -> Iterator[Strip]:
    """The strips of all inputs, each input's when it is its turn; ``errors`` takes what failed."""
    for place, given in enumerate(inputs):
        try:
            strips = strips_of(place, given)
        except MinirerankerError as error:
            errors[place], strips = error, []
        yield from strips
        bar.advance()
