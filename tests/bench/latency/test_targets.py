"""Whether a sidecar is on the machine that peers run on."""

from __future__ import annotations

import pytest

from minireranker.bench.latency.targets import is_here


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("localhost:50051", True),
        ("grpc://localhost:50051", True),
        ("grpc://127.0.0.3:50051", True),
        ("http://[::1]:8080", True),
        ("https://LOCALHOST:8080/", True),
        ("grpc://10.0.0.7:50051", False),
        ("reranker.example:50051", False),
        ("http://localhost.example:8080", False),
    ],
)
def test_an_address_is_here_or_elsewhere(url: str, here: bool) -> None:
    assert is_here(url) is here
