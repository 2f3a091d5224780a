"""Qwen3-VL-Embedding: one vector an input, token states, and what each visual token is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.configs import Limits
from minireranker.errors import ConfigurationError, MinirerankerError, TooLongError

from .ahead import ahead
from .decoding import Decoding
from .embedder_pass import Wanted
from .embedding_inputs import EmbeddingInput, Room, embed_group, grouped
from .embedding_model import EmbeddingModel, open_model
from .embeddings import Embeddings
from .features import FeatureReader
from .given import check_instruction, given_queries, name_of
from .packing import Packer
from .progress import Progress
from .reading import Reading
from .types import FailedDocument
from .work import Meter

_Worth: TypeAlias = "tuple[NDArray[np.float32], ...] | MinirerankerError"


class Embedder:
    """An embedding model in the published Qwen3-VL-Embedding layout.

    Inputs are whatever ``Reranker`` takes as a query or document.
    """

    def __init__(self, model: EmbeddingModel, batch_tokens: int) -> None:
        """Use ``from_pretrained``."""
        self._model, self._batch_tokens = model, batch_tokens

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        limits: Limits | None = None,
        instruction: str | None = None,
        batch_tokens: int = 4_096,
        backend: str = "auto",
        progress: bool | None = None,
        lazy: bool = False,
    ) -> Self:
        """Load a checkpoint, all its decoder layers.

        ``name``: a directory, a hub id, or "builtin". ``limits``: sizes at which inputs are read;
        None: the published ones. ``instruction``: where a call brings none; None: the published
        default.
        ``batch_tokens`` bounds the rows of one pass; one input may exceed it alone. ``lazy``: the
        weights are read once something is embedded. Raises CheckpointError and ConfigurationError.
        """
        if type(batch_tokens) is not int or batch_tokens < 1:
            raise ConfigurationError(f"batch_tokens = {batch_tokens!r}: allowed is 1 or more")
        model = open_model(
            name,
            device=device,
            dtype=dtype,
            limits=limits,
            instruction=instruction,
            backend=backend,
            progress=progress,
        )
        if not lazy:
            _ = model.network
        return cls(model, batch_tokens)

    @property
    def identity(self) -> str:
        """Hex SHA-256 of everything that changes a vector."""
        return self._model.identity

    @property
    def limits(self) -> Limits:
        """Sizes at which inputs are read."""
        return self._model.limits

    @property
    def instruction(self) -> str:
        """Where a call brings none."""
        return self._model.instruction

    @property
    def checkpoint(self) -> Path:
        """The directory the weights came from."""
        return self._model.checkpoint.path

    @property
    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation that pixels in 0..1 are normalised by."""
        checkpoint = self._model.checkpoint
        return checkpoint.pixel_mean, checkpoint.pixel_std

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return self._model.dtype

    @property
    def hidden_size(self) -> int:
        """Width of states, and of a vector that is not cut."""
        return self._model.width

    @property
    def visual_ids(self) -> frozenset[int]:
        """Token ids that stand for visual tokens."""
        added = self._model.prompt.tokenizer.added
        return frozenset(added[name] for name in ("<|image_pad|>", "<|video_pad|>"))

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of all other added tokens: scaffold, not content."""
        return frozenset(self._model.prompt.tokenizer.added.values()) - self.visual_ids

    def describe(self) -> str:
        """Checkpoint, device and dtype, in one line."""
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.checkpoint.name}: {self.hidden_size} wide, {self.device}, {dtype}"

    @torch.inference_mode()
    def encode(
        self,
        items: Iterable[Any],
        *,
        instruction: str | None = None,
        dim: int | None = None,
        states: bool = False,
        importances: bool = False,
        appended: Tensor | None = None,
        progress: bool | None = None,
    ) -> Embeddings:
        """Embed queries or documents; one that fails is named in ``failed``, the others go on.

        ``instruction``: what the vectors are for, the system message. ``dim``: the vectors' first
        numbers, normalised again (Matryoshka). ``states``: every token's state too.
        ``importances``: what each visual token is worth. ``appended``: embeddings [m, hidden] put
        behind every prompt; their states come last, the pooled vector is still the prompt's.
        Raises ConfigurationError for a ``dim`` or an instruction that cannot be.
        """
        check_instruction(instruction)
        width = self.hidden_size if dim is None else dim
        if type(width) is not int or not 1 <= width <= self.hidden_size:
            raise ConfigurationError(f"dim = {dim!r}: allowed is 1 to {self.hidden_size}")
        _check_appended(appended, self.hidden_size)
        wanted = Wanted(width, states, importances, appended)
        inputs = [EmbeddingInput(at, item) for at, item in enumerate(given_queries(items))]
        meter = Meter()
        with Progress("embedding", len(inputs), progress) as bar:
            for item in inputs:
                item.open()
            decoding = Decoding()
            decoded = ahead(inputs, lambda item: item.decode_ahead(self.limits, decoding))
            self._run(decoded, instruction, wanted, meter, bar.advance)
        failed = tuple(
            FailedDocument(item.index, name_of(item.original), item.error, item.original)
            for item in inputs
            if item.error is not None
        )
        embedded = tuple(item.embedding for item in inputs)
        return Embeddings(embedded, failed, meter.timings, meter.work)

    @torch.inference_mode()
    def importances(self, readings: Sequence[Reading], meter: Meter) -> list[_Worth]:
        """What each visual token of documents read within this embedder's limits is worth.

        A document that is too long as a whole is read an image at a time; for one whose single
        image is, the error that says so stands instead of the arrays.
        """
        found = self._worth(readings, meter)
        for at, reading in enumerate(readings):
            if isinstance(found[at], TooLongError) and len(reading.visuals) > 1:
                found[at] = self._apart(reading, meter)
        return found

    def _apart(self, reading: Reading, meter: Meter) -> _Worth:
        """Of a document that is too long as a whole: each image or video alone."""
        alone = self._worth([Reading((), (visual,)) for visual in reading.visuals], meter)
        failed = next((item for item in alone if isinstance(item, MinirerankerError)), None)
        return failed or tuple(worth for item in alone if isinstance(item, tuple) for worth in item)

    def _worth(self, readings: Sequence[Reading], meter: Meter) -> list[_Worth]:
        inputs = [EmbeddingInput(at, reading=item) for at, item in enumerate(readings)]
        self._run(inputs, None, Wanted(self.hidden_size, importances=True), meter)
        return [_outcome(item) for item in inputs]

    def _run(
        self,
        inputs: Iterable[EmbeddingInput],
        instruction: str | None,
        wanted: Wanted,
        meter: Meter,
        step: Callable[[int], None] = lambda count: None,
    ) -> None:
        model = self._model
        reader = FeatureReader(model.network, *self.pixel_statistics, meter)
        packer = Packer(model.network, reader, meter)
        asked, limit = instruction or model.instruction, self._batch_tokens
        room = Room(model.limits, limit, wanted.extra)
        for group in grouped(inputs, model.prompt, asked, room, meter):
            embed_group(packer, group, wanted, model.backend)
            step(len(group))


def _outcome(item: EmbeddingInput) -> _Worth:
    if item.embedding is not None:
        return item.embedding.importances
    assert item.error is not None, "an input was embedded or failed"
    return item.error


def _check_appended(appended: Tensor | None, width: int) -> None:
    if appended is None:
        return
    if not isinstance(appended, Tensor) or appended.ndim != 2 or appended.shape[1] != width:
        shape = list(appended.shape) if isinstance(appended, Tensor) else type(appended).__name__
        raise ConfigurationError(f"appended is {shape}; pass a tensor [tokens, {width}]")
