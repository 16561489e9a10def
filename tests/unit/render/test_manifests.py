"""The templates: valid YAML for every value there could be, and what they promise of rights and privileges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from k8slan_cli import shipped
from k8slan_cli.lan import codec
from k8slan_cli.plan import objects
from k8slan_cli.render import manifests, reference
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings, Toleration
from tests.unit.render.lans import SEED, document
from tests.unit.render.rights import RIGHTS

ROOT = Path(__file__).parents[3]
HOSTILE = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "x\nprivileged: true",
        'x", hostPID: true, "',
        "x' , y: '",
        "x # not a comment",
        "{{ settings }}",
        "{% raw %}",
        "]}, evil: {",
        "y",
        "no",
        "null",
        "~",
        "1e3",
        "0o17",
        "0x1f",
        "1:30",
        "2001-01-01",
        "*alias",
        "&anchor",
        "!!python/object/apply:os.system [id]",
        "--- ",
        "...",
        "\u2028",
        "\x85",
        "\ufeff",
        "\x00",
        "\U0001f600",
        " lead",
        "trail ",
        "",
    ]
)
PAIRS = st.dictionaries(HOSTILE, HOSTILE, max_size=3).map(lambda found: tuple(found.items()))
TOLERATIONS = st.lists(st.builds(Toleration, key=HOSTILE, value=HOSTILE, effect=HOSTILE), max_size=2).map(tuple)
SETTINGS = st.builds(
    Settings,
    image=HOSTILE,
    pull_policy=HOSTILE,
    pull_secrets=st.lists(HOSTILE, max_size=2).map(tuple),
    namespace=HOSTILE,
    kubelet_dir=HOSTILE,
    cni_bin_dir=HOSTILE,
    replicas=st.integers(),
    log_level=HOSTILE,
    node_selector=PAIRS,
    agent_tolerations=TOLERATIONS,
    controller_tolerations=TOLERATIONS,
    agent_requests=PAIRS,
    agent_limits=PAIRS,
    controller_requests=PAIRS,
    controller_limits=PAIRS,
    webhook=st.booleans(),
    network_policy=st.booleans(),
    service_monitor=st.booleans(),
)
PLAIN = Settings()


@given(SETTINGS)
def test_no_value_breaks_out_of_its_place(settings: Settings) -> None:
    """The documents are those of plain settings, with the values where the plain ones were and nowhere else."""
    plain = replace(PLAIN, webhook=settings.webhook, service_monitor=settings.service_monitor)
    plain = replace(plain, network_policy=settings.network_policy)
    for part in manifests.parts(settings):
        ours = manifests.documents(manifests.render(part, settings))
        theirs = manifests.documents(
            manifests.render(part, replace(plain, pull_secrets=settings.pull_secrets and ("s",)))
        )
        assert [sorted(_shape(document)) for document in ours] == [sorted(_shape(document)) for document in theirs]


FREE = ("nodeSelector", "tolerations", "requests", "limits", "imagePullSecrets")
"""Keys below which the shape is the user's own."""


