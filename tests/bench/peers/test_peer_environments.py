"""An environment is there once its install was finished, and as long as its lists are the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from minireranker.bench.peers import PeerError, PeerProcess, available
from minireranker.bench.peers.environment import Environment, environments
from minireranker.bench.peers.install import install


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's only source of packages: a folder with two of a few bytes, one wanting the other."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, wants in (("bigone", "Requires-Dist: extraone\n"), ("extraone", "")):
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{wants}"
            )
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_an_environment_from_nothing_to_out_of_date(shop: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    wanted, unwanted = lists / "vllm.txt", lists / "vllm-unwanted.txt"
    wanted.write_text("missingone\n", encoding="utf-8")
    home, said = Environment("vllm", tmp_path / "homes", lists), list[str]()
    assert home.fault == "absent: run `minireranker bench peers install vllm`"

    with pytest.raises(PeerError, match=r"vllm could not be installed(?s:.*)missingone"):
        install(home, said.append)
    assert home.fault is not None
    assert home.fault.startswith("absent")

    wanted.write_text("bigone\n", encoding="utf-8")
    unwanted.write_text("extraone\n", encoding="utf-8")
    install(home, said.append)
    assert home.fault is None
    assert "bigone==1.0" in home.receipt.read_text(encoding="utf-8")
    assert "extraone" not in home.receipt.read_text(encoding="utf-8")
    assert any("Installing collected packages" in line for line in said)
    said.clear()
    install(home, said.append)
    assert said == [f"vllm: is installed in {home.path}"]

    unwanted.write_text("", encoding="utf-8")
    assert home.fault == "out of date: run `minireranker bench peers install vllm`"
    home.python.unlink()
    assert home.fault is not None


def test_a_finished_environment_runs_its_own_program(tmp_path: Path) -> None:
    home = Environment("transformers", tmp_path)
    assert not available(tmp_path)["transformers"].in_venv
    home.python.parent.mkdir(parents=True)
    home.python.symlink_to("/bin/sh")
    digests = str(home.digests()).replace("'", '"')
    home.receipt.write_text(f'{{"lists": {digests}}}', encoding="utf-8")
    spec = available(tmp_path)["transformers"]
    assert (spec.in_venv, spec.python, spec.absence) == (True, home.python, None)
    assert spec.arguments[0] == "-I"

    def load(peer: PeerProcess) -> None:
        peer.load(tmp_path, "float32", "cpu", 1, ["pairs"])
        peer.loaded()

    with PeerProcess(spec) as peer, pytest.raises(PeerError, match="ended during load"):
        load(peer)


def test_every_peer_has_its_lists_and_says_what_it_must_equal(tmp_path: Path) -> None:
    found = available(tmp_path)
    assert list(found) == ["transformers", "sentence-transformers", "vllm"]
    for name, spec in found.items():
        assert spec.name == name
        assert "==" in spec.requirements.read_text(encoding="utf-8")
        assert set(spec.methods.values()) <= {"dense", "dense-query-first"}
        assert (spec.absence is None) == (name == "transformers")
        assert not spec.in_venv
    assert list(tmp_path.iterdir()) == []


def test_they_lie_in_the_build_folder() -> None:
    assert environments().parts[-2:] == ("build", "peers")
