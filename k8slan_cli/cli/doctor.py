"""``k8slan doctor``: looks at all that LANs need, from the workstation to the wires between nodes, and says what to do.

Every check is a sentence. What a user may not see is said too, as a warning: it may be in order. Nothing is changed:
what has to be tried out is tried with a dry run, or by the agents in namespaces of their own.
"""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli import __version__
from k8slan_cli.cli.context import Here, in_cluster
from k8slan_cli.errors import K8slanError
from k8slan_cli.operate.protocol import FAIL, OK, WARN, Check, NodeFacts, Reach

if TYPE_CHECKING:
    from k8slan_cli.cli.agents import Agents
    from k8slan_cli.cli.lan.found import Found
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.lan.model import Lan
    from k8slan_cli.operate.exchange import Reached, Site

_CLOCK_SECONDS = 5.0
"""How far this machine's clock may be from the API server's, whose answers are dated to the second."""
_CLOCKS_SECONDS = 1.0
"""How far nodes' clocks may be from each other."""
_MULTUS = "https://github.com/k8snetworkplumbingwg/multus-cni"
_SITES = 24
"""As many nodes at a time try to reach each other."""
_TRIAL_VNIS = range(0xFF0000, 0xFFFFFF)
_MANY = 5
_SEE = "see: kubectl -n {} get pods -o wide, and kubectl -n {} logs POD"


