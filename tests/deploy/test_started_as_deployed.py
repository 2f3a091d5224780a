"""A process with the settings of the manifests: who asks how it is gets a true answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from minireranker.serve.config_sources import PREFIX


@pytest.fixture(scope="module")
def deployed(
    root: Path, stages: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Variables of the image and the manifest; ports that are free, paths that are there."""
    settings = root / "deploy" / "kubernetes" / "minireranker.toml"
    said = {name: text for name, text in stages["cpu"].variables.items() if name != "HOME"}
    return said | {
        f"{PREFIX}CONFIG": str(settings),
        f"{PREFIX}CACHE": str(tmp_path_factory.mktemp("home") / "cache"),
        f"{PREFIX}HOST": "127.0.0.1",
        f"{PREFIX}GRPC_PORT": "0",
        f"{PREFIX}HTTP_PORT": "0",
    }


@pytest.fixture(scope="module")
def ports(serve: Callable[..., dict[str, Any]], deployed: dict[str, str]) -> dict[str, str]:
    """Of the running process, as variables."""
    ready = serve(**deployed)
    return {f"{PREFIX}{name.upper()}": str(ready[name]) for name in ("grpc_port", "http_port")}


def _healthcheck(root: Path, path: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", root / "deploy" / "healthcheck.py", path],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_what_kubernetes_asks_is_answered(root: Path, ports: dict[str, str]) -> None:
    path = root / "deploy" / "kubernetes" / "deployment.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    probes = [
        spec["containers"][0][f"{name}Probe"] for name in ("startup", "readiness", "liveness")
    ]
    for probe in probes:
        url = f"http://127.0.0.1:{ports[f'{PREFIX}HTTP_PORT']}{probe['httpGet']['path']}"
        with urlopen(url, timeout=300) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_the_image_asks_and_is_answered(
    path: str, root: Path, deployed: dict[str, str], ports: dict[str, str]
) -> None:
    everywhere = {f"{PREFIX}HOST": "0.0.0.0"}
    done = _healthcheck(root, path, **{**deployed, **ports, **everywhere})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("path", "changed", "words"),
    [
        ("/nowhere", {}, "/nowhere answers 404"),
        ("/ready", {"HTTP_PORT": "1"}, "refused"),
        ("/ready", {"HTTP_PORT": "off", "GRPC_PORT": "1"}, "refused"),
        ("/ready", {"HTTP_PORT": "seventy"}, "http_port"),
    ],
)
def test_what_is_not_well_is_said(
    path: str,
    changed: dict[str, str],
    words: str,
    root: Path,
    deployed: dict[str, str],
    ports: dict[str, str],
) -> None:
    given = {f"{PREFIX}{name}": value for name, value in changed.items()}
    done = _healthcheck(root, path, **{**deployed, **ports, **given})
    assert done.returncode == 1
    assert done.stderr.startswith("not well: ")
    assert words in done.stderr


def test_a_port_has_to_do_where_http_is_off(
    root: Path, deployed: dict[str, str], ports: dict[str, str]
) -> None:
    off = {f"{PREFIX}HTTP_PORT": "off"}
    assert _healthcheck(root, "/ready", **{**deployed, **ports, **off}).returncode == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_server_with_tls_is_asked_over_tls(
    root: Path,
    deployed: dict[str, str],
    serve: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    pem, key = tmp_path / "server.pem", tmp_path / "server.key"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a -out {pem} -keyout {key}"
    subprocess.run(made.split(), check=True, capture_output=True)
    given = {
        **deployed,
        f"{PREFIX}CACHE": "off",
        f"{PREFIX}DISK_BYTES": "off",
        f"{PREFIX}WARM_UP": "no",
        f"{PREFIX}TLS_CERTIFICATE": str(pem),
        f"{PREFIX}TLS_KEY": str(key),
    }
    given[f"{PREFIX}HTTP_PORT"] = str(serve(**given)["http_port"])
    assert _healthcheck(root, "/ready", **given).returncode == 0
    assert "/nowhere answers 404" in _healthcheck(root, "/nowhere", **given).stderr
    # Where only certified clients are let in, nothing can be asked.
    certified = {f"{PREFIX}TLS_CLIENT_CA": str(pem)}
    assert _healthcheck(root, "/nowhere", **{**given, **certified}).returncode == 0
