"""The rows of a quality table: what is measured, in which form, and how it is opened.

A profile's reductions one at a time: ``exit only`` runs fewer layers, the sides seeing each other
in all of them; ``band only`` runs all layers with the band, which goes on to the last layer where
the profile's goes on to its exit; ``keep only`` prunes visual tokens and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError
from minireranker.relevance import Dataset

from .quality_scorers import Cosines, Order, Reranked, Scorer

if TYPE_CHECKING:
    from minireranker import Embedder, Reranker
    from minireranker.cache import Cache
    from minireranker.configs import Profile

__all__ = ["System", "Wanted", "reductions", "systems"]

RETRIEVER, EMBEDDER = "retriever", "embedder"
"""Names of the rows that are no profile."""

MEMORY = 2**28
"""Bytes of entries in memory: a document is read once, so none has to stay."""


@dataclass(frozen=True)
class Wanted:
    """Which systems, and how their models are opened."""

    model: str | None
    """A checkpoint directory or hub id; None: no reranker."""
    profiles: Sequence[str] = ("dense", "mini")
    ablated: Sequence[str] = ()
    """Of these profiles each reduction alone too."""
    embedder: str | None = None
    """A row of its own, and what says which visual tokens are kept."""
    keep_ratio: float | None = None
    """Instead of that of profiles that prune."""
    device: str = "auto"
    dtype: str = "auto"
    cache: Path | None = None
    """A folder to keep entries in, for the next run."""


@dataclass(frozen=True)
class System:
    """One row."""

    name: str
    wanted: Wanted
    profile: Profile | None = None
    """None: no reranker."""

    @contextmanager
    def open(self, dataset: Dataset) -> Iterator[Scorer]:
        """Load it. Raises CheckpointError, ConfigurationError, CacheError."""
        if self.profile is not None:
            from minireranker.cache import Cache

            with Cache(self.wanted.cache, memory_bytes=MEMORY) as cache:
                yield Reranked(self._reranker(cache), dataset)
        elif self.name == EMBEDDER:
            yield Cosines(self._embedder(), dataset)
        else:
            yield Order(dataset)

    def _reranker(self, cache: Cache) -> Reranker:
        from minireranker import Reranker

        assert self.wanted.model is not None, "there is a profile"
        assert self.profile is not None, "there is a model"
        return Reranker.from_pretrained(
            self.wanted.model,
            profile=self.profile,
            embedder=self.wanted.embedder,
            device=self.wanted.device,
            dtype=self.wanted.dtype,
            cache=cache,
        )

    def _embedder(self) -> Embedder:
        from minireranker import Embedder

        assert self.wanted.embedder is not None, "there is a row for it"
        return Embedder.from_pretrained(
            self.wanted.embedder, device=self.wanted.device, dtype=self.wanted.dtype
        )

    def form(self) -> dict[str, Any]:
        """Exit, band and keep ratio, for a result file."""
        if self.profile is None:
            return {"exit": None, "band": None, "keep": None}
        band = self.profile.band
        return {
            "exit": self.profile.exit_layer,
            "band": None if band is None else list(band),
            "keep": self.profile.keep_ratio,
        }


def systems(wanted: Wanted, dataset: Dataset) -> list[System]:
    """All rows, in order: retriever, embedder, profiles, each before its reductions.

    Raises ConfigurationError where there is none, a name comes twice, or pictures would be pruned
    without an embedder; and as reading the checkpoint's configuration does.
    """
    found = [System(RETRIEVER, wanted)] if dataset.is_ranked else []
    found += [System(EMBEDDER, wanted)] if wanted.embedder is not None else []
    found += [System(profile.name, wanted, profile) for profile in _profiles(wanted)]
    if not found:
        raise ConfigurationError("nothing to measure; give it a model, or an embedder")
    names = [system.name for system in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"there are two rows called {', '.join(twice)}; leave one out")
    if not _is_guided(wanted) and _is_visual(dataset):
        pruning = [s.name for s in found if s.profile and s.profile.keep_ratio < 1.0]
        if pruning:
            raise ConfigurationError(
                f"{', '.join(pruning)} would keep a part of the visual tokens, and no embedder "
                "says which: name one, or keep all with a keep ratio of 1"
            )
    return found


def reductions(profile: Profile, layers: int) -> Iterator[Profile]:
    """Each reduction of a profile alone, where there is one; ``layers``: of the model."""
    assert profile.exit_layer is not None, "the profile was fitted to the model"
    assert profile.band is not None, "the profile was fitted to the model"
    low, high = profile.band
    end = layers if high == profile.exit_layer else high
    name, whole = profile.name, replace(profile, exit_layer=layers, band=(0, layers))
    if profile.exit_layer < layers:
        early = profile.exit_layer
        yield replace(
            whole, name=f"{name}: exit only", exit_layer=early, band=(0, early), keep_ratio=1.0
        )
    if (low, end) != (0, layers):
        yield replace(whole, name=f"{name}: band only", band=(low, end), keep_ratio=1.0)
    if profile.keep_ratio < 1.0:
        yield replace(whole, name=f"{name}: keep only")


def _profiles(wanted: Wanted) -> Iterator[Profile]:
    if wanted.model is None:
        return
    from minireranker.configs import resolve_profile
    from minireranker.models import Checkpoint, resolve

    unknown = sorted(set(wanted.ablated) - set(wanted.profiles))
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)} is to be taken apart but is none of the profiles measured, "
            f"{', '.join(wanted.profiles)}; name it among them"
        )
    checkpoint = Checkpoint.open(resolve(wanted.model))
    text = checkpoint.config.text
    for spec in wanted.profiles:
        fitted = resolve_profile(
            spec,
            layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            checkpoint=checkpoint.path,
        )
        # A row is called what was asked for: "mini", not "mini-2b".
        fitted = replace(fitted, name=Path(spec).stem if spec.endswith(".toml") else spec)
        if wanted.keep_ratio is not None and fitted.keep_ratio < 1.0:
            fitted = replace(fitted, keep_ratio=wanted.keep_ratio)
        yield fitted
        if spec in wanted.ablated:
            yield from reductions(fitted, text.num_hidden_layers)


def _is_guided(wanted: Wanted) -> bool:
    """Whether something says which visual tokens to keep; the built-in model brings its own."""
    from minireranker.models import BUILTIN

    return wanted.embedder is not None or wanted.model == BUILTIN


def _is_visual(dataset: Dataset) -> bool:
    sides = (*dataset.queries.values(), *dataset.documents.values())
    return any(side.content.is_visual for side in sides)
