"""`minireranker cache`: looking at a folder, mending, pruning, pinning, dropping, moving it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from minireranker.cache import Catalog, ContentRow, DocumentRow, FeatureEntry, Namespace
from minireranker.cache.disk import DiskCache
from minireranker.cli import app
from minireranker.commands.quantities import shown_bytes

LARGE = Namespace({"weights": "one"}, "", "a model, mini \x1b[31m[bold]")
SMALL = Namespace({"weights": "two"}, "guest", "a model, dense")

PIXELS = '{"visual": true, "content": null}'


def keys(namespace: Namespace, count: int) -> list[str]:
    return [namespace.key({"document": number}) for number in range(count)]


def fill(cache: DiskCache, namespace: Namespace, count: int, created: float) -> None:
    cache.register(namespace)
    catalog = Catalog(cache.database, namespace.name)
    for number, key in enumerate(keys(namespace, count)):
        entry = FeatureEntry(torch.full((100, number + 1), float(number)), ())
        assert cache.put(key, entry, created + number)
        catalog.add({f"{number}.png": DocumentRow(f"{number:064x}", PIXELS)})
        catalog.add_contents([ContentRow(f"{number:064x}", True, ("00", key))])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "cache"
    with DiskCache(path, max_bytes=10**6) as cache:
        fill(cache, LARGE, 6, time.time() - 100 * 86_400)
        fill(cache, SMALL, 3, time.time() - 100)
    return path


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """Six old entries and three new ones."""
    return shutil.copytree(filled, tmp_path / "cache")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cache", *map(str, arguments)])


def output(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def failure(*arguments: object) -> str:
    """The one line on stderr of a call that fails as the caller's mistake."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def info(folder: Path) -> dict[str, Any]:
    return json.loads(output("info", folder, "--json"))


def held(folder: Path) -> set[str]:
    with DiskCache(folder) as cache:
        return {entry.key for entry in cache.entries()}


def test_what_is_in_a_folder(folder: Path) -> None:
    found = info(folder)
    large, small = found["namespaces"]
    assert (found["path"], found["read_only"]) == (str(folder), False)
    assert (found["max_bytes"], found["entries"], found["documents"]) == (10**6, 9, 9)
    assert found["bytes"] == sum(p.stat().st_size for p in folder.rglob("*.safetensors"))
    assert found["bytes"] == large["bytes"] + small["bytes"]
    assert found["free_bytes"] > 0
    assert (large["name"], large["entries"], large["documents"]) == (LARGE.name, 6, 6)
    assert (small["tenant"], small["label"]) == ("guest", "a model, dense")
    assert large["share"] == pytest.approx(large["bytes"] / found["bytes"])


def test_the_tables_for_people(folder: Path) -> None:
    text = output("info", folder)
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert "of 1.00 MB" in rows["used"]
    assert "9, of which 0 pinned" in rows["entries"]
    assert rows["namespace"].split()[:3] == ["namespace", "label", "tenant"]
    share = info(folder)["namespaces"][0]["share"]
    assert f"{100 * share:.1f} %" in rows[LARGE.name[:12]]
    assert "guest" in rows[SMALL.name[:12]]
    assert "\x1b" not in text, "a label does not steer the terminal"


