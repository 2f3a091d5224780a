"""A real sidecar on the loopback as a target."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from minireranker import Reranker
from minireranker.bench.latency import LatencyBench
from minireranker.bench.latency.modes import Mode
from minireranker.bench.latency.plan import Asked
from minireranker.bench.latency.result import schema
from minireranker.bench.latency.sidecar import address_of
from minireranker.errors import ConfigurationError
from minireranker.serve.config import ServeConfig
from minireranker.serve.process import Sidecar

from .conftest import LOAD

Measured = Callable[..., dict[str, Any]]
ONE = Asked(sample=2, units=1, rounds=1, repeats=1)


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    """host:port of a server with the profile that keeps every visual token."""
    ready: Future[tuple[int, Callable[[], None]]] = Future()
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    config = ServeConfig(model=str(tiny), grpc_port=0, warm_up=False, grace_seconds=1.0)

    async def serve() -> None:
        sidecar = Sidecar(config, reranker)
        assert sidecar.grpc is not None
        stop = asyncio.Event()
        await sidecar.grpc.start()
        await sidecar.service.start(warm_up=False)
        loop = asyncio.get_running_loop()
        ready.set_result((sidecar.grpc.port, lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        await sidecar.service.drain(1.0)
        await sidecar.grpc.leave()
        await sidecar.grpc.stop(1.0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, stop = ready.result(60)
    yield f"127.0.0.1:{port}"
    stop()
    thread.join(30)
    assert not thread.is_alive()


def check(result: dict[str, Any]) -> dict[str, Any]:
    jsonschema.Draft202012Validator(schema()).validate(json.loads(json.dumps(result)))
    return result


def test_a_sidecar_is_driven_and_its_scores_are_ours(measured: Measured, address: str) -> None:
    modes = (Mode("offline"), Mode("single"), Mode("closed", 2))
    found = check(measured(profile="mini", target=address, modes=modes, asked=ONE))
    assert found["gate"]["passed"]
    assert found["gate"]["target"]["agrees"]
    (target,) = found["targets"]
    assert target["name"] == f"sidecar at {address}, gRPC"
    assert [run["mode"] for run in target["runs"]] == ["offline", "single", "closed"]
    assert [len(run["latencies"]) for run in target["runs"]] == [1, 3, 3]
    assert set(target["runs"][1]["stages"]) == {"queue", "inputs", "prefix", "suffix"}
    assert target["index"]["bytes_a_document"] is None
    assert any("no roofline" in line for line in found["settings"]["said"])


def test_a_sidecar_with_another_profile_is_not_timed(measured: Measured, address: str) -> None:
    found = check(measured(profile="dense", target=address, asked=ONE))
    assert not found["gate"]["target"]["agrees"]
    assert not found["gate"]["passed"]
    assert found["targets"] == []


def test_without_an_embedder_nothing_can_be_pruned_there(measured: Measured, address: str) -> None:
    with pytest.raises(ConfigurationError, match="no importances can be sent to a sidecar"):
        measured(target=address, asked=ONE)


@pytest.mark.parametrize("url", ["grpc://localhost:50051", "localhost:50051"])
def test_an_address(url: str) -> None:
    assert address_of(url) == "localhost:50051"


@pytest.mark.parametrize(
    ("target", "fields", "reason"),
    [
        ("http://localhost:80", {}, "HTTP sends every document again"),
        ("localhost", {}, "give grpc://host:port"),
        ("localhost:50051", {"cache": "cold"}, "what a sidecar keeps is its own affair"),
    ],
)
def test_what_cannot_be_driven_is_refused(target: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        LatencyBench(Path("unused"), LOAD, target=target, **fields)
