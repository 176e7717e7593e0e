"""deploy/ and the Dockerfile's services: their options, ports, paths and metrics are those that the server has.

Neither Docker nor Kubernetes is needed: what they would run is compared with a real server, and run on a file system
that can only be read.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from waveglow.cli import serve

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
KUBERNETES = {d["kind"]: d for d in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
IMAGES = ("serve", "serve-cuda")
COMMAND = (sys.executable, "-m", "waveglow.cli.main", "serve")


def options(arguments: list[str]) -> argparse.Namespace:
    """What the entrypoint of an image and `arguments` set; SystemExit where `waveglow serve` doesn't know them."""
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args([*instruction("serve", "ENTRYPOINT")[2:], *arguments])


def stage(image: str) -> list[str]:
    """The instructions of a stage of the Dockerfile."""
    text = DOCKERFILE.replace("\\\n", " ")
    return re.search(rf"^FROM \S+ AS {image}\n(.*?)(?=^FROM |\Z)", text, re.M | re.S)[1].splitlines()


def instruction(image: str, name: str) -> list[str]:
    """The words of the last one of a name, from its list in JSON where it has one."""
    (*_, last) = (line for line in stage(image) if line.startswith(name + " "))
    listed = re.search(r"\[.*\]", last)
    return yaml.safe_load(listed[0]) if listed else last.split()[1:]


@pytest.fixture(scope="module")
def watched(tmp_path_factory, tiny, serving):
    """A server, and what it gives at its port of metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(tmp_path_factory.mktemp("metrics"), "-c", str(tiny), "--metrics-port", str(port)) as running:
        assert running.client.get("/metrics").status_code == 404
        yield running, httpx.get(f"http://127.0.0.1:{port}/metrics").text


@pytest.fixture(scope="module")
def exported(watched) -> set[str]:
    """The names of its metrics in all their forms."""
    forms = {"histogram": ("_bucket", "_count", "_sum")}
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", watched[1], re.M))
    return {name + form for name, kind in kinds.items() for form in forms.get(kind, ("",))}


# ---- The images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", IMAGES)
def test_a_service_runs_as_a_user_with_the_extras_it_needs(image):
    (user,) = instruction(image, "USER")
    assert int(user) > 0
    assert re.search(r"\[hub,serve\]", "".join(stage(image)))
    assert instruction(image, "ENTRYPOINT")[:2] == ["waveglow", "serve"]
    (port,) = instruction(image, "EXPOSE")
    assert options([]).port == int(port)
    assert options([]).host == "0.0.0.0"


@pytest.mark.parametrize("image", IMAGES)
def test_the_health_check_tells_a_ready_server_from_none(image, watched):
    command = instruction(image, "HEALTHCHECK")
    asked = [word.replace("127.0.0.1:8000", f"127.0.0.1:{watched[0].port}") for word in command]
    assert asked != command
    assert subprocess.run(asked, timeout=20, capture_output=True).returncode == 0
    nobody = [word.replace("127.0.0.1:8000", "127.0.0.1:1") for word in command]
    assert subprocess.run(nobody, timeout=20, capture_output=True).returncode != 0


@pytest.mark.slow
def test_it_serves_from_a_file_system_that_can_only_be_read(tmp_path, tiny, wav, serving):
    """Everything but the loopback's and memory's file systems, as `read_only` of a container makes it."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody have mounts of their own (unshare -rm)")
    script = 'mount --make-rprivate / && mount -o remount,bind,ro / && ! touch "$0" 2>&- && exec "$@"'
    command = ("unshare", "-rm", "bash", "-c", script, str(tmp_path / "x"), *COMMAND)
    with serving(tmp_path, "-c", str(tiny), command=command, HOME="/nonexistent") as running:
        assert running.post("/v1/resynthesize", wav, "audio/wav").status_code == 200
    assert not (tmp_path / "x").exists()


# ---- Compose and Prometheus ------------------------------------------------------------------------------------------


def test_compose_starts_the_service_with_options_that_it_has():
    service = COMPOSE["waveglow"]
    given = options(service["command"])
    assert service["build"]["target"] in IMAGES
    assert service["ports"] == [f"127.0.0.1:{given.port}:{given.port}"]
    assert serve.TOKEN in service["environment"]
    assert int(service["stop_grace_period"].rstrip("s")) > given.drain
    (scraped,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"waveglow:{given.metrics_port}"]}]
    assert given.allow_host == ["waveglow"]


@pytest.mark.parametrize("name", COMPOSE)
def test_containers_have_no_more_rights_than_they_need(name):
    service = COMPOSE[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert ":latest" not in service["image"]


def test_what_is_mounted_into_prometheus_is_there():
    mounted = [volume.split(":")[0] for volume in COMPOSE["prometheus"]["volumes"] if volume.startswith(".")]
    assert sorted(path.name for path in map(DEPLOY.joinpath, mounted) if path.is_file()) == [
        "alerts.yml",
        "prometheus.yml",
    ]
    assert yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["rule_files"] == ["alerts.yml"]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_and_labels_that_are_exported(rule, exported, watched):
    asked = set(re.findall(r"\b(?:waveglow|process)_\w+", rule["expr"]))
    assert asked or rule["expr"].startswith("up")
    assert asked <= exported
    labels = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!|=~)", rule["expr"])) - {"job"}
    assert labels <= set(re.findall(r'[{,](\w+)="', watched[1]))
    assert rule["labels"]["severity"] in ("page", "warn")
    assert rule["annotations"]["summary"]
    assert rule["expr"].count("(") == rule["expr"].count(")")


# ---- Kubernetes ------------------------------------------------------------------------------------------------------


def test_the_pod_may_do_nothing_but_serve():
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] == int(*instruction("serve", "USER"))
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= CONTAINER["resources"]["requests"].keys()
    assert "memory" in CONTAINER["resources"]["limits"]
    assert not CONTAINER["image"].endswith(":latest")
    assert ":" in CONTAINER["image"]


def test_the_pod_starts_it_with_options_that_it_has_and_gives_it_time_to_end():
    given = options(CONTAINER["args"])
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"http": given.port, "metrics": given.metrics_port}
    assert given.threads == int(CONTAINER["resources"]["requests"]["cpu"])
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > before + given.drain
    annotations = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(given.metrics_port)
    assert [env["name"] for env in CONTAINER["env"]] == [serve.TOKEN]
    (cache,) = CONTAINER["volumeMounts"]
    assert f"HF_HOME={cache['mountPath']}" in instruction("serve", "ENV")


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_for_what_the_server_answers(probe, watched):
    asked = CONTAINER[probe]["httpGet"]
    assert asked["port"] in {port["name"] for port in CONTAINER["ports"]}
    assert watched[0].client.get(asked["path"]).status_code == 200
    assert asked["path"].endswith("/live") == (probe == "livenessProbe")


def test_service_budget_and_autoscaler_mean_the_deployment(exported):
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    name = KUBERNETES["Deployment"]["metadata"]["name"]
    assert KUBERNETES["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
    assert KUBERNETES["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    assert KUBERNETES["Service"]["metadata"]["name"] in options(CONTAINER["args"]).allow_host
    assert KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaler = KUBERNETES["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"]) == ("Deployment", name)
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] == "waveglow_queue_length"
    assert metric["pods"]["metric"]["name"] in exported
    assert 1 <= int(metric["pods"]["target"]["averageValue"]) < options(CONTAINER["args"]).queue
    assert KUBERNETES["PodDisruptionBudget"]["spec"]["minAvailable"] < scaler["minReplicas"] < scaler["maxReplicas"]
