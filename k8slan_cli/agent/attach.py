"""What a CNI request means: it changes the recorded attachments, and the LAN's loop makes that real.

An ADD is recorded before anything is made and marked complete once everything is, so that one that is cut short,
at whatever step, can be told from one that is done and be undone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from k8slan_cli import limits
from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.host import Host
from k8slan_cli.agent.ipam import Ipam, PluginRefused
from k8slan_cli.agent.passes import Outcome
from k8slan_cli.agent.store import Key, Release
from k8slan_cli.cni import request as cni
from k8slan_cli.cni import wire
from k8slan_cli.cni.result import Interface, Ip, Result
from k8slan_cli.errors import CniError, Invalid, K8slanError, KernelError, PodGone, StoreError
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan
from k8slan_cli.lan.vtep import Holder, PodRef, VmRef
from k8slan_cli.net import inspect, netns, taps
from k8slan_cli.plan.desired import holder_elsewhere
from k8slan_cli.plan.state import Attachment, AttachmentKind

log = logging.getLogger(__name__)

_SHORT_SECONDS = 2.0
_MOST_EMPTY_HANDED = 1024


class Attacher:
    """ADD, DEL, CHECK, STATUS and GC of one node.

    ``handover`` is for how many seconds an ADD waits for a spoke that another pod has: the DEL of one that was deleted
    by force comes after its successor, and a runtime would ask again only after ten seconds or more.
    """

    def __init__(self, agent: Agent, handover: float) -> None:
        self._agent = agent
        self._handover = handover
        self._ipam = Ipam(Host(agent.host_root))
        self._empty_handed: dict[Key, None] = {}
        """Interfaces that have nothing of IPAM, or nothing any more, the last ones: their DELs are often several."""
        self._owing = asyncio.Event()
        """Set when there are addresses that a plugin has not taken back."""
        self._said: set[tuple[str, tuple[str, ...]]] = set()
        """Networks of which it has been said which fields mean nothing."""
        self._turns: dict[Key, _Turn] = {}
        self._freed = asyncio.Event()
        """Set when an attachment goes, here or elsewhere; then there is another one for those that go after it."""
        agent.on_vteps.append(lambda _lan, _changes: self._wake())

    async def add(self, request: cni.Add, pod: int | None) -> Result:
        """Plug a pod in; ``pod`` is a descriptor of its namespace.

        Raises:
            CniError: what is wrong with the request.
            K8slanError: why it cannot be done here and now; nothing is left behind then.

        """
        if pod is None or not netns.is_network_namespace(pod):
            raise CniError(wire.UNKNOWN_CONTAINER, f"the network namespace {request.netns!r} is not there")
        self._say_unknown(request.config)
        key = (request.container, request.ifname)
        async with self._turn(key):
            if self._agent.attachments.get(key):
                raise CniError(
                    wire.SPOKE_IN_USE, f"{request.ifname} of container {request.container} is attached already"
                )
            if request.config.ipam:
                self._note_empty_handed(key)  # until IPAM is asked
            lan = self._lan(request.config, request.pod.namespace).ref
            async with self._agent.joining(lan):
                try:
                    attachment = await self._admit(request, key, pod)
                    try:
                        attachment, result = await self._plug(request, attachment, pod)
                        self._agent.unreleased.delete(key)  # the DEL of this ADD releases that, too
                        self._agent.attachments.put(dataclasses.replace(attachment, complete=True))
                    except BaseException:
                        await self._undo(attachment)
                        raise
                except (Invalid, KernelError, StoreError) as error:
                    if not isinstance(error, PodGone):
                        self._agent.refusals.note(lan, request.who, str(error))
                    raise
        self._agent.refusals.forget(lan, request.who)
        log.info("attached %s to LAN %s at port %s", attachment.who, attachment.lan, attachment.port)
        return self._result(request, attachment, result)

    def _note_empty_handed(self, key: Key) -> None:
        self._empty_handed[key] = None
        if len(self._empty_handed) > _MOST_EMPTY_HANDED:
            del self._empty_handed[next(iter(self._empty_handed))]

    def _say_unknown(self, config: cni.NetConf) -> None:
        """Log once which fields of a network's configuration do nothing."""
        if config.unknown and (said := (config.name, config.unknown)) not in self._said:
            self._said.add(said)
            log.warning("network %s: %s", config.name, _unknown(config))

    async def _admit(self, request: cni.Add, key: Key, pod: int) -> Attachment:
        """Record the attachment that a request asks for, if it may be had."""
        config, attachments = request.config, self._agent.attachments
        loop = asyncio.get_running_loop()
        until = loop.time() + self._handover
        while True:
            freed = self._freed
            lan = self._lan(config, request.pod.namespace)
            if lan.deleting:
                raise CniError(wire.NO_SUCH_LAN, f"LAN {lan.ref} is being deleted")
            # A kubelet names the pod, in a variable that is not the pod's to write; without, root on the node asks.
            if request.pod.namespace and not lan.admits(request.pod.namespace):
                text = f"pods of namespace {request.pod.namespace} may not attach to LAN {lan.ref}"
                raise CniError(wire.NOT_ALLOWED, text, "add the namespace to the LAN's spec.allowedNamespaces")
            port = names.port(config.spoke) if config.spoke else names.dynamic_port(*key)
            async with self._turn((str(lan.ref), port)):  # of two that want it, one sees that the other has it
                holder = await self._holder(config, lan, port) or self._elsewhere(lan, config.spoke)
                vm = await self._migrating(request, holder)
                if vm or not holder:
                    attachment = self._attachment(request, lan, port, await self._agent.mtu_of(lan), pod, vm)
                    attachments.put(attachment)
                    return attachment
            log.info("%s waits for spoke %s, which %s has", request.who, config.spoke, holder.who)
            try:
                async with asyncio.timeout_at(until):
                    await freed.wait()
            except TimeoutError:
                text = f"spoke {config.spoke} is in use by {holder.who}"
                advice = "a spoke takes one pod at a time; a dynamic LAN takes any number"
                raise CniError(wire.SPOKE_IN_USE, text, advice) from None

    async def _holder(self, config: cni.NetConf, lan: Lan, port: str) -> Attachment | None:
        """Who has a port and is alive; those whose pod is gone without a DEL lose it."""
        for holder in self._holders(config, lan, port):
            async with self._turn(holder.key):  # its ADD or DEL may be under way
                if self._agent.attachments.get(holder.key) is None:
                    continue
                if not await asyncio.to_thread(inspect.is_orphan, self._agent.node, self._netns_of(holder), holder):
                    return holder
                log.warning("%s is gone without a DEL: its port %s is free again", holder.who, holder.port)
                with suppress(CniError):  # its addresses are still to be released: that is written down
                    await self.remove(holder)
        return None

    def _elsewhere(self, lan: Lan, spoke: str | None) -> Holder | None:
        """Who has a spoke on another node, as far as its VTEP has been heard of."""
        return holder_elsewhere(self._agent.me.name, self._agent.vteps.of(lan.ref), spoke) if spoke else None

    async def _migrating(self, request: cni.Add, holder: Attachment | Holder | None) -> VmRef | None:
        """Return the VM that holds a spoke on another node if it is on its way into this pod: then both have it."""
        if not isinstance(holder, Holder) or not holder.port.vm:
            return None
        pod = PodRef(namespace=request.pod.namespace, name=request.pod.name, uid=request.pod.uid)
        return holder.port.vm if await self._agent.migrates(pod, holder.port) else None

    def _holders(self, config: cni.NetConf, lan: Lan, port: str) -> list[Attachment]:
        """Who has a port, or the tap that goes with its spoke: one in two thousand million pairs of spokes has one."""
        found = [a for a in self._agent.attachments.of(lan.ref) if a.port == port]
        if tap := _tap(config, lan):
            found += [a for a in self._agent.attachments if a.tap == tap and a not in found]
        return found

    def _attachment(self, request: cni.Add, lan: Lan, port: str, mtu: int, pod: int, vm: VmRef | None) -> Attachment:
        """An attachment at ``port`` of a LAN whose MTU is ``mtu``; ``vm`` is one that migrates into it."""
        config = request.config
        if config.mtu is not None and config.mtu > mtu:
            raise CniError(wire.INVALID_CONFIG, f"mtu: {config.mtu} is more than the {mtu} of LAN {lan.ref} here")
        kind = AttachmentKind.MACVTAP if config.plugin is cni.Plugin.MACVTAP else AttachmentKind.VETH
        identity = (config.spoke,) if config.spoke else (request.who, request.ifname)
        return Attachment(
            container=request.container,
            ifname=request.ifname,
            lan=lan.ref,
            kind=kind,
            port=port,
            mac=request.mac or names.mac(str(lan.ref), *identity),
            mtu=config.mtu or mtu,
            spoke=config.spoke,
            tap=_tap(config, lan),
            tap_owner=(config.owner, config.group),
            offload=config.offload,
            bandwidth=config.bandwidth,
            netns=request.netns,
            netns_id=netns.identity(pod),
            pod=str(request.pod),
            pod_uid=request.pod.uid,
            vm_name=vm.name if vm else "",
            vm_uid=vm.uid if vm else "",
            since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            network=config.name,
            config=request.stdin.decode() if config.ipam else "",
            environ=tuple(request.environ.items()) if config.ipam else (),
        )

    def _lan(self, config: cni.NetConf, namespace: str | None) -> Lan:
        """The LAN that a configuration means, for a pod in ``namespace``; None: in whichever."""
        if config.lan is None:
            return self._agent.lans.of_spoke(config.spoke or "", namespace, config.netns)
        lan = self._agent.lans.of_name(config.lan)
        if config.spoke and config.spoke not in lan.spokes:
            raise CniError(wire.NO_SUCH_LAN, f"LAN {lan.ref} has no spoke {config.spoke!r}", "see: k8slan lan inspect")
        if not config.spoke and not lan.dynamic:
            text = f"LAN {lan.ref} is not dynamic: attach to one of its spokes ({', '.join(lan.spokes)})"
            raise CniError(wire.NO_SUCH_LAN, text, "or set spec.dynamic: true")
        return lan

    def _netns_of(self, attachment: Attachment) -> str:
        lan = self._agent.lans.get(attachment.lan)
        return lan.netns if lan else ""

    async def _plug(self, request: cni.Add, attachment: Attachment, pod: int) -> tuple[Attachment, Result]:
        """Make the interface, with the addresses that the runtime asked for or IPAM gives.

        IPAM is asked once the interface is there and up, since DHCP goes through it.
        """
        plugin, key = request.config.ipam, attachment.key
        loop = self._agent.loop_of(self._agent.lans.of_name(attachment.lan))
        with loop.pod(key, pod):
            given = Result(ips=tuple(Ip(address=address) for address in request.config.ips))
            if plugin:
                await _realised(loop.wake([attachment.port]), key)
                self._empty_handed.pop(key, None)
                try:
                    given = await self._ipam.add(plugin, request.environ, request.stdin)
                except PluginRefused:
                    self._note_empty_handed(key)
                    raise
            given = _with_static(given, request.config)
            # A VM's addresses are its guest's to have: on the macvtap, the pod's kernel would speak for them.
            if (given.ips or given.routes) and attachment.kind is AttachmentKind.VETH:
                attachment = dataclasses.replace(
                    attachment,
                    addresses=tuple(ip.address for ip in given.ips),
                    routes=given.routes,
                    index=await self._index(attachment) if plugin else 0,
                )
                self._agent.attachments.put(attachment)
            await _realised(loop.address(attachment) if plugin else loop.wake([attachment.port]), key)
        return attachment, given

    async def _index(self, attachment: Attachment) -> int:
        netns_name = self._netns_of(attachment)
        return await asyncio.to_thread(inspect.index_inside, self._agent.node, netns_name, attachment)

    async def _undo(self, attachment: Attachment, until: float = math.inf) -> None:
        """Leave nothing of an ADD that failed. The runtime's DEL, which has to follow, asks IPAM a second time."""
        try:
            await self.remove(attachment, until)
        except (K8slanError, OSError) as error:
            log.error("the failed ADD of %s is not undone wholly: %s", attachment.who, limits.shortage(error) or error)

    def _result(self, request: cni.Add, attachment: Attachment, given: Result) -> Result:
        port_mac = names.mac(self._netns_of(attachment), attachment.port)
        interfaces = (
            Interface(name=attachment.port, mac=port_mac),
            Interface(name=attachment.ifname, mac=attachment.mac, mtu=attachment.mtu, sandbox=request.netns),
        )
        ips = tuple(dataclasses.replace(ip, interface=1) for ip in given.ips)
        dns = given.dns if any(dataclasses.astuple(given.dns)) else request.config.dns
        return Result(interfaces=interfaces, ips=ips, routes=given.routes, dns=dns)

    # ------------------------------------------------------------ the other verbs

    async def delete(self, request: cni.Del, until: float = math.inf) -> None:
        """Unplug, whatever is left of it. What IPAM has not released ``until`` then is left to ``release``.

        Raises:
            CniError: its addresses are not released: this is said once, and from then on left to ``release``.
            K8slanError: something is left, and the runtime should ask again.

        """
        key = (request.container, request.ifname)
        async with self._turn(key):
            attachment = self._agent.attachments.get(key)
            if attachment:
                await self._detach(attachment, request if request.ipam else _deletion(attachment), until)
                log.info("detached %s from LAN %s", attachment.who, attachment.lan)
            else:
                self._agent.attachments.delete(key)  # its record may be there, but not readable
                if request.ipam:
                    await self._give_back(request, None, until)

    async def remove(self, attachment: Attachment, until: float = math.inf) -> None:
        """Unplug without a request to go by: IPAM is asked with what ADD was given.

        Raises:
            CniError: its addresses are not released, which is left to ``release``.
            K8slanError: something is left.

        """
        await self._detach(attachment, _deletion(attachment), until)

    async def _detach(self, attachment: Attachment, deletion: cni.Del | None, until: float) -> None:
        """Release the addresses while the interface is there (DHCP says it to the server), then unplug.

        Addresses that are neither released nor recorded, on a full disk, keep the attachment: a runtime asks again.
        """
        refused: CniError | None = None
        try:
            if deletion:
                await self._give_back(deletion, attachment, until)
        except CniError as error:
            refused = error
        await self._unplug(attachment)
        if refused:
            raise refused

    async def _give_back(self, deletion: cni.Del, attachment: Attachment | None, until: float = math.inf) -> None:
        """Ask IPAM to take addresses back. Those that it does not take, and may have given, are recorded for later.

        Raises:
            CniError: it did not, and this is the first time.

        """
        key, unreleased = (deletion.container, deletion.ifname), self._agent.unreleased
        known = unreleased.get(key)
        who = known.who if known else attachment.who if attachment else f"{deletion.container} ({deletion.ifname})"
        try:
            await self._ipam.ask(deletion.ipam, "DEL", deletion.environ, deletion.stdin, until)
        except CniError as error:
            never = key in self._empty_handed or (attachment is not None and not attachment.config)
            if never and not known:
                self._note_empty_handed(key)
                log.info("%s has got no addresses to release (%s)", who, error)
                return
            log.warning("the addresses of %s are not released: %s", who, error)
            if known and known.why == str(error):
                return
            unreleased.put(Release(request=deletion, who=who, why=str(error)))
            self._owing.set()
            if not known:
                raise
        else:
            self._note_empty_handed(key)
            if known:
                unreleased.delete(key)
                log.info("the addresses of %s are released after all", who)

    async def release(self) -> int:
        """Ask IPAM again for what is not released; returns how much is left.

        A plugin that refuses once is not asked again for the same network in this round.
        """
        refused: set[tuple[str, bytes]] = set()
        for release in self._agent.unreleased:
            network = (release.request.ipam, release.request.stdin)
            async with self._turn(release.key):
                if network in refused or not self._agent.unreleased.get(release.key):
                    continue
                try:
                    await self._give_back(release.request, None)
                except (K8slanError, OSError) as error:  # no room for a record, no descriptor left
                    log.error("cannot release the addresses of %s: %s", release.who, limits.shortage(error) or error)
                if self._agent.unreleased.get(release.key):
                    refused.add(network)
        return len(self._agent.unreleased)

    async def owing(self) -> None:
        """Wait until there is something more to release."""
        await self._owing.wait()
        self._owing.clear()

    async def _unplug(self, attachment: Attachment) -> None:
        if attachment.tap:  # before its record goes: until then, the path is no other's
            await asyncio.to_thread(taps.remove, self._agent.host_root, attachment.tap)
        self._agent.attachments.delete(attachment.key)
        try:
            lan = self._agent.lans.get(attachment.lan)
            if lan is None:
                return  # its namespace is gone, or about to be
            outcome = await self._agent.loop_of(lan).wake([attachment.port])
            if attachment.tap and not any(a.tap == attachment.tap for a in self._agent.attachments):
                taps.remove(self._agent.host_root, attachment.tap)  # a pass under way may have made it anew
            if outcome.trouble and attachment.port in (await self._ports(lan)):
                raise outcome.trouble
        finally:
            self._wake()
            self._agent.take_part()

    def _wake(self) -> None:
        """Let those who wait for a spoke look again."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def _ports(self, lan: Lan) -> frozenset[str]:
        return await asyncio.to_thread(inspect.ports, self._agent.node, lan.netns)

    async def check(self, request: cni.Check, pod: int | None) -> None:
        """Compare what is there with what ADD and the plugins after it in the chain left, such as tuning.

        What the LAN's own pass mends, as a port that was deleted just now, is not told of.

        Raises:
            CniError: it is not as it was.

        """
        attachment = self._agent.attachments.get((request.container, request.ifname))
        if attachment is None or not attachment.complete:
            text = f"{request.ifname} of container {request.container} is not attached"
            raise CniError(wire.UNKNOWN_CONTAINER, text)
        if pod is None or netns.identity(pod) != attachment.netns_id:
            raise CniError(wire.CHECK_FAILED, f"{request.netns!r} is not the namespace that {attachment.who} was given")
        stated = next((i for i in request.previous.interfaces if i.name == request.ifname and i.sandbox), None)
        faults = [] if stated else [f"prevResult has no interface {request.ifname}"]
        if stated and stated.mac:
            attachment = dataclasses.replace(attachment, mac=stated.mac.lower())
        stated_addresses = {ip.address for ip in request.previous.ips}
        faults += [f"prevResult lacks {a}" for a in attachment.addresses if a not in stated_addresses]

        async def look() -> list[str]:
            place = self._netns_of(attachment)
            return await asyncio.to_thread(inspect.faults, self._agent.node, place, attachment, pod)

        found = await look()
        if found and (lan := self._agent.lans.get(attachment.lan)):
            await self._agent.loop_of(lan).wake([attachment.port])
            found = await look()
        if faults := [*faults, *found]:
            raise CniError(wire.CHECK_FAILED, f"{attachment.who} is not as ADD left it: {'; '.join(faults)}")
        if request.config.ipam:
            await self._ipam.ask(request.config.ipam, "CHECK", request.environ, request.stdin)

    async def status(self, request: cni.Status) -> None:
        """Say whether an ADD with this configuration would work, and all of it would be heeded.

        Raises:
            CniError: 50, and why it would not; 7, and which fields mean nothing.

        """
        try:
            await self._agent.mtu_of(self._lan(request.config, None))
            if request.config.ipam:
                await self._ipam.ask(request.config.ipam, "STATUS", request.environ, request.stdin)
        except K8slanError as error:
            raise CniError(wire.NOT_AVAILABLE, error.message, error.hint) from error
        if request.config.unknown:
            raise CniError(wire.INVALID_CONFIG, _unknown(request.config), "pods attach all the same")

    async def collect(self, request: cni.Gc) -> None:
        """Remove what a network has on this node beyond what the runtime knows of.

        Raises:
            K8slanError: something is left.

        """
        config, failures = request.config, list[str]()
        await self.release()
        for attachment in [a for a in self._agent.attachments if a.network == config.name]:
            if attachment.key not in request.valid:
                async with self._turn(attachment.key):
                    log.info("%s is not known to the runtime any more: it is removed", attachment.who)
                    try:
                        await self.remove(attachment)
                    except (K8slanError, OSError) as error:
                        failures.append(f"{attachment.who}: {limits.shortage(error) or error}")
        if config.ipam:
            try:
                await self._ipam.ask(config.ipam, "GC", request.environ, request.stdin)
            except (K8slanError, OSError) as error:
                failures.append(str(limits.shortage(error) or error))
        if failures:
            raise K8slanError("; ".join(failures))

    # ------------------------------------------------------------ after a restart

    async def recover(self) -> None:
        """Undo what an agent before this one did not finish, and do what was left for it in the spool."""
        until = _shortly()
        for attachment in self._agent.attachments:
            if not attachment.complete:
                log.warning("the ADD of %s was cut short: it is undone", attachment.who)
                await self._undo(attachment, until)
        await self.empty_spool()

    async def empty_spool(self) -> int:
        """Carry out the DELs that clients left while no agent answered; returns how many failed, and stay."""
        left, until = 0, _shortly()
        for path in sorted(self._agent.paths.spool.iterdir()):
            if path.name.startswith("."):
                continue
            try:
                request = cni.parse(*wire.decode_payload(path.read_bytes()))
            except FileNotFoundError:
                continue
            except CniError as error:
                log.error("a request in the spool makes no sense (%s): removed", error)
                request = None
            try:
                if isinstance(request, cni.Del):
                    with suppress(CniError):  # its addresses are still to be released: that is written down
                        await self.delete(request, until)
                path.unlink(missing_ok=True)
            except (K8slanError, OSError) as error:
                log.error("a DEL from the spool has to wait: %s", limits.shortage(error) or error)
                left += 1
        return left

    @asynccontextmanager
    async def _turn(self, key: Key) -> AsyncIterator[None]:
        """One request at a time for an interface: a DEL waits for the ADD that it is to undo."""
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]


class _Turn:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def _tap(config: cni.NetConf, lan: Lan) -> int:
    """The link index of the macvtap that a configuration asks for, 0 if it asks for none."""
    wanted = config.spoke if config.plugin is cni.Plugin.MACVTAP else None
    return names.tap_index(str(lan.ref), wanted) if wanted else 0


async def _realised(passed: asyncio.Future[Outcome], key: Key) -> None:
    """Wait for a pass.

    Raises:
        K8slanError: why the attachment does not work after it.

    """
    if error := (await passed).failure_of(key):
        raise error


def _shortly() -> float:
    """Until when IPAM is waited for where others wait: the start of the agent, the next DEL in the spool."""
    return asyncio.get_running_loop().time() + _SHORT_SECONDS


def _deletion(attachment: Attachment) -> cni.Del | None:
    """The DEL of an attachment that has addresses of IPAM, or may have: with what its ADD was given."""
    if attachment.config:
        with suppress(CniError):  # somebody has written into the record
            request = cni.parse(dict(attachment.environ) | {"CNI_COMMAND": "DEL"}, attachment.config.encode())
            return request if isinstance(request, cni.Del) and request.ipam else None
    return None


def _unknown(config: cni.NetConf) -> str:
    return f"k8slan does not know these fields of the configuration, and passes them over: {', '.join(config.unknown)}"


def _with_static(given: Result, config: cni.NetConf) -> Result:
    """What an interface is given, with the addresses and routes that its network's configuration has itself."""
    known = {ip.address: ip for ip in given.ips}
    ips = known | {address: Ip(address=address) for address in config.addresses if address not in known}
    return dataclasses.replace(given, ips=tuple(ips.values()), routes=(*given.routes, *config.routes))
