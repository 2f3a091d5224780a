"""A peer that dies, hangs, talks nonsense or is absent is an error; none outlives its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest

from minireranker.bench.peers import PeerError, PeerProcess, PeerSpec, available

GOOD = """
print(json.dumps({"scores": [1, 2], "kind": "logit", "seconds": 1, "peak_memory": 1}), flush=True)
"""


def answering(body: str) -> str:
    """A program that does this for each request."""
    loop = "import json, subprocess, sys, time\nfor line in sys.stdin:\n"
    return loop + indent(body.strip(), "    ")


@pytest.fixture
def transformers(tmp_path: Path) -> PeerSpec:
    """The peer that this interpreter can run, whatever is installed on this machine."""
    return available(tmp_path)["transformers"]


@pytest.fixture
def running(transformers: PeerSpec) -> Callable[..., PeerProcess]:
    """A peer whose program is the code given."""

    def start(code: str, time_limit: float = 30.0) -> PeerProcess:
        spec = replace(transformers, arguments=("-c", code))
        return PeerProcess(spec, time_limit=time_limit)

    return start


def score(peer: PeerProcess) -> list[float]:
    return peer.score("pairs", {"text": "a"}, [{"text": "b"}, {"text": "c"}]).scores


def test_an_answer_is_read(running: Callable[..., PeerProcess]) -> None:
    with running(answering(GOOD)) as peer:
        assert score(peer) == [1.0, 2.0]
        assert score(peer) == [1.0, 2.0]


def test_a_peer_that_dies_is_named_with_its_last_words(
    running: Callable[..., PeerProcess],
) -> None:
    body = "print('no room for weights', file=sys.stderr); sys.exit(3)"
    with running(answering(body)) as peer:
        with pytest.raises(
            PeerError, match=r"transformers ended during score \(code 3\)(?s:.*)no room for weights"
        ):
            score(peer)
        with pytest.raises(PeerError, match="has ended"):
            score(peer)


def test_a_peer_that_was_dead_before_it_was_asked(running: Callable[..., PeerProcess]) -> None:
    with running("pass") as peer:
        time.sleep(0.3)
        with pytest.raises(PeerError, match="ended during score"):
            score(peer)


@pytest.mark.parametrize(
    "code",
    ["import time; time.sleep(60)", "import sys, time; sys.stdin.readline(); time.sleep(60)"],
    ids=["reads-nothing", "answers-nothing"],
)
def test_a_peer_that_hangs_is_ended(running: Callable[..., PeerProcess], code: str) -> None:
    with running(code, time_limit=1.0) as peer:
        # More than a pipe holds: a peer that reads nothing must not hold us up either.
        documents = [{"text": "b" * 1_000}] * 200
        with pytest.raises(PeerError, match="no answer to score within 1 s"):
            peer.score("pairs", {"text": "a"}, documents)
        assert ended(peer.pid)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("hello", "no JSON"),
        ("[1, 2]", "no JSON object"),
        ("{}", "unusable"),
        (
            '{"scores": [1], "kind": "logit", "seconds": 1, "peak_memory": 1}',
            "1 scores for 2 documents",
        ),
        (
            '{"scores": [1, NaN], "kind": "logit", "seconds": 1, "peak_memory": 1}',
            "not finite",
        ),
        ('{"scores": "many", "kind": "logit", "seconds": 1, "peak_memory": 1}', "unusable"),
    ],
)
def test_nonsense_is_refused(
    running: Callable[..., PeerProcess], said: str, complaint: str
) -> None:
    peer = running(answering(f"print({said!r}, flush=True)"))
    with peer, pytest.raises(PeerError, match=complaint):
        score(peer)


def test_an_error_it_reports_leaves_it_running(running: Callable[..., PeerProcess]) -> None:
    body = "if 'bad' in line:\n    print('{\"error\": \"no such file\"}', flush=True)\n    continue"
    with running(answering(body + GOOD)) as peer:
        with pytest.raises(PeerError, match="score failed: no such file"):
            peer.score("pairs", {"text": "bad"}, [])
        assert score(peer) == [1.0, 2.0]


def test_a_method_it_has_not(running: Callable[..., PeerProcess]) -> None:
    with (
        running("input()") as peer,
        pytest.raises(PeerError, match=r"'fast'.*pairs, batched, prefix, prefix-batched"),
    ):
        peer.score("fast", {"text": "a"}, [])


def test_an_absent_peer_says_how_to_get_it(tmp_path: Path) -> None:
    spec = available(tmp_path)["vllm"]
    assert spec.python is None
    with pytest.raises(PeerError, match="absent: run `minireranker bench peers install vllm`"):
        PeerProcess(spec)


def test_an_interpreter_that_is_gone(transformers: PeerSpec, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"does not start .*No such file"):
        PeerProcess(replace(transformers, python=tmp_path / "python"))


def test_closing_ends_it_and_all_it_started(running: Callable[..., PeerProcess]) -> None:
    peer = running(
        answering(
            "child = subprocess.Popen(['sleep', '60'])\n"
            "print(json.dumps({'versions': {}, 'child': child.pid}), flush=True)\n"
            "time.sleep(60)"
        )
    )
    peer.load("model", "float32", "cpu", 1, ["pairs"])
    child = peer.loaded()["child"]
    assert not ended(child, patience=0)
    peer.close()
    peer.close()
    assert ended(peer.pid)
    assert ended(child)


PARENT = """
import sys, time
from dataclasses import replace
from pathlib import Path
from minireranker.bench.peers import PeerProcess, available
spec = available(Path(sys.argv[1]))["transformers"]
print(PeerProcess(spec).pid, flush=True)
time.sleep(60)
"""


def test_a_killed_parent_leaves_no_orphan(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        peer = int(parent.stdout.readline())
        assert not ended(peer, patience=0)
        parent.send_signal(signal.SIGKILL)
    assert ended(peer)


def ended(pid: int, patience: float = 10.0) -> bool:
    """Whether a process is gone, or is within some seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except FileNotFoundError:
            return True
        if state[0] == "Z":
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
