"""``CrossEncoder`` of sentence-transformers: the published prompt, eight pairs at a time.

``cross-encoder``  query first; its own batching, padding and processor
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .clock import Clock
from .template import EMPTY, INSTRUCTION, PUBLISHED, SYSTEM
from .wire import versions

BATCH_PAIRS = 8

CHAT = (
    "{%- macro written(message) -%}{%- for part in message.content -%}"
    "{%- if part.type == 'text' -%}{{ part.text }}"
    "{%- elif part.type == 'video' -%}<|video_pad|>"
    "{%- else -%}<|vision_start|><|image_pad|><|vision_end|>{%- endif -%}"
    "{%- endfor -%}{%- endmacro -%}"
    "{%- set said = namespace() -%}{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{%- set said.task = written(message) -%}"
    "{%- elif message.role == 'query' -%}{%- set said.query = written(message) -%}"
    "{%- else -%}{%- set said.document = written(message) -%}{%- endif -%}{%- endfor -%}"
    "{{ '<|im_start|>system\n" + SYSTEM + "<|im_end|>\n<|im_start|>user\n<Instruct>: ' }}"
    "{{ said.task }}{{ '" + PUBLISHED.query_label + "' }}{{ said.query }}"
    "{{ '\n" + PUBLISHED.document_label + "' }}{{ said.document }}"
    "{{ '<|im_end|>\n<|im_start|>assistant\n' }}"
)
"""Jinja: messages of the roles system (the instruction), query and document.

A video is its pad alone: the processor puts each frame's own start and end around it.
"""


class Peer:
    """Serves one checkpoint."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the model."""
        import torch

        from .torchvision_operators import import_torchvision

        import_torchvision()
        torch.set_num_threads(request["threads"])
        # By name: this environment alone has it.
        library = import_module("sentence_transformers")
        modules = import_module("sentence_transformers.cross_encoder.modules")
        base = import_module("sentence_transformers.base.modules")
        body = base.Transformer(
            request["model"],
            transformer_task="any-to-any",
            model_kwargs={
                "dtype": getattr(torch, request["dtype"]),
                "attn_implementation": "sdpa",
            },
            # Pictures come at their size: resized as published, by Pillow.
            processing_kwargs={
                "image": {"do_resize": False},
                "video": {"do_resize": False, "do_sample_frames": False},
            },
        )
        body.processor.chat_template = CHAT
        yes, no = body.processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
        self.model = library.CrossEncoder(
            modules=[body, modules.LogitScore(yes, no)],
            device=request["device"],
            activation_fn=torch.nn.Identity(),
        )
        return {"versions": versions("torch", "transformers", "sentence-transformers")}

    def score(self, request: dict[str, Any]) -> dict[str, Any]:
        """Score one query's documents."""
        clock = Clock()
        prompt = request.get("instruction") or INSTRUCTION
        found: list[float] = []
        for batch in _batches(request["documents"], _has_video(request["query"])):
            with clock.timing("reading"):
                query, *shown = (_shown(side) for side in (request["query"], *batch))
            timelines = [side.timeline for side in (query, *shown) if side.timeline]
            how = {"processing_kwargs": {"video": {"video_metadata": timelines}}}
            with clock.timing("pairs"):
                scores = self.model.predict(
                    [(query.parts, side.parts) for side in shown],
                    prompt=prompt,
                    batch_size=BATCH_PAIRS,
                    show_progress_bar=False,
                    **(how if timelines else {}),
                )
            found += map(float, scores)
        return {"scores": found, "kind": "logit", "parts": clock.parts}


def _has_video(content: dict[str, Any]) -> bool:
    return bool(content.get("video"))


def _batches(
    documents: Sequence[dict[str, Any]], alone: bool
) -> Iterator[Sequence[dict[str, Any]]]:
    """Documents to be given together; one with a video alone.

    Times of frames go beside a batch, in the order of its videos, and ``predict`` sorts by length.
    """
    batch: list[dict[str, Any]] = []
    for document in documents:
        single = alone or _has_video(document)
        if batch and (single or len(batch) == BATCH_PAIRS):
            yield batch
            batch = []
        if single:
            yield [document]
        else:
            batch.append(document)
    if batch:
        yield batch


@dataclass(frozen=True)
class _Side:
    """A query or a document as sentence-transformers takes it."""

    parts: dict[str, Any]
    """By modality, pictures before words."""
    timeline: dict[str, Any] | None = None
    """When a video's frames are shown."""


def _shown(content: dict[str, Any]) -> _Side:
    from .pixels import read_images, read_video

    parts: dict[str, Any] = {}
    timeline = None
    if _has_video(content):
        parts["video"], rate = read_video(content["video"])
        count = len(parts["video"])
        timeline = {"fps": rate, "frames_indices": list(range(count)), "total_num_frames": count}
    if images := read_images(content):
        parts["image"] = images
    text = content.get("text") or ""
    if text.strip() or not parts:
        parts["text"] = text if text.strip() else EMPTY
    return _Side(parts, timeline)
