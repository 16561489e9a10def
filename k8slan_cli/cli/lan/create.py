"""``k8slan lan create``: from options or a file to LANs, all problems said before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import InUseError, UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out
from k8slan_cli.errors import AbsentError, K8slanError, Problem, near
from k8slan_cli.lan.model import API_VERSION, KIND, Lan, LanRef
from k8slan_cli.lan.names import Forms

if TYPE_CHECKING:
    from k8slan_cli.cli.documents import Draft
    from k8slan_cli.inventory.lans import Found

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LanOptions:
    """What the command line says of a LAN; "", None, False and nothing mean that it says nothing."""

    name: str
    vni: int | None = None
    spokes: tuple[str, ...] = ()
    dynamic: bool = False
    cable: bool = False
    underlay: str = ""
    node_underlays: tuple[str, ...] = ()
    remotes: tuple[str, ...] = ()
    uplinks: tuple[str, ...] = ()
    allowed_namespaces: tuple[str, ...] = ()
    mtu: int | None = None
    fragment: bool = False
    multicast: str = ""
    port: int | None = None
    netns: str = ""
    bridge: str = ""
    vxlan: str = ""


@in_cluster
def create(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The LAN's name.", show_default=False)] = "",
    vni: Annotated[
        int | None, typer.Option(metavar="N", help="VXLAN network identifier (default: a free one).")
    ] = None,
    spoke: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME…]", help="A place for one pod or VM; repeatable. None: any number of pods."),
    ] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Any number of pods, besides the spokes.")] = False,
    cable: Annotated[
        bool, typer.Option("--cable", help="Its two spokes are a cable's ends: no carrier while the other is free.")
    ] = False,
    underlay: Annotated[
        str, typer.Option(metavar="DEV", help="Device that carries VXLAN (default: that of the node's address).")
    ] = "",
    node_underlay: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE=DEV", help="The same for one node; repeatable.", autocompletion=completion.nodes),
    ] = None,
    remote: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help="A VTEP outside the cluster; repeatable. See lan join-command."),
    ] = None,
    uplink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE=DEV[:VLAN]",
            help="A node's NIC, or a VLAN of it, by which hardware joins; repeatable.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    allow_namespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE",
            help="One whose pods may attach as well; repeatable. '*': those of all namespaces.",
        ),
    ] = None,
    mtu: Annotated[
        int | None, typer.Option(metavar="BYTES", help="MTU inside (default: what the underlay allows).")
    ] = None,
    fragment: Annotated[
        bool,
        typer.Option("--fragment", help="Keep the MTU, by default 1500, where the underlay has less: by fragments."),
    ] = False,
    multicast: Annotated[
        str, typer.Option(metavar="GRP", help="Multicast group of the underlay (default: unicast to every node).")
    ] = "",
    port: Annotated[int | None, typer.Option(metavar="N", help="UDP port of VXLAN (default: 4789).")] = None,
    netns: Annotated[str, typer.Option(metavar="NAME", help="The LAN's network namespace on nodes.")] = "",
    bridge: Annotated[str, typer.Option(metavar="NAME", help="Its bridge (default: br0).")] = "",
    vxlan: Annotated[str, typer.Option(metavar="NAME", help="Its VXLAN device (default: vxlan0).")] = "",
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="LANs to create instead: a file, a folder or - (stdin); repeatable."
        ),
    ] = None,
    dry_run: DryRunOption = DryRun.NONE,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is ready.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait.", min=0)] = 60,
    output: out.DryRunOutput = "",
) -> None:
    """Create a LAN.

    The controller allots it a free VNI, and without spokes any number of pods may attach. All errors are reported
    together, and nothing is created then.

    Examples:
      # For any number of pods
      k8slan lan create blue

      # A cable between two places
      k8slan lan create trunk --spoke left,right --cable --wait

      # What files say, only checked
      k8slan lan create -f lab.yaml -f more/ --dry-run=client
    """
    if dry_run is DryRun.CLIENT:
        here = here.without_cluster
    if name:
        here, name = here.lan(name)
    options = LanOptions(
        name=name,
        vni=vni,
        spokes=tuple(name for each in spoke or () for name in each.split(",")),
        dynamic=dynamic,
        cable=cable,
        underlay=underlay,
        node_underlays=tuple(node_underlay or ()),
        remotes=tuple(remote or ()),
        uplinks=tuple(uplink or ()),
        allowed_namespaces=tuple(allow_namespace or ()),
        mtu=mtu,
        fragment=fragment,
        multicast=multicast,
        port=port,
        netns=netns,
        bridge=bridge,
        vxlan=vxlan,
    )
    wanted = out.Output.read(output) if output else None
    if file and options != LanOptions(name=""):
        raise UsageError("-f cannot be combined with NAME or LAN options")
    if not file and not name:
        raise UsageError("a LAN needs a name", hint="k8slan lan create NAME, or -f FILE")
    if dry_run is DryRun.CLIENT:
        plan = from_files(here, file, Surroundings()) if file else from_options(here, options, Surroundings())
    else:
        plan = from_files(here, file) if file else from_options(here, options)
        plan = replace(plan, warnings=(*plan.warnings, *_unmet(here, plan.documents)))
    for warning in plan.warnings:
        typer.echo(f"warning: {warning}", err=True)
    made = _create(here, plan, dry_run=dry_run)
    if not dry_run.changes:
        shown = [_ready_to_send(document) for document in (*plan.documents, *plan.there)]
        form = wanted if wanted and wanted.for_programs else out.Output(out.Format.YAML)
        many = form.form is out.Format.YAML and len(shown) > 1
        typer.echo("---\n".join(map(out.yaml_text, shown)) if many else form.objects(_one_or_all(shown)), nl=False)
        typer.echo(f"nothing was created{dry_run.words}", err=True)
        return
    if wanted and wanted.for_programs:
        typer.echo(wanted.objects(_one_or_all([*made, *plan.there])), nl=False)
    else:
        for document in made:
            typer.echo(_made(document))
        if len(made) == 1:
            typer.echo("\n".join(["", *_advice(made[0], here, plan.forms)]))
        elif made:
            typer.echo(f"To print a pod that attaches to one of them: k8slan lan example pod NAME{here.option}")
    if wait:
        _wait(here, [document["metadata"] for document in [*made, *plan.there]], timeout)


def _one_or_all(documents: list[Document]) -> Document | list[Document]:
    return documents[0] if len(documents) == 1 else documents


# ---------------------------------------------------------------- what is to be created


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The documents to create, those that are there already just so, and what to say about it.

    ``forms`` are those of the names of NADs in the cluster, as far as its LANs tell.
    """

    documents: tuple[Document, ...]
    there: tuple[Document, ...] = ()
    warnings: tuple[str, ...] = ()
    forms: Forms = Forms.SHORT


