"""`minireranker index`, and `rank` on what it left: a corpus is read once."""

from __future__ import annotations

import errno
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
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker.cache import CODECS
from minireranker.cli import app
from minireranker.commands.manifest import write_manifest
from minireranker.errors import ConfigurationError
from minireranker.scenes import draw, random_scene

COUNT = 6


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small drawings."""
    folder = tmp_path_factory.mktemp("drawn")
    for at in range(COUNT):
        kind = ("png", "jpg", "webp")[at % 3]
        draw(random_scene(Random(at))).save(folder / f"{at:03d}.{kind}")
    age(folder)
    return folder


@pytest.fixture
def pictures(drawn: Path, tmp_path: Path) -> Path:
    return age(shutil.copytree(drawn, tmp_path / "pictures"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where a cache may be made."""
    return tmp_path / "cache"


def age(folder: Path) -> Path:
    """As if the files had been written an hour ago: a file changed just now is not trusted."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def counts(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["cached"], answer["read"], len(answer["failed"])


def failure(*arguments: object) -> str:
    """The one line on stderr of a call that fails as the caller's mistake."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_read_is_not_read_again(tiny: Path, pictures: Path, cache: Path) -> None:
    first = told("index", pictures, "-m", tiny, "--cache", cache)
    assert counts(first) == (0, COUNT, 0)
    assert (first["model"], first["profile"], first["codec"]) == (str(tiny), "mini", "exact")
    assert (first["documents"], first["indexed"], first["cache"]) == (COUNT, COUNT, str(cache))
    files = list(cache.rglob("*.safetensors"))
    assert first["bytes_written"] >= sum(path.stat().st_size for path in files) > 0
    assert len(files) == COUNT
    assert first["documents_per_second"] == pytest.approx(COUNT / first["seconds"])
    second = told("index", pictures, "-m", tiny, "--cache", cache)
    assert counts(second) == (COUNT, 0, 0)
    assert (second["bytes_written"], second["namespace"]) == (0, first["namespace"])


def test_a_line_for_people(tiny: Path, pictures: Path, cache: Path) -> None:
    (pictures / "bad.png").write_text("no picture")
    result = run("index", pictures, "-m", tiny, "--cache", cache)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert f"indexed {COUNT} of {COUNT + 1} documents in " in text
    assert "documents/s" in text
    assert f"0 were cached, {COUNT} read, 1 failed" in text
    assert "kB written (" in text
    assert "bad.png" not in text
    assert "bad.png): image" in result.stderr


def test_rank_finds_what_index_read(tiny: Path, pictures: Path, cache: Path) -> None:
    fresh = told("rank", "a map", pictures, "-m", tiny, "-k", 0)
    assert fresh["cache"]["disk"] is None
    told("index", pictures, "-m", tiny, "--cache", cache)
    found = told("rank", "a map", pictures, "-m", tiny, "--cache", cache, "-k", 0)
    assert found["results"] == fresh["results"]
    assert (found["work"]["cache_hits"], found["work"]["cache_misses"]) == (COUNT, 0)
    assert found["cache"]["disk"]["hits"] >= COUNT
    result = run("rank", "a map", pictures, "-m", tiny, "--cache", cache)
    assert f"entries found: 0 in memory, {COUNT} on disk" in result.stdout


def test_rank_without_sources_ranks_all_that_was_indexed(
    tiny: Path, pictures: Path, cache: Path, tmp_path: Path
) -> None:
    fresh = told("rank", "a map", pictures, "-m", tiny, "-k", 0)
    told("index", pictures, "-m", tiny, "--cache", cache)
    pictures.rename(tmp_path / "elsewhere")
    found = told("rank", "a map", "-m", tiny, "--cache", cache, "-k", 0)
    assert found["results"] == fresh["results"]
    assert len(told("rank", "a map", "-m", tiny, "--cache", cache, "-k", 2)["results"]) == 2


def test_rank_keeps_what_it_reads(tiny: Path, pictures: Path, cache: Path) -> None:
    first = told("rank", "a map", pictures, "-m", tiny, "--cache", cache)
    again = told("rank", "a map", pictures, "-m", tiny, "--cache", cache)
    assert (first["work"]["cache_misses"], again["work"]["cache_misses"]) == (COUNT, 0)
    assert first["results"] == again["results"]


