"""A real sidecar on the loopback as a target, over both protocols."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jsonschema
import pytest

from minireranker import Reranker
from minireranker.bench.latency import LatencyBench
from minireranker.bench.latency.drawing import draw_material
from minireranker.bench.latency.http_sidecar import HttpSidecar
from minireranker.bench.latency.modes import Mode
from minireranker.bench.latency.plan import Asked
from minireranker.bench.latency.result import schema
from minireranker.bench.latency.sidecar import address_of
from minireranker.bench.latency.targets import connect
from minireranker.configs import Limits
from minireranker.errors import ConfigurationError, MinirerankerError
from minireranker.serve.auth import read_tenants
from minireranker.serve.config import ServeConfig
from minireranker.serve.engine import in_thread
from minireranker.serve.process import Sidecar

from .conftest import LOAD

Measured = Callable[..., dict[str, Any]]
ONE = Asked(sample=2, units=1, rounds=1, repeats=1)
TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Served:
    """host:port of a server that wants ``TOKEN``, by protocol."""

    grpc: str
    http: str


@pytest.fixture(scope="module")
def served(tiny: Path) -> Iterator[Served]:
    """With the profile that keeps every visual token."""
    ready: Future[tuple[Served, Callable[[], None]]] = Future()
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    config = ServeConfig(
        model=str(tiny), grpc_port=0, http_port=0, token=TOKEN, warm_up=False, grace_seconds=1.0
    )

    async def serve() -> None:
        sidecar = Sidecar(config, in_thread(reranker), read_tenants(config))
        assert sidecar.grpc is not None
        assert sidecar.http is not None
        stop = asyncio.Event()
        await sidecar.grpc.start()
        await sidecar.http.start()
        await sidecar.service.start(warm_up=False)
        loop = asyncio.get_running_loop()
        places = (f"127.0.0.1:{face.port}" for face in (sidecar.grpc, sidecar.http))
        ready.set_result((Served(*places), lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        await sidecar.http.stop(1.0)
        await sidecar.service.drain(1.0)
        await sidecar.grpc.leave()
        await sidecar.grpc.stop(1.0)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    found, stop = ready.result(60)
    yield found
    stop()
    thread.join(30)
    assert not thread.is_alive()


def check(result: dict[str, Any]) -> dict[str, Any]:
    jsonschema.Draft202012Validator(schema()).validate(json.loads(json.dumps(result)))
    return result


@pytest.mark.parametrize("protocol", ["gRPC", "HTTP"])
def test_a_sidecar_is_driven_and_its_scores_are_ours(
    measured: Measured, served: Served, protocol: str
) -> None:
    url, place = f"http://{served.http}", served.http
    if protocol == "gRPC":
        url, place = served.grpc, served.grpc
    modes = (Mode("offline"), Mode("single"), Mode("closed", 2))
    found = check(measured(profile="mini", target=url, token=TOKEN, modes=modes, asked=ONE))
    assert found["gate"]["passed"]
    assert found["gate"]["target"]["agrees"]
    (target,) = found["targets"]
    assert target["name"] == f"sidecar at {place}, {protocol}"
    assert [run["mode"] for run in target["runs"]] == ["offline", "single", "closed"]
    assert [len(run["latencies"]) for run in target["runs"]] == [1, 3, 3]
    assert set(target["runs"][1]["stages"]) == {"queue", "inputs", "prefix", "suffix"}
    assert target["index"]["bytes_a_document"] is None
    said = found["settings"]["said"]
    assert any("no roofline" in line for line in said)
    assert any("documents travel with every query" in line for line in said) is (protocol == "HTTP")
    assert TOKEN not in json.dumps(found)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_sidecar_with_another_profile_is_not_timed(
    measured: Measured, served: Served, scheme: str
) -> None:
    url = f"{scheme}://{getattr(served, scheme)}"
    found = check(measured(profile="dense", target=url, token=TOKEN, asked=ONE))
    assert not found["gate"]["target"]["agrees"]
    assert not found["gate"]["passed"]
    assert found["targets"] == []


@pytest.mark.parametrize(("scheme", "said"), [("grpc", "token"), ("http", "answered 401.*token")])
def test_a_sidecar_wants_its_token(
    measured: Measured, served: Served, scheme: str, said: str
) -> None:
    url = f"{scheme}://{getattr(served, scheme)}"
    with pytest.raises(MinirerankerError, match=said):
        measured(profile="mini", target=url, token="another-token-of-tests", asked=ONE)


def requests(served: Served) -> float:
    """Served so far, by its own count."""
    request = Request(f"http://{served.http}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urlopen(request) as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("minireranker_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in counted if "rerank" in line)


def test_over_http_long_lists_go_in_several_calls(served: Served, tmp_path: Path) -> None:
    load = dataclasses.replace(LOAD, document="video", frames=3, document_words=2)
    material = draw_material(load, tmp_path, Limits(), importances=False)
    ids, query = material.names(0), material.queries[0]
    found, calls = [], []
    for most in (2**24, 1):
        target = HttpSidecar(f"http://{served.http}/", TOKEN, most_bytes=most)
        target.index(material.documents)
        assert target.counters().pairs == 0, "what warms is not counted"
        before = requests(served)
        found.append(target.rank(query, ids))
        calls.append(requests(served) - before)
        target.close()
    assert found[0] == found[1]
    assert len(set(found[0])) == len(ids)
    assert calls == [1, len(ids)]


def test_a_connection_that_the_server_has_closed_is_made_again(
    served: Served, tmp_path: Path
) -> None:
    material = draw_material(LOAD, tmp_path, Limits(), importances=False)
    target = connect(f"http://{served.http}", TOKEN)
    target.index(material.documents)
    assert isinstance(target, HttpSidecar)
    (idle,) = target._connections._idle
    idle.sock.shutdown(socket.SHUT_RDWR)
    assert len(target.rank(material.queries[0], material.names(0))) == LOAD.candidates
    target.close()


def test_where_nobody_listens_that_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = connect(f"http://127.0.0.1:{taken.getsockname()[1]}")
        material = draw_material(LOAD, tmp_path, Limits(), importances=False)
        with pytest.raises(ConfigurationError, match="see whether a sidecar with HTTP listens"):
            target.index(material.documents)


def test_without_an_embedder_nothing_can_be_pruned_there(
    measured: Measured, served: Served
) -> None:
    with pytest.raises(ConfigurationError, match="no importances can be sent to a sidecar"):
        measured(target=served.grpc, token=TOKEN, asked=ONE)


@pytest.mark.parametrize("url", ["grpc://localhost:50051", "localhost:50051"])
def test_an_address(url: str) -> None:
    assert address_of(url) == "localhost:50051"


@pytest.mark.parametrize(
    ("target", "fields", "reason"),
    [
        ("http://", {}, "give http://host:port"),
        ("http://localhost:80/v1", {}, "give http://host:port"),
        ("https://localhost:99999", {}, "give http://host:port or https://host:port"),
        ("ftp://localhost:80", {}, "give grpc://host:port or http://host:port"),
        ("localhost", {}, "give grpc://host:port"),
        ("http://localhost:80", {"cache": "cold"}, "what a sidecar keeps is its own affair"),
        ("localhost:50051", {"cache": "cold"}, "what a sidecar keeps is its own affair"),
    ],
)
def test_what_cannot_be_driven_is_refused(target: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        LatencyBench(Path("unused"), LOAD, target=target, **fields)