def from_options(here: Here, options: LanOptions, seen: Surroundings | None = None) -> Plan:
    """What the options of a command line ask for; ``seen`` is what to compare with, if not the cluster.

    Raises:
        Invalid: with all problems.

    """
    seen = seen or Surroundings.of(here)
    spec, problems = spec_of(options)
    metadata = {"name": options.name, "namespace": here.namespace}
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    return checked([(document, f"LAN {here.namespace}/{options.name}", problems)], seen)


def spec_of(options: LanOptions) -> tuple[dict[str, Any], list[Problem]]:
    """The ``spec`` that options make, and what is wrong with them."""
    problems: list[Problem] = []
    devices: dict[str, str] = {}
    for item in options.node_underlays:
        node, sign, device = item.partition("=")
        if not sign or not node or not device:
            problems.append(Problem(field="--node-underlay", message=f"{item!r} is not NODE=DEVICE"))
        elif devices.setdefault(node, device) != device:
            problems.append(Problem(field="--node-underlay", message=f"{node} is given two devices"))
    uplinks = []
    for item in options.uplinks:
        if found := re.fullmatch(r"([^=:]+)=([^=:]+)(?::([0-9]{1,9}))?", item):
            vlan = {"vlan": int(found[3])} if found[3] else {}
            uplinks.append({"node": found[1], "device": found[2], **vlan})
        else:
            problems.append(Problem(field="--uplink", message=f"{item!r} is not NODE=DEVICE or NODE=DEVICE:VLAN"))
    fields = {
        "vni": options.vni,
        "ns": options.netns,
        "bridge": options.bridge,
        "vxlan": options.vxlan,
        "vxlanGrp": options.multicast,
        "vxlanPort": options.port,
        "defaultVxlanDev": options.underlay,
        "vxlanDevMap": devices,
        "remotes": list(options.remotes),
        "uplinks": uplinks,
        "allowedNamespaces": list(options.allowed_namespaces),
        "mtu": options.mtu,
        "fragment": options.fragment,
        "spokes": list(options.spokes),
        "dynamic": options.dynamic or not options.spokes,
        "cable": options.cable,
    }
    return {key: value for key, value in fields.items() if value or (value == 0 and value is not False)}, problems


def from_files(here: Here, files: Sequence[str], seen: Surroundings | None = None) -> Plan:
    """What files ask for; ``seen`` is what to compare with, if not the cluster.

    Raises:
        K8slanError: one cannot be read, or is no YAML.
        Invalid: with all problems of all documents.

    """
    from k8slan_cli.cli import documents

    return checked(documents.drafts(files, here), seen or Surroundings.of(here))