def _shape(value: object, path: str = "") -> Iterator[str]:
    """Every key of a document by its path."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in FREE:
                yield from _shape(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _shape(inner, f"{path}[{number}]")


@given(SETTINGS)
def test_values_arrive_as_they_are(settings: Settings) -> None:
    [agent] = manifests.documents(manifests.render(Part.NODE_AGENT, settings))
    [controller] = manifests.documents(manifests.render(Part.CONTROLLER, settings))
    pod, container = agent["spec"]["template"]["spec"], agent["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == settings.image
    assert container["imagePullPolicy"] == settings.pull_policy
    assert container["resources"] == {"requests": dict(settings.agent_requests), "limits": dict(settings.agent_limits)}
    assert agent["metadata"]["namespace"] == settings.namespace
    assert pod["nodeSelector"] == dict(settings.node_selector)
    paths = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in pod["volumes"]}
    assert paths["cni-bin"] == settings.cni_bin_dir
    assert paths["device-plugins"] == settings.kubelet_dir + "/device-plugins"
    assert [secret["name"] for secret in pod.get("imagePullSecrets", ())] == list(settings.pull_secrets)
    assert controller["spec"]["replicas"] == settings.replicas
    *tolerated, not_ready, unreachable = controller["spec"]["template"]["spec"]["tolerations"]
    assert {each["tolerationSeconds"] for each in (not_ready, unreachable)} == {10}
    assert [
        Toleration(key=t.get("key", ""), value=t.get("value", ""), effect=t.get("effect", "")) for t in tolerated
    ] == list(settings.controller_tolerations)


VALUE = st.recursive(
    HOSTILE | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=8,
)


@given(VALUE)
@example({"a": [], "b": {}})
def test_yaml_of_any_value_is_one_line_that_reads_back(value: object) -> None:
    text = manifests.to_yaml(value)
    assert len(text.splitlines()) == 1
    assert text.isascii()
    assert yaml.safe_load(f"before: 1\nvalue: {text}\nafter: 2\n") == {"before": 1, "value": value, "after": 2}


@pytest.mark.parametrize(
    "text", ["y", "N", "Yes", "off", "TRUE", "null", "1e3", "0o17", "1_000", ".inf", "-1", "12:30"]
)
def test_text_that_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    assert manifests.to_yaml(text) == f'"{text}"'


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    template = manifests._environment().from_string("{{ settings.nothing }}")
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        template.render(settings=PLAIN)


def test_every_setting_is_used() -> None:
    text = "".join(path.read_text() for path in shipped.folder("templates").glob("*.j2"))
    for field in fields(Settings):
        elsewhere = field.name.endswith("_tolerations") or field.name in ("webhook", "network_policy")
        used = f"settings.{field.name}" in text or elsewhere
        assert used, field.name


# ---------------------------------------------------------------- what is committed


def test_pods_in_examples_ask_for_no_device() -> None:
    """A bare pod that does fails admission for good when its node restarts; veths need none."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.*"), *(ROOT / "manifests").glob("*-example.yaml")]
    asking = re.compile(r"^\s+macvtap\.k8slan\.io/k8slan-veth-\S+: *1", re.MULTILINE)
    assert [page.name for page in pages if asking.search(page.read_text())] == []
    assert "UnexpectedAdmissionError" in (ROOT / "manifests" / "pod-example.yaml").read_text()


def test_the_committed_manifest_is_what_the_templates_give() -> None:
    assert (ROOT / "manifests/all.yaml").read_text() == manifests.render_all(PLAIN)


def test_the_committed_reference_is_what_the_crd_gives() -> None:
    assert (ROOT / "docs/reference-lan.md").read_text() == reference.render()


@pytest.mark.parametrize("path", sorted((ROOT / "manifests").glob("*-example.yaml")), ids=lambda path: path.name)
def test_examples_are_yaml_and_their_lans_are_right(path: Path) -> None:
    for found in manifests.documents(path.read_text()):
        if found["kind"] == "LAN":
            codec.decode(found)


def test_the_example_is_the_seeds() -> None:
    [found] = manifests.documents((ROOT / "manifests/lan-example.yaml").read_text())
    assert found["spec"] == SEED


# ---------------------------------------------------------------- what they promise


def _all(settings: Settings = PLAIN) -> list[dict[str, Any]]:
    return manifests.documents(manifests.render_all(settings))


def _of(kind: str, settings: Settings = PLAIN) -> list[dict[str, Any]]:
    return [found for found in _all(settings) if found["kind"] == kind]


def test_everything_bears_the_mark_by_which_it_is_found() -> None:
    for found in _all(replace(PLAIN, service_monitor=True)):
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "k8slan", found["metadata"]["name"]


def test_no_two_objects_are_the_same() -> None:
    found = [
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"])
        for d in _all(replace(PLAIN, service_monitor=True))
    ]
    assert len(set(found)) == len(found)


def test_namespace_and_crd_come_before_what_needs_them() -> None:
    assert [found["kind"] for found in _all()][:2] == ["Namespace", "CustomResourceDefinition"]


def test_rights_are_named_one_by_one() -> None:
    for role in (*_of("ClusterRole"), *_of("Role")):
        for rule in role["rules"]:
            for word in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]):
                assert "*" not in word, role["metadata"]["name"]


def test_rights_are_exactly_these() -> None:
    for (kind, name), wanted in RIGHTS.items():
        [role] = [found for found in _of(kind) if found["metadata"]["name"] == name]
        found = {}
        for rule in role["rules"]:
            [group] = rule["apiGroups"]
            for resource in rule["resources"]:
                key = " ".join([resource + (f".{group}" if group else ""), *rule.get("resourceNames", [])])
                found[key] = " ".join(rule["verbs"])
        assert found == wanted, name


