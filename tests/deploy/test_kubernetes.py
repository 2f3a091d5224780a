"""deploy/kubernetes: settings, ports, probes, times and sizes fit each other and the image."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from minireranker.serve.config import ServeConfig
from minireranker.serve.config_sources import PREFIX, settle

SIZES = {"Gi": 2**30, "Mi": 2**20}
LAST_WORDS = 5
"""Seconds that ending takes beside grace_seconds."""
FROM_INSIDE = {"startupProbe", "readinessProbe", "livenessProbe"}

RETRIEVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: retriever}
spec:
  selector: {matchLabels: {app: retriever}}
  template:
    metadata: {labels: {app: retriever}}
    spec:
      containers: [{name: retriever, image: retriever}]
      initContainers: [{name: migrate, image: retriever}]
      volumes: [{name: own, emptyDir: {}}]
"""
OVERLAY = """
resources: [retriever.yaml]
patches: [{path: sidecar-patch.yaml, target: {kind: Deployment, name: retriever}}]
configMapGenerator: [{name: minireranker, files: [minireranker.toml]}]
"""


def _bytes(size: str) -> int:
    return int(size[:-2]) * SIZES[size[-2:]]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy" / "kubernetes"


@pytest.fixture(scope="module")
def kustomization(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def resources(folder: Path, kustomization: dict[str, Any]) -> dict[str, Any]:
    """By kind."""
    texts = [(folder / name).read_text(encoding="utf-8") for name in kustomization["resources"]]
    return {one["kind"]: one for one in map(yaml.safe_load, texts)}


@pytest.fixture(scope="module")
def pod(resources: dict[str, Any]) -> dict[str, Any]:
    return dict(resources["Deployment"]["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def patch(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "sidecar-patch.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def sidecar(patch: dict[str, Any]) -> dict[str, Any]:
    """The pod as patched."""
    return dict(patch["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def settings(folder: Path, pod: dict[str, Any], stages: dict[str, Any]) -> ServeConfig:
    """What the server is told: by the file, above it by the image and the container."""
    said = _said(pod["containers"][0], stages)
    file = said.pop(f"{PREFIX}CONFIG")
    assert PurePosixPath(file).name == "minireranker.toml"
    return settle(folder / "minireranker.toml", said).config


def _said(container: dict[str, Any], stages: dict[str, Any]) -> dict[str, str]:
    values = {one["name"]: one.get("value", "0123456789abcdef") for one in container["env"]}
    return {**stages["cpu"].variables, **values}


def test_every_file_is_named(folder: Path, kustomization: dict[str, Any]) -> None:
    generated = [file for one in kustomization["configMapGenerator"] for file in one["files"]]
    named = {*kustomization["resources"], *generated, "kustomization.yaml", "sidecar-patch.yaml"}
    assert named == {path.name for path in folder.iterdir()}


def test_labels_select_the_pod(resources: dict[str, Any]) -> None:
    labels = resources["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels
    for kind, key in (("Deployment", "selector"), ("PodDisruptionBudget", "selector")):
        assert resources[kind]["spec"][key]["matchLabels"] == labels
    assert resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert resources["Service"]["spec"]["selector"] == labels


def test_ports_are_those_it_listens_on(
    resources: dict[str, Any], pod: dict[str, Any], settings: ServeConfig
) -> None:
    ports = {one["name"]: one["containerPort"] for one in pod["containers"][0]["ports"]}
    assert ports == {"grpc": settings.grpc_port, "http": settings.http_port}
    service = resources["Service"]["spec"]["ports"]
    assert {one["targetPort"]: one["port"] for one in service} == ports
    for rule in resources["NetworkPolicy"]["spec"]["ingress"]:
        assert {one["port"] for one in rule["ports"]} <= set(ports)
    for name in FROM_INSIDE:
        assert pod["containers"][0][name]["httpGet"]["port"] == "http"


def test_it_is_reached_from_outside_its_container_or_asked_inside(
    settings: ServeConfig, sidecar: dict[str, Any], stages: dict[str, Any]
) -> None:
    assert settings.host == "0.0.0.0"
    (container,) = sidecar["initContainers"]
    assert _said(container, stages)[f"{PREFIX}HOST"] == "127.0.0.1"
    (check,) = stages["cpu"].all("HEALTHCHECK")
    for name in FROM_INSIDE:
        python, program, path = container[name]["exec"]["command"]
        assert f'"{python}", "{program}"' in check
        assert path == ("/health" if name == "livenessProbe" else "/ready")


def test_a_slow_start_is_waited_for_and_a_slow_answer_is_no_death(pod: dict[str, Any]) -> None:
    container = pod["containers"][0]
    start, alive = container["startupProbe"], container["livenessProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 600
    assert alive["periodSeconds"] * alive["failureThreshold"] >= 60
    paths = {name: container[name]["httpGet"]["path"] for name in FROM_INSIDE}
    assert paths["readinessProbe"] == paths["startupProbe"] == "/ready"
    assert paths["livenessProbe"] == "/health"


def test_it_is_ended_after_its_grace(
    pod: dict[str, Any], sidecar: dict[str, Any], settings: ServeConfig
) -> None:
    sleep, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    needed = float(seconds) + settings.grace_seconds + LAST_WORDS
    assert pod["terminationGracePeriodSeconds"] >= needed
    assert sidecar["terminationGracePeriodSeconds"] >= settings.grace_seconds + LAST_WORDS


def test_memory_and_disk_hold_the_budgets(
    resources: dict[str, Any], pod: dict[str, Any], sidecar: dict[str, Any], settings: ServeConfig
) -> None:
    bare = _bytes("1Gi")  # the process with the built-in model, and a round's work
    for container in (*pod["containers"], *sidecar["initContainers"]):
        limit = _bytes(container["resources"]["limits"]["memory"])
        assert limit >= bare + settings.memory_bytes + settings.queue_bytes + _bytes("512Mi")
    claim = resources["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"]
    (home,) = (one for one in sidecar["volumes"] if one["name"] == "minireranker-home")
    assert settings.disk_bytes is not None
    for size in (claim, home["emptyDir"]["sizeLimit"]):
        assert settings.disk_bytes < 0.9 * _bytes(size)


def test_one_pod_at_a_time_has_the_volume(resources: dict[str, Any]) -> None:
    spec = resources["Deployment"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert resources["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_it_can_write_where_it_has_to_and_nowhere_else(
    kind: str, pod: dict[str, Any], sidecar: dict[str, Any], stages: dict[str, Any]
) -> None:
    spec = pod if kind == "containers" else sidecar
    (container,) = spec[kind]
    rights = {**spec["securityContext"], **container["securityContext"]}
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    user = f"{rights['runAsUser']}:{rights['runAsGroup']}"
    assert [user] == stages["cpu"].all("USER")
    assert rights["fsGroup"] == rights["runAsGroup"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    writable = {path for path, one in mounts.items() if not one.get("readOnly")}
    assert writable == {*stages["cpu"].all("VOLUME"), "/tmp"}
    file = PurePosixPath(_said(container, stages)[f"{PREFIX}CONFIG"])
    assert mounts[str(file.parent)]["readOnly"] is True
    assert {one["name"] for one in mounts.values()} == {one["name"] for one in spec["volumes"]}


def test_claims_and_settings_are_those_there_are(
    resources: dict[str, Any],
    kustomization: dict[str, Any],
    pod: dict[str, Any],
    sidecar: dict[str, Any],
) -> None:
    (generated,) = kustomization["configMapGenerator"]
    volumes = [*pod["volumes"], *sidecar["volumes"]]
    assert {one["configMap"]["name"] for one in volumes if "configMap" in one} == {
        generated["name"]
    }
    asked = [one["persistentVolumeClaim"] for one in volumes if "persistentVolumeClaim" in one]
    claims = [one["claimName"] for one in asked]
    assert claims == [resources["PersistentVolumeClaim"]["metadata"]["name"]]


def test_the_image_is_tagged_as_it_is_built(
    kustomization: dict[str, Any], pod: dict[str, Any], sidecar: dict[str, Any], stages: Any
) -> None:
    (image,) = kustomization["images"]
    assert pod["containers"][0]["image"] == image["name"]
    assert image["newTag"] in stages
    assert sidecar["initContainers"][0]["image"] == f"{image['name']}:{image['newTag']}"


def test_the_patch_is_what_stands_above_it(folder: Path) -> None:
    """The comment that says how to apply it is a kustomization."""
    head = (folder / "sidecar-patch.yaml").read_text(encoding="utf-8").split("\n#\n")[1]
    shown = yaml.safe_load("\n".join(line.removeprefix("#") for line in head.splitlines()))
    own = yaml.safe_load(OVERLAY)
    assert {"resources": own["resources"], **shown} == own


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders what is applied")
def test_kubectl_renders_both(folder: Path, tmp_path: Path) -> None:
    def rendered(path: Path) -> dict[str, Any]:
        said = subprocess.run(
            ["kubectl", "kustomize", path], capture_output=True, text=True, check=True, timeout=300
        )
        return {one["kind"]: one for one in yaml.safe_load_all(said.stdout)}

    alone = rendered(folder)
    template = alone["Deployment"]["spec"]["template"]["spec"]
    assert template["containers"][0]["image"] == "minireranker:cpu"
    named = alone["ConfigMap"]["metadata"]["name"]
    assert {"name": named} in [one.get("configMap") for one in template["volumes"]]
    assert tomllib.loads(alone["ConfigMap"]["data"]["minireranker.toml"])["model"] == "builtin"

    for name in ("sidecar-patch.yaml", "minireranker.toml"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "retriever.yaml").write_text(RETRIEVER)
    (tmp_path / "kustomization.yaml").write_text(OVERLAY)
    beside = rendered(tmp_path)["Deployment"]["spec"]["template"]["spec"]
    assert [one["name"] for one in beside["containers"]] == ["retriever"]
    assert {one["name"] for one in beside["initContainers"]} == {"migrate", "minireranker"}
    assert {"own", "minireranker-home"} < {one["name"] for one in beside["volumes"]}
