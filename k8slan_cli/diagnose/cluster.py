"""What the Kubernetes API tells: the API server itself, multus, k8slan's parts, LANs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from k8slan_cli import __version__
from k8slan_cli.diagnose import agents
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, Check
from k8slan_cli.errors import K8slanError, near
from k8slan_cli.inventory import lans as reading
from k8slan_cli.inventory import occupancy
from k8slan_cli.inventory.lans import Found
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.kube import apply, client, kinds, kubevirt
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import MIN_MINOR
from k8slan_cli.lan.model import API_VERSION, GROUP, KIND
from k8slan_cli.plan.objects import MANAGED_BY, MANAGER, PLUGINS
from k8slan_cli.plan.occupancy import some
from k8slan_cli.plan.pods import Pod, sockets

_CLOCK_SECONDS = 5.0
"""How far this machine's clock may be from the API server's, whose answers are dated to the second."""
_MULTUS = "https://github.com/k8snetworkplumbingwg/multus-cni"
_MANY = 5
_NADS = tuple(f"k8slan-{kind}-" for kind in ("veth", "mac", "set", "lan"))


def version(cluster: Cluster) -> Iterator[Check]:
    """The API server, and this machine's clock by its answer's date.

    Raises:
        MissingError: there is no answer.

    """
    before = time.time()
    date, after = cluster.headers("/version", seconds=10).get("Date", ""), time.time()
    found = cluster.call("GET", "/version", seconds=10)
    version = str(found.get("gitVersion", "?"))
    minor = int("".join(c for c in str(found.get("minor", "0")) if c.isdigit()) or 0)
    words = f"Kubernetes {version} at {cluster.access.url}"
    if minor >= MIN_MINOR:
        yield Check(what="API server", state=OK, words=words)
    else:
        advice = f"k8slan needs 1.{MIN_MINOR} or newer"
        yield Check(what="API server", state=FAIL, words=words, advice=advice)
    if not date:
        return
    from email.utils import parsedate_to_datetime

    there = parsedate_to_datetime(date).timestamp()
    ahead = max(before - (there + 1), 0) - max(there - after, 0)  # it is cut to whole seconds
    if abs(ahead) > _CLOCK_SECONDS:
        words = f"this machine's is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API server's"
        advice = "set the clock that is wrong: certificates and tokens are good for a certain time only"
        yield Check(what="clock", state=WARN, words=words, advice=advice)
    else:
        yield Check(what="clock", state=OK, words="this machine's agrees with the API server's")


def _known(cluster: Cluster, version: str, plural: str) -> bool:
    """Whether the API has a kind; everybody may know that."""
    try:
        found = cluster.call("GET", f"/apis/{version}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return any(item.get("name") == plural for item in found.get("resources") or ())


def multus(cluster: Cluster) -> Iterator[Check]:
    """Whether multus' kind of object is known; what calls multus on nodes, agents tell."""
    what = "multus"
    try:
        there = _known(cluster, "k8s.cni.cncf.io/v1", "network-attachment-definitions")
    except K8slanError as error:
        yield unseen(what, error)
        return
    if there:
        yield Check(what=what, state=OK, words="its NetworkAttachmentDefinitions are known")
    else:
        words = "NetworkAttachmentDefinitions are not known: multus is not installed"
        yield Check(what=what, state=FAIL, words=words, advice=f"install it: {_MULTUS}")


def kubevirts(cluster: Cluster) -> Iterator[Check]:
    """Whether VMs can be on LANs, where there is KubeVirt."""
    what = "KubeVirt"
    try:
        found = kubevirt.every(cluster)
    except ApiError as error:
        if error.status != 403:  # whoever may not see it has no use for the advice either
            yield unseen(what, error)
        return
    for one in found:
        version = f" {'.'.join(map(str, one.version))}" if one.version else ""
        if not one.fault:
            yield Check(what=what, state=OK, words=f"VMs of {one.ref}{version} can attach to LANs")
            continue
        advice = "k8slan install --kubevirt registers it"
        if one.another:
            advice = f"give that another name in {one.ref}, then k8slan install --kubevirt"
        elif one.binding is not None:
            advice = f"add it to the feature gates of {one.ref}"
        yield Check(what=what, state=WARN, words=f"of {one.ref}{version}, {one.fault}", advice=advice)


def unseen(what: str, error: K8slanError) -> Check:
    """What this user may not look at: it may be in order."""
    return Check(
        what=what, state=WARN, words=f"cannot be looked at: {error.message}", advice=" ".join(error.hint.split())
    )


# ---------------------------------------------------------------- k8slan itself


