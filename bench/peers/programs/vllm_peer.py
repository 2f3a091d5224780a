"""vLLM, offline: the reusable side first, found again by its prefix cache.

``score``  all pairs given at once; scheduling, batching and the prefix cache are its own

The pooling pass beneath ``LLM.score``, through ``LLM.classify``: ``score`` would take videos by URL
only, and writes prompts through a template that sees one placeholder a side.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import Any

from .clock import Clock
from .content import file_key, frames_of, images_of, query_goes_first
from .template import ANSWER, EMPTY, REUSABLE_FIRST
from .wire import versions

MOST_TOKENS = 10_240
"""Of a pair: the published limit."""
BLOCKS_TOKENS = 512
"""Of the room that is kept, what may be unused in its blocks."""
MOST_TOGETHER = 65_536
"""Of one pass."""
MOST_IMAGES = 8
"""A pair."""


class Peer:
    """Serves one checkpoint."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start the engine inside this process."""
        on_cpu = request["device"] == "cpu"
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        import torch

        from .torchvision_operators import import_torchvision

        import_torchvision()
        torch.set_num_threads(request["threads"])
        self.seen: set[str] = set()
        # By name: this environment alone has it.
        self.library = import_module("vllm")
        _register()
        config = json.loads((Path(request["model"]) / "config.json").read_text(encoding="utf-8"))
        if on_cpu:
            _check_heads(config["text_config"])
        # Of a pair there can be no more than there is room for: vLLM wants room for one.
        room = request["keep_bytes"] // _token_bytes(config["text_config"], request["dtype"])
        self.engine = self.library.LLM(
            model=request["model"],
            runner="pooling",
            dtype=request["dtype"],
            hf_overrides=_as_reranker(config),
            enable_prefix_caching=True,
            kv_cache_memory_bytes=request["keep_bytes"],
            # What the vision tower made of a picture is kept for as many tokens: the last of a
            # prefix that is found again need it, where they do not fill a block.
            max_num_batched_tokens=min(room, MOST_TOGETHER),
            max_model_len=max(1, min(MOST_TOKENS, room - BLOCKS_TOKENS)),
            limit_mm_per_prompt={"image": MOST_IMAGES, "video": 1},
            skip_mm_profiling=True,
            enforce_eager=on_cpu,  # compiling would take minutes on a CPU
            # Pictures come at their size: resized as published, by Pillow.
            mm_processor_kwargs={"do_resize": False, "do_sample_frames": False},
            disable_log_stats=True,
        )
        return {"versions": versions("torch", "transformers", _distribution())}

    def score(self, request: dict[str, Any]) -> dict[str, Any]:
        """Score one query's documents."""
        clock = Clock()
        opening = REUSABLE_FIRST.opening(request.get("instruction"))
        with clock.timing("reading"):
            prompts = [
                _prompt(opening, request["query"], document, self.seen)
                for document in request["documents"]
            ]
        with clock.timing("pairs"):
            outputs = self.engine.classify(
                prompts,
                pooling_params=self.library.PoolingParams(use_activation=False),
                use_tqdm=False,
            )
        self.seen |= {name for one in prompts for name in _all_names(one)}
        scores = [float(output.outputs.probs[0]) for output in outputs]
        return {"scores": scores, "kind": "logit", "parts": clock.parts}


def _register() -> None:
    """Give vLLM the model's class; it would look at it in a process without torchvision."""
    name = "Qwen3VLForConditionalGeneration"
    models = import_module("vllm.model_executor.models.qwen3_vl")
    registry = import_module("vllm.model_executor.models.registry").ModelRegistry
    registry.register_model(name, getattr(models, name))


def _check_heads(text: dict[str, Any]) -> None:
    """Raise ValueError for heads that its attention on CPUs has no kernel for."""
    kernels = import_module("vllm.v1.attention.backends.cpu_attn").CPUAttentionBackend
    head = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    if head not in kernels.get_supported_head_sizes():
        raise ValueError(
            f"on CPUs vLLM has no attention for heads of {head}: run it on another checkpoint, "
            "such as --model builtin"
        )


