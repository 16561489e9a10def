"""The Helm chart: that Jinja's templates become Helm's, and that its values are what settings are.

Whether Helm makes the same objects of it as ``k8slan render`` is tested with Helm: tests/cluster/test_chart.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from k8slan_cli import __version__
from k8slan_cli.errors import Invalid
from k8slan_cli.kube import kinds
from k8slan_cli.render import chart
from k8slan_cli.render import settings as known
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings, Toleration
from tests.unit.render.command import call

FILES = chart.files(Settings(), kinds.MIN_MINOR)


def rendered(source: str) -> str:
    return chart._environment().from_string(source).render(settings=chart._Values(), there=False, names=["a", "b"])


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a: {{ settings.image }}", "a: {{ toJson $.Values.image }}"),
        ("a: {{ settings.pull_policy }}", "a: {{ toJson $.Values.pullPolicy }}"),
        ("a: {{ settings.namespace }}", "a: {{ toJson $.Release.Namespace }}"),
        ("a: {{ settings.node_selector | mapping }}", "a: {{ toJson $.Values.nodeSelector }}"),
        ("a: {{ settings | tolerations('agent') }}", "a: {{ toJson $.Values.agentTolerations }}"),
        ("a: {{ 'x' ~ settings.replicas ~ '%' }}", 'a: {{ printf "x%v%%" $.Values.replicas | toJson }}'),
        (
            "a: {{ '\"' ~ settings.names ~ settings.image }}",
            'a: {{ printf "\\"%v%v" $.Values.names $.Values.image | toJson }}',
        ),
        ("a: {{ 'no' }}", 'a: "no"'),
        ("a: {% raw %}{{ b }}{% endraw %}", 'a: {{ "{{" }} b }}'),
        ("a: {{ '{{ b }}' }}", 'a: "{{ "{{" }} b }}"'),
    ],
)
def test_what_a_template_prints_is_printed_by_helm(source: str, wanted: str) -> None:
    assert rendered(source) == wanted


def test_conditions_and_loops_about_settings_are_helms_and_all_others_are_done() -> None:
    source = """\
{% if settings.webhook %}
{% for network in settings.api_servers %}
- {{ network }}
{% else %}
- all
{% endfor %}
{% else %}
{% if there %}
- there
{% endif %}
{% for name in names %}
- {{ name }}
{% endfor %}
{% endif %}
"""
    assert (
        rendered(source)
        == """\
{{- if $.Values.webhook }}
{{- range $item := $.Values.apiServers }}
- {{ toJson $item }}
{{- else }}
- all
{{- end }}
{{- else }}
- a
- b
{{- end }}
"""
    )


@pytest.mark.parametrize(
    "source",
    [
        "{% if settings.webhook and there %}x{% endif %}",
        "{% if not settings.webhook %}x{% endif %}",
        "{% if settings.webhook %}x{% elif there %}y{% endif %}",
        "{{ 'x' if settings.webhook else 'y' }}",
        "{% if there or settings.names == 'short' %}x{% endif %}",
        "{{ settings.names == 'short' }}",
        "{% for secret in settings.pull_secrets[1:] %}x{% endfor %}",
    ],
)
def test_what_helm_cannot_be_told_is_an_error_and_no_other_chart(source: str) -> None:
    with pytest.raises(TypeError, match="a chart "):
        rendered(source)


def test_there_is_a_template_for_each_part_but_the_namespace() -> None:
    templates = [path for path in FILES if path.startswith("templates/")]
    assert len(templates) == len(Part) - 1 + len(("NOTES.txt", "checks.yaml"))
    assert not any("kind: Namespace\n" in FILES[path] for path in templates)


def test_every_value_is_used() -> None:
    text = "".join(text for path, text in FILES.items() if path.startswith("templates/") and "checks" not in path)
    assert {key for key in chart.values(Settings()) if f"$.Values.{key}" not in text} == set()


def test_crds_outlive_a_release() -> None:
    crds = [yaml.safe_load(text) for path, text in FILES.items() if "-crd" in path]
    assert [crd["metadata"]["annotations"] for crd in crds] == [{"helm.sh/resource-policy": "keep"}] * 2


def test_the_chart_has_the_products_version_and_the_oldest_kubernetes() -> None:
    found = yaml.safe_load(FILES["Chart.yaml"])
    assert (found["version"], found["appVersion"]) == (__version__, __version__)
    assert found["kubeVersion"] == f">=1.{kinds.MIN_MINOR}.0-0"


def test_the_values_are_the_settings_each_with_its_meaning() -> None:
    assert yaml.safe_load(FILES["values.yaml"]) == chart.values(Settings())
    assert {chart.key(f.name) for f in fields(Settings)} - chart.values(Settings()).keys() == {"namespace"}
    comments = re.findall(r"^# (.+)\n(\w+):", FILES["values.yaml"], re.MULTILINE)
    assert [key for _, key in comments] == list(chart.values(Settings()))
    assert not re.search("key=value|several times|may be given|every$", "\n".join(words for words, _ in comments))


def test_settings_become_the_defaults() -> None:
    settings = replace(known.preset("k3s"), agent_tolerations=(Toleration(key="a", value="b", effect="NoExecute"),))
    found = yaml.safe_load(chart.files(settings, 30)["values.yaml"])
    assert found["cniBinDir"] == "/var/lib/rancher/k3s/data/cni"
    assert found["agentTolerations"] == [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute"}]


# ---------------------------------------------------------------- the schema


def faults(settings: Settings) -> set[str]:
    """The values that the schema refuses."""
    found = jsonschema.Draft7Validator(json.loads(FILES["values.schema.json"])).iter_errors(chart.values(settings))
    return {str(error.path[0]) for error in found}


@pytest.mark.parametrize("distribution", list(known.DISTRIBUTIONS))
def test_the_schema_takes_what_distributions_need(distribution: str) -> None:
    assert faults(known.preset(distribution)) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"image": ""},
        {"image": "a b"},
        {"pull_policy": "Sometimes"},
        {"pull_secrets": ("ok", "Not_ok")},
        {"kubelet_dir": "var/lib"},
        {"cni_bin_dir": "/"},
        {"cni_bin_dir": "/a:b"},
        {"replicas": 0},
        {"replicas": 17},
        {"log_level": "loud"},
        {"names": "none"},
        {"max_resources": 12001},
        {"max_pods": 0},
        {"vni_range": "1"},
        {"webhook_port": 443},
        {"api_servers": ("10.0.0.1",)},
        {"metrics_namespaces": ("A",)},
        {"agent_limits": (("memory", "much"),)},
        {"controller_requests": (("gpu", "1"),)},
        {"agent_tolerations": (Toleration(effect="Never"),)},
    ],
    ids=str,
)
def test_the_schema_refuses_what_an_option_may_not_be(change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        known.check(replace(Settings(), **change))
    assert faults(replace(Settings(), **change)) == {chart.key(*change)}


def test_the_schema_takes_what_an_option_may_be() -> None:
    settings = Settings(
        image="registry.example/a/k8slan:7@sha256:00",
        pull_secrets=("a.b-c", "d"),
        api_servers=("192.0.2.0/24", "fd00::/64"),
        metrics_namespaces=("monitoring",),
        vni_range="1-5",
        node_selector=(),
        agent_limits=(("cpu", "1.5"), ("memory", "1Gi")),
        agent_tolerations=(Toleration(key="a", effect="NoSchedule"),),
    )
    assert faults(known.check(settings)) == set()


def test_a_misspelt_value_is_refused() -> None:
    with pytest.raises(jsonschema.ValidationError, match="'replica'"):
        jsonschema.validate(chart.values(Settings()) | {"replica": 2}, chart.schema())


# ---------------------------------------------------------------- the command


def test_the_command_writes_the_chart_into_a_folder(tmp_path: Path) -> None:
    call("render", "chart", f"--output={tmp_path}/chart", "--replicas=3")
    found = {str(p.relative_to(tmp_path / "chart")) for p in (tmp_path / "chart").rglob("*") if p.is_file()}
    assert found == set(FILES)
    assert yaml.safe_load((tmp_path / "chart/values.yaml").read_text())["replicas"] == 3


@pytest.mark.parametrize("options", [(), ("--check=values.yaml",), ("--check=values.yaml", "--output=x")])
def test_a_chart_needs_a_folder(options: tuple[str, ...]) -> None:
    done = call("render", "chart", *options, status=2)
    assert "k8slan render chart -o FOLDER" in done.stderr