def crd(cluster: Cluster) -> Iterator[Check]:
    """Whether the cluster knows LANs, with all their fields."""
    what = "LANs"
    try:
        if not _known(cluster, API_VERSION, "lans"):
            yield Check(what=what, state=FAIL, words="the cluster does not know LANs", advice="k8slan install")
            return
    except K8slanError as error:
        yield unseen(what, error)
        return
    try:
        found = cluster.get(kinds.Ref(kinds.CRDS, "", f"lans.{GROUP}"))
    except K8slanError:
        yield Check(what=what, state=OK, words=f"the cluster knows LANs as {API_VERSION}")
        return
    lacking = sorted(_fields(_shipped()) - _fields(found or {}))
    conditions = apply.conditions(found or {})
    if conditions.get("Established", {}).get("status") != "True":
        why = conditions.get("NamesAccepted", {}).get("message", "it is not established")
        yield Check(what=what, state=FAIL, words=f"the CRD is not in force: {why}", advice="k8slan install")
    elif lacking:
        words = f"the CRD is older than this k8slan: it lacks {', '.join(lacking)}"
        yield Check(what=what, state=WARN, words=words, advice="k8slan install brings it up to date")
    else:
        yield Check(what=what, state=OK, words=f"the CRD is established, and has all fields of k8slan {__version__}")


def _shipped() -> Mapping[str, Any]:
    from k8slan_cli.render import manifests
    from k8slan_cli.render.settings import Settings

    return manifests.documents(manifests.render(manifests.Part.CRD, Settings()))[0]


def _fields(crd: Mapping[str, Any]) -> set[str]:
    """The fields of a LAN's spec that a CRD knows."""
    for version in (crd.get("spec") or {}).get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        return set(((schema.get("properties") or {}).get("spec") or {}).get("properties") or ())
    return set()


def controller(cluster: Cluster) -> Iterator[Check]:
    """Whether a controller is at work."""
    what, where = "controller", agents.namespace()
    try:
        found = cluster.get(kinds.Ref(kinds.DEPLOYMENTS, where, "k8slan-controller"))
    except K8slanError as error:
        yield unseen(what, error)
        return
    if found is None:
        words = f"there is none in namespace {where}"
        advice = "k8slan install; if it is in another namespace, set K8SLAN_NAMESPACE"
        yield Check(what=what, state=FAIL, words=words, advice=advice)
        return
    state = apply.rollout(found)
    if state.done and state.wanted:
        yield Check(what=what, state=OK, words=f"{state.ready} of {state.wanted} are ready")
    else:
        words = f"{state.ready} of {state.wanted} are ready: NADs and LAN status are not being updated"
        words = words if not state.ready else f"{state.ready} of {state.wanted} are ready"
        advice = f"see: kubectl -n {where} get pods -o wide, and kubectl -n {where} logs POD"
        yield Check(what=what, state=WARN if state.ready else FAIL, words=words, advice=advice)


def webhook(cluster: Cluster, namespace: str) -> Iterator[Check]:
    """Whether what is wrong with a LAN is refused when it is written."""
    what = "webhook"
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/k8slan"
    advice = "see the controller's log: it makes the certificate and writes it into the configuration"
    try:
        found = cluster.call("GET", path)
    except ApiError as error:
        if error.status == 404:
            words = "there is none: what is wrong with a LAN is seen only after it was written"
            yield Check(what=what, state=WARN, words=words, advice="k8slan install (without --no-webhook)")
            return
        found = {}
    for webhook in found.get("webhooks") or ():
        if not (webhook.get("clientConfig") or {}).get("caBundle"):
            words = "its certificate's authority is not in its configuration, so the API server cannot call it"
            yield Check(what=what, state=FAIL, words=words, advice=advice)
            return
    yield _refuses(cluster, namespace, what)


_WRONG = {"spokes": ["doctor"], "bridge": "doctorp"}
"""A LAN that the schema takes and only the webhook refuses: its bridge has the name of a port."""
_REFUSAL = "has the name of spec.bridge"


def _refuses(cluster: Cluster, namespace: str, what: str) -> Check:
    """A LAN that is wrong has to be refused, in our words."""
    metadata = {"name": "k8slan-doctor", "namespace": namespace}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": _WRONG}
    try:
        cluster.call("POST", kinds.LANS.path(namespace), query={"dryRun": "All"}, body=body)
    except client.ApiError as error:
        if _REFUSAL in error.message or any(_REFUSAL in problem.message for problem in error.problems):
            return Check(what=what, state=OK, words="it refuses a LAN that is wrong (tried with a dry run)")
        return unseen(what, error)
    words = "a LAN that is wrong is not refused: the API server does not reach the webhook"
    advice = "can the API server connect to the controller's pod at port 9443? its own log says why not"
    return Check(what=what, state=FAIL, words=words, advice=advice)


# ---------------------------------------------------------------- LANs


