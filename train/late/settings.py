"""What training of the retrieval side is told; defaults are the papers' where they give any.

MetaEmbed: arXiv 2509.18095. SMART: arXiv 2605.24938.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError
from minireranker.train.settings import (
    DTYPES,
    OUT_DTYPES,
    Lora,
    check,
    check_lora,
    is_count,
    is_number,
)


@dataclass(frozen=True)
class LateSettings:
    """What both have. Raises ConfigurationError for a value that cannot be honoured."""

    model: str | Path
    """An embedding checkpoint in the Qwen3-VL layout, a directory or hub id."""
    data: tuple[str | Path, ...]
    """JSONL files or dataset folders, as ``train`` reads them."""
    out: str | Path
    """The run's folder."""
    held_out: tuple[str | Path, ...] = ()
    """The same of other queries: each is asked of all documents that are held out."""
    learning_rate: float = 1e-4
    warmup: float = 0.03
    """Share of the steps in which the rate rises; then it falls along a cosine to 0."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of a step's gradient."""
    temperature: float = 0.03
    """Scores are divided by it before they are compared."""
    epochs: int = 1
    max_steps: int | None = None
    """Stop (and let the rate end) here, if that is sooner."""
    batch_queries: int = 32
    """Queries of a step, each with one positive."""
    negatives: int = 4
    """Documents judged not relevant that come with a query at most, drawn anew each epoch."""
    batch_tokens: int = 8_192
    """Tokens of a pass; a step takes as many passes as it needs. One input may exceed it alone."""
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    """Of the weights in use; what is trained is kept in float32."""
    save_every: int = 200
    """Steps between checkpoints."""
    evaluate_every: int = 200
    """Steps between looks at what is held out; there is one at the end in any case."""
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
        positive = ("learning_rate", "clip", "temperature")
        counts = ("epochs", "batch_queries", "batch_tokens", "save_every", "evaluate_every")
        check(self, positive, lambda v: is_number(v) and v > 0, "a number above 0")
        check(self, counts, is_count, "1 or more")
        check(self, ("warmup",), lambda v: is_number(v) and 0 <= v <= 1, "0 to 1")
        check(self, ("weight_decay",), lambda v: is_number(v) and v >= 0, "0 or more")
        check(self, ("seed", "negatives"), lambda v: type(v) is int and v >= 0, "0 or more")
        check(self, ("dtype",), lambda v: v in DTYPES, ", ".join(DTYPES))
        check(self, ("max_steps",), lambda v: v is None or is_count(v), "1 or more, or nothing")

    def identity(self) -> dict[str, Any]:
        """What a run that is taken up again has to have in common, as JSON values."""
        fields = dataclasses.asdict(self)
        for name in _FREE:
            fields.pop(name, None)
        fields["model"] = str(self.model)
        for name in ("data", "held_out"):
            fields[name] = [str(path) for path in fields[name]]
        return fields

    def public(self) -> dict[str, Any]:
        """``identity`` with names for paths: a checkpoint that is passed on tells no folders."""
        fields = self.identity()
        fields["model"] = Path(fields["model"]).name
        for name in ("data", "held_out"):
            fields[name] = [Path(path).name for path in fields[name]]
        return fields


@dataclass(frozen=True)
class MetaEmbedSettings(LateSettings):
    """Of MetaEmbed's tokens, with adapters on the decoder; ends in ``out/model``."""

    lora: Lora = dataclasses.field(default_factory=lambda: Lora(rank=32, alpha=32.0, dropout=0.0))
    recompute: bool = False
    """Gradient checkpointing: less memory, a third more time."""
    features_bytes: int = 4 * 2**30
    """Bound on what is kept of the vision tower's output."""
    out_dtype: str | None = None
    """Of the merged checkpoint: bfloat16, float16 or float32; None: as the source's."""

    def __post_init__(self) -> None:
        """Check these too."""
        super().__post_init__()
        check_lora(self.lora)
        check(self, ("features_bytes",), lambda v: is_number(v) and v >= 0, "0 or more")
        allowed = "bfloat16, float16, float32 or nothing"
        check(self, ("out_dtype",), lambda v: v in OUT_DTYPES, allowed)

    def identity(self) -> dict[str, Any]:
        """See LateSettings."""
        fields = super().identity()
        fields["lora"]["targets"] = list(self.lora.targets)
        return fields


@dataclass(frozen=True)
class SmartSettings(LateSettings):
    """Of SMART's adapter, the backbone frozen; ends in ``out/adapter.safetensors``."""

    learning_rate: float = 1e-3
    epochs: int = 2


_FREE = (
    *("out", "device", "features_bytes", "save_every", "evaluate_every", "out_dtype", "progress"),
    "recompute",
)
"""What changes no loss, but for rounding."""