# ---------------------------------------------------------------- what is wrong with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the cluster has already: LANs, and nodes by name and by label; ``blind`` says what could not be seen."""

    lans: tuple[Found, ...] = ()
    nodes: frozenset[str] | None = None
    blind: str = ""

    @classmethod
    def of(cls, here: Here) -> Surroundings:
        """Look around."""
        from k8slan_cli.inventory import lans
        from k8slan_cli.kube import apply, client, kinds

        blind = ""
        try:
            items = lans.several(here.cluster)
        except client.MissingError as error:
            if error.status != 403:
                raise
            blind = f"LANs of other namespaces cannot be seen ({error.message}): a clash with them shows only later"
            items = lans.several(here.cluster, here.namespace)
        try:
            found = here.cluster.objects(kinds.NODES)
        except client.ApiError:
            return cls(lans=tuple(items), blind=blind)
        known = {name for node in found for name in apply.node_names(node)}
        return cls(lans=tuple(items), nodes=frozenset(known), blind=blind)


def checked(drafts: Sequence[Draft], seen: Surroundings) -> Plan:
    """What to create of ``drafts``: they are valid, and clash with nothing that is there.

    Raises:
        Invalid: with all problems of all drafts.

    """
    from k8slan_cli.cli import documents
    from k8slan_cli.lan import codec, validate

    problems: dict[str, list[Problem]] = {}
    new: dict[LanRef, tuple[Document, Lan, str]] = {}
    there: list[Document] = []
    taken: dict[str, str] = {}
    clashing: list[LanRef] = []
    known = {found.ref: found for found in seen.lans}
    own = [(codec.as_written(document), subject, wrong) for document, subject, wrong in drafts]
    for document, subject, lan in documents.decoded(own, problems):
        if lan.nodes:
            problems[subject].append(Problem(field="peers", message="are for an agent without a cluster"))
        found = known.get(lan.ref)
        if found is not None and found.lan and codec.encode(found.lan) == codec.encode(lan) and not found.deleting:
            there.append(dict(found.document))
        elif found is not None:
            taken[subject] = _taken(found)
            clashing.append(found.ref)
        elif lan.ref in new:
            problems[subject].append(Problem(field="metadata.name", message=f"is that of {new[lan.ref][2]} too"))
        else:
            new[lan.ref] = (document, lan, subject)
    everybody = [found.lan for found in seen.lans if found.lan] + [
        validate.as_newest(lan) for _, lan, _ in new.values()
    ]
    for ref, clashes in validate.settle(everybody).clashes.items():
        if ref in new:
            problems[new[ref][2]] += clashes
    if taken and not any(problems.values()):
        raise InUseError("; ".join(taken.values()), hint=f"see: k8slan lan inspect {' '.join(map(str, clashing))}")
    for subject, words in taken.items():
        problems[subject].append(Problem(field="metadata.name", message=words))
    documents.refuse(problems, "created")
    warnings = [seen.blind] if seen.blind else []
    warnings += [f"LAN {item['metadata']['namespace']}/{item['metadata']['name']} is there already" for item in there]
    warnings += [text for _, lan, _ in new.values() for text in _strange_nodes(lan, seen.nodes)]
    forms = next((found.lan.forms for found in seen.lans if found.lan), Forms.SHORT)
    made = tuple(_ready_to_send(document) for document, _, _ in new.values())
    return Plan(documents=made, there=tuple(there), warnings=tuple(warnings), forms=forms)


def _taken(found: Found) -> str:
    if found.deleting:
        return f"LAN {found.ref} is still being deleted"
    return f"LAN {found.ref} already exists with a different spec"


def _strange_nodes(lan: Lan, nodes: frozenset[str] | None) -> Iterator[str]:
    named = (*(node for node, _ in lan.underlays), *(uplink.node for uplink in lan.uplinks))
    for node in dict.fromkeys(named):
        if nodes is not None and node not in nodes:
            hint = near(node, nodes)
            yield f"there is no node {node!r} in the cluster{f': {hint}' if hint else ''}"


def _unmet(here: Here, documents: Iterable[Document]) -> Iterator[str]:
    """Warn of what LANs want of underlays and no node has, as far as this user may ask."""
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.lan import unmet
    from k8slan_cli.lan import codec

    agents = Agents(here.cluster)
    for lan in map(codec.decode, documents):
        yield from unmet(agents, lan)


def _ready_to_send(document: Document) -> Document:
    """An object as it was read can be created again."""
    from k8slan_cli.lan import codec

    found: Document = codec.as_written(document)
    return found | {"metadata": {key: value for key, value in found["metadata"].items() if key != "creationTimestamp"}}


# ---------------------------------------------------------------- creating


