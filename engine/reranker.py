"""The public face: load a model once, index documents, rank them for queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.cache import Cache, Namespace
from minireranker.configs import Profile
from minireranker.errors import ConfigurationError

from .call import Call
from .content import DocumentId
from .embedder import Embedder
from .given import check_instruction, check_top_k, given_candidates, given_documents, given_queries
from .indexing import Indexing
from .lists import score_lists
from .loading import load_state, with_tenant
from .progress import Progress
from .results import raise_failed, ranking, score_rows
from .state import EngineState
from .types import FailedDocument, Indexed, Ranking


class Reranker:
    """Ranks documents for queries with one model under one profile.

    A query or document is a ``str`` (text), a ``pathlib.Path`` (image, or video by its suffix), a
    PIL image, an array [height, width(, channels)], encoded image ``bytes``, a dict, or a ``Query``
    / ``Document`` with any of text, image, video. A ``DocumentId`` stands for an indexed document.
    No score depends on batch size, order, or what else is in the call (bit for bit on a CPU).
    """

    def __init__(self, state: EngineState, name: str) -> None:
        """Use ``from_pretrained``."""
        self._state, self._name = state, name

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        profile: str | Path | Profile = "mini",
        embedder: Embedder | str | Path | None = None,
        keep_ratio: float | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        cache: Cache | str | Path | None = None,
        batch_tokens: int = 4_096,
        backend: str = "auto",
        fused: bool | None = None,
        graphs: bool | None = None,
        progress: bool | None = None,
    ) -> Self:
        """Load a checkpoint in the published Qwen3-VL-Reranker (or -Instruct) layout.

        ``name``: a directory, a hub id, or "builtin", a small model that knows drawn figures and
        brings its own embedder. ``profile``: a name, a TOML path, or a Profile.
        ``embedder``: an Embedder or its checkpoint, whose attention says which visual tokens are
        kept where a document brings no importances. ``keep_ratio``: instead of the profile's; 1.0
        keeps all and needs no embedder.
        ``dtype``: "auto" is the checkpoint's where the device computes it fast, else float32;
        "int8" (CPUs) and "fp8" (CUDA) take the decoder's products in eight bits.
        ``cache``: a Cache, a folder to keep entries in, or None: 4 GiB of memory.
        ``batch_tokens`` bounds the rows of one pass.
        ``backend``: of band attention. ``fused``: layers of packed weights and fewer passes; None:
        on a GPU, while a CPU gets its weights in the order it reads them; False: layers that can be
        trained. ``graphs``: whether passes over batches of one shape are recorded and repeated;
        None: on CUDA with the backend "triton". ``progress``: a bar on stderr after two seconds;
        None: only on a terminal. Raises CheckpointError, ConfigurationError (its subclasses
        UnknownProfileError and ProfileError where the profile is at fault), CacheError for a folder
        that cannot be used.
        """
        return cls(
            load_state(
                name,
                profile=profile,
                embedder=embedder,
                keep_ratio=keep_ratio,
                device=device,
                dtype=dtype,
                cache=cache,
                batch_tokens=batch_tokens,
                backend=backend,
                fused=fused,
                graphs=graphs,
                progress=progress,
            ),
            str(name),
        )

    @property
    def profile(self) -> Profile:
        """With exit layer and band as numbers."""
        return self._state.profile

    @property
    def cache(self) -> Cache:
        """Entries of documents, shared by all calls."""
        return self._state.cache

    @property
    def namespace(self) -> Namespace:
        """What its entries have in common in the cache: model, profile, dtype, codec, tenant."""
        return self._state.namespace

    @property
    def embedder(self) -> Embedder | None:
        """Whose attention says which visual tokens are kept."""
        return self._state.embedder

    @property
    def checkpoint(self) -> Path:
        """The directory the weights came from."""
        return self._state.checkpoint

    @property
    def state(self) -> EngineState:
        """The loaded model and what surrounds it, for benchmarks and the oracle."""
        return self._state

    def describe(self) -> str:
        """Model, profile, device, dtype and threads, in one line."""
        model, profile = self._state.model, self._state.profile
        embedder = self._state.embedder
        guide = f" by {embedder.checkpoint.name}" if embedder and profile.keep_ratio < 1 else ""
        threads = f", {torch.get_num_threads()} threads" if model.device.type == "cpu" else ""
        return (
            f"{self._name}: profile {profile.name} (exit {profile.exit_layer} of "
            f"{model.config.text.num_hidden_layers}, band {profile.band}, keep "
            f"{profile.keep_ratio:g}{guide}), {model.device}, {model.precision}{threads}"
        )

    @torch.inference_mode()
    def index(
        self,
        documents: Iterable[Any],
        *,
        instruction: str | None = None,
        progress: bool | None = None,
    ) -> Indexed:
        """Read documents ahead of any query; those already cached cost next to nothing.

        Files that have not changed since they were read (by size, times and inode) are not opened,
        other documents are decoded to see what they are. With a cache folder, a call that was
        killed goes on where it was when it is made again, and ids outlive the process.

        Returns one id a document (its own, or a digest of its content); None where it failed, with
        the reason in ``.failed``. Raises NoDocumentsError, and ConfigurationError or TooLongError
        for the instruction.
        """
        originals = given_documents(documents)
        check_instruction(instruction)
        with Progress("indexing", len(originals), progress) as bar:
            return Indexing(
                Call(self._state, instruction, bar.advance), self._state, originals
            ).run()

    def delete(self, ids: Iterable[str]) -> int:
        """Forget documents, by the ids ``index`` gave, and drop what is kept of them.

        An entry stays while another indexed document has the same content. Returns how many of
        the ids were known.
        """
        known, keys = self._state.library.delete([ids] if isinstance(ids, str) else ids)
        self._state.cache.delete(keys)
        return known

    def indexed(self) -> list[DocumentId]:
        """Ids of all documents indexed under this model, profile and codec, oldest first.

        With a cache folder, those of earlier processes too.
        """
        return [DocumentId(name) for name in self._state.library.catalog.ids()]

    def for_tenant(self, tenant: str) -> Self:
        """The same model and cache for a tenant of that name, sharing no entry and no id.

        Costs nothing: the weights are not loaded again.
        """
        return type(self)(with_tenant(self._state, tenant), self._name)

    @torch.inference_mode()
    def rank(
        self,
        query: Any,
        documents: Iterable[Any],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
        progress: bool | None = None,
    ) -> Ranking:
        """Documents by score, best first; ties by their place in the call.

        A document that cannot be read or scored is in ``.failed`` with its reason; the others are
        ranked. Raises EmptyQueryError, NoDocumentsError, InputError if the query cannot be read,
        ConfigurationError for ``top_k`` or the instruction, TooLongError for the instruction.
        """
        originals = given_documents(documents)
        check_top_k(top_k)
        found, meter = score_lists(self._state, [query], [originals], instruction, progress)
        return ranking(originals, found[0], top_k, meter)

    @torch.inference_mode()
    def score(
        self,
        queries: Any,
        documents: Iterable[Any],
        *,
        instruction: str | None = None,
        progress: bool | None = None,
    ) -> NDArray[np.float32]:
        """Raw logit differences, float32 [queries, documents].

        Raises RejectedDocumentsError if a document failed; its ``.result`` is the array, NaN there.
        Raises before anything is computed: EmptyQueryError and InputError if one of the queries
        cannot be read, NoDocumentsError, ConfigurationError and TooLongError for the instruction.
        """
        asked, originals = given_queries(queries), given_documents(documents)
        if not asked:
            return np.empty((0, len(originals)), np.float32)
        rows = self._score_rows(asked, [originals] * len(asked), instruction, progress)
        scores = np.stack([row for row, _ in rows])
        raise_failed([failed for _, failed in rows], scores)
        return scores

    @torch.inference_mode()
    def score_candidates(
        self,
        queries: Any,
        candidates: Iterable[Iterable[Any]],
        *,
        instruction: str | None = None,
        progress: bool | None = None,
    ) -> list[NDArray[np.float32]]:
        """One candidate list a query, which may be empty; a document in several is read once.

        Returns one float32 array a query. Raises like ``score``, and ConfigurationError where there
        are not as many lists as queries.
        """
        asked = given_queries(queries)
        lists = [given_candidates(part) for part in given_candidates(candidates)]
        if len(asked) != len(lists):
            raise ConfigurationError(
                f"{len(asked)} queries and {len(lists)} candidate lists; give one for each"
            )
        rows = self._score_rows(asked, lists, instruction, progress)
        scores = [row for row, _ in rows]
        raise_failed([failed for _, failed in rows], scores)
        return scores

    def _score_rows(
        self,
        queries: Sequence[Any],
        lists: Sequence[Sequence[Any]],
        instruction: str | None,
        progress: bool | None,
    ) -> list[tuple[NDArray[np.float32], list[FailedDocument]]]:
        found, _ = score_lists(self._state, queries, lists, instruction, progress)
        return [
            score_rows(originals, candidates, index)
            for index, (originals, candidates) in enumerate(zip(lists, found, strict=True))
        ]