def test_rank_with_nothing_to_rank(tiny: Path, pictures: Path, cache: Path) -> None:
    assert "is not there" in failure("rank", "a map", "-m", tiny, "--cache", cache)
    assert not cache.exists()
    told("index", pictures, "-m", tiny, "--cache", cache)
    line = failure("rank", "a map", "-m", tiny, "--cache", cache, "--codec", "int8")
    assert "nothing was indexed" in line
    assert "minireranker index" in line


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec(codec: str, tiny: Path, pictures: Path, cache: Path) -> None:
    told("index", pictures, "-m", tiny, "--cache", cache, "--codec", codec)
    found = told("rank", "a map", "-m", tiny, "--cache", cache, "--codec", codec)
    fresh = told("rank", "a map", pictures, "-m", tiny, "--codec", codec)
    assert found["results"] == fresh["results"]
    assert codec in run("index", "--help").stdout


def test_a_codec_nobody_has(tiny: Path, pictures: Path, cache: Path) -> None:
    for command in (["index"], ["rank", "a map"]):
        line = failure(*command, pictures, "-m", tiny, "--cache", cache, "--codec", "int3")
        assert "int3" in line
        assert "int4" in line


def test_the_cache_of_the_environment(
    tiny: Path, pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRERANKER_CACHE", str(cache))
    assert told("index", pictures, "-m", tiny)["cache"] == str(cache)
    found = told("rank", "a map", pictures, "-m", tiny)
    assert found["work"]["cache_misses"] == COUNT, "rank uses a folder only where one is named"
    found = told("rank", "a map", "-m", tiny)
    assert found["work"]["cache_hits"] == COUNT, "or where nothing else is"


def test_a_manifest(tiny: Path, pictures: Path, cache: Path, tmp_path: Path) -> None:
    (pictures / "bad.png").write_text("no picture")
    (tmp_path / "a.jsonl").write_text('{"text": "a boat", "id": "boat"}\n{"text": "a tree"}\n')
    Image.new("RGB", (90, 120), "white").save(tmp_path / "c.pdf", resolution=72)
    sources = (pictures, tmp_path / "a.jsonl", tmp_path / "c.pdf")
    target = tmp_path / "manifest.jsonl"
    answer = told("index", *sources, "-m", tiny, "--cache", cache, "--manifest", target)
    first, *rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert first["format"] == "minireranker manifest"
    del answer["failed"]
    assert {name: first[name] for name in answer if name != "failed"} == answer
    by_name = {row["id"]: row for row in rows}
    assert set(by_name) == names(pictures) | {"boat", "a.jsonl:2", "c.pdf#page=1"}
    assert by_name["bad.png"]["error"].startswith("MediaError: image")
    assert "key" not in by_name["bad.png"]
    assert by_name["c.pdf#page=1"]["source"] == str(tmp_path / "c.pdf")
    assert set(by_name["boat"]) == {"id", "key", "bytes"}
    for name in names(pictures) - {"bad.png"}:
        row = by_name[name]
        (file,) = cache.rglob(f"{row['key']}.safetensors")
        assert row["bytes"] == file.stat().st_size
        assert row["source"] == str(pictures / name)
    assert "manifest.jsonl" in names(tmp_path)
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    text = run("cache", "pin", "--manifest", target, "--cache", cache).stdout
    assert text == f"pinned {COUNT + 3} entries\n"


def test_a_manifest_that_cannot_be_written(tiny: Path, pictures: Path, cache: Path) -> None:
    for target in (pictures / "no" / "m.jsonl", pictures):
        line = failure("index", pictures, "-m", tiny, "--cache", cache, "--manifest", target)
        assert "--manifest" in line
    assert not cache.exists(), "known before anything is done"


def test_a_manifest_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"m\.jsonl: No space left on device"):
        write_manifest(tmp_path / "m.jsonl", {}, [])
    assert not names(tmp_path)