def test_the_folder_may_be_an_argument_an_option_or_in_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(output("info", "--cache", folder, "--json"))["entries"] == 9
    assert "name one folder" in failure("info", folder, "--cache", tmp_path)
    monkeypatch.setenv("MINIRERANKER_CACHE", str(folder))
    assert json.loads(output("info", "--json"))["entries"] == 9
    monkeypatch.delenv("MINIRERANKER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder.rename(tmp_path / "minireranker")
    assert json.loads(output("info", "--json"))["entries"] == 9
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"{tmp_path}/.cache/minireranker is not there" in failure("info")


@pytest.mark.parametrize(
    "command",
    [["info"], ["verify"], ["prune", "--all"], ["drop", "a"], ["pin", "k"], ["export", "o.tar"]],
)
def test_looking_makes_nothing(command: list[str], tmp_path: Path) -> None:
    assert "is not there" in failure(*command, "--cache", tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is no cache" in failure(*command, "--cache", empty)
    (tmp_path / "file").touch()
    assert "is not a folder" in failure(*command, "--cache", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]


def test_a_sound_folder(folder: Path) -> None:
    assert output("verify", folder).startswith("9 entries read")
    found = json.loads(output("verify", folder, "--json"))
    assert (found["checked"], found["problems"], found["repaired"]) == (9, 0, True)


def damage(folder: Path) -> str:
    key = keys(LARGE, 1)[0]
    (path,) = folder.rglob(f"{key}*")
    path.write_bytes(path.read_bytes()[:-1])
    (lost,) = folder.rglob(f"{keys(LARGE, 2)[1]}*")
    lost.unlink()
    (folder / "entries" / "stranger\x1b.txt").write_text("?")
    return key


def test_problems_are_named_with_what_was_done(folder: Path) -> None:
    key = damage(folder)
    result = run("verify", folder)
    assert result.exit_code == 1
    text = result.stdout
    assert "3 problems" in text
    assert f"{key}: damaged entry, removed" in text
    assert "entries/stranger\N{REPLACEMENT CHARACTER}.txt: not of this cache" in text
    assert "1 entry in the index without a file; removed" in text
    assert held(folder) == {*keys(LARGE, 6)[2:], *keys(SMALL, 3)}
    (folder / "entries" / "stranger\x1b.txt").unlink()
    assert "0 problems" in output("verify", folder)


def test_problems_may_only_be_looked_for(folder: Path) -> None:
    key = damage(folder)
    for _ in range(2):
        result = run("verify", folder, "--no-repair", "--json")
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert (found["corrupt"], found["lost_rows"], found["repaired"]) == ([key], 1, False)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--all"], []),
        (["--older-than", "30d"], keys(SMALL, 3)),
        (["--older-than", "1w", "--max-bytes", "1GB"], keys(SMALL, 3)),
        (["--max-bytes", "1GB"], [*keys(LARGE, 6), *keys(SMALL, 3)]),
    ],
)
def test_pruning(options: list[str], left: list[str], folder: Path) -> None:
    count = 9 - len(left)
    planned = output("prune", folder, *options, "--dry-run")
    assert planned.startswith(f"{count} of 9 entries, ")
    assert len(held(folder)) == 9
    text = output("prune", folder, *options)
    assert text.startswith(planned.strip() + "; removing them")
    assert f"removed {count} entries" in text
    assert held(folder) == set(left)


def test_pruning_to_a_size_takes_the_least_recently_used(folder: Path) -> None:
    before, large = info(folder)["bytes"], keys(LARGE, 6)
    with DiskCache(folder) as cache:
        sizes = {entry.key: entry.bytes for entry in cache.entries()}
        assert cache.get(large[0], FeatureEntry)
        cache.pin([large[1]])
    limit = before - sum(sizes[key] for key in large[2:5])
    text = output("prune", folder, "--max-bytes", limit)
    assert text.startswith(f"3 of 9 entries, {shown_bytes(before - limit)} of ")
    assert "1 pinned stay" in text
    assert held(folder) == sizes.keys() - set(large[2:5])


@pytest.mark.parametrize(
    "options", [[], ["--all", "--max-bytes", "1GB"], ["--all", "--older-than", "1d"]]
)
def test_pruning_has_to_be_told_what(options: list[str], folder: Path) -> None:
    assert "--older-than TIME" in failure("prune", folder, *options)
    assert "--max-bytes '3 apples'" in failure("prune", folder, "--max-bytes", "3 apples")
    assert len(held(folder)) == 9


def test_dropping_by_the_beginning_of_a_name(folder: Path) -> None:
    text = output("drop", LARGE.name[:6], "--cache", folder)
    assert f"dropped {LARGE.name}: 6 entries" in text
    assert "\x1b" not in text
    found = info(folder)
    assert [space["name"] for space in found["namespaces"]] == [SMALL.name]
    assert found["documents"] == 3


