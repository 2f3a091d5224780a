"""A published client of text-embeddings-inference, as it comes, in a process of its own: its
messages have the names of ours."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

from minireranker import Reranker

PROGRAM = """
import json, sys
from tei_client.clients.grpc_client import GrpcClient
address, query, texts = json.loads(sys.argv[1])
client = GrpcClient(address)
answers = [
    [[rank.index, rank.score, rank.text] for rank in client.rerank(query, texts, **how).ranks]
    for how in ({"raw_scores": True, "return_text": True}, {})
]
info = client.info()
print(json.dumps([info.server_model_type.value, info.max_client_batch_size, answers]))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("tei_client") is None, reason="tei-client is not installed"
)
def test_tei_client_works_unchanged(builtin: Reranker, address: Any, texts: list[str]) -> None:
    query = "a red circle"
    given = json.dumps([address(), query, texts])
    command = [sys.executable, "-P", "-W", "ignore", "-c", PROGRAM, given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout, done.stderr
    kind, most, (raw, plain) = json.loads(done.stdout)
    best = builtin.rank(query, texts)
    assert (kind, most) == ("reranker", 1_000)
    assert raw == [[hit.index, hit.score, texts[hit.index]] for hit in best]
    assert [one[0] for one in plain] == [hit.index for hit in best]
    assert [one[1] for one in plain] == pytest.approx([hit.probability for hit in best], rel=1e-6)
