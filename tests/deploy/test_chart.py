"""The Helm chart: what it renders is valid for Kubernetes, and the gateway runs with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from support import BINARY
from support import ROOT
from support import WORK
from support import Api
from support import Program
from support import eventually
from support import free_port
from support import status
from support import version

CHART = ROOT / "packaging/helm/high-templar"
MANIFESTS = ROOT / "packaging/kubernetes"
HELM = str(WORK / "helm")

# The oldest that the chart permits, as far as schemas are there, and the newest.
VERSIONS = ("1.25.0", "1.37.0")

ONE = {
    "replicas": 1,
    "backend": {"url": "http://site:8000/api/"},
    "secrets": {"existingSecret": "live"},
}
EVERYTHING = {
    **ONE,
    "replicas": 3,
    "toml": "[limits]\nconnections = 1234\n",
    "settings": {
        "rabbitmq.url": "amqp://rabbitmq:5672/",
        "limits.message_bytes": 65536,
        "origins.allow": ["https://www.example.com"],
        "status.clients": False,
    },
    "secrets": {"existingSecret": "live", "settings": ["internal.api_key", "resume.secret"]},
    "autoscaling": {"enabled": True},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "tls": [{"hosts": ["www.example.com"], "secretName": "tls"}],
        "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "360"},
    },
    "networkPolicy": {
        "enabled": True,
        "internalFrom": [{"podSelector": {"matchLabels": {"app": "site"}}}],
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "rules": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "live", "operator": "Exists"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "live"},
    "priorityClassName": "high",
    "listeners": {
        "public": {"service": {"type": "LoadBalancer", "annotations": {"c": "d"}}},
        "internal": {"service": {"annotations": {"e": "f"}}},
    },
}


class ChartTest(unittest.TestCase):
    """Renders with several sets of values."""

    def setUp(self) -> None:
        """A folder for files of values."""
        self.folder = Path(tempfile.mkdtemp(dir=WORK))
        self.addCleanup(shutil.rmtree, self.folder)

    def helm(self, command: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Runs a command of Helm for the chart."""
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        name = ["live"] if command == "template" else []
        arguments = [HELM, *command.split(), *name, str(CHART), "--values", str(file)]
        if command == "template":
            arguments += ["--namespace", "web"]
        return subprocess.run(arguments, capture_output=True, text=True)

    def rendered(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        """The resources that the chart makes."""
        done = self.helm("template", values)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [found for found in yaml.safe_load_all(done.stdout) if found]

    def test_the_chart_has_no_findings(self) -> None:
        """By Helm's own linter."""
        for values in (ONE, EVERYTHING):
            done = self.helm("lint --strict", values)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_chart_has_the_version_of_the_gateway(self) -> None:
        """Both its own and that of the image."""
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version(), version()))

    def test_resources_are_valid_for_kubernetes(self) -> None:
        """By its schemas; those of the Prometheus operator are not among them."""
        kinds: set[str] = set()
        for values in (ONE, EVERYTHING):
            for resource in self.rendered(values):
                if resource["apiVersion"].startswith("monitoring.coreos.com/"):
                    kinds.add(resource["kind"])
                    continue
                for version in VERSIONS:
                    kubernetes_validate.validate(resource, version, strict=True)
                kinds.add(resource["kind"])
        expected = (
            "ConfigMap Deployment HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget "
            "PrometheusRule Service ServiceAccount ServiceMonitor"
        )
        self.assertEqual(kinds, set(expected.split()))
        broken = self.rendered(ONE)[-1]
        broken["spec"]["nothing"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)

    def test_the_manifests_are_up_to_date(self) -> None:
        """What those apply who have no Helm."""
        done = subprocess.run(
            [str(MANIFESTS / "render")],
            env={"HELM": HELM, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        committed = (MANIFESTS / "high-templar.yaml").read_text()
        self.assertEqual(done.stdout, committed, "run packaging/kubernetes/render")

    def test_wrong_values_are_refused_with_a_sentence(self) -> None:
        """Before anything is installed."""
        several = {**ONE, "replicas": 2}
        for values, sentence in (
            ({}, "set backend.url"),
            ({**ONE, "secrets": {"existingSecret": ""}}, "kubectl create secret generic"),
            ({**ONE, "secrets": {"existingSecret": "live", "settings": []}}, "internal.api_key"),
            (several, "several nodes need a log"),
            ({**ONE, "autoscaling": {"enabled": True}}, "several nodes need a log"),
            ({**ONE, "drain": {"period": 20}}, "at most half of drain.timeout"),
            ({**ONE, "backend": {"url": "site:8000"}}, "backend"),
            ({**ONE, "replica": 2}, "replica"),
            ({**ONE, "settings": {"HT_LIMITS__CONNECTIONS": 1}}, "HT_LIMITS__CONNECTIONS"),
        ):
            done = self.helm("template", values)
            self.assertNotEqual(done.returncode, 0, values)
            self.assertIn(sentence, done.stderr, values)

    def test_rules_and_dashboard_are_those_of_the_folder_monitoring(self) -> None:
        """And parse as what they are."""
        resources = {resource["kind"]: resource for resource in self.rendered(EVERYTHING)}
        rules = yaml.safe_load((ROOT / "packaging/monitoring/alerts.yml").read_text())
        self.assertEqual(resources["PrometheusRule"]["spec"], rules)
        maps = [found for found in self.rendered(EVERYTHING) if found["kind"] == "ConfigMap"]
        [dashboard] = [found for found in maps if "high-templar.json" in found["data"]]
        text = (ROOT / "packaging/monitoring/dashboard.json").read_text()
        self.assertEqual(dashboard["data"]["high-templar.json"].strip(), text.strip())
        monitor = resources["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        matching = [
            found["metadata"]["name"]
            for found in self.rendered(EVERYTHING)
            if found["kind"] == "Service" and monitor.items() <= found["metadata"]["labels"].items()
        ]
        self.assertEqual(matching, ["live-high-templar-internal"])

    def test_the_grace_period_is_longer_than_a_shutdown(self) -> None:
        """Otherwise the kubelet kills what still closes connections."""
        for drain in ({}, {"delay": 30, "period": 60, "timeout": 120}):
            [pod] = [it for it in self.rendered({**ONE, "drain": drain}) if it["kind"] == "Deployment"]
            spec = pod["spec"]["template"]["spec"]
            seconds = {
                it["name"]: int(it["value"].rstrip("s"))
                for it in spec["containers"][0]["env"]
                if it["name"].startswith("HT_DRAIN__")
            }
            longest = seconds["HT_DRAIN__DELAY"] + seconds["HT_DRAIN__TIMEOUT"]
            self.assertGreater(spec["terminationGracePeriodSeconds"], longest)

    def test_the_gateway_runs_with_what_a_pod_is_given(self) -> None:
        """Variables, files and ports of the container; its probes are asked as the kubelet does."""
        api = Api()
        self.addCleanup(api.stop)
        values = {key: value for key, value in EVERYTHING.items() if key != "monitoring"}
        values["settings"] = {
            key: value for key, value in values["settings"].items() if key != "rabbitmq.url"
        }
        values = {**values, "backend": {"url": api.url}, "replicas": 1, "autoscaling": {}}
        resources = self.rendered(values)
        [deployment] = [it for it in resources if it["kind"] == "Deployment"]
        [config] = [it for it in resources if it["kind"] == "ConfigMap"]
        spec = deployment["spec"]["template"]["spec"]
        [container] = spec["containers"]

        mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
        volumes = {it["name"]: it for it in spec["volumes"]}
        secrets = self.folder / "secrets"
        secrets.mkdir()
        for item in volumes["secrets"]["secret"]["items"]:
            (secrets / item["path"]).write_text("0123456789abcdef0123456789abcdef")
        toml = self.folder / "toml"
        toml.mkdir()
        for name, text in config["data"].items():
            (toml / name).write_text(text)

        ports = {it["name"]: free_port() for it in container["ports"]}
        environment = {}
        for variable in container["env"]:
            value = variable["value"].replace(mounts["secrets"], str(secrets))
            for port in container["ports"]:
                value = re.sub(rf":{port['containerPort']}$", f":{ports[port['name']]}", value)
            environment[variable["name"]] = value
        # The folder of the image is where the file is mounted.
        self.assertEqual(mounts["toml"], "/etc/high-templar")
        gateway = Program([BINARY, "serve"], self.folder, cwd=toml, env=environment)
        self.addCleanup(gateway.stop)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
            eventually(f"{probe}: {gateway.said()}", lambda url=url: status(url) == 200)
        self.assertEqual(status(f"http://127.0.0.1:{ports['internal']}/metrics"), 401)
        log = gateway.said()
        self.assertIn("configuration file: high-templar.toml", log)
        for name in ("HT_LIMITS__MESSAGE_BYTES", "HT_RESUME__SECRET_FILE", "HT_DRAIN__DELAY"):
            self.assertIn(name, log)
        self.assertEqual(gateway.stop(), 0)

    def test_pods_have_no_rights(self) -> None:
        """The restricted level of the Pod Security Standards."""
        [deployment] = [it for it in self.rendered(ONE) if it["kind"] == "Deployment"]
        spec = deployment["spec"]["template"]["spec"]
        self.assertFalse(spec["automountServiceAccountToken"])
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertEqual(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
        own = spec["containers"][0]["securityContext"]
        self.assertFalse(own["allowPrivilegeEscalation"])
        self.assertTrue(own["readOnlyRootFilesystem"])
        self.assertEqual(own["capabilities"]["drop"], ["ALL"])


if __name__ == "__main__":
    unittest.main()