class Format(enum.StrEnum):
    """What ``-o`` takes."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Area:
    """Checks under a heading."""

    name: str
    checks: tuple[Check, ...]


@in_cluster
def doctor(
    here: Here,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print it.")] = Format.TABLE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is not in order.")] = False,
) -> None:
    """Check the cluster, its nodes and the network between them for all that LANs need.

    Nodes try out what their kernels can do, and send each other VXLAN frames of full size. Exit status 1 if a check
    fails.
    """
    areas: list[Area] = []
    for area in examine(here):
        areas.append(area)
        if output is Format.TABLE:
            for line in lines(area, quiet=quiet):
                typer.echo(line)
    failed = [check for area in areas for check in area.checks if check.state == FAIL]
    warned = [check for area in areas for check in area.checks if check.state == WARN]
    if output is Format.JSON:
        found = [{"area": area.name, **check.encode()} for area in areas for check in area.checks]
        typer.echo(json.dumps({"ok": not failed, "checks": found}, indent=2, ensure_ascii=False))
    else:
        typer.echo(conclusion(len(failed), len(warned)))
    raise typer.Exit(1 if failed else 0)


# ---------------------------------------------------------------- printing


def lines(area: Area, *, quiet: bool) -> Iterator[str]:
    """An area for people."""
    from k8slan_cli.cli.lan import text

    shown = [check for check in area.checks if not quiet or check.state != OK]
    if not shown:
        return
    limit = text.width()
    yield text.strong(area.name)
    for check in shown:
        first, *rest = text.paragraph(f"{check.what}: {check.words}", limit, f"  {check.state.ljust(4)}  ", " " * 8)
        yield first.replace(check.state, text.coloured(check.state), 1)
        yield from rest
        if check.advice and check.state != OK:
            yield from text.paragraph(check.advice, limit, " " * 8 + "→ ", " " * 10)
    yield ""


def conclusion(failed: int, warned: int) -> str:
    """The last line."""
    if failed:
        return f"{failed} of the checks failed" + (f", and {warned} more need a look" if warned else "")
    return f"nothing failed, but {warned} of the checks need a look" if warned else "all is in order"


# ---------------------------------------------------------------- the order of things


def examine(here: Here) -> Iterator[Area]:
    """All areas, as far as one can get: nothing can be looked at behind what is not there."""
    from k8slan_cli.cli.agents import Agents

    try:
        cluster = here.cluster
        version = tuple(_version(cluster))
    except K8slanError as error:
        yield Area("cluster", (Check(what="API server", state=FAIL, words=error.message, advice=error.hint),))
        return
    yield Area("cluster", (*version, *_multus(cluster)))
    known = tuple(_crd(cluster))
    yield Area("k8slan", (*known, *_controller(cluster), *_webhook(here)))
    if any(check.state == FAIL for check in known):
        return
    lans, checks = _lans(here)
    yield Area("LANs", checks)
    agents = Agents(cluster)
    reaches = wanted(lan.lan for lan in lans if lan.lan)
    nodes, checks, facts = _agents(agents, cluster, reaches)
    yield Area("agents", checks)
    for node in nodes:
        if node in facts:
            yield Area(f"node {node}", facts[node].checks)
    if len(facts) > 1:
        yield Area("between nodes", tuple(_between(agents, facts, reaches, {lan.lan.vni for lan in lans if lan.lan})))


def _version(cluster: Cluster) -> Iterator[Check]:
    """The API server, and this machine's clock by its answer's date.

    Raises:
        MissingError: nobody answers.

    """
    from email.utils import parsedate_to_datetime

    from k8slan_cli.cli.install import MIN_MINOR
    from k8slan_cli.kube.connection import Connection

    before = time.time()
    response = Connection(cluster.access).send("GET", "/version", seconds=10, alone=True)
    date, after = response.headers.get("Date", ""), time.time()
    response.close()
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
    from k8slan_cli.kube.apply import ClusterError

    try:
        found = cluster.call("GET", f"/apis/{version}")
    except ClusterError as error:
        if error.status == 404:
            return False
        raise
    return any(item.get("name") == plural for item in found.get("resources") or ())


def _multus(cluster: Cluster) -> Iterator[Check]:
    what = "multus"
    try:
        there = _known(cluster, "k8s.cni.cncf.io/v1", "network-attachment-definitions")
    except K8slanError as error:
        yield _unseen(what, error)
        return
    if there:
        yield Check(what=what, state=OK, words="its NetworkAttachmentDefinitions are known")
    else:
        words = "NetworkAttachmentDefinitions are not known: multus is not installed"
        yield Check(what=what, state=FAIL, words=words, advice=f"install it: {_MULTUS}")


def _unseen(what: str, error: K8slanError) -> Check:
    return Check(what=what, state=WARN, words=f"cannot be looked at: {error.message}", advice=error.hint)


# ---------------------------------------------------------------- k8slan itself


def _crd(cluster: Cluster) -> Iterator[Check]:
    from k8slan_cli.kube import apply
    from k8slan_cli.lan.model import API_VERSION, GROUP

    what = "LANs"
    try:
        if not _known(cluster, API_VERSION, "lans"):
            yield Check(what=what, state=FAIL, words="the cluster does not know LANs", advice="k8slan install")
            return
    except K8slanError as error:
        yield _unseen(what, error)
        return
    try:
        found = cluster.get(apply.Ref(apply.CRD, "", f"lans.{GROUP}"))
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


def _controller(cluster: Cluster) -> Iterator[Check]:
    from k8slan_cli.cli.agents import namespace
    from k8slan_cli.kube import apply

    what, where = "controller", namespace()
    try:
        found = cluster.get(apply.Ref(apply.DEPLOYMENT, where, "k8slan-controller"))
    except K8slanError as error:
        yield _unseen(what, error)
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
        words = f"{state.ready} of {state.wanted} are ready: nobody makes NADs or writes the status of LANs"
        words = words if not state.ready else f"{state.ready} of {state.wanted} are ready"
        advice = _SEE.format(where, where)
        yield Check(what=what, state=WARN if state.ready else FAIL, words=words, advice=advice)


def _webhook(here: Here) -> Iterator[Check]:
    from k8slan_cli.kube.apply import ClusterError

    what = "webhook"
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/k8slan"
    advice = "see the controller's log: it makes the certificate and writes it into the configuration"
    try:
        found = here.cluster.call("GET", path)
    except ClusterError as error:
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
    yield _refuses(here, what)


_WRONG = {"vni": 1, "spokes": ["doctor"], "bridge": "doctorp"}
"""A LAN that the schema takes and only the webhook refuses: its bridge has the name of a port."""
_REFUSAL = "has the name of spec.bridge"


def _refuses(here: Here, what: str) -> Check:
    """A LAN that is wrong has to be refused, in our words."""
    from k8slan_cli.kube import apply
    from k8slan_cli.lan.model import API_VERSION, KIND

    metadata = {"name": "k8slan-doctor", "namespace": here.namespace}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": _WRONG}
    try:
        here.cluster.call("POST", apply.LAN.path(here.namespace), query={"dryRun": "All"}, body=body)
    except apply.ClusterError as error:
        if _REFUSAL in error.message or any(_REFUSAL in problem.message for problem in error.problems):
            return Check(what=what, state=OK, words="it refuses a LAN that is wrong (tried with a dry run)")
        return _unseen(what, error)
    words = "a LAN that is wrong is not refused: the API server does not reach the webhook"
    advice = "can the API server connect to the controller's pod at port 9443? its own log says why not"
    return Check(what=what, state=FAIL, words=words, advice=advice)


# ---------------------------------------------------------------- LANs


def _lans(here: Here) -> tuple[list[Found], tuple[Check, ...]]:
    from k8slan_cli.cli.lan import found as lans
    from k8slan_cli.kube.apply import ClusterError

    what, checks = "status", list[Check]()
    try:
        items = lans.several(here.cluster)
    except ClusterError as error:
        checks.append(_unseen("LANs of other namespaces", error))
        try:
            items = lans.several(here.cluster, here.namespace)
        except ClusterError as again:
            return [], (_unseen(what, again),)
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
    return items, tuple(checks)


def wanted(lans: Iterable[Lan]) -> list[tuple[Reach, Lan | None]]:
    """What to try between nodes: the default, and each underlay, UDP port and group that a LAN has beside it."""
    from k8slan_cli.lan.model import DEFAULT_PORT

    found: dict[object, tuple[Reach, Lan | None]] = {}
    default = Reach(vni=1, port=DEFAULT_PORT)
    found[DEFAULT_PORT, None, (), None] = (default, None)
    for lan in lans:
        key = (lan.port, lan.underlay, lan.underlays, lan.group)
        reach = Reach(vni=1, port=lan.port, device=lan.underlay or "", group=lan.group)
        found.setdefault(key, (reach, lan))
    return list(found.values())


def on_node(reach: Reach, lan: Lan | None, node: str) -> Reach:
    """The same as it is on one node."""
    from dataclasses import replace

    return replace(reach, device=(lan.underlay_on(node) or "") if lan else "")


# ---------------------------------------------------------------- nodes

Reaches = Sequence[tuple[Reach, "Lan | None"]]


def _agents(
    agents: Agents, cluster: Cluster, reaches: Reaches
) -> tuple[list[str], tuple[Check, ...], dict[str, NodeFacts]]:
    """The nodes with agents, checks about these, and what each of them says of its node."""
    from k8slan_cli.cli.agents import namespace
    from k8slan_cli.operate import protocol

    what, checks = "agents", list[Check]()
    try:
        pods = agents.pods
        agents.token()
    except K8slanError as error:
        state = WARN if getattr(error, "status", 0) == 403 else FAIL
        return [], (Check(what=what, state=state, words=error.message, advice=error.hint),), {}
    checks += _without_agent(cluster, set(pods))
    unreachable: dict[str, K8slanError] = {}
    clocks: dict[str, float] = {}

    def ask(node: str) -> NodeFacts:
        part = [on_node(reach, lan, node) for reach, lan in reaches if _takes_part(lan, node)]
        with agents.call(node, protocol.NODE, {"reaches": [reach.encode() for reach in part]}) as call:
            facts = NodeFacts.decode(call.document())
        clocks[node] = facts.time / 1e9 - time.time()
        return facts

    try:
        facts = agents.each(pods, ask, unreachable=unreachable)
    except K8slanError as error:
        return list(pods), (*checks, _unseen(what, error)), {}
    for failure in unreachable.values():
        advice = failure.hint or _SEE.format(namespace(), namespace())
        checks.append(Check(what=what, state=FAIL, words=failure.message, advice=advice))
    checks += _versions(facts)
    checks += _clocks(clocks)
    if facts and not unreachable:
        checks.insert(0, Check(what=what, state=OK, words=f"{len(facts)} agents answer"))
    return sorted(pods), tuple(checks), facts


def _takes_part(lan: Lan | None, node: str) -> bool:
    return lan is None or any(entry.name == node for entry in lan.nodes)


def _without_agent(cluster: Cluster, there: set[str]) -> Iterator[Check]:
    """Nodes that pods may go to, without an agent."""
    from k8slan_cli.kube import apply

    try:
        nodes = cluster.objects(apply.NODE)
    except K8slanError as error:
        yield _unseen("nodes", error)
        return
    down = [n for n in nodes if apply.conditions(n).get("Ready", {}).get("status") != "True"]
    for node in down:
        words = f"node {node['metadata']['name']} is not ready"
        yield Check(what="nodes", state=WARN, words=words, advice=f"kubectl describe node {node['metadata']['name']}")
    open_to_pods = {n["metadata"]["name"] for n in nodes if not (n.get("spec") or {}).get("unschedulable")}
    for name in sorted(open_to_pods - there):
        words = f"node {name} takes pods, but has no agent: they cannot attach there"
        advice = "does the DaemonSet k8slan-node-agent lack a toleration, or its node selector leave the node out?"
        yield Check(what="agents", state=WARN, words=words, advice=advice)


def _versions(facts: Mapping[str, NodeFacts]) -> Iterator[Check]:
    others = sorted({f"{found.version} on {node}" for node, found in facts.items() if found.version != __version__})
    if others:
        words = f"this k8slan is {__version__}, but agents are {', '.join(others[:_MANY])}"
        yield Check(what="versions", state=WARN, words=words, advice="k8slan install brings the cluster up to date")
    elif facts:
        yield Check(what="versions", state=OK, words=f"all agents are {__version__}, as this is")


def _clocks(clocks: Mapping[str, float]) -> Iterator[Check]:
    """``clocks`` says how far each node's clock is ahead of this machine's, in seconds."""
    if len(clocks) < 2:
        return
    from statistics import median

    middle = median(clocks.values())
    off = {node: ahead - middle for node, ahead in clocks.items() if abs(ahead - middle) > _CLOCKS_SECONDS}
    if not off:
        spread = max(clocks.values()) - min(clocks.values())
        yield Check(what="clocks", state=OK, words=f"nodes' clocks agree within {max(spread, 0.01):.2f} s")
    for node, ahead in sorted(off.items()):
        words = f"that of node {node} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the others"
        yield Check(what="clocks", state=WARN, words=words, advice="synchronise it by NTP (chrony, systemd-timesyncd)")


# ---------------------------------------------------------------- between nodes


def _between(agents: Agents, facts: Mapping[str, NodeFacts], reaches: Reaches, taken: set[int]) -> Iterator[Check]:
    import secrets

    for reach, lan in reaches:
        device = {node: on_node(reach, lan, node).device for node in facts}
        underlays = {node: _underlay(facts[node], device[node]) for node in sorted(facts) if _takes_part(lan, node)}
        able = [node for node, underlay in underlays.items() if underlay and underlay.vtep]
        if len(able) < 2:
            continue
        vni = secrets.choice(_TRIAL_VNIS)
        while vni in taken:
            vni = secrets.choice(_TRIAL_VNIS)
        what = f"VXLAN at UDP port {reach.port}" + (f" to group {reach.group}" if reach.group else "")
        if lan is not None:
            what += f", as for LAN {lan.ref}"
        try:
            found = [item for group in groups(able) for item in _reach(agents, facts, reach, lan, vni, group)]
        except K8slanError as error:
            yield Check(what=what, state=FAIL, words=error.message, advice=error.hint)
            continue
        mtus = {underlays[node].mtu for node in able}
        yield from verdict(what, reach.port, found, mtus)


def groups(nodes: Sequence[str]) -> list[list[str]]:
    """All nodes at once; of very many so many at a time, each group with a node of the one before."""
    if len(nodes) <= _SITES:
        return [list(nodes)]
    return [list(nodes[i : i + _SITES]) for i in range(0, len(nodes) - 1, _SITES - 1)]


def _underlay(facts: NodeFacts, device: str) -> Any:
    return facts.underlays.get(device)


def _reach(
    agents: Agents, facts: Mapping[str, NodeFacts], reach: Reach, lan: Lan | None, vni: int, nodes: Sequence[str]
) -> list[Reached]:
    import contextlib
    from dataclasses import replace

    from k8slan_cli.operate import exchange, protocol
    from k8slan_cli.operate.exchange import Site

    own = {node: on_node(reach, lan, node) for node in nodes}
    vteps = {node: _underlay(facts[node], own[node].device).vtep for node in nodes}

    def call(node: str) -> Any:
        peers = tuple(address for other, address in vteps.items() if other != node) if not reach.group else ()
        body = replace(own[node], vni=vni, peers=peers).encode()
        return agents.call(node, protocol.SESSION, {"reach": body})

    with contextlib.ExitStack() as stack:
        calls = agents.each(nodes, call)
        sites: list[Site] = [stack.enter_context(Site(f"node {node}", node, one)) for node, one in calls.items()]
        for site in sites:
            site.ready()
        return exchange.reach(sites)


def verdict(what: str, port: int, found: Sequence[Reached], mtus: set[int]) -> Iterator[Check]:
    """What frames between nodes say of the network that carries them."""
    silent = [r for r in found if not r.small and not r.full]
    narrow = [r for r in found if r.small and not r.full]
    lossy = [r for r in found if 0 < r.small < r.sent or 0 < r.full < r.sent]
    if silent:
        advice = f"a firewall drops UDP {port}: on the nodes (nft list ruleset), or between them (security groups)"
        yield Check(what=what, state=FAIL, words=f"nothing gets {_pairs(silent, found)}", advice=advice)
    if narrow:
        advice = "something on the way carries less than the nodes' devices say: raise its MTU, or set spec.mtu lower"
        words = f"only small frames get {_pairs(narrow, found)}, none of full size"
        yield Check(what=what, state=FAIL, words=words, advice=advice)
    if lossy:
        words = f"some frames are lost {_pairs(lossy, found)}"
        yield Check(what=what, state=WARN, words=words, advice="is the network, or a node, overloaded?")
    if len(mtus) > 1:
        words = f"nodes have underlays of MTU {', '.join(map(str, sorted(mtus)))}: LANs differ from node to node"
        advice = f"set spec.mtu of LANs to what all have, or give all underlays the same MTU of {max(mtus)}"
        yield Check(what="MTU", state=WARN, words=words, advice=advice)
    if not (silent or narrow or lossy) and found:
        nodes = {r.src for r in found}
        words = f"{len(nodes)} nodes reach each other, with frames of full size"
        yield Check(what=what, state=OK, words=words)


def _pairs(bad: Sequence[Reached], found: Sequence[Reached]) -> str:
    """``from a to b, …``; nodes that are cut off altogether by their own names."""
    if len(bad) == len(found):
        return "from any node to any other"
    words: list[str] = []
    rest = list(bad)
    for end, of in (("to", "dst"), ("from", "src")):
        for node in sorted({getattr(r, of) for r in rest}):
            mine = [r for r in found if getattr(r, of) == node]
            if len(mine) > 1 and all(r in rest for r in mine):
                words.append(f"{end} {node}")
                rest = [r for r in rest if r not in mine]
    words += [f"from {r.src} to {r.dst}" for r in rest]
    more = f" and {len(words) - _MANY} more" if len(words) > _MANY else ""
    return ", ".join(words[:_MANY]) + more
