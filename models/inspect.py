"""What is in a checkpoint directory, and whether it is all there: read from headers, fast.

Nothing here raises for a checkpoint that opens but does not add up; it says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minireranker.configs import available_profiles
from minireranker.errors import CheckpointError, ProfileError

from .checkpoint import Checkpoint
from .layout import EMBEDDING, HEAD, compare_names, expected_shapes
from .qwen3_vl.config import ModelConfig
from .tokenizer_files import token_ids

_SHOWN_TOKENS = (
    "yes",
    "no",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


@dataclass(frozen=True)
class Inspection:
    """The findings. ``problems`` is empty for a checkpoint that can be loaded and scored with."""

    path: Path
    digest: str
    config: ModelConfig
    parameters: dict[str, int]
    """Counts by part: vision, decoder (without its embedding), embedding, head."""
    nbytes: int
    """Bytes of all tensors on disk."""
    dtypes: dict[str, int]
    """Tensors by dtype, as safetensors spells it."""
    shards: dict[str, int]
    """Bytes by file name."""
    prefixes: tuple[str, ...]
    """Key prefixes in use on disk."""
    tokens: dict[str, int | None]
    """Ids of the answers and control tokens; None where the tokenizer has no such token."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]
    profiles: dict[str, str | None]
    """By name: None where it fits this model, else why not."""
    problems: tuple[str, ...]
    """Sentences, each with what to do."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {"path": str(self.path), "config": self.config.to_dict()}


def inspect_checkpoint(path: Path | str) -> Inspection:
    """Open a checkpoint and compare it with what its config implies.

    Raises CheckpointError for a directory that does not even open, ConfigurationError for a
    profile file in it that cannot be read.
    """
    checkpoint = Checkpoint.open(path)
    stored = checkpoint.weights.tensors
    differences = compare_names(
        expected_shapes(checkpoint.config),
        {name: tensor.shape for name, tensor in stored.items()},
        ignore=lambda name: name == HEAD,  # some write a tied head out all the same
    )
    tokens, problems = _tokens(checkpoint)
    if differences.any:
        problems.append(f"weights: {differences}. Download the checkpoint again")
    return Inspection(
        path=checkpoint.path,
        digest=checkpoint.digest(),
        config=checkpoint.config,
        parameters=_count_parameters(checkpoint),
        nbytes=checkpoint.weights.nbytes,
        dtypes=_count([tensor.dtype for tensor in stored.values()]),
        shards={shard.path.name: shard.size for shard in checkpoint.weights.shards},
        prefixes=checkpoint.weights.prefixes,
        tokens=tokens,
        missing=differences.missing,
        unexpected=differences.unexpected,
        misshaped=differences.misshaped,
        profiles=_profiles(checkpoint),
        problems=tuple(problems),
    )


def _count_parameters(checkpoint: Checkpoint) -> dict[str, int]:
    counts = dict.fromkeys(("vision", "decoder", "embedding", "head"), 0)
    for name, tensor in checkpoint.weights.tensors.items():
        special = {EMBEDDING: "embedding", HEAD: "head"}
        part = special.get(name, name.partition(".")[0])
        counts[part] = counts.get(part, 0) + math.prod(tensor.shape)
    return counts


def _count(items: list[str]) -> dict[str, int]:
    return {item: items.count(item) for item in sorted(set(items))}


def _tokens(checkpoint: Checkpoint) -> tuple[dict[str, int | None], list[str]]:
    """The ids of the tokens that matter, and what is wrong with them."""
    try:
        ids = token_ids(checkpoint.tokenizer_json())
    except CheckpointError as error:
        return dict.fromkeys(_SHOWN_TOKENS), [str(error)]
    found = {text: ids.get(text) for text in _SHOWN_TOKENS}
    absent = [text for text, number in found.items() if number is None]
    problems = []
    if absent:
        problems.append(
            f"the tokenizer has no single token for {', '.join(absent)}; download the tokenizer "
            "of this checkpoint"
        )
    for part, text in (("image", "<|image_pad|>"), ("video", "<|video_pad|>")):
        wanted = getattr(checkpoint.config, f"{part}_token_id")
        if found[text] not in (None, wanted):
            problems.append(
                f"config.json has {part}_token_id = {wanted}, the tokenizer has {text} = "
                f"{found[text]}; download both again"
            )
    return found, problems


def _profiles(checkpoint: Checkpoint) -> dict[str, str | None]:
    text = checkpoint.config.text
    fits: dict[str, str | None] = {}
    for name, profile in available_profiles(checkpoint.path).items():
        try:
            profile.for_model(text.num_hidden_layers, text.hidden_size)
            fits[name] = None
        except ProfileError as error:
            fits[name] = str(error)
    return fits