def test_dropping_all_but_some(folder: Path) -> None:
    output("drop", "--keep", SMALL.name, "--cache", folder)
    assert held(folder) == set(keys(SMALL, 3))
    assert "nothing to drop" in output("drop", "--keep", SMALL.name, "--cache", folder)


def test_what_does_not_say_which_namespace(folder: Path) -> None:
    with DiskCache(folder) as cache:
        digit = SMALL.name[0]
        twins = (Namespace({"weights": str(n)}) for n in range(1000))
        twin = next(found for found in twins if found.name[0] == digit)
        cache.register(twin)
    assert "2 namespaces begin" in failure("drop", digit, "--cache", folder)
    assert "no namespace begins with 'z'" in failure("drop", "z", "--cache", folder)
    assert "no namespace begins with ''" in failure("drop", "", "--cache", folder)
    assert "no namespace begins with 'z'" in failure("drop", "--keep", "z", "--cache", folder)
    assert "name namespaces to drop" in failure("drop", "--cache", folder)
    assert "name namespaces" in failure("drop", "a", "--keep", "b", "--cache", folder)
    assert len(held(folder)) == 9


def manifest(path: Path, *rows: object) -> Path:
    first = {"format": "minireranker manifest", "version": 1}
    path.write_text("".join(json.dumps(row) + "\n" for row in (first, *rows)))
    return path


def test_pinning_and_unpinning(folder: Path, tmp_path: Path) -> None:
    here, gone = keys(LARGE, 2)[1], LARGE.key({"document": "gone"})
    assert "pinned 3 entries" in output("pin", "--namespace", SMALL.name[:8], "--cache", folder)
    assert info(folder)["pinned"] == 3
    assert "pinned 1 entry; 1 not there" in output("pin", here, gone, "--cache", folder)
    assert info(folder)["pinned"] == 4
    listed = manifest(
        tmp_path / "m.jsonl", {"id": "a", "key": here}, {"id": "b", "key": here}, {"id": "c"}
    )
    assert "unpinned 1 entry" in output("unpin", "--manifest", listed, "--cache", folder)
    assert info(folder)["pinned"] == 3
    output("prune", folder, "--all")
    assert held(folder) == set(keys(SMALL, 3))


