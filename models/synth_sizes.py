"""The geometries a synthetic checkpoint can have: the published ones, and a tiny one for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minireranker.errors import ConfigurationError

from .qwen3_vl.config import ModelConfig

PUBLISHED_VOCABULARY = 151_936

_TOWER = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}
_TALL_TOWER = _TOWER | {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}
_TINY_TOWER = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 1, 2],
}


def _decoder(
    hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, head_dim: int
) -> dict[str, Any]:
    # The published split of 64 frequencies is 24, 20, 20; the tiny one keeps its proportions.
    side = 20 * (head_dim // 2) // 64
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5e6,
        "rope_scaling": {"mrope_section": [head_dim // 2 - 2 * side, side, side]},
    }


_GEOMETRY: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "tiny": (_decoder(64, 160, 7, 4, 2, 16), _TINY_TOWER, False),
    "2b": (_decoder(2048, 6144, 28, 16, 8, 128), _TOWER, True),
    "4b": (_decoder(2560, 9728, 36, 32, 8, 128), _TOWER, True),
    "8b": (_decoder(4096, 12288, 36, 32, 8, 128), _TALL_TOWER, False),
}
SIZES = tuple(_GEOMETRY)


def model_config(
    size: str,
    *,
    ids: Mapping[str, int],
    vocabulary: int,
    dtype: str = "bfloat16",
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    tie_word_embeddings: bool | None = None,
) -> ModelConfig:
    """The config of a synthetic model.

    ``ids``: the tokenizer's added tokens by text; ``vocabulary``: its size. ``text``, ``vision``
    and ``tie_word_embeddings`` replace config.json keys. Raises ConfigurationError for an unknown
    size or a tokenizer without the visual tokens, CheckpointError for keys that cannot be run.
    """
    if size not in _GEOMETRY:
        raise ConfigurationError(f"size {size!r}: allowed is one of {', '.join(SIZES)}")
    decoder, tower, tied = _GEOMETRY[size]
    lowest = 0 if size == "tiny" else PUBLISHED_VOCABULARY
    decoder = decoder | {"vocab_size": max(lowest, -(-vocabulary // 64) * 64)} | dict(text or {})
    tower = tower | {"out_hidden_size": decoder["hidden_size"]} | dict(vision or {})
    return ModelConfig.from_dict(
        {
            "model_type": "qwen3_vl",
            "dtype": dtype,
            "text_config": decoder,
            "vision_config": tower,
            "tie_word_embeddings": tied if tie_word_embeddings is None else tie_word_embeddings,
            **_visual_ids(ids),
        },
        source=f"the config of the synthetic {size} model",
    )


def _visual_ids(ids: Mapping[str, int]) -> dict[str, int]:
    texts = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    absent = [text for text in texts.values() if text not in ids]
    if absent:
        raise ConfigurationError(
            f"the tokenizer has no {', '.join(absent)}; pass the tokenizer of a Qwen3-VL checkpoint"
        )
    return {key: ids[text] for key, text in texts.items()}