def _create(here: Here, plan: Plan, *, dry_run: DryRun) -> list[Document]:
    """Let the cluster check all of it, then create it; returns what was made."""
    if dry_run is DryRun.CLIENT:
        return []
    for document in plan.documents:
        _post(here, document, DryRun.SERVER)
    if not dry_run.changes:
        return []
    made: list[Document] = []
    for document in plan.documents:
        try:
            made.append(_post(here, document, DryRun.NONE))
        except K8slanError:
            for item in made:
                typer.echo(f"LAN {item['metadata']['namespace']}/{item['metadata']['name']} is created", err=True)
            raise
    return made


def _post(here: Here, document: Document, dry_run: DryRun) -> Document:
    from k8slan_cli.inventory.lans import as_error
    from k8slan_cli.kube import apply, client, kinds

    metadata = document["metadata"]
    query = {"fieldManager": apply.FIELD_MANAGER, "fieldValidation": "Strict"} | dry_run.query
    try:
        return here.cluster.call("POST", kinds.LANS.path(metadata["namespace"]), query=query, body=document)
    except client.ApiError as error:
        if error.status == 404:
            raise _no_namespace(here, metadata["namespace"]) from error
        raise as_error(error, f"LAN {metadata['namespace']}/{metadata['name']}") from error


def _no_namespace(here: Here, namespace: str) -> AbsentError:
    from k8slan_cli.kube import client, kinds

    try:
        known = [found["metadata"]["name"] for found in here.cluster.objects(kinds.NAMESPACES)]
    except client.ApiError:
        known = []
    hint = f"make it: kubectl create namespace {namespace}"
    return AbsentError(f"there is no namespace {namespace!r}", name=namespace, known=known, hint=hint)


# ---------------------------------------------------------------- afterwards


def _made(document: Document) -> str:
    """What was made."""
    from k8slan_cli.inventory.lans import read, sound

    lan = sound(read(document))
    what = [f"VNI {lan.vni}"] if lan.vni else []
    what += [f"spoke{'s' * (len(lan.spokes) > 1)} {', '.join(lan.spokes)}"] if lan.spokes else []
    what += ["dynamic"] if lan.dynamic else []
    return f"LAN {lan.ref} is created: {', '.join(what)}"


def _advice(document: Document, here: Here, forms: Forms) -> Iterator[str]:
    """What to put into a pod or a VM next."""
    from k8slan_cli.inventory.lans import read, sound
    from k8slan_cli.lan import names
    from k8slan_cli.plan import pods

    lan = sound(read(document))
    place = f" -n {lan.ref.namespace}" if here.given or lan.ref.namespace != here.namespace else ""
    before = forms.of(lan.ref.name)[0]
    nad = names.veth_nad(lan.spokes[0], before) if lan.spokes else names.lan_nad(lan.ref.name)
    where = f"{lan.ref.name}/{lan.spokes[0]}" if lan.spokes else lan.ref.name
    yield f"A pod of namespace {lan.ref.namespace} is on it with this annotation:"
    asked = pods.request(nad)
    yield f"  {pods.NETWORKS_ANNOTATION}: " + (asked if asked == nad else f"'{asked}'")
    yield f"Full manifest: k8slan lan example pod {where}{place}"
    if lan.spokes:
        yield "A KubeVirt VM with this network, its interface bound by macvtap:"
        yield f"  multus: {{networkName: {names.mac_nad(lan.spokes[0], before)}}}"
        yield f"Full manifest: k8slan lan example vm {where}{place}"


def _wait(here: Here, created: Sequence[Mapping[str, Any]], seconds: float) -> None:
    """Follow LANs until all are ready, and say what each that is not waits for."""
    from k8slan_cli.cli.exits import LateError
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import apply, kinds

    sources = {
        f"{item['namespace']}/{item['name']}": apply.Selection(
            kinds.LANS, item["namespace"], f"metadata.name={item['name']}"
        )
        for item in created
    }
    said: dict[str, str] = {}
    for state in here.cluster.follow(sources, seconds):
        for name, objects in state.items():
            why = _waits_for(lans.read(objects[name])) if name in objects else "it has been deleted"
            if why != said.get(name):
                said[name] = why
                typer.echo(f"LAN {name}: {why or 'ready'}", err=True)
        if not any(said.values()):
            return
    waiting = {name: why for name, why in said.items() if why}
    late = "; ".join(f"LAN {name}: {why}" for name, why in waiting.items()) or "the cluster says nothing"
    raise LateError(
        f"not ready within {seconds:g} s: {late}", hint=f"see: k8slan lan inspect {' '.join(waiting or sources)}"
    )


def _waits_for(item: Found) -> str:
    """Why a LAN is not ready, "" if it is."""
    ready = item.ready
    if ready is None or item.status.generation < item.generation:
        return "waiting for the controller"
    return "" if ready.status else ready.message or ready.reason
