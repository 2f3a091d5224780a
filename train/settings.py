"""What a training run is told; the defaults are those of the miniReranker paper (method, 6)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minireranker.configs import Profile
from minireranker.errors import ConfigurationError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""All linear maps of a decoder layer."""

METHODS = ("lora", "full")


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on the decoder."""

    rank: int = 16
    alpha: float = 32.0
    """The product of the two factors counts ``alpha / rank`` times."""
    dropout: float = 0.05
    targets: tuple[str, ...] = PROJECTIONS


@dataclass(frozen=True)
class TrainSettings:
    """Of one run. Raises ConfigurationError for a value that cannot be honoured."""

    model: str | Path
    """A checkpoint directory or hub id in the Qwen3-VL-Reranker (or -Instruct) layout."""
    data: tuple[str | Path, ...]
    """JSONL files; see ``examples``."""
    out: str | Path
    """The run's folder: log, checkpoints, and at the end ``model/``, the merged checkpoint."""
    profile: str | Path | Profile = "mini"
    """The form that is trained: its exit, band and pruning are active."""
    keep_ratio: float | None = None
    """Instead of the profile's."""
    embedder: str | Path | None = None
    """Whose attention says which visual tokens are kept."""
    held_out: tuple[str | Path, ...] = ()
    """JSONL files of other pairs, or of other queries, to measure by."""
    method: str = "lora"
    """``"lora"``: adapters on the decoder. ``"full"``: all of the decoder, for small models."""
    vision: bool = False
    """Train the vision tower too; with ``"full"`` only."""
    lora: Lora = dataclasses.field(default_factory=Lora)
    learning_rate: float = 1e-4
    warmup: float = 0.03
    """Share of the steps in which the rate rises; then it falls along a cosine to 0."""
    weight_decay: float = 0.0
    epochs: int = 1
    max_steps: int | None = None
    """Stop (and let the rate end) here, if that is sooner."""
    batch_pairs: int = 64
    """Pairs of a batch at most."""
    batch_tokens: int = 8_192
    """Tokens of a batch at most; one pair may exceed it alone."""
    accumulate: int = 1
    """Batches a step and process."""
    clip: float = 1.0
    """Largest norm of a step's gradient."""
    share: bool = True
    """Read a document once for all its queries in a batch."""
    recompute: bool = False
    """Gradient checkpointing: less memory, a third more time."""
    teacher: str | Path | None = None
    """A checkpoint whose scores are learned from too."""
    teacher_profile: str | Path | Profile = "dense"
    distill: float = 0.5
    """The teacher's share of the loss."""
    temperature: float = 2.0
    """Scores are divided by it before they are held to the teacher's."""
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    """Of the weights in use; what is trained is kept in float32 beside them."""
    features_bytes: int = 4 * 2**30
    """Bound on what is kept of a frozen vision tower's output."""
    save_every: int = 200
    """Steps between checkpoints."""
    evaluate_every: int = 200
    """Steps between looks at the held-out pairs; there is one at the end in any case."""
    out_dtype: str | None = None
    """Of the merged checkpoint: bfloat16, float16 or float32; None: as the source's."""
    progress: bool | None = None
    """A bar on stderr; None: only on a terminal."""

    def __post_init__(self) -> None:
        """Check what needs no model."""
        for name in ("data", "held_out"):
            value = getattr(self, name)
            paths = (value,) if isinstance(value, str | Path) else tuple(value)
            object.__setattr__(self, name, paths)
        if not self.data:
            raise ConfigurationError("no data; name at least one JSONL file")
        check(self, _POSITIVE, lambda v: is_number(v) and v > 0, "a number above 0")
        check(self, _COUNTS, is_count, "1 or more")
        check(self, _SHARES, lambda v: is_number(v) and 0 <= v <= 1, "0 to 1")
        check(self, _NOT_NEGATIVE, lambda v: is_number(v) and v >= 0, "0 or more")
        check(self, _WHOLE, lambda v: type(v) is int and v >= 0, "a whole number, 0 or more")
        check(self, ("method",), lambda v: v in METHODS, " or ".join(METHODS))
        check(self, ("dtype",), lambda v: v in DTYPES, ", ".join(DTYPES))
        check(
            self, ("out_dtype",), lambda v: v in OUT_DTYPES, "bfloat16, float16, float32 or nothing"
        )
        check(self, ("max_steps",), lambda v: v is None or is_count(v), "1 or more, or nothing")
        check_lora(self.lora)
        if self.vision and self.method != "full":
            raise ConfigurationError(
                "vision = True goes with method = 'full'; adapters are on the decoder only"
            )

    def identity(self) -> dict[str, Any]:
        """What a run that is taken up again has to have in common, as JSON values."""
        fields = dataclasses.asdict(self)
        for name in _FREE:
            del fields[name]
        for name in ("profile", "teacher_profile"):
            value = getattr(self, name)
            fields[name] = value.digest() if isinstance(value, Profile) else str(value)
        for name in ("data", "held_out"):
            fields[name] = [str(path) for path in fields[name]]
        for name in ("model", "embedder", "teacher"):
            fields[name] = None if fields[name] is None else str(fields[name])
        fields["lora"]["targets"] = list(self.lora.targets)
        return fields

    def public(self) -> dict[str, Any]:
        """``identity`` with names for paths: a checkpoint that is passed on tells no folders."""
        fields = self.identity()
        for name in ("model", "embedder", "teacher", "profile", "teacher_profile"):
            fields[name] = None if fields[name] is None else Path(fields[name]).name
        for name in ("data", "held_out"):
            fields[name] = [Path(path).name for path in fields[name]]
        return fields


_POSITIVE = ("learning_rate", "clip", "temperature")
_COUNTS = ("epochs", "batch_pairs", "batch_tokens", "accumulate", "save_every", "evaluate_every")
_SHARES = ("warmup", "distill")
_NOT_NEGATIVE = ("weight_decay",)
_WHOLE = ("seed", "features_bytes")
DTYPES = ("auto", "bfloat16", "float32", "float64")
OUT_DTYPES = (None, "bfloat16", "float16", "float32")
_FREE = ("out", "device", "features_bytes", "save_every", "evaluate_every", "out_dtype", "progress")
"""What changes no loss."""


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 1."""
    return type(value) is int and value >= 1


def check(settings: Any, names: tuple[str, ...], fits: Any, allowed: str) -> None:
    """Raise ConfigurationError for the first field that does not fit."""
    for name in names:
        value = getattr(settings, name)
        if not fits(value):
            raise ConfigurationError(f"{name} = {value!r}: allowed is {allowed}")


def check_lora(lora: Lora) -> None:
    """Raise ConfigurationError for a value that cannot be honoured."""
    check(lora, ("rank",), is_count, "1 or more")
    check(lora, ("alpha",), lambda v: is_number(v) and v > 0, "a number above 0")
    check(lora, ("dropout",), lambda v: is_number(v) and 0 <= v < 1, "0 or more and below 1")
    unknown = sorted(set(lora.targets) - set(PROJECTIONS))
    if unknown or not lora.targets:
        raise ConfigurationError(
            f"targets = {list(lora.targets)}: allowed are some of {', '.join(PROJECTIONS)}"
        )