def test_who_reaches_the_controller_is_limited_as_far_as_it_is_known() -> None:
    [policy] = _of("NetworkPolicy")
    [deployment] = _of("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert {rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]} == ports
    known = replace(PLAIN, api_servers=("192.0.2.1/32", "2001:db8::/64"), metrics_namespaces=("monitoring",))
    [policy] = _of("NetworkPolicy", known)
    metrics, webhook = (rule["from"] for rule in policy["spec"]["ingress"])
    assert webhook == [{"ipBlock": {"cidr": "192.0.2.1/32"}}, {"ipBlock": {"cidr": "2001:db8::/64"}}]
    assert metrics == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert _of("NetworkPolicy", replace(PLAIN, network_policy=False)) == []


def test_without_the_webhook_its_rights_and_its_port_are_not_there_either() -> None:
    text = manifests.render_all(replace(PLAIN, webhook=False))
    assert "webhook" not in "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_only_the_agent_is_privileged() -> None:
    for found in (*_of("Deployment"), *_of("DaemonSet")):
        pod = found["spec"]["template"]["spec"]
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], container["name"]
            if container["name"] == "agent":
                assert security["privileged"]
            else:
                assert security["capabilities"] == {"drop": ["ALL"]}, container["name"]
                assert security["allowPrivilegeEscalation"] is False, container["name"]
                profile = security.get("seccompProfile") or pod["securityContext"]["seccompProfile"]
                assert profile == {"type": "RuntimeDefault"}, container["name"]


def test_the_controller_is_not_root() -> None:
    [found] = _of("Deployment")
    security = found["spec"]["template"]["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0


def test_the_agents_metrics_stay_on_the_node_unless_they_are_wanted() -> None:
    """The node's address may be an IPv6 one; brackets do no harm to another."""
    for wanted, host in ((False, "127.0.0.1"), (True, "[$(NODE_IP)]")):
        [found] = _of("DaemonSet", replace(PLAIN, service_monitor=wanted))
        [agent] = found["spec"]["template"]["spec"]["containers"]
        assert f"--http={host}:9402" in agent["args"]


def test_an_agent_is_ready_and_alive_whatever_has_its_tcp_ports() -> None:
    [found] = _of("DaemonSet")
    [agent] = found["spec"]["template"]["spec"]["containers"]
    assert agent["startupProbe"]["exec"]["command"][-1].endswith('connect("/run/k8slan/agent/cni.sock")')
    assert not {"livenessProbe", "readinessProbe"} & agent.keys()


def test_ports_are_those_that_are_chosen() -> None:
    wanted = replace(
        PLAIN,
        service_monitor=True,
        agent_metrics_port=9502,
        agent_diagnostics_port=9503,
        controller_metrics_port=9504,
        webhook_port=9543,
    )
    [agent] = _of("DaemonSet", wanted)[0]["spec"]["template"]["spec"]["containers"]
    assert "--http=[$(NODE_IP)]:9502" in agent["args"]
    assert "--diagnostics-address=127.0.0.1:9503" in agent["args"]
    assert [port["containerPort"] for port in agent["ports"]] == [9502]
    [controller] = _of("Deployment", wanted)[0]["spec"]["template"]["spec"]["containers"]
    assert {"--http=:9504", "--webhook=:9543"} <= set(controller["args"])
    assert {port["name"]: port["containerPort"] for port in controller["ports"]} == {"http": 9504, "webhook": 9543}
    services = {found["metadata"]["name"]: found["spec"]["ports"][0]["port"] for found in _of("Service", wanted)}
    assert services["k8slan-controller-metrics"] == 9504
    assert services["k8slan-node-agent-metrics"] == 9502


def test_the_webhook_blocks_nobody_and_leaves_the_authority_to_the_controller() -> None:
    [found] = _of("ValidatingWebhookConfiguration")
    [hook] = found["webhooks"]
    assert hook["failurePolicy"] == "Ignore"
    assert hook["timeoutSeconds"] <= 5
    assert "caBundle" not in hook["clientConfig"]
    [secret] = _of("Secret")
    assert "data" not in secret
    [service] = _of("Service")
    assert hook["clientConfig"]["service"]["name"] == service["metadata"]["name"]
    [controller] = _of("Deployment")
    [container] = controller["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] in [port["name"] for port in container["ports"]]


def test_services_select_pods_that_exist() -> None:
    settings = replace(PLAIN, service_monitor=True)
    pods = [
        found["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "DaemonSet")
        for found in _of(kind, settings)
    ]
    for service in _of("Service", settings):
        assert any(service["spec"]["selector"].items() <= labels.items() for labels in pods), service["metadata"][
            "name"
        ]


# ---------------------------------------------------------------- NADs


def test_a_lans_nads_are_rendered_as_the_controller_writes_them() -> None:
    found = objects.nads(codec.decode(document(SEED | {"dynamic": True})))
    assert manifests.documents(manifests.render_nads(found)) == [objects.document(nad) for nad in found]
