"""The protocol's other side: what is printed is no answer, and the end of input is its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import minireranker.bench.peers.programs.wire as wire
from minireranker.bench.peers import PeerError, PeerProcess, available

SERVE = """
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("wire", {wire!r})
wire = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wire)

class Peer:
    def load(self, request):
        print("loading", flush=True)
        os.system("echo a library speaks")
        return {{"versions": wire.versions(), "threads": os.environ["OMP_NUM_THREADS"]}}

    def score(self, request):
        if request["query"] == {{"text": "sleep"}}:
            time.sleep(60)
        if request["query"] == {{"text": "fail"}}:
            raise ValueError("x" * 5_000)
        return {{"scores": [0.5 for _ in request["documents"]], "kind": "logit"}}

wire.serve(Peer())
"""


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., PeerProcess]:
    def start(time_limit: float = 30.0) -> PeerProcess:
        code = SERVE.format(wire=str(wire.__file__))
        spec = replace(available(tmp_path)["transformers"], arguments=("-c", code))
        return PeerProcess(spec, time_limit=time_limit)

    return start


def test_what_is_printed_is_no_answer(served: Callable[..., PeerProcess]) -> None:
    with served() as peer:
        peer.load("model", "float32", "cpu", 3, ["pairs"])
        loaded = peer.loaded()
        assert loaded["threads"] == "3"
        assert loaded["load_s"] >= 0
        assert loaded["environment"] == "this interpreter"
        found = peer.score("pairs", {"text": "a"}, [{"text": "b"}])
        assert found.scores == [0.5]
        assert 0 <= found.seconds < 30
        assert found.peak_memory > 2**20


def test_a_failure_is_told_shortly_and_survived(served: Callable[..., PeerProcess]) -> None:
    with served() as peer:
        with pytest.raises(PeerError, match="score failed: ValueError: xxx") as caught:
            peer.score("pairs", {"text": "fail"}, [{"text": "b"}])
        assert len(str(caught.value)) < 2_000
        assert peer.score("pairs", {"text": "a"}, []).scores == []


def test_it_ends_in_the_middle_of_its_work(served: Callable[..., PeerProcess]) -> None:
    peer = served(time_limit=1.0)
    start = time.monotonic()
    with pytest.raises(PeerError, match=r"no answer .*\(code 0\)"):
        peer.score("pairs", {"text": "sleep"}, [])
    assert time.monotonic() - start < 30
