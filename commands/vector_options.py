"""What `index --vectors` is told, and the encoder, index and reranker that are meant by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.errors import ConfigurationError

from .encoders import EncoderPlace

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Reranker
    from minireranker.retrieval.late_interaction import LateInteraction
    from minireranker.retrieval.vector_index import VectorIndex

__all__ = ["VectorOptions", "encoder_place", "guided_reranker", "opened_index", "page_pixels"]

_DEFAULT_KIND = "smart"
_DEFAULT_DTYPE = "bfloat16"


@dataclass(frozen=True)
class VectorOptions:
    """What the command line says about vectors and models."""

    folder: Path
    late: str | None
    """None: that of the index, in a new one "smart"."""
    adapter: Path | None
    """SMART's; None: that of the index, in a new one none."""
    embedder: str | None
    """None: that of the index."""
    vector_dtype: str | None
    """None: that of the index, in a new one bfloat16."""
    model: str | None
    profile: str
    keep_ratio: float | None
    device: str
    dtype: str


def encoder_place(options: VectorOptions) -> EncoderPlace:
    """The encoder meant: what the options leave out is as it was when the index was made."""
    before = EncoderPlace.read(options.folder)
    late = options.late or (before.kind if before else _DEFAULT_KIND)
    if options.embedder is not None:
        return EncoderPlace.of(late, options.embedder, options.dtype, options.adapter)
    if before is None:
        raise ConfigurationError(
            f"--vectors {options.folder}: say which checkpoint makes the vectors with --embedder "
            "PATH (and --late KIND)"
        )
    if before.kind != late:
        raise ConfigurationError(
            f"{options.folder} holds vectors of {before.kind}, not of {late}: name another folder "
            "with --vectors DIR, or leave --late out"
        )
    before.check(options.folder)
    return before if options.adapter is None else before.adapted(options.adapter)


def opened_index(options: VectorOptions, encoder: LateInteraction) -> VectorIndex:
    """The index, made if it is not there. Raises ConfigurationError for one of other settings."""
    from minireranker.retrieval.vector_index import VectorIndex

    if not (options.folder / "index.json").exists():
        return VectorIndex.create(
            options.folder,
            identity=encoder.identity,
            encoder=encoder.name,
            dim=encoder.dim,
            pooled_dim=encoder.pooled_dim,
            dtype=options.vector_dtype or _DEFAULT_DTYPE,
        )
    index = VectorIndex.open(options.folder, identity=encoder.identity)
    kept = index.settings.dtype
    if options.vector_dtype not in (None, kept):
        raise ConfigurationError(
            f"{options.folder} keeps token vectors as {kept}, not as {options.vector_dtype}: leave "
            "--vector-dtype out, or name another folder with --vectors DIR"
        )
    return index


def guided_reranker(options: VectorOptions, encoder: LateInteraction, cache: Cache) -> Reranker:
    """With the encoder's embedder, so that it finds its entries again when it is loaded so."""
    from minireranker.engine import Reranker

    assert options.model is not None, "a cache is only opened for a model"
    embedder = getattr(encoder, "embedder", None)
    reranker = Reranker.from_pretrained(
        options.model,
        profile=options.profile,
        embedder=embedder,
        keep_ratio=options.keep_ratio,
        device=options.device,
        dtype=options.dtype,
        cache=cache,
    )
    if embedder is None and reranker.profile.keep_ratio < 1.0:
        raise ConfigurationError(
            f"profile {reranker.profile.name} keeps {reranker.profile.keep_ratio:g} of the visual "
            f"tokens, and {encoder.name} cannot say which: add --keep-ratio 1, or run index twice, "
            "with --vectors, and with --model and the --embedder that says it"
        )
    return reranker


def page_pixels(encoder: LateInteraction, reranker: Reranker | None) -> int:
    """What pages of a PDF are rendered in."""
    from minireranker.configs import Limits

    if reranker is not None:
        return reranker.profile.limits.max_pixels
    embedder = getattr(encoder, "embedder", None)
    return (Limits() if embedder is None else embedder.limits).max_pixels
