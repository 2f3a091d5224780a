"""An encoder by the name of its kind, for the command line and for what an index says it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minireranker.engine.embedder import Embedder
from minireranker.errors import CheckpointError, ConfigurationError
from minireranker.models import resolve

from .adapter import Adapter
from .colmodernvbert import ColModernVBert
from .colmodernvbert_files import KIND, read_model_type
from .metaembed import MetaEmbed
from .pooled import Pooled
from .protocol import LateInteraction
from .smart import Smart

KINDS = ("pooled", "smart", "metaembed", "colmodernvbert")
"""What ``open_encoder`` knows."""

_BACKBONE = "qwen3_vl"


def open_encoder(kind: str, path: str | Path, **options: Any) -> LateInteraction:
    """Load an encoder of ``kind`` from a directory or hub id.

    Options, None being as good as not given. All kinds: ``device``, ``dtype``, ``limits``,
    ``batch_tokens``. All but colmodernvbert: ``instruction``, ``backend``, ``progress``. pooled:
    ``dim``. smart: ``adapter``, a file. metaembed: ``group``, ``stored``. colmodernvbert:
    ``augmented``. Raises ConfigurationError for another kind or an option it does not have,
    CheckpointError for a directory that holds something else.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"encoder {kind!r}: allowed are {', '.join(KINDS)}")
    given = {name: value for name, value in options.items() if value is not None}
    allowed = _allowed(kind)
    if wrong := sorted(set(given) - set(allowed)):
        raise ConfigurationError(
            f"encoder {kind} has no option {', '.join(wrong)}; it has {', '.join(allowed)}"
        )
    folder = resolve(path, "embedder")
    _check_kind(kind, folder)
    return _MAKERS[kind](folder, given)


def _allowed(kind: str) -> list[str]:
    own = {"pooled": ["dim"], "smart": ["adapter"], "metaembed": ["group", "stored"]}
    loads = ColModernVBert if kind == KIND else Embedder
    parameters = inspect.signature(loads.from_pretrained).parameters
    return sorted([*own.get(kind, []), *(name for name in parameters if name != "name")])


def _check_kind(kind: str, folder: Path) -> None:
    """Raise CheckpointError, saying which kind would do, for a checkpoint of the other family."""
    found, wanted = read_model_type(folder), KIND if kind == KIND else _BACKBONE
    if found == wanted:
        return
    fits = {KIND: f"open it as {KIND}", _BACKBONE: f"open it as {', '.join(KINDS[:3])}"}
    advice = fits.get(found, f"pass a checkpoint of {wanted}")
    raise CheckpointError(f"{folder} is a checkpoint of {found}; {kind} needs {wanted}: {advice}")


def _pooled(folder: Path, options: dict[str, Any]) -> LateInteraction:
    dim = options.pop("dim", None)
    return Pooled(Embedder.from_pretrained(folder, **options), dim)


def _smart(folder: Path, options: dict[str, Any]) -> LateInteraction:
    file = options.pop("adapter", None)
    adapter = None if file is None else Adapter.load(file)
    return Smart(Embedder.from_pretrained(folder, **options), adapter)


def _metaembed(folder: Path, options: dict[str, Any]) -> LateInteraction:
    return MetaEmbed.from_pretrained(folder, **options)


def _colmodernvbert(folder: Path, options: dict[str, Any]) -> LateInteraction:
    return ColModernVBert.from_pretrained(folder, **options)


_MAKERS: dict[str, Callable[[Path, dict[str, Any]], LateInteraction]] = {
    "pooled": _pooled,
    "smart": _smart,
    "metaembed": _metaembed,
    "colmodernvbert": _colmodernvbert,
}
