"""deploy/compose.yaml: services, settings, ports and volumes fit each other and the images."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest

from minireranker.serve.config import ServeConfig
from minireranker.serve.config_sources import PREFIX, settle


def _filled(value: Any) -> str:
    """With the defaults of what may be set outside."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return dict(compose["services"])


@pytest.fixture(scope="module")
def settings(services: dict[str, Any], stages: dict[str, Any]) -> ServeConfig:
    """What the sidecar is told: by its image, then by its service."""
    said = {name: _filled(value) for name, value in services["sidecar"]["environment"].items()}
    assert all(name.startswith(PREFIX) for name in said)
    return settle(None, {**stages["cpu"].variables, **said}).config


@pytest.mark.parametrize("name", ["sidecar", "example"])
def test_images_are_built_from_the_checkout(
    name: str, services: dict[str, Any], stages: dict[str, Any], root: Path
) -> None:
    build = services[name]["build"]
    context = (root / "deploy" / build["context"]).resolve()
    assert context == root
    assert (context / build["dockerfile"]).is_file()
    assert build["target"] in stages
    assert services[name]["image"].endswith(f":{build['target']}")


def test_the_sidecar_is_told_what_it_understands(settings: ServeConfig) -> None:
    assert settings.model == "builtin"
    assert settings.disk_bytes is not None


def test_ports_are_those_it_listens_on_and_published_on_this_machine_only(
    services: dict[str, Any], settings: ServeConfig
) -> None:
    published = [one.split(":") for one in services["sidecar"]["ports"]]
    assert {host for host, _, _ in published} == {"127.0.0.1"}
    assert {int(inside) for _, _, inside in published} == {settings.grpc_port, settings.http_port}


def test_it_is_stopped_after_its_grace(services: dict[str, Any], settings: ServeConfig) -> None:
    seconds = services["sidecar"]["stop_grace_period"]
    assert int(seconds.removesuffix("s")) >= settings.grace_seconds + 5


def test_what_it_writes_lies_on_a_volume(
    services: dict[str, Any], stages: dict[str, Any], settings: ServeConfig
) -> None:
    sidecar = services["sidecar"]
    assert sidecar["read_only"] is True
    mounted = [one.split(":")[1] for one in sidecar["volumes"]]
    assert mounted == stages["cpu"].all("VOLUME")
    assert settings.cache is not None
    assert PurePosixPath(settings.cache).is_relative_to(mounted[0])
    assert sidecar["tmpfs"] == ["/tmp"]


def test_volumes_are_declared(compose: dict[str, Any], services: dict[str, Any]) -> None:
    used = {one.split(":")[0] for service in services.values() for one in service["volumes"]}
    assert used == set(compose["volumes"])


def test_the_example_waits_for_services_that_say_when_they_are_ready(
    services: dict[str, Any], stages: dict[str, Any]
) -> None:
    for name, what in services["example"]["depends_on"].items():
        assert what == {"condition": "service_healthy"}
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    _, python, program, path = services["sidecar"]["healthcheck"]["test"]
    (check,) = stages["cpu"].all("HEALTHCHECK")
    assert f'"{python}", "{program}"' in check
    assert path == "/ready"


def test_the_example_asks_services_there_are(
    services: dict[str, Any], settings: ServeConfig, stages: dict[str, Any]
) -> None:
    example, postgres = services["example"], services["postgres"]["environment"]
    assert [example["command"][0], "--help"] == json.loads(stages["example"].all("CMD")[-1])
    host, _, port = example["command"][example["command"].index("--sidecar") + 1].partition(":")
    assert (host, int(port)) == ("sidecar", settings.grpc_port)
    address = urlsplit(_filled(example["environment"]["DATABASE_URL"]))
    assert address.hostname in services
    assert address.username == postgres["POSTGRES_USER"]
    assert address.password == _filled(postgres["POSTGRES_PASSWORD"])
    assert address.path == f"/{postgres['POSTGRES_DB']}"
    folder = example["command"][example["command"].index("--pictures") + 1]
    assert [one.split(":")[1] for one in example["volumes"]] == [folder]
    assert any(run.endswith(f" {folder}") for run in stages["example"].all("RUN"))
