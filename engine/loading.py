"""From what ``from_pretrained`` is given to the state all calls share."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import torch

from minireranker.cache import Cache, Catalog, Namespace
from minireranker.configs import Profile, resolve_profile
from minireranker.errors import ConfigurationError, InputError, ProfileError, TooLongError
from minireranker.kernels.band_attention import BACKENDS, choose_backend
from minireranker.models import Checkpoint, resolve
from minireranker.models.layout import is_beyond
from minireranker.models.loading import load_model

from .library import Library
from .prefix import Band
from .progress import Progress
from .prompt import Prompt
from .state import EngineState
from .tokenizer import TextTokenizer, require_unicode


def load_state(
    name: str | Path,
    *,
    profile: str | Path | Profile,
    device: str | torch.device,
    dtype: str | torch.dtype,
    cache: Cache | str | Path | None,
    batch_tokens: int,
    backend: str,
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
    place = _device(device)
    number = _dtype(dtype, checkpoint.config.dtype, place)
    attention = _backend(backend, place)
    vocabulary = checkpoint.tokenizer_json()
    tokenizer = TextTokenizer(vocabulary)
    assert fitted.exit_layer is not None, "for_model fills it in"
    assert fitted.band is not None, "for_model fills it in"
    prompt = _prompt(tokenizer, fitted)
    with Progress("loading", _bytes_read(checkpoint, fitted.exit_layer), progress) as bar:
        model = load_model(
            checkpoint,
            fitted.exit_layer,
            yes=tokenizer.yes,
            no=tokenizer.no,
            dtype=number,
            device=place,
            step=bar.advance,
        )
    identity = {
        "weights": checkpoint.digest(),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "pixels": f"{checkpoint.pixel_mean}{checkpoint.pixel_std}",
        "profile": fitted.digest(),
        "dtype": str(number),
        # The kind, not the number: cuda:0 and cuda:1 of one machine compute the same bits.
        "device": place.type,
        "backend": attention,
        "codec": kept.codec,
    }
    label = f"{name}, {fitted.name}, {str(number).removeprefix('torch.')}, {kept.codec}"
    namespace = Namespace(identity, "", label)
    return EngineState(
        checkpoint.path,
        model,
        fitted,
        prompt,
        Band(*fitted.band, fitted.exit_layer),
        checkpoint.pixel_mean,
        checkpoint.pixel_std,
        namespace,
        kept,
        attention,
        batch_tokens,
        Library(Catalog(kept.catalog_database, namespace.name)),
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


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.zeros(1, device=device)
        probe.tolist()  # a device that computes nothing, such as "meta", fails here
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ConfigurationError(
            f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]}); "
            "use 'cpu', 'cuda' or 'auto'"
        ) from error
    # The tensor's, not the one given: "cuda" has become "cuda:0", and entries are kept under it.
    return probe.device


def _dtype(dtype: str | torch.dtype, stored: str, device: torch.device) -> torch.dtype:
    """``"auto"``: as stored where that is fast, else float32."""
    allowed = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32", "float64")}
    if dtype == "auto":
        if device.type == "cpu":
            fast = stored == "bfloat16" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
            return torch.bfloat16 if fast else torch.float32
        dtype = stored if stored in allowed else "bfloat16"
    number = dtype if isinstance(dtype, torch.dtype) else allowed.get(str(dtype))
    if number not in allowed.values():
        raise ConfigurationError(f"dtype {dtype!r}: use one of {', '.join(allowed)} or 'auto'")
    if number is torch.float16 and device.type == "cpu":
        raise ConfigurationError(
            "dtype float16 on a CPU is many times slower than float32; use bfloat16 or float32"
        )
    assert isinstance(number, torch.dtype), "None is not among the allowed"
    return number


def _backend(backend: str, device: torch.device) -> str:
    if backend not in ("auto", *BACKENDS):
        raise ConfigurationError(f"backend {backend!r}: use one of {', '.join(BACKENDS)} or 'auto'")
    return choose_backend(device) if backend == "auto" else backend