def test_nothing_indexed_is_exit_two(tiny: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    answer = told("index", tmp_path / "bad.png", "-m", tiny, "--cache", cache, code=2)
    assert (answer["indexed"], answer["failed"][0]["error"]) == (0, "MediaError")


def test_a_source_that_is_not_there_makes_no_folder(tiny: Path, cache: Path) -> None:
    line = failure("index", "nowhere/*.png", "-m", tiny, "--cache", cache, "--delete-missing")
    assert "nothing found for" in line
    assert not cache.exists()


def test_a_corpus_that_changes(tiny: Path, pictures: Path, cache: Path) -> None:
    told("index", pictures, "-m", tiny, "--cache", cache)
    first, second, third, *_ = sorted(pictures.iterdir())
    first.unlink()
    second.write_text("damaged since")
    shutil.copy(sorted(pictures.iterdir())[-1], pictures / "new.png")
    Image.effect_noise((64, 64), 80).save(third)
    age(pictures)
    answer = told("index", pictures, "-m", tiny, "--cache", cache)
    assert (answer["deleted"], len(indexed(tiny, cache))) == (0, COUNT + 1)
    answer = told("index", pictures, "-m", tiny, "--cache", cache, "--delete-missing")
    assert (counts(answer), answer["deleted"]) == ((COUNT - 1, 0, 1), 1)
    assert indexed(tiny, cache) == names(pictures), "one that failed is still among the sources"
    left = len(list(cache.rglob("*.safetensors")))
    assert left == COUNT - 1, "two of the pictures are equal, and nothing stands behind the others"


def indexed(model: Path, cache: Path) -> set[str]:
    found = told("rank", "a map", "-m", model, "--cache", cache, "-k", 0)
    return {hit["id"] for hit in found["results"]}


def test_what_is_too_old_is_read_again(tiny: Path, pictures: Path, cache: Path) -> None:
    told("index", pictures, "-m", tiny, "--cache", cache)
    options = ("-m", tiny, "--cache", cache, "--ttl")
    assert counts(told("index", pictures, *options, "1h")) == (COUNT, 0, 0)
    time.sleep(0.3)
    assert counts(told("index", pictures, *options, "0.3s")) == (0, COUNT, 0)
    assert "--ttl '3 moons'" in failure("index", pictures, *options, "3 moons")


def test_a_folder_keeps_to_its_budget(tiny: Path, pictures: Path, cache: Path) -> None:
    told("index", pictures, "-m", tiny, "--cache", cache)
    size = max(path.stat().st_size for path in cache.rglob("*.safetensors"))
    budget = "--disk-bytes", 2 * size
    answer = told("index", pictures, "-m", tiny, "--cache", cache, *budget, code=1)
    assert answer["unkept"] == COUNT - 2, "said, though every document can be ranked"
    text = run("index", pictures, "-m", tiny, "--cache", cache).stdout
    assert f"{COUNT - 2} entries are not in the folder: give it more room" in text
    info = told("cache", "info", cache)
    assert (info["max_bytes"], info["entries"]) == (2 * size, 2)
    assert "--disk-bytes '2 apples'" in failure(
        "index", pictures, "-m", tiny, "--cache", cache, "--disk-bytes", "2 apples"
    )


def test_a_folder_that_cannot_be_one(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in failure("index", pictures, "-m", tiny, "--cache", tmp_path / "file")
    line = failure("index", pictures, "-m", tiny, "--cache", pictures)
    assert "holds other things" in line


def test_a_folder_that_can_only_be_read(tiny: Path, pictures: Path, cache: Path) -> None:
    told("index", pictures, "-m", tiny, "--cache", cache)
    shutil.rmtree(cache / "tmp")
    (cache / "tmp").touch()  # where entries are written first: also root cannot write below it
    line = failure("index", pictures, "-m", tiny, "--cache", cache)
    assert "cannot be written; name another" in line
    found = told("rank", "a map", pictures, "-m", tiny, "--cache", cache)
    assert (found["work"]["cache_hits"], len(found["results"])) == (COUNT, COUNT)


def test_a_query_first_profile_says_that_it_keeps_nothing(
    tiny: Path, pictures: Path, cache: Path
) -> None:
    result = run("index", pictures, "-m", tiny, "--cache", cache, "--profile", "dense-query-first")
    assert result.exit_code == 0, result.output
    assert "keeps no entry" in result.stdout


def test_an_interrupted_run_is_gone_on_with(tiny: Path, cache: Path, tmp_path: Path) -> None:
    count = 20_000
    lines = (json.dumps({"text": f"text number {number} " * 8}) for number in range(count))
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    arguments = ["index", str(tmp_path / "many.jsonl"), "-m", str(tiny), "--cache", str(cache)]
    program = "from minireranker.cli import main; main()"
    command = [sys.executable, "-P", "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not any(cache.glob("entries/*/*/*")) and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"run the same command again to go on" in errors
    assert b"Traceback" not in errors
    kept = len(list(cache.rglob("*.safetensors")))
    assert 0 < kept < count
    (tmp_path / "few.jsonl").write_text(
        "\n".join((tmp_path / "many.jsonl").read_text().split("\n")[:8])
    )
    answer = told("index", tmp_path / "few.jsonl", "-m", tiny, "--cache", cache)
    assert answer["cached"] == 8
