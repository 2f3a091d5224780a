"""Writes ``generated/`` from ``protos/``: ``python -P -m minireranker.serve.generating``.

Needs grpcio-tools. What is generated is in the repository; a test says whether it is up to date.
The services are tables in ``grpc_methods``, so only messages are generated here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from minireranker.errors import ConfigurationError, MissingDependencyError

__all__ = ["PROTOS", "generate", "main"]

_HERE = Path(__file__).parent

PROTOS = ("minireranker/v1/reranker.proto", "tei/v1/tei.proto")
"""Below ``protos/``; each becomes one module and its stub, named after the file."""


def generate(target: Path) -> None:
    """Write modules and stubs into a folder. Raises MissingDependencyError."""
    try:
        from grpc_tools import protoc
    except ImportError as error:
        raise MissingDependencyError("generating needs grpcio-tools: install it") from error
    with tempfile.TemporaryDirectory() as folder:
        out = [f"--python_out={folder}", f"--pyi_out={folder}"]
        if protoc.main(["protoc", f"-I{_HERE / 'protos'}", *out, *PROTOS]):
            raise ConfigurationError("protoc refused a file in serve/protos: see what it printed")
        for proto in PROTOS:
            for suffix in ("_pb2.py", "_pb2.pyi"):
                path = Path(folder, proto.removesuffix(".proto") + suffix)
                module = proto.removesuffix(".proto").replace("/", ".") + "_pb2"
                own = f"minireranker.serve.generated.{path.stem}"
                text = path.read_text(encoding="utf-8").replace(f"'{module}'", f"'{own}'")
                (target / path.name).write_text(text, encoding="utf-8")


def main() -> None:
    """Write them where they belong."""
    generate(_HERE / "generated")


if __name__ == "__main__":
    main()
