"""The values for Airflow's Helm chart, as text. k8s/README.md says what Helm itself was asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VALUES = yaml.safe_load((ROOT / "k8s" / "values.yaml").read_text(encoding="utf-8"))
README = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
POLICIES = list(yaml.safe_load_all((ROOT / "k8s" / "network.yaml").read_text(encoding="utf-8")))

#: Of the chart's first level, which its schema does not check.
CHARTS = {
    "airflowHome", "airflowLocalSettings", "airflowVersion", "apiSecretKeySecretName", "apiServer", "config",
    "createUserJob", "dagProcessor", "data", "env", "executor", "fernetKeySecretName", "gid", "images", "jwtSecretName",
    "logs", "networkPolicies", "postgresql", "redis", "scheduler", "secret", "securityContexts", "statsd", "triggerer",
    "uid", "volumeMounts", "volumes", "workers",
}  # fmt: skip


def _named(what: object) -> set[str]:
    """Names of the secrets, claims and config maps that stand anywhere in the values."""
    if isinstance(what, dict):
        mine = {v for k, v in what.items() if isinstance(v, str) and re.search(r"(?i)secretName$|claim(Name)?$", k)}
        if isinstance(what.get("configMap"), dict):
            mine.add(what["configMap"]["name"])
        return mine.union(*map(_named, what.values()))
    return set().union(*map(_named, what)) if isinstance(what, list) else set()


def test_the_values_are_keys_of_the_chart():
    assert set(VALUES) == CHARTS


def test_every_secret_claim_and_config_map_is_made_beforehand_and_none_stands_here():
    assert _named(VALUES) == set(re.findall(r"`(gtr-[a-z-]+)`", README.split("Made beforehand")[1].split("\n* ")[0]))
    assert not re.search(r"(?i)://[^/\s]+:[^/\s]+@|password:", (ROOT / "k8s" / "values.yaml").read_text())
    assert {"fernetKey", "jwtSecret", "apiSecretKey"} & set(VALUES) == set()


def test_no_pod_has_rights_that_it_does_not_need():
    pod, container = VALUES["securityContexts"]["pod"], VALUES["securityContexts"]["containers"]

    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == VALUES["uid"] == 10001  # the image's
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_pods_use_the_charts_settings_and_not_those_of_the_image():
    image = dict(re.findall(r"(?m)^(?:ENV|   ) (\w+)=(\S+)", (ROOT / "docker" / "Dockerfile").read_text()))
    told = {one["name"]: one["value"] for one in VALUES["env"]}

    assert "AIRFLOW_CONFIG" in image
    assert told["AIRFLOW_CONFIG"] == f"{VALUES['airflowHome']}/airflow.cfg"


def test_what_only_airflows_own_image_has_is_not_run():
    for name in ("scheduler", "dagProcessor", "triggerer"):
        assert VALUES[name]["logGroomerSidecar"] == {"enabled": False}


def test_a_task_speaks_to_the_api_server_over_tls_only():
    told = {one["name"] for one in VALUES["env"]}

    assert VALUES["config"]["core"]["execution_api_server_url"].startswith("https://")
    assert "AIRFLOW__API__SSL_CERT" in told
    assert "AIRFLOW__API__SSL_KEY" not in told
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert VALUES["apiServer"][probe] == {"scheme": "HTTPS"}


@pytest.mark.parametrize(("queue", "limits"), [("gpu", {"cpu": "2", "nvidia.com/gpu": "1"}), ("cpu", {"cpu": "2"})])
def test_a_task_of_the_queue_gpu_gets_a_card_and_no_other(queue, limits):
    """The arguments are those that Airflow's executor gives the pod: the workload as JSON is the last."""
    names: dict = {}
    exec(VALUES["airflowLocalSettings"], names)
    base = SimpleNamespace(
        name="base",
        args=["python", "-m", "x", "--json-string", json.dumps({"ti": {"queue": queue}})],
        resources=SimpleNamespace(limits={"cpu": "2"}),
    )
    pod = SimpleNamespace(spec=SimpleNamespace(containers=[base], node_selector=None))

    names["pod_mutation_hook"](pod)

    assert base.resources.limits == limits
    assert pod.spec.node_selector == ({"nvidia.com/gpu.present": "true"} if queue == "gpu" else None)


def test_the_queue_stands_in_the_workload_that_a_pod_is_given():
    from airflow.executors.workloads import ExecuteTask

    assert "queue" in ExecuteTask.model_fields["ti"].annotation.model_fields


def test_the_namespace_is_closed_and_opened_by_name():
    first, *others = [one["spec"] for one in POLICIES]

    assert first == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(one["policyTypes"] == ["Egress"] for one in others)
    assert all(rule["to"] and rule["ports"] for one in others for rule in one["egress"])
    assert VALUES["networkPolicies"] == {"enabled": True}
