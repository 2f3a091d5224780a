"""`minireranker index --vectors` and `search`: one pass over a corpus, then stages over it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker import Embedder
from minireranker.cli import app
from minireranker.models.synth import synthesize
from minireranker.retrieval.late_interaction import Adapter, Smart
from minireranker.retrieval.late_interaction.synth import synthesize_colmodernvbert
from minireranker.retrieval.vector_index import VectorIndex
from minireranker.scenes import draw, random_scene

COUNT = 6


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small drawings."""
    folder = tmp_path_factory.mktemp("drawn")
    for at in range(COUNT):
        kind = ("png", "jpg", "webp")[at % 3]
        draw(random_scene(Random(at))).save(folder / f"{at:03d}.{kind}")
    return folder


@pytest.fixture
def pictures(drawn: Path, tmp_path: Path) -> Path:
    return age(shutil.copytree(drawn, tmp_path / "pictures"))


@pytest.fixture
def places(tmp_path: Path) -> tuple[object, ...]:
    """A reranker's cache that prunes, beside the vectors."""
    return "--vectors", tmp_path / "v", "--cache", tmp_path / "cache", "--keep-ratio", 0.5


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own is nobody's business here."""
    monkeypatch.setenv("MINIRERANKER_CACHE", str(tmp_path / "own"))


def age(folder: Path) -> Path:
    """As if the files had been written an hour ago: a file changed just now is not trusted."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    time.sleep(0.06)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def failure(*arguments: object) -> str:
    """The one line on stderr of a call that fails as the caller's mistake."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_pass_then_a_search_in_three_stages(
    tiny: Path, pictures: Path, places: tuple[object, ...], tmp_path: Path
) -> None:
    answer = told("index", pictures, *places, "-m", tiny, "-e", tiny)
    assert (answer["documents"], answer["indexed"], answer["encoded"]) == (COUNT, COUNT, COUNT)
    assert (answer["late"], answer["vector_dtype"], answer["read"]) == ("smart", "bfloat16", COUNT)
    files = [path for path in (tmp_path / "v").iterdir() if path.suffix != ".part"]
    held = sum(path.stat().st_size for path in files if path.name != "encoder.json")
    assert answer["vector_bytes"] == sum(answer["vector_bytes_by_part"].values()) == held
    assert answer["documents_per_second"] == pytest.approx(COUNT / answer["seconds"])
    again = told("index", pictures, *places, "-m", tiny)
    assert (again["encoded"], again["unchanged"], again["read"]) == (0, COUNT, 0)

    found = told("search", "a map", *places, "-m", tiny, "-k", 4)
    ranked = told("rank", "a map", *places[2:], "-m", tiny, "-e", tiny, "-k", 4)
    assert [(hit["id"], hit["score"], hit["probability"]) for hit in found["results"]] == [
        (hit["id"], hit["score"], pytest.approx(hit["probability"])) for hit in ranked["results"]
    ]
    assert [hit["rank"] for hit in found["results"]] == [1, 2, 3, 4]
    assert {hit["file"] for hit in found["results"]} <= {str(path) for path in pictures.iterdir()}
    assert [(stage["name"], stage["kept"]) for stage in found["stages"]] == [
        ("retrieve", COUNT),
        ("rescore", COUNT),
        ("rerank", 4),
    ]
    for stage in found["stages"]:
        assert set(stage["ids"]) == names(pictures)
        assert stage["scores"] == sorted(stage["scores"], reverse=True)
        assert stage["search_seconds"] > 0
        scores = dict(zip(stage["ids"], stage["scores"], strict=True))
        for hit in found["results"]:
            assert hit["scores"][stage["name"]] == scores[hit["id"]]


