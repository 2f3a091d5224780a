"""One run of the benchmark, stage by stage; what is finished is in its result at any time."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from minireranker import Reranker
from minireranker.bench.comparison import Say
from minireranker.bench.machine import forget_peak_memory
from minireranker.bench.peers import available
from minireranker.engine.placement import find_device, find_precision
from minireranker.models import Checkpoint, resolve

from .admission import admit
from .agreement import References
from .assembly import model_row, pair_seconds, skeleton, turns_row
from .bench import LatencyBench
from .contenders import choose
from .drawing import Material, draw_material
from .economy import amortised, with_economy
from .geometry import Geometry
from .in_process import InProcess
from .loading import draws_importances, load, require_warm
from .modes import Driver
from .peer_rows import rows
from .reference import Unit, our_agreement, read_references
from .roofline import measure_ceilings, query_cost
from .running_peers import Place
from .target import Target
from .targets import connect, is_here
from .turns import ASKED_BY_PICTURE, COLD, HOW, Turns

__all__ = ["Measurement"]

_ELSEWHERE = (
    "peers run on this machine, and {target} is another one unless you know better: ratios between "
    "them compare machines too"
)


class Measurement:
    """Loads, draws, compares, times. ``result``: see ``result.schema.json``."""

    def __init__(self, bench: LatencyBench, folder: Path, say: Say) -> None:
        """Decide what is measured. Raises ConfigurationError where it does not fit memory."""
        self._bench, self._folder, self._tell = bench, folder, say
        self._stage = "starting"
        self._specs = available()
        self._contenders = choose(bench.peers, self._specs)
        self._path = resolve(str(bench.model))
        device = find_device(bench.device)
        stored = Checkpoint.open(self._path).config.dtype
        dtype = str(find_precision(bench.dtype, stored, device).dtype).removeprefix("torch.")
        model, where = Geometry.of_checkpoint(self._path), {"dtype": dtype, "device": str(device)}
        fits = self._fits = admit(model, bench, self._contenders, **where)
        self._plan = fits.plan
        self._place = Place(self._path, dtype, device.type, fits.threads, fits.keep)
        self._units = [Unit(at, self._plan.sample) for at in range(self._plan.units)]
        self._local: InProcess | None = None
        self._target: Target | None = None
        self._driver: Driver | None = None
        self._turns: Turns | None = None
        self._references: References | None = None
        self._index: dict[str, Any] | None = None
        self._passed = False
        self.result = skeleton(bench, self._plan, self._place)

    def run(self) -> None:
        """Everything, in order."""
        where = self._bench.target
        remote = self._target = None if where is None else connect(where, self._bench.token)
        local = self._local = self._load()
        target = self._target = remote or local
        material = self._draw(local.reranker)
        self._read(target, material)
        self._compare(local.reranker, target, material)
        if not self._passed:
            self.result["finished"] = True
            return
        self._drive(target, material)
        self._roof(local)
        self._peers(target, material)
        self.result["finished"] = True
        self._collect()

    @property
    def has_figures(self) -> bool:
        """Whether anything has been timed."""
        return self._driver is not None and bool(self._driver.runs)

    def stop(self, why: str) -> None:
        """Keep what is finished."""
        self.result["stopped"] = f"{why} while {self._stage}"
        self._collect()

    def close(self) -> None:
        """Give cache and model back."""
        if self._local is not None:
            self._local.close()
        if self._target is not None and self._target is not self._local:
            self._target.close()

    def _say(self, line: str) -> None:
        self._stage = line
        self._tell(line)

    def _load(self) -> InProcess:
        self._say(f"loading {self._path.name}")
        return load(self._bench, self._path, self._folder / "entries", self._fits.room)

    def _draw(self, reranker: Reranker) -> Material:
        wanted, limits = self._plan.load, reranker.profile.limits
        self._say(f"drawing {wanted.queries} queries and {wanted.documents} documents")
        random = draws_importances(self._bench, reranker)
        self.result["model"] = model_row(reranker, self._path.name)
        return draw_material(wanted, self._folder / "media", limits, importances=random)

    def _read(self, target: Target, material: Material) -> None:
        """Index everything, and ask once: what is lazy is done by then."""
        count = len(material.documents)
        if self._bench.streams:
            assert self._local is not None, "a stream is driven in this process"
            self._local.know(material.documents)
        else:
            self._say(f"indexing {count} documents")
            start = time.perf_counter()
            target.index(material.documents)
            seconds = time.perf_counter() - start
            held = target.memory()["cache"]
            self._index = {
                "seconds": seconds,
                "documents": count,
                "seconds_a_document": seconds / count,
                "bytes_a_document": None if held is None else held / count,
            }
        few = None if not self._bench.streams else 2
        target.rank(material.queries[0], material.names(0, few))
        require_warm(self._bench, target.counters().cache_misses, self._fits.room)

    def _compare(self, reranker: Reranker, target: Target, material: Material) -> None:
        present = [one for one in self._contenders if one.absence is None]
        profiles = list(dict.fromkeys(one.profile for one in present))
        self._references = read_references(reranker, material, self._units, profiles, self._say)
        gate = our_agreement(reranker, material, self._units, self._references, self._say)
        if target is not self._local:
            self._say("gate: the same pairs by the sidecar")
            found = [self._scored(target, material, unit) for unit in self._units]
            assert self._local is not None, "it was loaded"
            self._local.know(material.documents)
            own = [self._scored(self._local, material, unit) for unit in self._units]
            gate["target"] = self._references.target_agreement(own, found)
            gate["passed"] = gate["passed"] and gate["target"]["agrees"]
        self.result["gate"], self._passed = gate, gate["passed"]
        forget_peak_memory()  # the full-sequence models have gone

    @staticmethod
    def _scored(target: Target, material: Material, unit: Unit) -> list[float]:
        return target.rank(material.queries[unit.query], material.names(unit.query, unit.count))

    def _drive(self, target: Target, material: Material) -> None:
        bench, plan = self._bench, self._plan
        self._driver = Driver(
            target, material, bench.state, repeats=plan.repeats, stream=bench.streams
        )
        for mode in bench.modes:
            size = f"{plan.load.queries} queries x {plan.load.listed} candidates"
            self._say(f"{mode.label()}: {size}")
            self._driver.run(mode, plan.load.seed)

    def _roof(self, target: InProcess) -> None:
        """Ceilings of this machine now, and what each warm run has reached of them."""
        assert self._driver is not None, "it was driven"
        self._say("what this machine can do at most")
        if why := self._without_roof(target):
            self.result["settings"]["said"].append(f"no roofline: {why}")
            return
        listed, done = self._plan.load.listed, target.counters()
        pair_layers = done.token_layers["pair"]
        cost = query_cost(target.reranker, pair_layers, done.pairs, listed)
        ceilings = measure_ceilings(target.reranker, listed * cost.suffix_tokens)
        self.result["ceilings"] = dataclasses.asdict(ceilings) | {"query": dataclasses.asdict(cost)}
        if self._bench.state == "cold":
            return
        for row in self._driver.runs:
            row["reached"] = ceilings.reached(cost, row["queries"], row["seconds"])

    def _without_roof(self, target: InProcess) -> str | None:
        """Why there is none."""
        if self._bench.target is not None:
            return "the sidecar may be on another machine"
        if self._plan.load.query != "text":
            return "the arithmetic is that of cached documents and text queries"
        if not target.memory()["cache"]:
            return "no entry fits memory, so none could be looked at"
        return None

    def _peers(self, target: Target, material: Material) -> None:
        if not self._contenders:
            return
        where = self._bench.target
        if where is not None and not is_here(where):
            self.result["settings"]["said"].append(_ELSEWHERE.format(target=where))
        # In a stream every page has been read by now, which is what a recurring one meets.
        cache = "warm-memory" if self._bench.streams else self._bench.state
        self._turns = Turns(target, material, self._units, cache, self._say)
        self._turns.run(self._contenders, self._specs, self._place, self._plan.rounds)

    def _collect(self) -> None:
        """Put into the result what may be shown: nothing that is timed before the gate."""
        if not self._passed or self._target is None:
            return
        said = self.result["settings"]["said"]
        remarks = self._target.remarks()
        if self._turns is not None and self._turns.ours:
            remarks += [HOW, *([COLD] if self._turns.cache == "cold" else [])]
            remarks += [ASKED_BY_PICTURE] if self._plan.load.query == "image" else []
        said += [line for line in remarks if line not in said]
        runs = self._driver.runs if self._driver is not None else []
        turns, pair = self._turns, None
        if turns is not None and self._references is not None:
            self.result["peers"] = rows(turns, self._references, self._units)
            self.result["turns"] = turns_row(turns, self._plan)
        if self._index is not None and self._bench.state != "cold":
            pair = pair_seconds(self.result["turns"], runs)
        costs = None
        if self._index is not None and pair is not None:
            index = self._index["seconds_a_document"]
            costs = amortised(index, pair)
            self.result["peers"] = with_economy(self.result["peers"], index, pair)
        row = {"name": self._target.name, "index": self._index, "amortised": costs, "runs": runs}
        self.result["targets"] = [row]
