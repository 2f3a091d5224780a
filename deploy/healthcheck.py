"""Ask the server of this container how it is; exit code 0: well.

    python healthcheck.py [/health | /ready]

The port and TLS are those of its variables and its file of settings. Where HTTP cannot be asked,
being off or open to certified clients only, a port that takes connections has to do.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys

from minireranker.errors import ConfigurationError
from minireranker.serve.config import ServeConfig
from minireranker.serve.config_sources import settle

SECONDS = 3.0
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def check(config: ServeConfig, path: str) -> None:
    """Raises OSError or HTTPException for a server that is not well."""
    host, port = _ALL.get(config.host, config.host), config.http_port or config.grpc_port or 0
    if config.http_port is None or config.tls_client_ca is not None:
        socket.create_connection((host, port), SECONDS).close()
        return
    asking = http.client.HTTPConnection(host, port, timeout=SECONDS)
    if config.tls_certificate is not None:
        context = ssl.create_default_context()
        # It is this machine that answers, under a name that is not this machine's.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        asking = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    try:
        asking.request("GET", path)
        status = asking.getresponse().status
    finally:
        asking.close()
    if status != 200:
        raise OSError(f"{path} answers {status}")


def main() -> None:
    """One question."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/health"
    try:
        check(settle(None, os.environ).config, path)
    except (OSError, http.client.HTTPException, ConfigurationError) as error:
        sys.exit(f"not well: {error}")


if __name__ == "__main__":
    main()
