"""The tokenizer of a checkpoint directory, as the tokenizers library serialises it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minireranker.errors import CheckpointError

FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""What belongs to a tokenizer in the published layout; a directory may lack some."""

_PIECES = ("vocab.json", "merges.txt", "tokenizer_config.json")


def read_tokenizer_json(directory: Path) -> str:
    """``tokenizer.json``, or its equal built from vocab.json, merges.txt and tokenizer_config.json.

    Added tokens are in it either way. Raises CheckpointError if neither can be had.
    """
    whole = directory / "tokenizer.json"
    if not whole.is_file():
        return _assemble(directory)
    try:
        text = whole.read_text(encoding="utf-8")
        added = json.loads(text)["added_tokens"]
        if not all("content" in token for token in added):
            raise ValueError("added_tokens without content")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{whole} is damaged ({error}); download it again") from error
    return text


def token_ids(tokenizer_json: str) -> dict[str, int]:
    """The ids of all added tokens and of ``yes`` and ``no``, by text; those that exist."""
    parts: dict[str, Any] = json.loads(tokenizer_json)
    ids = {entry["content"]: int(entry["id"]) for entry in parts["added_tokens"]}
    words = parts["model"]["vocab"]
    return ids | {word: int(words[word]) for word in ("yes", "no") if word in words}


def vocabulary_size(tokenizer_json: str) -> int:
    """One more than the highest id, added tokens included."""
    parts: dict[str, Any] = json.loads(tokenizer_json)
    ids = [*parts["model"]["vocab"].values(), *(token["id"] for token in parts["added_tokens"])]
    return 1 + int(max(ids))


def _assemble(directory: Path) -> str:
    absent = [name for name in _PIECES if not (directory / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{directory} has neither tokenizer.json nor {', '.join(absent)}; download the "
            "tokenizer files again"
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"the tokenizer files in {directory} cannot be read ({error}); download them again"
        ) from error
