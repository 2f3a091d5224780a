"""`minireranker rank` from the command line, with a real engine on a tiny synthetic checkpoint."""

import json
import struct
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker.cli import app
from minireranker.models.synth import synthesize
from minireranker.scenes import draw, random_scene

GOOD = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = synthesize(tmp_path_factory.mktemp("model") / "tiny", "tiny", dtype="float32")
    profile = path / "profiles" / "mini.toml"
    profile.write_text(profile.read_text().replace("keep_ratio = 0.5", "keep_ratio = 1.0"))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small drawings."""
    folder = tmp_path_factory.mktemp("pictures")
    for at in range(GOOD):
        kind = ("png", "jpg", "webp")[at % 3]
        draw(random_scene(Random(at))).save(folder / f"{at:03d}.{kind}")
    return folder


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six files that are not what they say, or not fit to be read."""
    folder = tmp_path_factory.mktemp("bad")
    noise = Image.effect_noise((200, 200), 80)
    noise.save(folder / "cut.jpg")
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (1, 10_000)).save(folder / "ruler.png")
    (folder / "words.png").write_text("this is not a picture")
    (folder / "bomb.gif").write_bytes(huge_gif())
    silent_film(folder / "empty.avi")
    return folder


def huge_gif() -> bytes:
    """A GIF of 35 bytes that says it is 65 000 x 65 000."""
    size = struct.pack("<HH", 65_000, 65_000)
    screen = b"GIF89a" + size + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return screen + b"," + b"\0\0\0\0" + size + b"\0" + b"\x02\x02\x44\x01\0" + b";"


