"""The generated code is what protoc makes of the protos, and the methods are those they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireranker.serve import grpc_methods
from minireranker.serve.generated import reranker_pb2, tei_pb2
from minireranker.serve.generating import generate
from minireranker.serve.grpc_methods import Method

HERE = Path(reranker_pb2.__file__).parent


def meaning(path: Path) -> list[str]:
    """Its lines, without those that name the compiler's version."""
    lines = path.read_text(encoding="utf-8").splitlines()
    version = "    " if path.suffix == ".py" else "no such line"
    return [line for line in lines if not line.startswith(("# Protobuf Python", version))]


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    generate(tmp_path)
    made = {path.name: meaning(path) for path in tmp_path.iterdir()}
    kept = {path.name: meaning(path) for path in HERE.iterdir() if "_pb2" in path.stem}
    assert {name for name in kept if name.endswith((".py", ".pyi"))} == set(made)
    assert made == kept


def test_every_method_of_the_protos_is_in_the_table() -> None:
    table = {one.path: one for one in vars(grpc_methods).values() if isinstance(one, Method)}
    found = {
        f"/{service.full_name}/{method.name}": method
        for module in (reranker_pb2, tei_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(table) == set(found)
    for path, method in found.items():
        assert table[path].request.DESCRIPTOR is method.input_type
        assert table[path].response.DESCRIPTOR is method.output_type
        ways = method.client_streaming, method.server_streaming
        assert (table[path].streams_in, table[path].streams_out) == ways