def test_tables_for_people(
    tiny: Path,
    pictures: Path,
    places: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (pictures / "bad.png").write_text("no picture")
    result = run("index", pictures, *places, "-m", tiny, "-e", tiny)
    assert result.exit_code == 0, result.output
    assert f"indexed {COUNT} of {COUNT + 1} documents in " in result.stdout
    assert "documents/s" in result.stdout
    assert f"{COUNT} were encoded, 0 had not changed, 1 failed" in result.stdout
    assert f"smart, bfloat16, {COUNT} documents, " in result.stdout
    assert f"0 were cached, {COUNT} read, " in result.stdout
    assert "bad.png): image" in result.stderr
    answer = told("search", "a map", *places, "-m", tiny, "-k", 3)
    result = run("search", "a map", *places, "-m", tiny, "-k", 3)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["rank", "retrieve", "rescore", "rerank", "probability", "document"]
    for line, hit in zip(lines[1:4], answer["results"], strict=True):
        numbers = [*hit["scores"].values(), hit["probability"]]
        assert line[:5] == [str(hit["rank"]), *(f"{number:.4f}" for number in numbers)]
        assert line[5] == os.path.join("pictures", hit["id"])
    assert lines[5] == ["in", "out", "failed", "encode", "search", "stage"]
    assert [line[:3] + line[-2:] for line in lines[6:9]] == [
        [str(COUNT), str(COUNT), "0", "retrieve", "(smart)"],
        [str(COUNT), str(COUNT), "0", "rescore", "(smart)"],
        [str(COUNT), "3", "0", "rerank", "(reranker)"],
    ]


@pytest.mark.parametrize("late", ["pooled", "smart"])
def test_vectors_alone(late: str, tiny: Path, pictures: Path, tmp_path: Path) -> None:
    options = "--late", late, "--vector-dtype", "int8", "-e", tiny
    answer = told("index", pictures, "--vectors", tmp_path / "v", *options)
    assert (answer["late"], answer["vector_dtype"], answer["model"]) == (late, "int8", None)
    assert "read" not in answer
    assert not (tmp_path / "own").exists(), "no cache was made"
    found = told("search", "a map", "--vectors", tmp_path / "v", "-k", 2)
    expected = ["retrieve"] if late == "pooled" else ["retrieve", "rescore"]
    assert [stage["name"] for stage in found["stages"]] == expected
    assert [list(hit["scores"]) for hit in found["results"]] == [expected] * 2
    assert found["results"][0]["probability"] is None


def test_two_folders_are_joined_by_ids(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    other = synthesize_colmodernvbert(tmp_path / "other")
    folders = "--vectors", tmp_path / "v", "--vectors", tmp_path / "w"
    told("index", pictures, *folders[:2], "--late", "pooled", "-e", tiny)
    told("index", pictures, *folders[2:], "--late", "colmodernvbert", "-e", other)
    found = told("search", "a map", *folders, "--retrieve", 4, "--rescore", 3, "-k", 2)
    assert [(s["name"], s["system"], s["candidates"], s["kept"]) for s in found["stages"]] == [
        ("retrieve", "pooled", COUNT, 4),
        ("rescore", "colmodernvbert", 4, 2),
    ]
    found = told("search", "a map", *folders, "--rescore", 3, "-k", 2, "-m", tiny)
    assert [s["kept"] for s in found["stages"]] == [COUNT, 3, 2]
    found = told("search", "a map", *folders[2:], "-k", 2)
    assert [(s["name"], s["candidates"]) for s in found["stages"]] == [("rescore", COUNT)]
    line = failure("index", pictures, *folders[2:], "-m", tiny, "--keep-ratio", 0.5)
    assert "colmodernvbert cannot say which: add --keep-ratio 1" in line


def test_every_kind_of_source_is_found_again_without_a_cache(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a boat", "id": "boat"}\n{"text": "a tree"}\n')
    (tmp_path / "b.txt").write_text("a river")
    Image.new("RGB", (90, 120), "white").save(tmp_path / "c.pdf", resolution=72)
    sources = [tmp_path / name for name in ("a.jsonl", "b.txt", "c.pdf")]
    told("index", *sources, "--vectors", tmp_path / "v", "-e", tiny)
    found = told("search", "a map", "--vectors", tmp_path / "v", "-m", tiny)
    ranked = told("rank", "a map", *sources, "-m", tiny)
    assert [(hit["id"], hit["score"]) for hit in found["results"]] == [
        (hit["id"], hit["score"]) for hit in ranked["results"]
    ]
    assert len(found["results"]) == 4


def test_a_picture_and_a_report(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    told("index", pictures, "--vectors", tmp_path / "v", "-e", tiny, "--vector-dtype", "float32")
    picture, target = sorted(pictures.iterdir())[2], tmp_path / "report.html"
    options = "--vectors", tmp_path / "v", "-k", 3, "--html", target
    found = told("search", "", *options, "--query-image", picture)
    assert found["results"][0]["id"] == picture.name
    assert found["results"][0]["scores"]["retrieve"] == pytest.approx(1.0, abs=0.02)
    page = target.read_text()
    assert page.count('<li class="card') == 3
    assert page.count("data:image/jpeg") == 4, "the query and three hits"
    assert "<td>rescore (smart)</td>" in page
    assert "--html" in failure("search", "a", *options[:2], "--html", tmp_path / "no" / "r.html")
    assert "no words" in failure("search", " ", *options[:2])


def test_a_corpus_that_changes(
    tiny: Path, pictures: Path, places: tuple[object, ...], tmp_path: Path
) -> None:
    command = "index", pictures, *places, "-m", tiny
    told(*command, "-e", tiny)
    first, second, *_ = sorted(pictures.iterdir())
    first.unlink()
    second.write_text("damaged since")
    Image.effect_noise((64, 64), 80).save(pictures / "new.png")
    time.sleep(0.06)
    manifest = tmp_path / "manifest.jsonl"
    answer = told(*command, "--delete-missing", "--manifest", manifest)
    assert (answer["encoded"], answer["unchanged"], answer["deleted"]) == (1, COUNT - 2, 1)
    assert [failed["id"] for failed in answer["failed"]] == [second.name]
    with VectorIndex.open(tmp_path / "v") as index:
        assert set(index.ids) == names(pictures), "what failed is still as it was"
    ranked = told("rank", "a map", *places[2:], "-m", tiny, "-e", tiny, "-k", 0)
    assert {hit["id"] for hit in ranked["results"]} == names(pictures)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()][1:]
    by_id = {row["id"]: row for row in rows}
    assert by_id.keys() == names(pictures)
    assert by_id["new.png"]["source"] == str(pictures / "new.png")
    assert by_id["new.png"]["bytes"] > 0
    assert by_id[second.name]["error"].startswith("MediaError")


def test_what_to_make_has_to_be_said(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    line = failure("index", pictures)
    assert "--model" in line
    assert "--vectors" in line
    assert "--embedder" in failure("index", pictures, "--vectors", tmp_path / "v")
    assert "--vectors" in failure("index", pictures, "-m", tiny, "--late", "smart")
    options = "--vectors", tmp_path / "v", "-e", tiny
    assert "--cache: vectors" in failure("index", pictures, *options, "--cache", tmp_path / "c")
    assert "'colpali'" in failure("index", pictures, *options, "--late", "colpali")
    assert "'int3'" in failure("index", pictures, *options, "--vector-dtype", "int3")
    assert "nothing found" in failure("index", "nowhere/*.png", *options)
    assert not (tmp_path / "v").exists()
    (tmp_path / "bad.png").write_text("no picture")
    answer = told("index", tmp_path / "bad.png", *options, code=2)
    assert (answer["indexed"], answer["failed"][0]["error"]) == (0, "MediaError")


def test_a_folder_keeps_to_its_encoder(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    other = synthesize(tmp_path / "other", "tiny", seed=7)
    place = "--vectors", tmp_path / "v"
    told("index", pictures, *place, "-e", model)
    for options in (("-e", other), ("--late", "pooled"), ("--late", "pooled", "-e", model)):
        assert "smart" in failure("index", pictures, *place, *options), options
    assert "bfloat16" in failure("index", pictures, *place, "--vector-dtype", "int8")
    line = failure("search", "a map", *place, "-e", other)
    assert "holds vectors of smart" in line
    before = told("search", "a map", *place)["results"]
    model.rename(tmp_path / "moved")
    for command in (("search", "a map"), ("index", pictures)):
        line = failure(*command, *place)
        assert f"made with the encoder smart in {model}" in line
        assert "not there any more" in line
    for options in (("-e", tmp_path / "moved"), ("--encoder", f"smart={tmp_path / 'moved'}")):
        assert told("search", "a map", *place, *options)["results"] == before
    shutil.copytree(other, model)
    assert "holds vectors of smart" in failure("search", "a map", *place)
    (tmp_path / "v" / "encoder.json").write_text("[]")
    assert "add --encoder smart=PATH" in failure("search", "a map", *place)


@pytest.mark.parametrize("option", ["smart", "smart=", "colpali=x", "pooled=x"])
def test_an_encoder_that_cannot_be(option: str, tiny: Path, pictures: Path, tmp_path: Path) -> None:
    told("index", pictures, "--vectors", tmp_path / "v", "-e", tiny)
    line = failure("search", "a map", "--vectors", tmp_path / "v", "--encoder", option)
    assert f"--encoder {option}" in line.replace("'", "")


def test_no_index_there_and_nothing_in_it(tiny: Path, tmp_path: Path) -> None:
    line = failure("search", "a map", "--vectors", tmp_path / "v")
    assert f"{tmp_path / 'v'} holds no vector index" in line
    assert f"minireranker index SOURCES --vectors {tmp_path / 'v'}" in line
    sizes = {"dim": 8, "pooled_dim": 8, "encoder": "smart"}
    VectorIndex.create(tmp_path / "v", identity="x", **sizes).close()
    line = failure("search", "a map", "--vectors", tmp_path / "v")
    assert "nothing was indexed in" in line
    assert run("search", "a map", "--vectors", tmp_path / "v", "-k", 0).exit_code == 2
    assert run("search", "a map").exit_code == 2


def test_counts_that_cannot_be(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    place = "--vectors", tmp_path / "v"
    told("index", pictures, *place, "-e", tiny)
    fewer = {"--retrieve": (3,), "--rescore": (COUNT, 4)}
    for option, kept in fewer.items():
        found = told("search", "a map", *place, option, kept[-1])
        assert [stage["kept"] for stage in found["stages"]] == [kept[0], kept[-1]]
        assert len(found["results"]) == kept[-1], "no more than were let through"
    found = told("search", "a map", *place, "--retrieve", 5, "-k", 3, "-m", tiny)
    assert [stage["kept"] for stage in found["stages"]] == [5, 5, 3]
    line = failure("search", "a map", *place, "--retrieve", 5, "--rescore", 6)
    assert "--rescore 6 is more than the 5 documents that --retrieve 5 lets through" in line
    found = told("search", "a map", *place, "-k", 3000)
    assert len(found["results"]) == COUNT
    assert "is not there" in failure(
        "search", "a map", *place, "-m", tiny, "--cache", tmp_path / "none"
    )


def test_options_of_a_stage_that_there_is_not(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    other = synthesize_colmodernvbert(tmp_path / "other")
    pooled, tokens = ("--vectors", tmp_path / "v"), ("--vectors", tmp_path / "w")
    told("index", pictures, *pooled, "--late", "pooled", "-e", tiny)
    told("index", pictures, *tokens, "--late", "colmodernvbert", "-e", other)
    line = failure("search", "a map", *pooled, "--rescore", 4)
    assert "--rescore 4: the folders hold no token vectors" in line
    line = failure("search", "a map", *tokens, "--retrieve", 4)
    assert "--retrieve 4: the folders hold no pooled vectors" in line
    for option in (("--cache", tmp_path / "cache"), ("--keep-ratio", 1)):
        line = failure("search", "a map", *pooled, *option)
        assert f"{option[0]}: without a reranker nothing uses it; add --model" in line


def test_a_failure_says_in_which_stage_and_reading_is_told(
    tiny: Path, pictures: Path, tmp_path: Path
) -> None:
    place = "--vectors", tmp_path / "v"
    told("index", pictures, *place, "-e", tiny)
    first = min(names(pictures))
    (pictures / first).unlink()
    command = "search", "a map", *place, "-m", tiny
    found = told(*command)
    (failed,) = found["failed"]
    assert (failed["stage"], failed["id"], failed["error"]) == ("rerank", first, "MediaError")
    assert [stage["failed"] for stage in found["stages"]] == [0, 0, 1]
    hits = [(stage["cache_hits"], stage["cache_misses"]) for stage in found["stages"]]
    assert hits == [(0, 0), (0, 0), (0, COUNT - 1)]
    page = tmp_path / "report.html"
    result = run(*command, "--html", page)
    assert result.exit_code == 0, result.output
    assert f"cache: 0 hits, {COUNT - 1} misses" in result.stdout
    assert f"failed in rerank: {first}: image " in result.stderr
    assert f"<tr><td>rerank</td><td>{first}</td>" in page.read_text()
    assert f"<dt>cache misses</dt><dd>{COUNT - 1}</dd>" in page.read_text()


@pytest.mark.parametrize("has_vectors", [True, False])
def test_nothing_is_forgotten_for_a_file_that_cannot_be_told_apart(
    has_vectors: bool, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines, pages = tmp_path / "a.jsonl", tmp_path / "b.pdf"
    lines.write_text('{"text": "a boat", "id": "boat"}\n{"text": "a tree", "id": "tree"}\n')
    Image.new("RGB", (90, 120), "white").save(pages, resolution=72)
    kept, page = '{"text": "a boat", "id": "boat"}\n', pages.read_bytes()
    vectors = ("--vectors", tmp_path / "v", "-e", tiny) if has_vectors else ()
    command = "index", lines, pages, "-m", tiny, "--keep-ratio", 1, *vectors
    assert told(*command)["indexed"] == 3
    for broken, whole in ((kept + '{"text": "a tr', page), (kept, b"no PDF")):
        lines.write_text(broken)
        pages.write_bytes(whole)
        caplog.clear()
        assert told(*command, "--delete-missing")["deleted"] == 0
        assert "nothing was forgotten" in caplog.text
    pages.write_bytes(page)
    assert told(*command, "--delete-missing")["deleted"] == 1


def test_an_interrupted_run_is_gone_on_with(tiny: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"text number {at} " * 6}) for at in range(20_000)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    options = ["--vectors", str(tmp_path / "v"), "-e", str(tiny)]
    program = "from minireranker.cli import main; main()"
    command = [sys.executable, "-P", "-c", program, "index", str(tmp_path / "many.jsonl")]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE) as process:
        # The first is in the index once there is a second.
        while len([*tmp_path.glob("v/*.segment")]) < 2 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"run the same command again to go on" in errors
    (tmp_path / "many.jsonl").write_text("\n".join(lines[:16]))
    assert told("index", tmp_path / "many.jsonl", *options)["unchanged"] == 16


def test_an_adapter_is_remembered(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    adapter, vectors = tmp_path / "adapter.safetensors", tmp_path / "v"
    torch.manual_seed(0)
    Adapter(64).save(adapter)
    made = ("index", pictures, "--vectors", vectors, "--embedder", tiny)
    told(*made, "--adapter", adapter)
    with VectorIndex.open(vectors) as index:
        wanted = Smart(Embedder.from_pretrained(tiny), Adapter.load(adapter)).identity
        assert index.settings.identity == wanted
    told("index", pictures, "--vectors", vectors)
    found = told("search", "a red circle", "--vectors", vectors)
    assert len(found["results"]) == COUNT
    plain = failure(*made, "--adapter", tmp_path / "adapter.safetensors", "--late", "pooled")
    assert "pooled takes none" in plain
    adapter.unlink()
    assert "which is not there any more" in failure("search", "x", "--vectors", vectors)