def silent_film(path: Path) -> None:
    """A video file, whole and sound, without a single frame."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rank", *map(str, arguments)])


def answer(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_twelve_files_of_which_six_are_bad(model: Path, pictures: Path, bad: Path) -> None:
    found = answer("a map", pictures, bad, "--model", model, "--top-k", 0)
    assert sorted(hit["id"] for hit in found["results"]) == sorted(
        path.name for path in pictures.iterdir()
    )
    reasons = {failed["id"]: (failed["error"], failed["reason"]) for failed in found["failed"]}
    words = {
        "cut.jpg": "truncated",
        "dot.png": "1 x 1 px",
        "ruler.png": "1 x 10000 px",
        "words.png": "known format",
        "bomb.gif": "over 178956970 pixels",
        "empty.avi": "frame",
    }
    assert set(reasons) == set(words)
    for name, word in words.items():
        error, reason = reasons[name]
        assert error == "MediaError"
        assert word in reason, reason


def test_json_holds_the_whole_answer_and_stdout_nothing_else(model: Path, pictures: Path) -> None:
    found = answer("a map", pictures, "--model", model, "--top-k", 4)
    assert found["query"] == {"text": "a map", "image": None, "video": None}
    assert (found["model"], found["profile"]) == (str(model), "mini")
    assert [hit["rank"] for hit in found["results"]] == [1, 2, 3, 4]
    scores = [hit["score"] for hit in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < hit["probability"] < 1 for hit in found["results"])
    names = sorted(path.name for path in pictures.iterdir())
    assert all(names[hit["index"]] == hit["id"] for hit in found["results"])
    assert found["failed"] == []
    assert found["timings"]["total"] > 0
    assert found["work"]["cache_misses"] == GOOD


def test_the_table_shows_ranks_scores_and_times(model: Path, pictures: Path, bad: Path) -> None:
    result = run("a map", pictures, bad / "dot.png", "--model", model, "-k", 2)
    assert result.exit_code == 0, result.output
    found = answer("a map", pictures, "--model", model, "-k", 2)
    first, second = found["results"]
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["rank", "score", "probability", "id"]
    assert lines[1].split()[:2] == ["1", f"{first['score']:.4f}"]
    assert first["id"] in result.stdout.replace("\n", "").replace(" ", "")
    assert f"{second['score']:.4f}" in result.stdout
    assert "2 of 6 ranked documents" in result.stdout
    assert "cache: 0 hits, 6 misses" in result.stdout
    assert "profile mini" in result.stdout
    assert "dot.png" not in result.stdout
    assert "failed: document 6 (dot.png)" in result.stderr


def test_nothing_ranked_is_exit_two(model: Path, bad: Path) -> None:
    found = answer("a map", bad, "--model", model, code=2)
    assert found["results"] == []
    assert len(found["failed"]) == 6


def test_texts_lines_and_pages_are_documents_too(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a boat on the sea")
    (tmp_path / "b.jsonl").write_text('{"text": "a house", "id": "house"}\n{"text": "a tree"}\n')
    Image.new("RGB", (90, 120), "white").save(tmp_path / "c.pdf", resolution=72)
    sources = [tmp_path / name for name in ("a.txt", "b.jsonl", "c.pdf")]
    found = answer("the sea", *sources, "--model", model)
    assert {hit["id"] for hit in found["results"]} == {
        "a.txt",
        "house",
        "b.jsonl:2",
        "c.pdf#page=1",
    }


def test_a_bad_source_costs_its_own_documents_only(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"gr\xfcn")
    (tmp_path / "b.jsonl").write_text('{"text": "a house"}\nnonsense\n')
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.4 torn")
    Image.new("RGB", (90, 120), "white").save(tmp_path / "d.pdf", resolution=72)
    report = tmp_path / "r.html"
    found = answer("the sea", tmp_path / "?.*[tfl]", "--model", model, "--html", report)
    assert {hit["id"] for hit in found["results"]} == {"b.jsonl:1", "d.pdf#page=1"}
    failed = {item["id"]: (item["error"], item["reason"]) for item in found["failed"]}
    assert set(failed) == {"a.txt", "b.jsonl:2", "c.pdf"}
    assert failed["a.txt"] == (
        "InputError",
        f"{tmp_path}/a.txt: not UTF-8; write the file in that encoding",
    )
    assert "line 2: not JSON" in failed["b.jsonl:2"][1]
    assert failed["c.pdf"][0] == "MediaError"
    assert report.read_text().count("data:image/jpeg;base64,") == 1, "of the page, rendered again"


def test_a_picture_can_be_the_query(model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a boat on the sea")
    picture = min(pictures.iterdir())
    sources = (tmp_path / "a.txt", pictures)
    found = answer("", *sources, "--query-image", picture, "--model", model)
    assert found["query"] == {"text": None, "image": str(picture), "video": None}
    assert len(found["results"]) == 1 + GOOD
    both = answer("a boat", *sources, "--query-image", picture, "--model", model)
    assert both["results"][0]["score"] != found["results"][0]["score"]


def test_an_instruction_and_a_profile_change_the_scores(model: Path, pictures: Path) -> None:
    def scores(*options: str) -> list[float]:
        found = answer("a map", pictures, "--model", model, *options)
        return [hit["score"] for hit in found["results"]]

    plain = scores()
    assert scores() == plain
    assert scores("--instruction", "Find what is unlike it.") != plain
    assert scores("--profile", "dense") != plain


def test_a_report_is_written_beside_the_answer(
    model: Path, pictures: Path, bad: Path, tmp_path: Path
) -> None:
    target = tmp_path / "report.html"
    result = run("<b>map</b>", pictures, bad, "--model", model, "--html", target)
    assert result.exit_code == 0, result.output
    assert str(target) in result.stdout.replace("\n", "")
    page = target.read_text(encoding="utf-8")
    assert "&lt;b&gt;map&lt;/b&gt;" in page
    assert page.count("data:image/jpeg;base64,") == GOOD
    assert all(path.name in page for path in [*pictures.iterdir(), *bad.iterdir()])


def test_a_report_leaves_json_alone(model: Path, pictures: Path, tmp_path: Path) -> None:
    found = answer("map", pictures, "--model", model, "--html", tmp_path / "r.html")
    assert len(found["results"]) == GOOD
    assert (tmp_path / "r.html").is_file()


def test_a_name_does_not_steer_the_terminal(model: Path, tmp_path: Path) -> None:
    evil = {"text": "a house", "id": "\x1b[31m[bold]red[/bold]\x1b[0m"}
    (tmp_path / "a.jsonl").write_text(json.dumps(evil))
    result = run("a house", tmp_path / "a.jsonl", "--model", model)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "[bold]red[/bold]" in result.stdout