def test_pinning_has_to_be_told_what(folder: Path, tmp_path: Path) -> None:
    key = keys(LARGE, 1)[0]
    assert "give one of" in failure("pin", "--cache", folder)
    assert "give one of" in failure("pin", key, "--namespace", "a", "--cache", folder)
    gone = LARGE.key({"document": "gone"})
    assert "none of the 1 entry" in failure("unpin", gone, "--cache", folder)
    assert "is no key" in failure("pin", "nonsense", "--cache", folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"format": "other"}\n', "line 1: not a line of a manifest"),
        ("nonsense\n", "line 1: not a line of a manifest"),
        ('{"format": "minireranker manifest"}\n[]\n', "line 2: not a line"),
        ('{"format": "minireranker manifest"}\n{"key": "../x"}\n', "line 2: no key"),
        ('{"format": "minireranker manifest"}\n{"key": 7}\n', "line 2: no key"),
        ('{"format": "minireranker manifest"}\n', "names no entry"),
        ("", "names no entry"),
    ],
)
def test_what_is_no_manifest(text: str, reason: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m").write_text(text)
    assert reason in failure("pin", "--manifest", tmp_path / "m", "--cache", folder)
    assert reason in failure(
        "export", tmp_path / "o", "--manifest", tmp_path / "m", "--cache", folder
    )
    assert "No such file" in failure("pin", "--manifest", tmp_path / "none", "--cache", folder)
    assert not (tmp_path / "o").exists()


def test_export_and_import(folder: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "all.tar", tmp_path / "other"
    assert "9 entries" in output("export", out, "--cache", folder)
    assert "exists; name another file, or add --force" in failure("export", out, "--cache", folder)
    told = json.loads(
        output("export", out, "--force", "--namespace", SMALL.name[:9], "--cache", folder, "--json")
    )
    assert (told["path"], told["entries"], told["gone"]) == (str(out), 3, 0)
    text = output("import", out, "--cache", other, "--disk-bytes", "2MB")
    assert text.startswith("imported 3 entries, ")
    assert "3 documents not known before" in text
    assert (held(other), info(other)["max_bytes"]) == (set(keys(SMALL, 3)), 2 * 10**6)
    told = json.loads(output("import", out, "--cache", other, "--json"))
    assert (told["entries"], told["present"], told["refused"]) == (0, 3, 0)


def test_exporting_what_a_manifest_names(folder: Path, tmp_path: Path) -> None:
    here, gone = keys(LARGE, 1)[0], LARGE.key({"document": "gone"})
    listed = manifest(tmp_path / "m", {"key": here}, {"key": gone})
    text = output("export", tmp_path / "o.tar", "--manifest", listed, "--cache", folder)
    assert "1 entry" in text
    assert "1 not there" in text
    both = ("--manifest", listed, "--namespace", "a")
    assert "give one of them" in failure("export", tmp_path / "p.tar", *both, "--cache", folder)
    listed = manifest(tmp_path / "none", {"key": gone})
    line = failure("export", tmp_path / "q.tar", "--manifest", listed, "--cache", folder)
    assert "has none of the 1 entry" in line
    assert not (tmp_path / "q.tar").exists()


def test_an_archive_that_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = failure("export", tmp_path, "--force", "--cache", folder)
    assert "is a folder; name the file" in line

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    line = failure("export", tmp_path / "o.tar", "--cache", folder)
    assert "o.tar cannot be written: No space left on device" in line
    assert not list(tmp_path.glob("*o.tar*"))


def test_an_import_of_nothing_makes_nothing(folder: Path, tmp_path: Path) -> None:
    line = failure("import", tmp_path / "none.tar", "--cache", tmp_path / "new")
    assert "none.tar is not there" in line
    assert not (tmp_path / "new").exists()
    (tmp_path / "x.tar").write_bytes(b"no archive at all")
    assert "without an end mark" in failure("import", tmp_path / "x.tar", "--cache", folder)


def test_an_import_of_nonsense_says_what_was_refused(folder: Path, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "evil\x1b.txt").write_text("x")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "evil\x1b.txt", "../evil\x1b.txt")
    result = run("import", tmp_path / "x.tar", "--cache", folder)
    assert result.exit_code == 2
    assert "1 member or line refused" in result.stdout
    assert "refused: ../evil\N{REPLACEMENT CHARACTER}.txt: not a name" in result.stdout
    assert not (tmp_path.parent / "evil\x1b.txt").exists()


def test_an_archive_larger_than_the_folder(folder: Path, tmp_path: Path) -> None:
    output("export", tmp_path / "o.tar", "--cache", folder)
    small = ("--cache", tmp_path / "small", "--disk-bytes", "1kB")
    assert "may hold 1000" in failure("import", tmp_path / "o.tar", *small)


def test_a_folder_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "tmp")
    (folder / "tmp").touch()  # where entries are written first: also root cannot write below it
    assert info(folder)["read_only"]
    assert info(folder)["entries"] == 9
    assert "(read-only)" in output("info", folder)
    output("export", tmp_path / "o.tar", "--cache", folder)
    for command in (["prune", "--all"], ["drop", LARGE.name], ["pin", keys(LARGE, 1)[0]]):
        assert "can only be read" in failure(*command, "--cache", folder)
    assert "cannot be written" in failure("import", tmp_path / "o.tar", "--cache", folder)
    assert info(folder)["entries"] == 9


def test_help_imports_nothing_heavy() -> None:
    commands = ["info", "verify", "prune", "drop", "pin", "unpin", "export", "import"]
    code = (
        "import sys\nfrom minireranker.cli import app\n"
        f"for words in [['index'], ['rank'], *(['cache', name] for name in {commands})]:\n"
        "    try:\n        app([*words, '--help'])\n"
        "    except SystemExit as end:\n        assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Take over entries" in done.stdout
