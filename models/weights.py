"""The weight files of a checkpoint: which tensors there are, and how they get into a module.

Nothing is read until it is needed, and then tensor by tensor: the peak of memory while loading is
what the module holds plus one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minireranker.errors import CheckpointError

from .layout import EMBEDDING, HEAD, compare_names, count_layers, is_beyond, split_prefix
from .shard import Hash, Shard, StoredTensor, read_shards

if TYPE_CHECKING:
    import torch

Part = Literal["decoder", "vision"]


@dataclass(frozen=True)
class WeightFiles:
    """All tensors of a checkpoint by canonical name (see ``layout``), from the headers alone."""

    shards: tuple[Shard, ...]
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, directory: Path) -> WeightFiles:
        """Read the headers of ``model.safetensors``, or of the shards that the index names.

        Raises CheckpointError for missing, truncated or contradicting files.
        """
        shards = read_shards(directory)
        tensors: dict[str, StoredTensor] = {}
        for tensor in (tensor for shard in shards for tensor in shard.tensors):
            first = tensors.setdefault(split_prefix(tensor.name)[1], tensor)
            if first is not tensor:
                raise CheckpointError(
                    f"{tensor.file} has {tensor.name}, which is also {first.name} in "
                    f"{first.file.name}; keep one of the two"
                )
        return cls(shards, tensors)

    @property
    def directory(self) -> Path:
        """Where the files lie."""
        return self.shards[0].path.parent

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The key prefixes in use on disk, sorted."""
        return tuple(sorted({split_prefix(tensor.name)[0] for tensor in self.tensors.values()}))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors on disk."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def part(self, part: Part) -> dict[str, StoredTensor]:
        """The tensors of the decoder or the vision tower, by name without the part."""
        prefix = f"{part}."
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def update_digest(self, digest: Hash) -> None:
        """Feed every shard to a hash; see ``Shard.update_digest``."""
        for shard in self.shards:
            shard.update_digest(digest)


def load_module(
    files: WeightFiles,
    module: torch.nn.Module,
    part: Part,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    step: Callable[[int], None] = lambda nbytes: None,
) -> None:
    """Fill a module built on the meta device, in place; its parameters want no gradient.

    Names and shapes must agree. Decoder layers on disk beyond the module's are never read.
    ``step`` is told the bytes on disk of every tensor read.
    Raises CheckpointError naming all that is missing, unexpected or of another shape.
    """
    stored, wanted = files.part(part), module.state_dict()
    layers = count_layers(wanted)
    differences = compare_names(
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
        {name: tensor.shape for name, tensor in stored.items()},
        ignore=lambda name: part == "decoder" and is_beyond(name, layers),
    )
    if differences.any:
        raise CheckpointError(
            f"{files.directory}: the weights do not fit the {part} that config.json describes: "
            f"{differences}. Download the checkpoint again, or correct its config.json"
        )
    _require_floats(stored[name] for name in wanted)
    for name in wanted:
        _assign(module, name, _read(stored[name], dtype, device))
        step(stored[name].nbytes)


def load_rows(
    files: WeightFiles,
    candidates: Sequence[str],
    rows: Sequence[int],
    *,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Rows of a matrix as float32 [rows, width], without reading the rest of it.

    ``candidates`` are canonical names; the first that exists is taken (``Checkpoint.head_names``
    for the head). Raises CheckpointError if there is none, or a row lies outside.
    """
    import torch

    tensor = next((files.tensors[name] for name in candidates if name in files.tensors), None)
    if tensor is None:
        raise CheckpointError(_no_such_tensor(files, candidates))
    outside = [row for row in rows if not 0 <= row < tensor.shape[0]]
    if outside:
        raise CheckpointError(
            f"{tensor.file}: {tensor.name} has {tensor.shape[0]} rows, wanted is {outside}; the "
            "tokenizer does not belong to these weights: download the checkpoint again"
        )
    with _opened(tensor.file) as opened:
        matrix = opened.get_slice(tensor.name)
        picked = [matrix[row : row + 1].to(device, torch.float32) for row in rows]
    return torch.cat(picked)


def _require_floats(tensors: Iterable[StoredTensor]) -> None:
    for tensor in tensors:
        if tensor.dtype not in ("BF16", "F16", "F32", "F64"):
            raise CheckpointError(
                f"{tensor.file}: {tensor.name} is stored as {tensor.dtype}; quantised weights are "
                "not supported, take the checkpoint in bfloat16"
            )


def _read(stored: StoredTensor, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
    """One tensor, copied out of the memory map so that closing the file lets its pages go."""
    import torch

    filled = torch.empty(stored.shape, dtype=dtype, device=device)
    with _opened(stored.file) as opened:
        filled.copy_(opened.get_tensor(stored.name))
    return filled


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); download it again") from error


def _assign(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    import torch

    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    is_parameter = leaf in owner._parameters
    setattr(owner, leaf, torch.nn.Parameter(value, requires_grad=False) if is_parameter else value)


def _no_such_tensor(files: WeightFiles, candidates: Sequence[str]) -> str:
    message = f"{files.directory} has no tensor {' or '.join(candidates)}"
    if HEAD in candidates and EMBEDDING in files.tensors:
        message += " (an embedding model has no head: it cannot score)"
    return f"{message}; pass a Qwen3-VL-Reranker or -Instruct checkpoint"
