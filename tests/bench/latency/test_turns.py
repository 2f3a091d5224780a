"""Who works when in the turns, how often, and what becomes of it; a peer here is a short script."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from minireranker.bench.latency.contenders import Contender
from minireranker.bench.latency.drawing import Item, Material
from minireranker.bench.latency.reference import Unit
from minireranker.bench.latency.running_peers import Place
from minireranker.bench.latency.turns import Turns
from minireranker.bench.peers import PeerSpec

SECONDS = {"pairs": 2.0, "prefix": 0.05}
PROGRAM = """
import json, sys
log, fails_at, seconds = open(sys.argv[1], "a"), int(sys.argv[2]), json.loads(sys.argv[3])
asked = 0
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "load":
        answer = {"ok": True, "versions": {}, "load_s": 0.0, "keep": request["keep_bytes"]}
    else:
        count, method = len(request["documents"]), request["method"]
        asked += method == "pairs"
        print(method, file=log, flush=True)
        answer = {"scores": [0.5] * count, "kind": "logit", "seconds": seconds[method],
                  "peak_memory": 7, "prefixes_computed": 0, "prefixes_reused": count}
        if method == "pairs" and asked == fails_at:
            answer = {"error": "no more"}
    print(json.dumps(answer), flush=True)
"""
CONTENDERS = [Contender("stub", "pairs", "dense-query-first"), Contender("stub", "prefix", "dense")]
MATERIAL = Material(
    tuple(Item(f"query-{at}", "what") for at in range(2)),
    tuple(Item(f"document-{at}", "that") for at in range(5)),
    ((0, 1, 2, 3), (4, 3, 2, 1)),
)
UNITS = [Unit(0, 2), Unit(1, 2)]
ROUNDS = 3


class Ours:
    """Writes down that it was asked, beside the peer."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def settle(self, cache: str) -> None:
        assert cache == "warm-memory"

    def rank(self, query: Item, ids: list[str]) -> list[float]:
        with self.log.open("a") as file:
            file.write("ours\n" if len(ids) == 2 else "whole\n")
        return [0.0] * len(ids)


def turned(log: Path, fails_at: int = 0) -> tuple[Turns, list[str]]:
    """The turns, and who worked, in order."""
    arguments = ("-c", PROGRAM, str(log), str(fails_at), json.dumps(SECONDS))
    methods = {one.method: one.profile for one in CONTENDERS}
    spec = PeerSpec("stub", methods, log, Path(sys.executable), arguments, in_venv=True)
    target: Any = Ours(log)
    turns = Turns(target, MATERIAL, UNITS, "warm-memory", lambda line: None)
    place = Place(log, "float32", "cpu", 1, {"stub": 123})
    turns.run(CONTENDERS, {"stub": spec}, place, ROUNDS)
    return turns, log.read_text().split()


def test_short_work_is_done_several_times_and_long_work_once(tmp_path: Path) -> None:
    turns, log = turned(tmp_path / "log")
    count = ROUNDS * len(UNITS)
    assert log.count("pairs") == len(UNITS) + count, "its warm-up would show nothing"
    assert log.count("prefix") == len(UNITS) + 1 + 3 * count
    for name in ("ours", "whole"):  # how long these take is the machine's affair
        assert log.count(name) in [1 + calls * count for calls in (1, 3, 5)]
    ran = turns.ran["stub: prefix"]
    assert ran.seconds == [SECONDS["prefix"]] * count
    assert ran.cold == [SECONDS["prefix"]] * len(UNITS)
    assert ran.prefixes == {"computed": 0, "reused": 2 * (1 + 3 * count)}
    assert ran.loaded["keep"] == 123
    assert turns.turn_units == [0, 1] * ROUNDS


def test_a_ratio_is_of_one_turn(tmp_path: Path) -> None:
    turns, _ = turned(tmp_path / "log")
    for method, seconds in SECONDS.items():
        ran = turns.ran[f"stub: {method}"]
        assert ran.ratios == pytest.approx([seconds / ours for ours in turns.ours])
        assert ran.scaled_ratios == pytest.approx(
            [(seconds / 2) / (whole / 4) for whole in turns.whole]
        )


def test_who_begins_changes_and_nobody_works_twice_in_a_row(tmp_path: Path) -> None:
    _, log = turned(tmp_path / "log")
    timed = log[log.index("ours") + 3 :]  # once untimed: ours, the whole list, prefix
    count = ROUNDS * len(UNITS)
    each = len(timed) // count
    turns = [timed[at * each : (at + 1) * each] for at in range(count)]
    assert all(sorted(turn) == sorted(turns[0]) for turn in turns)
    around = ["ours", "whole", "pairs", "prefix"]
    assert [turn[0] for turn in turns] == [around[at % 4] for at in range(count)]
    assert all(one != other for turn in turns for one, other in pairwise(turn))


def test_a_peer_that_fails_leaves_the_others_to_go_on(tmp_path: Path) -> None:
    turns, _ = turned(tmp_path / "log", fails_at=4)
    failed, other = turns.ran["stub: pairs"], turns.ran["stub: prefix"]
    assert failed.failure is not None
    assert "no more" in failed.failure
    assert len(failed.ratios) == 1
    assert len(other.ratios) == len(turns.ours) == ROUNDS * len(UNITS)
