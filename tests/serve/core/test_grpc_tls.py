"""TLS and mTLS over gRPC, from both ends."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from minireranker.serve.client import Client
from minireranker.serve.client_options import ClientOptions
from minireranker.serve.refusals import NotReadyError
from minireranker.serve.retrying import Retries

ONCE = Retries(attempts=1)


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ours`` and ``stranger``, ``.pem`` and ``.key``: each its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("pem")
    for name in ("ours", "stranger"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-out", str(folder / f"{name}.pem")),
                *("-keyout", str(folder / f"{name}.key")),
            ],
            check=True,
            capture_output=True,
        )
    return folder


def answers(server: str, **options: Any) -> bool:
    with Client(server, ClientOptions(timeout=20.0, retries=ONCE, **options)) as client:
        try:
            return bool(client.info().ready)
        except NotReadyError:
            return False


def test_a_server_with_a_certificate_speaks_tls_only(address: Any, pem: Path) -> None:
    ours = {"tls_certificate": pem / "ours.pem", "tls_key": pem / "ours.key"}
    server = address(**ours)
    assert answers(server, ca=pem / "ours.pem")
    assert not answers(server, ca=pem / "stranger.pem")
    assert not answers(server)


def test_a_server_that_asks_for_certificates_takes_its_own_only(address: Any, pem: Path) -> None:
    ours = {"tls_certificate": pem / "ours.pem", "tls_key": pem / "ours.key"}
    server = address(**ours, tls_client_ca=pem / "ours.pem")
    known = {"certificate": pem / "ours.pem", "key": pem / "ours.key"}
    stranger = {"certificate": pem / "stranger.pem", "key": pem / "stranger.key"}
    assert answers(server, ca=pem / "ours.pem", **known)
    assert not answers(server, ca=pem / "ours.pem", **stranger)
    assert not answers(server, ca=pem / "ours.pem")