def _token_bytes(text: dict[str, Any], dtype: str) -> int:
    """Of K and V, in all layers."""
    head: int = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    numbers: int = 2 * text["num_hidden_layers"] * text["num_key_value_heads"] * head
    return numbers * (4 if dtype == "float32" else 2)


def _as_reranker(config: dict[str, Any]) -> dict[str, Any]:
    """What makes vLLM read the checkpoint as a reranker: a head of the rows ``yes`` and ``no``."""
    return {
        "architectures": ["Qwen3VLForSequenceClassification"],
        "classifier_from_token": ["no", "yes"],
        "is_original_qwen3_reranker": True,
        # It looks for this in the inner configuration only.
        "text_config": {"tie_word_embeddings": config.get("tie_word_embeddings", False)},
    }


def _distribution() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return "vllm"
    return "vllm-cpu"


def _prompt(
    opening: str, query: dict[str, Any], document: dict[str, Any], seen: Set[str]
) -> dict[str, Any]:
    """One pair: text with one placeholder a picture, and the pictures in the text's order.

    Of those ``seen``, vLLM has what its processor made of them, by name.
    """
    query_first = query_goes_first(query, document)
    sides = (query, document) if query_first else (document, query)
    front = _written(sides[0], is_query=query_first)
    back = _written(sides[1], is_query=not query_first)
    prompt: dict[str, Any] = {"prompt": f"{opening}{front}\n{back}{ANSWER}"}
    if names := _names(sides):
        prompt["multi_modal_data"] = {
            kind: _READ[kind](sides, [name not in seen for name in found])
            for kind, found in names.items()
        }
        prompt["multi_modal_uuids"] = names
    return prompt


def _all_names(prompt: dict[str, Any]) -> list[str]:
    return [name for names in prompt.get("multi_modal_uuids", {}).values() for name in names]


def _written(content: dict[str, Any], *, is_query: bool) -> str:
    """A side's text. A video is its pad alone: vLLM puts each frame's start and end around it."""
    pads = "<|video_pad|>" if content.get("video") else ""
    pads += "<|vision_start|><|image_pad|><|vision_end|>" * len(images_of(content))
    text = content.get("text") or ""
    words = text if text.strip() or pads else EMPTY
    return f"{REUSABLE_FIRST.label(is_query=is_query)}{pads}{words}"


def _images(sides: Sequence[dict[str, Any]], wanted: Sequence[bool]) -> list[Any]:
    """In the order of their names; None in the place of one that is not wanted."""
    from .pixels import read_image

    paths = [path for side in sides for path in images_of(side)]
    return [read_image(path) if want else None for path, want in zip(paths, wanted, strict=True)]


def _videos(sides: Sequence[dict[str, Any]], wanted: Sequence[bool]) -> list[Any]:
    """The same of videos: frames, and when they are shown."""
    import numpy as np

    from .pixels import read_video

    found: list[Any] = []
    videos = [side["video"] for side in sides if side.get("video")]
    for video, want in zip(videos, wanted, strict=True):
        if not want:
            found.append(None)
            continue
        frames, rate = read_video(video)
        times = {"fps": rate, "frames_indices": list(range(len(frames)))}
        metadata = {**times, "total_num_frames": len(frames), "do_sample_frames": False}
        found.append((np.stack([np.asarray(frame) for frame in frames]), metadata))
    return found


_READ = {"image": _images, "video": _videos}


def _names(sides: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What vLLM knows each picture by, so that it need not hash its pixels."""
    images = [file_key(path) for side in sides for path in images_of(side)]
    videos = [
        (side["video"].get("fps"), *map(file_key, frames_of(side)))
        for side in sides
        if side.get("video")
    ]
    return {
        kind: [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
        for kind, keys in (("image", images), ("video", videos))
        if keys
    }
