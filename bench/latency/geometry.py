"""A checkpoint's size from its headers: what it needs, and what reading a document costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from minireranker.models.qwen3_vl.config import ModelConfig

__all__ = ["Geometry"]

_TEMPORAL_PATCHES = 4
"""Patches of the vision tower that become one visual token."""


@dataclass(frozen=True)
class Geometry:
    """Parameters of a model, by part."""

    name: str
    decoder: int
    """Of the decoder layers."""
    vision: int
    total: int
    """Everything, the embedding and a head of its own too."""
    kept_numbers: int = 0
    """Of one token: its keys and values in all layers."""

    @classmethod
    def of_checkpoint(cls, path: Path | str) -> Self:
        """From the headers of the weight files; no weight is read. Raises CheckpointError."""
        from minireranker.models import Checkpoint

        checkpoint = Checkpoint.open(path)
        tensors = checkpoint.weights.tensors
        sizes = {name: _elements(tensor.shape) for name, tensor in tensors.items()}
        return cls._of(Path(path).name, sizes, checkpoint.config)

    @classmethod
    def of_size(cls, size: str) -> Self:
        """Of a synthetic checkpoint, not written. Raises ConfigurationError for another size."""
        from minireranker.models.layout import expected_shapes
        from minireranker.models.synth_sizes import model_config

        tokens = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
        ids = {text: at for at, text in enumerate(tokens)}
        config = model_config(size, ids=ids, vocabulary=512)
        sizes = {name: _elements(shape) for name, shape in expected_shapes(config).items()}
        return cls._of(f"synthetic-{size}", sizes, config)

    @classmethod
    def _of(cls, name: str, sizes: dict[str, int], config: ModelConfig) -> Self:
        layers = sum(size for tensor, size in sizes.items() if tensor.startswith("decoder.layers."))
        vision = sum(size for tensor, size in sizes.items() if tensor.startswith("vision."))
        text = config.text
        kept = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
        return cls(name, layers, vision, sum(sizes.values()), kept)

    def pair_flop(self, visual_tokens: int, text_tokens: int) -> float:
        """Of a whole pair by the unmodified model: its products; a multiply and an add are two."""
        patches = _TEMPORAL_PATCHES * visual_tokens
        return 2.0 * (self.decoder * (visual_tokens + text_tokens) + self.vision * patches)


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
