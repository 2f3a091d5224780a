"""From what ``from_pretrained`` is given to the state all calls share."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import torch

from minireranker.cache import Cache, Catalog, Namespace
from minireranker.configs import Profile, resolve_profile
from minireranker.errors import ConfigurationError, InputError, ProfileError, TooLongError
from minireranker.models import BUILTIN, Checkpoint, resolve
from minireranker.models.layout import is_beyond
from minireranker.models.loading import load_model

from .embedder import Embedder
from .embedding_model import LIMITS as EMBEDDER_LIMITS
from .graphs import Graphs
from .library import Library
from .placement import find_backend, find_device, find_precision
from .prefix import Band
from .progress import Progress
from .prompt import Prompt
from .state import EngineState
from .tokenizer import TextTokenizer, require_unicode


def load_state(
    name: str | Path,
    *,
    profile: str | Path | Profile,
    keep_ratio: float | None,
    embedder: Embedder | str | Path | None,
    device: str | torch.device,
    dtype: str | torch.dtype,
    cache: Cache | str | Path | None,
    batch_tokens: int,
    backend: str,
    fused: bool | None,
    graphs: bool | None,
    progress: bool | None,
) -> EngineState:
    """Check every argument, then load. See ``Reranker.from_pretrained`` for meaning and errors."""
    if type(batch_tokens) is not int or batch_tokens < 1:
        raise ConfigurationError(f"batch_tokens = {batch_tokens!r}: allowed is 1 or more")
    kept = _cache(cache)
    checkpoint = Checkpoint.open(resolve(str(name)))
    text = checkpoint.config.text
    fitted = resolve_profile(
        profile,
        layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
        checkpoint=checkpoint.path,
    )
    place = find_device(device)
    precision = find_precision(dtype, checkpoint.config.dtype, place)
    attention = find_backend(backend, place)
    recording = _records(graphs, attention, place)
    vocabulary = checkpoint.tokenizer_json()
    tokenizer = TextTokenizer(vocabulary)
    if keep_ratio is not None:
        fitted = dataclasses.replace(fitted, keep_ratio=keep_ratio)
    assert fitted.exit_layer is not None, "for_model fills it in"
    assert fitted.band is not None, "for_model fills it in"
    prompt = _prompt(tokenizer, fitted)
    if embedder is None and str(name) == BUILTIN:
        embedder = BUILTIN
    if precision.products:
        dtype = precision.dtype
    guide = _embedder(embedder, fitted, place, dtype, attention, progress)
    if fused is None and place.type == "cuda":
        fused = True
    with Progress("loading", _bytes_read(checkpoint, fitted.exit_layer), progress) as bar:
        model = load_model(
            checkpoint,
            fitted.exit_layer,
            answers=(tokenizer.yes, tokenizer.no),
            dtype=precision.dtype,
            products=precision.products,
            fused=fused,
            device=place,
            step=bar.advance,
        )
    identity: dict[str, str | bytes | int] = {
        "weights": checkpoint.digest(),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "pixels": f"{checkpoint.pixel_mean}{checkpoint.pixel_std}",
        "profile": fitted.digest(),
        "dtype": precision.products or str(precision.dtype),
        # The kind, not the number: cuda:0 and cuda:1 of one machine compute the same bits.
        "device": place.type,
        "backend": attention,
        "codec": kept.codec,
        # What it keeps of a picture is known from its file alone, so whose choice it was counts.
        "guide": guide.identity if guide and fitted.keep_ratio < 1.0 else "",
        **({"layers": "fused"} if fused and not precision.products else {}),
    }
    label = f"{name}, {fitted.name}, {precision.name}, {kept.codec}"
    if fitted.keep_ratio < 1.0:
        label += f", keep {fitted.keep_ratio:g}" + (f" by {guide.checkpoint.name}" if guide else "")
    namespace = Namespace(identity, "", label)
    band = Band(*fitted.band, fitted.exit_layer)
    return EngineState(
        checkpoint.path,
        model,
        fitted,
        prompt,
        band,
        checkpoint.pixel_mean,
        checkpoint.pixel_std,
        namespace,
        kept,
        attention,
        batch_tokens,
        Library(Catalog(kept.catalog_database, namespace.name)),
        guide,
        Graphs(model, band) if recording else None,
    )


def with_tenant(state: EngineState, tenant: str) -> EngineState:
    """The same model and cache under a tenant's own namespace."""
    if not isinstance(tenant, str):
        raise ConfigurationError(f"tenant is {type(tenant).__name__}; pass a str")
    try:
        require_unicode(tenant)
    except InputError as error:
        raise ConfigurationError(f"tenant {tenant!r}: {error}") from error
    namespace = dataclasses.replace(state.namespace, tenant=tenant)
    library = Library(Catalog(state.cache.catalog_database, namespace.name))
    return dataclasses.replace(state, namespace=namespace, library=library)


def _records(graphs: bool | None, backend: str, device: torch.device) -> bool:
    """Whether passes are recorded; None: where they can be."""
    able = device.type == "cuda" and backend == "triton"
    if graphs and not able:
        raise ConfigurationError(
            "graphs=True records passes on CUDA devices with the backend 'triton', not with "
            f"{backend!r} on {device}; leave it out"
        )
    return able if graphs is None else graphs


def _embedder(
    embedder: Embedder | str | Path | None,
    profile: Profile,
    device: torch.device,
    dtype: str | torch.dtype,
    backend: str,
    progress: bool | None,
) -> Embedder | None:
    """One that is loaded, or a checkpoint of one, which goes where the reranker is.

    It reads pictures at the reranker's sizes, and its weights once a picture has to be pruned.
    """
    if embedder is None or isinstance(embedder, Embedder):
        return embedder
    if not isinstance(embedder, str | Path):
        raise ConfigurationError(
            f"embedder is {type(embedder).__name__}; pass an Embedder, a checkpoint, or None"
        )
    tokens = max(EMBEDDER_LIMITS.max_tokens, profile.limits.max_suffix_tokens)
    return Embedder.from_pretrained(
        embedder,
        device=device,
        dtype=dtype,
        limits=dataclasses.replace(profile.limits, max_tokens=tokens),
        backend=backend,
        progress=progress,
        lazy=True,
    )


def _cache(cache: Cache | str | Path | None) -> Cache:
    if isinstance(cache, Cache):
        return cache
    if not isinstance(cache, str | Path | None):
        raise ConfigurationError(
            f"cache is {type(cache).__name__}; pass a Cache, a folder, or None for 4 GiB of memory"
        )
    return Cache(cache)


def _prompt(tokenizer: TextTokenizer, profile: Profile) -> Prompt:
    """The profile's prompt, if its limits leave room behind its own instruction."""
    prompt = Prompt(tokenizer, profile.template, profile.limits)
    try:
        prompt.header(profile.template.instruction, False)
    except TooLongError as error:
        limits = profile.limits
        allowed = f"more than limits.max_suffix_tokens = {limits.max_suffix_tokens} and the header"
        raise ProfileError("limits.max_tokens", limits.max_tokens, allowed) from error
    return prompt


def _bytes_read(checkpoint: Checkpoint, layers: int) -> int:
    """Bytes on disk of the tensors that a model of so many layers takes."""
    vision = checkpoint.weights.part("vision").values()
    decoder = checkpoint.weights.part("decoder").items()
    wanted = [tensor for name, tensor in decoder if not is_beyond(name, layers)]
    return sum(tensor.nbytes for tensor in (*vision, *wanted))
