"""Every line of code in the README's section on serving does what stands beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from minireranker.serve.config import ServeConfig
from minireranker.serve.failures import PUBLIC

from .section import Session, blocks, section, values

NEEDED = ("bash", "curl", "openssl", "base64")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What each block wrote, all run in their order in one folder."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    session = Session(tmp_path_factory.mktemp("reader"))
    try:
        yield [session.run(block) for block in blocks()]
    finally:
        session.stop()


@pytest.fixture
def of(written: list[str]) -> Any:
    """``of(words)``: what the one block with these words wrote."""

    def find(words: str) -> str:
        (found,) = (
            text for block, text in zip(blocks(), written, strict=True) if words in block.code
        )
        return found

    return find


def test_python_ranks_what_it_indexed(of: Any) -> None:
    lines = of("with Client").splitlines()
    ranked = [re.fullmatch(r"drawn/pictures/q0000/\d+\.png (\S+) (\S+)", line) for line in lines]
    scores = [float(found[1]) for found in ranked if found]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    failed, queue, total, cached = re.fullmatch(r"(.*) (\d+) (\d+) (\d+)", lines[3]).groups()  # type: ignore[union-attr]
    assert (failed, int(cached) > 0, int(total) > int(queue) >= 0) == ("()", True, True)
    assert lines[4:] == ["0"]


def test_asyncio_answers_every_query(of: Any) -> None:
    assert re.fullmatch(r"\[[012], [012]\]\n", of("AsyncClient"))


def test_the_shell_client_indexes_ranks_and_forgets(of: Any) -> None:
    text = of("minireranker client index")
    names = [f"{number:03}.png" for number in range(8)]
    assert text.split()[:8] == names
    ranking, info = values(text)
    assert len(ranking["results"]) == 3
    assert ranking["failed"] == []
    assert info["ready"] is True
    assert "2 documents forgotten, 0 unknown" in text
    by_picture = text[text.index('"timings_ns"') :]
    assert len(re.findall(r"^ *\d .* q0000/\d+\.png$", by_picture, re.MULTILINE)) == 8


def test_grpcurl_finds_the_services_and_calls_them(of: Any) -> None:
    text = of("grpcurl -plaintext -d @")
    assert {"minireranker.v1.Reranker", "tei.v1.Rerank", "tei.v1.Info"} <= set(text.split())
    assert re.search(r"rpc IndexDocuments \( stream \.\S+ \) returns \( stream \.\S+ \);", text)
    first, second, best, grid, gone, info, tei, health = values(text[text.index("}\n{") + 2 :])
    assert [first["id"], second["id"]] == ["a", "b"]
    assert len(best["results"]) == 1
    assert len(grid["scores"]) == 4
    assert gone["evicted"] == 2
    assert info["maxDocuments"] == ServeConfig().call_documents
    assert len(tei["ranks"]) == 2
    assert health == {"status": "SERVING"}


def test_curl_gets_each_shape_of_answer(of: Any) -> None:
    text = of("/v2/rerank -H")
    cohere, jina, vllm, tei, health, ready, info = values(text)[:7]
    assert [entry.keys() for entry in cohere["results"]] == [
        {"index", "relevance_score", "raw_score"}
    ]
    assert [entry["code"] for entry in jina["failed"]] == ["NOT_FOUND"]
    assert len(jina["results"]) == len(vllm["results"]) == len(tei) == 2
    assert tei[0].keys() == {"index", "score"}
    assert (health, ready) == ({"status": "ok"}, {"ready": True})
    assert info["max_client_batch_size"] == ServeConfig().call_documents
    assert "minireranker_" in text.splitlines()[-1]


def test_a_tenant_is_let_in_over_tls(of: Any) -> None:
    client, grpc, http = values(of("-cacert"))
    assert client["model"] == grpc["model"] == http["model"]


def test_the_settings_printed_are_the_ones_given(of: Any) -> None:
    text = of("--print-config")
    assert "queue_documents = 256  # flag" in text
    assert 'tls_key = "key.pem"  # serve.toml' in text


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a row of headings."""
    table = section().split(heading)[1].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def number(text: str) -> float | None:
    """A default as the table writes it."""
    if text == "off":
        return None
    value, _, unit = text.partition(" ")
    return int(value) * UNITS[unit] if unit else int(value)


def test_the_table_of_limits_has_the_defaults() -> None:
    config, seen = ServeConfig(), []
    for what, defaults, _ in rows("| setting | default | over it |"):
        names = re.findall(r"`(\w+)`", what)
        seen += names
        assert [number(text) for text in defaults.split("; ")] == [
            getattr(config, name) for name in names
        ], what
    assert len(seen) == len(set(seen)) >= 16


def test_the_table_of_refusals_has_the_codes() -> None:
    pairs = dict(PUBLIC.values())
    found = {}
    for _, grpc, http in rows("| | gRPC | HTTP |"):
        if grpc:
            found[grpc.split(",", maxsplit=1)[0]] = int(http.split(",", maxsplit=1)[0])
    assert found == {name: status for name, status in pairs.items() if name != "UNIMPLEMENTED"}


def test_every_setting_named_in_the_text_exists() -> None:
    fields = set(vars(ServeConfig()))
    named = re.findall(r"`((?:url|tls|path|queue|call)_\w+)`", section())
    assert named
    assert set(named) <= fields
