"""What ``/info`` and ``/v1/models`` say."""

from __future__ import annotations

import dataclasses
from typing import Any

from .info import Info

__all__ = ["info_answer", "models_answer"]


def info_answer(info: Info) -> dict[str, Any]:
    """Our fields, and those that clients of text-embeddings-inference look for."""
    return {
        **dataclasses.asdict(info),
        "model_id": info.model,
        "model_sha": None,
        "model_dtype": info.dtype,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": info.queue_documents,
        "max_input_length": info.max_tokens,
        "max_batch_tokens": info.max_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": info.max_documents,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "sha": None,
        "docker_label": None,
    }


def models_answer(info: Info) -> dict[str, Any]:
    """A list of one."""
    model = {
        "id": info.model,
        "object": "model",
        "created": 0,
        "owned_by": "minireranker",
        "root": info.model,
        "max_model_len": info.max_tokens,
    }
    return {"object": "list", "data": [model]}
