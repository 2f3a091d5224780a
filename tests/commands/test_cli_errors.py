"""What a person sees when something is wrong: one line, an exit code, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker import __version__
from minireranker.cli import app
from minireranker.models.synth import synthesize

PROGRAM = [sys.executable, "-P", "-c", "from minireranker.cli import main; main()"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("model") / "tiny", "tiny")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """The one line on stderr of a call that fails as the caller's mistake."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom minireranker.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in (["--help"], ["--version"], ["rank", "--help"], ["profile", "show"]):
        command = [sys.executable, "-P", "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_version_is_the_packages() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"minireranker {__version__}\n")


def test_every_command_is_in_the_help() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("rank", "index", "cache", "demo", "profile", "checkpoint", "bench"):
        assert name in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["rank"],
        ["rank", "query", "photos"],
        ["rank", "query", "photos", "--model", "m", "--top-k", "-1"],
        ["rank", "query", "photos", "--model", "m", "--no-such-flag"],
        ["rank", "query", "photos", "--model", "m", "--query-image", "missing.png"],
        ["demo", "--count", "1"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_two(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_source_that_is_not_there(model: Path) -> None:
    assert "nothing found for 'nowhere/*.png'" in failure(
        "rank", "a", "nowhere/*.png", "--model", model
    )


def test_a_query_without_words_or_picture(model: Path, picture: Path) -> None:
    assert "--query-image" in failure("rank", " ", picture, "--model", model)


def test_a_model_that_is_not_there(picture: Path, tmp_path: Path) -> None:
    line = failure("rank", "a", picture, "--model", tmp_path / "none")
    assert "none" in line


def test_a_profile_nobody_has(model: Path, picture: Path) -> None:
    line = failure("rank", "a", picture, "--model", model, "--profile", "maxi")
    assert "no profile 'maxi'" in line


def test_a_report_in_a_folder_that_is_not_there(model: Path, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "no" / "r.html"
    line = failure("rank", "a", picture, "--model", model, "--html", target)
    assert "there is no folder" in line


def test_a_jsonl_file_that_cannot_be_opened(model: Path, tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").symlink_to(tmp_path / "gone")
    result = run("rank", "a", tmp_path / "*.jsonl", "--model", model)
    assert result.exit_code == 2
    assert "failed: document 0 (l.jsonl): " in result.stderr
    assert "l.jsonl: No such file" in result.stderr


def test_a_file_of_bad_lines_only(model: Path, tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text("nonsense\n")
    result = run("rank", "a", tmp_path / "l.jsonl", "--model", model)
    assert result.exit_code == 2
    assert "0 of 0 ranked documents" in result.stdout
    assert "failed: document 0 (l.jsonl:1): " in result.stderr


def test_a_sentence_where_a_source_should_be(model: Path) -> None:
    assert "nothing found for" in failure("rank", "a", "a long question " * 40, "--model", model)


def test_debug_shows_the_traceback_and_the_same_code(model: Path) -> None:
    result = run("--debug", "rank", "a", "nowhere", "--model", model)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "error: nothing found" in result.stderr


def test_an_error_is_not_read_as_markup(model: Path) -> None:
    assert "'[red]no[/red]'" in failure("rank", "a", "[red]no[/red]", "--model", model)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_exit_130(tmp_path: Path, number: signal.Signals) -> None:
    command = [*PROGRAM, "demo", "--out", str(tmp_path / "demo"), "--count", "2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "demo" / "pictures").is_dir() and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors


def test_a_benchmark_that_is_ended_leaves_no_checkpoint_behind(tmp_path: Path) -> None:
    command = [*PROGRAM, "bench", "engine", "--size", "tiny", "--out", str(tmp_path / "out.json")]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=os.environ | {"TMPDIR": str(scratch)}
    ) as process:
        while not any(scratch.rglob("*.safetensors")) and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert list(scratch.iterdir()) == []


def test_profiles_are_listed_with_what_they_fit() -> None:
    result = run("profile", "show")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("mini-2b")]
    assert "16" in line.split()
    assert "8 to 16" in line
    assert "28 layers" in line
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("dense ")]
    assert "any model" in line


def test_every_field_of_a_profile_is_shown() -> None:
    from minireranker.configs import available_profiles

    result = run("profile", "show", "mini-4b")
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.splitlines() if line[:1].strip()]
    profile = available_profiles()["mini-4b"]
    inner = ("template", "limits")
    wanted = [n for n in profile.__dataclass_fields__ if n not in inner]
    wanted += [f"{s}.{n}" for s in inner for n in getattr(profile, s).__dataclass_fields__]
    assert set(wanted) <= set(names)
    assert "[8, 21)" in result.stdout


def test_a_family_of_profiles_needs_a_model(model: Path) -> None:
    assert "mini-2b, mini-4b, mini-8b" in failure("profile", "show", "mini")
    result = run("profile", "show", "mini", "--model", model)
    assert result.exit_code == 0, result.output
    assert "fits" in result.stdout


def test_a_profile_is_checked_against_a_model(model: Path, tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("exit_layer = 40\n")
    path = tmp_path / "deep.toml"
    assert run("profile", "show", path).exit_code == 0
    line = failure("profile", "show", path, "--model", model)
    assert "exit_layer = 40: allowed is 1 to 7" in line
    listed = run("profile", "show", "--model", model)
    assert listed.exit_code == 0
    verdicts = {line.split()[0]: line for line in listed.stdout.splitlines()[1:] if line.strip()}
    assert "yes" in verdicts["mini"]
    assert "no" in verdicts["mini-2b"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "minireranker.cli", "profile", "show", "dense"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_one_reason_is_not_told_a_hundred_times(capsys: pytest.CaptureFixture[str]) -> None:
    from minireranker.commands.failures import show_failures

    same = [(f"failed: document {at}", "no importances") for at in range(24)]
    show_failures([*same, ("failed: document 24 (x.png)", "damaged")])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [f"failed: document {at}: no importances" for at in range(3)]
    assert lines[3:] == [
        "failed: document 24 (x.png): damaged",
        "failed: 21 documents more for the same reason: no importances",
    ]