def lans(cluster: Cluster, namespace: str) -> tuple[list[Found], Users, tuple[Check, ...]]:
    """The LANs that this user can see, who is on them, and whether they are ready and nothing is wrong on them."""
    what, checks = "status", list[Check]()
    try:
        items = reading.several(cluster)
    except ApiError as error:
        checks.append(unseen("LANs of other namespaces", error))
        try:
            items = reading.several(cluster, namespace)
        except ApiError as again:
            return [], Users(hidden=True), (unseen(what, again),)
    ill = [item for item in items if not (item.ready and item.ready.status) and not item.deleting]
    for item in ill[:_MANY]:
        ready = item.ready
        words = (
            f"LAN {item.ref} is not ready: {ready.message or ready.reason}"
            if ready
            else (f"LAN {item.ref} has no status yet")
        )
        advice = f"k8slan lan inspect {item.ref.name} -n {item.ref.namespace}"
        checks.append(Check(what=what, state=WARN, words=words, advice=advice))
    if len(ill) > _MANY:
        checks.append(Check(what=what, state=WARN, words=f"{len(ill) - _MANY} more LANs are not ready"))
    if not ill:
        words = f"{len(items)} LAN{'s are' if len(items) != 1 else ' is'} ready" if items else "there are none yet"
        checks.append(Check(what=what, state=OK, words=words))
    users = occupancy.explained(cluster, occupancy.read(cluster, items))
    checks += [Check(what="attachments", state=WARN, words=sentence) for sentence in users.blind]
    checks += _attachments(items, users)
    checks += [check for item in items if item.lan and item.lan.uplinks for check in uplinks(item, users)]
    checks += [
        Check(what="attachments", state=WARN, words=words, advice=advice)
        for words, advice in _strangers(items, reading.pods(cluster, namespace).pods)
    ]
    return items, users, tuple(checks)


def uplinks(item: Found, users: Users) -> Iterator[Check]:
    """Which uplink of a LAN is active, if this user may see it."""
    what, active = "uplinks", item.status.uplink
    if active:
        yield Check(what=what, state=OK, words=f"LAN {item.ref}: {active} is active")
    elif not item.deleting:
        said = [
            f"{each.what} of node {vtep.node}: {each.state}" for vtep in users.of(item).vteps for each in vtep.uplinks
        ]
        words = f"LAN {item.ref} has no active uplink ({', '.join(said) or 'no node says that it has one'})"
        advice = f"k8slan lan inspect {item.ref.name} -n {item.ref.namespace}"
        yield Check(what=what, state=WARN, words=words, advice=advice)


def _strangers(items: Sequence[Found], pods: Iterable[Pod]) -> Iterator[tuple[str, str]]:
    """Pods that ask for networks of k8slan's that no LAN offers, in namespaces whose LANs can be seen."""
    offered = {nad for item in items if item.lan for nad, _ in sockets(item.lan)}
    seen = {item.ref.namespace for item in items}
    for pod in pods:
        for network in pod.networks:
            nad = network.nad
            if nad in offered or nad.namespace not in seen or not nad.name.startswith(_NADS) or pod.over:
                continue
            words = f"pod {pod.namespace}/{pod.name} asks for network {nad}, which no LAN offers"
            yield words, near(nad.name, [each.name for each in offered if each.namespace == nad.namespace])


def chains(cluster: Cluster, namespace: str) -> Iterator[Check]:
    """Users' NetworkAttachmentDefinitions that have the plugin ``bandwidth`` behind k8slan's.

    It looks for the other end of a veth on the node; that of a pod on a LAN is in the LAN's namespace.
    """
    what = "bandwidth"
    for space in ("", namespace):
        try:
            nads = cluster.call("GET", kinds.NADS.path(space), query={"labelSelector": f"{MANAGED_BY}!={MANAGER}"})
        except ApiError as error:
            if error.status not in (403, 404):
                yield unseen(what, error)
                return
            continue
        chained = [(nad["metadata"], _types((nad.get("spec") or {}).get("config"))) for nad in nads["items"]]
        wrong = [f"{at['namespace']}/{at['name']}" for at, types in chained if what in types and types & {*PLUGINS}]
        if wrong:
            words = f"behind k8slan's, the plugin bandwidth refuses pods: NetworkAttachmentDefinition {some(wrong)}"
            advice = 'leave it out: k8slan\'s plugin does it itself, with "capabilities": {"bandwidth": true}'
            yield Check(what=what, state=WARN, words=words, advice=advice)
        return


def _types(config: object) -> set[str]:
    """The plugins of a chain in a CNI configuration, none of what cannot be read."""
    try:
        found = json.loads(config) if isinstance(config, str) else None
    except (ValueError, RecursionError):
        return set()
    plugins = found.get("plugins") if isinstance(found, dict) else None
    entries = [each for each in plugins if isinstance(each, dict)] if isinstance(plugins, list) else []
    return {each["type"] for each in entries if isinstance(each.get("type"), str)}


def _attachments(items: Sequence[Found], users: Users) -> Iterator[Check]:
    """What is wrong with who is on LANs, as far as their status has not said it."""
    wrong = [(item, words) for item in items for words in occupancy.unsaid(item, users.of(item))]
    wrong += [
        (item, f"{each.place} is not attached yet: {each.why}") for item in items for each in users.of(item).waiting
    ]
    for item, words in wrong[:_MANY]:
        advice = f"k8slan lan inspect {item.ref.name} -n {item.ref.namespace}"
        yield Check(what="attachments", state=WARN, words=f"LAN {item.ref}: {words}", advice=advice)
    if len(wrong) > _MANY:
        yield Check(what="attachments", state=WARN, words=f"{len(wrong) - _MANY} more things are wrong on LANs")
