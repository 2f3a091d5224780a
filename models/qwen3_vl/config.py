"""What a Qwen3-VL config.json says, as frozen records, and which values this code was written for.

Key names and their two spellings are those of the published Qwen3-VL checkpoints: transformers 4.57
writes ``rope_theta`` beside ``rope_scaling``, transformers 5 puts both into ``rope_parameters``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minireranker.errors import CheckpointError

from .config_keys import Keys
from .config_rules import note_conflicts

DTYPES = ("bfloat16", "float16", "float32")
"""What weights may be stored in, as torch spells it."""

_TOKEN_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")

_WRITTEN_ONLY = {
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "max_position_embeddings": 262_144,
    "model_type": "qwen3_vl_text",
    "use_cache": True,
}


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower; ``patch_size`` is in pixels, ``temporal_patch_size`` in frames."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    in_channels: int
    patch_size: int
    temporal_patch_size: int
    spatial_merge_size: int
    out_hidden_size: int
    """Width of the merged features: the decoder's hidden size."""
    num_position_embeddings: int
    """Entries of the learned position table; a square number."""
    deepstack_visual_indexes: tuple[int, ...]
    """Blocks whose output is also added after decoder layers 0, 1, 2, ..."""
    hidden_act: str


@dataclass(frozen=True)
class TextConfig:
    """The decoder."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]
    """Rotary frequencies that turn with time, height and width; together head_dim / 2."""
    attention_bias: bool
    hidden_act: str


@dataclass(frozen=True)
class ModelConfig:
    """A whole Qwen3-VL model: decoder, vision tower, the ids of its visual tokens."""

    text: TextConfig
    vision: VisionConfig
    image_token_id: int
    video_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int
    tie_word_embeddings: bool
    """Whether the head is the embedding table."""
    dtype: str
    """One of DTYPES: what the weights are meant to be computed in."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "config.json") -> ModelConfig:
        """Read a config in either spelling; ``source`` is what an error calls it.

        Raises CheckpointError naming every key that is missing or has a value this code was not
        written for, its value, and what is allowed.
        """
        _reject_other_models(data, source)
        keys = Keys(data)
        text, vision = _text(keys.section("text_config")), _vision(keys.section("vision_config"))
        config = cls(
            text,
            vision,
            **{name: keys.integer(name, minimum=0) for name in _TOKEN_IDS},
            tie_word_embeddings=_is_tied(keys),
            dtype=_dtype(keys),
        )
        keys.absent("quantization_config", "take the checkpoint in bfloat16")
        note_conflicts(config, keys)
        keys.raise_problems(source)
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config.json of this model, in the published spelling (all transformers read it)."""
        text = dataclasses.asdict(self.text) | _WRITTEN_ONLY | {"dtype": self.dtype}
        text["rope_scaling"] = {
            "mrope_interleaved": True,
            "mrope_section": list(text.pop("mrope_section")),
            "rope_type": "default",
        }
        vision = dataclasses.asdict(self.vision) | {"dtype": self.dtype, "model_type": "qwen3_vl"}
        vision["deepstack_visual_indexes"] = list(self.vision.deepstack_visual_indexes)
        return {
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "dtype": self.dtype,
            "model_type": "qwen3_vl",
            "text_config": text | {"tie_word_embeddings": self.tie_word_embeddings},
            "tie_word_embeddings": self.tie_word_embeddings,
            "vision_config": vision,
            **{name: getattr(self, name) for name in _TOKEN_IDS},
        }


def _reject_other_models(data: Mapping[str, Any], source: str) -> None:
    found = data.get("model_type")
    if found != "qwen3_vl":
        raise CheckpointError(
            f"{source}: model_type = {found!r}: allowed is 'qwen3_vl'; this is the checkpoint of "
            "another architecture. Pass one in the Qwen3-VL layout (2B, 4B or 8B, not MoE)"
        )


def _text(keys: Keys) -> TextConfig:
    rope = keys.section("rope_parameters" if "rope_parameters" in keys else "rope_scaling")
    theta = rope if "rope_theta" in rope else keys
    rope.constant("mrope_interleaved", True)
    rope.constant("rope_type", "default")
    return TextConfig(
        vocab_size=keys.integer("vocab_size"),
        hidden_size=keys.integer("hidden_size"),
        intermediate_size=keys.integer("intermediate_size"),
        num_hidden_layers=keys.integer("num_hidden_layers"),
        num_attention_heads=keys.integer("num_attention_heads"),
        num_key_value_heads=keys.integer("num_key_value_heads"),
        head_dim=keys.integer("head_dim"),
        rms_norm_eps=keys.positive("rms_norm_eps"),
        rope_theta=theta.positive("rope_theta"),
        mrope_section=rope.triple("mrope_section"),
        attention_bias=keys.constant("attention_bias", False),
        hidden_act=keys.constant("hidden_act", "silu"),
    )


def _vision(keys: Keys) -> VisionConfig:
    if "rope_parameters" in keys:
        keys.section("rope_parameters").constant("rope_theta", 10_000.0)
    return VisionConfig(
        depth=keys.integer("depth"),
        hidden_size=keys.integer("hidden_size"),
        intermediate_size=keys.integer("intermediate_size"),
        num_heads=keys.integer("num_heads"),
        in_channels=keys.constant("in_channels", 3),
        patch_size=keys.constant("patch_size", 16),
        temporal_patch_size=keys.constant("temporal_patch_size", 2),
        spatial_merge_size=keys.constant("spatial_merge_size", 2),
        out_hidden_size=keys.integer("out_hidden_size"),
        num_position_embeddings=keys.integer("num_position_embeddings"),
        deepstack_visual_indexes=keys.integers("deepstack_visual_indexes"),
        hidden_act=keys.constant("hidden_act", "gelu_pytorch_tanh"),
    )


def _is_tied(keys: Keys) -> bool:
    holder = keys if "tie_word_embeddings" in keys else keys.section("text_config")
    return holder.choice("tie_word_embeddings", (True, False), default=False)


def _dtype(keys: Keys) -> str:
    for holder in (keys, keys.section("text_config")):
        for name in ("dtype", "torch_dtype"):
            if name in holder:
                return holder.choice(name, DTYPES, default="bfloat16")
    return "bfloat16"
