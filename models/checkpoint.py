"""A checkpoint directory in the published Qwen3-VL layout: opened and checked, nothing loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minireranker.errors import CheckpointError

from .layout import EMBEDDING, HEAD
from .qwen3_vl.config import ModelConfig
from .tokenizer_files import read_tokenizer_json
from .weights import WeightFiles

CONFIG = "config.json"

_Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory says about itself."""

    path: Path
    config: ModelConfig
    weights: WeightFiles
    pixel_mean: _Triple
    """Subtracted from RGB values in 0..1."""
    pixel_std: _Triple
    """What the rest is divided by."""

    @classmethod
    def open(cls, path: Path | str) -> Checkpoint:
        """Read config, preprocessor config and the headers of the weight files.

        Raises CheckpointError naming the file at fault and what to do about it.
        """
        path = Path(path)
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise CheckpointError(f"{path} {what}; pass a checkpoint directory")
        if not (path / CONFIG).is_file():
            raise CheckpointError(
                f"{path} has no {CONFIG}: not a checkpoint; pass a directory in the Qwen3-VL layout"
            )
        config = ModelConfig.from_dict(_read_json(path / CONFIG), source=str(path / CONFIG))
        return cls(path, config, WeightFiles.open(path), *_read_pixel_statistics(path))

    @property
    def head_names(self) -> tuple[str, ...]:
        """Canonical names under which the head may be found, in order of preference."""
        return (HEAD, EMBEDDING) if self.config.tie_word_embeddings else (HEAD,)

    def tokenizer_json(self) -> str:
        """The tokenizers library's JSON of the tokenizer, added tokens included.

        Raises CheckpointError for missing or damaged tokenizer files.
        """
        return read_tokenizer_json(self.path)

    def digest(self) -> str:
        """SHA-256 that identifies config and weights.

        Over the bytes of config.json and, for each weight file, its name, size, header and evenly
        spaced samples of its content (``Shard.update_digest`` says how many and why).
        """
        digest = hashlib.sha256((self.path / CONFIG).read_bytes())
        self.weights.update_digest(digest)
        return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; download it again")
    return value


def _read_pixel_statistics(directory: Path) -> tuple[_Triple, _Triple]:
    """Mean and standard deviation; 0.5 each where no preprocessor config says otherwise."""
    source, values = directory / "preprocessor_config.json", {}
    if source.is_file():
        values = _read_json(source)
    elif (directory / "processor_config.json").is_file():  # what transformers 5 writes instead
        source = directory / "processor_config.json"
        values = _read_json(source).get("image_processor") or {}
    mean, std = (_triple(values, key, source) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise CheckpointError(f"{source}: image_std = {list(std)}: allowed are numbers above 0")
    return mean, std


def _triple(values: dict[str, Any], key: str, source: Path) -> _Triple:
    value = values.get(key, [0.5, 0.5, 0.5])
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 3 or not all(type(number) in (int, float) for number in numbers):
        raise CheckpointError(f"{source}: {key} = {value!r}: allowed are three numbers")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
