"""What can be done to a node, as values. ``describe`` is the one text that log, dry run, status and tests show."""

from __future__ import annotations

from dataclasses import dataclass

from k8slan_cli.lan.model import IpAddress
from k8slan_cli.plan import shaping
from k8slan_cli.plan.state import UNSHAPED, Attachment, Bridge, Port, Shaping, Stub, Tunnel, UplinkPort


@dataclass(frozen=True, slots=True)
class CreateNamespace:
    """Make the LAN's namespace."""

    netns: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"create namespace {self.netns}"


@dataclass(frozen=True, slots=True)
class MountNamespace:
    """Mount the LAN's namespace again where it was."""

    netns: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"mount namespace {self.netns} again"


@dataclass(frozen=True, slots=True)
class QuietNamespace:
    """Switch IPv6 and bridge-netfilter off in it."""

    netns: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"switch off IPv6 and bridge-netfilter in {self.netns}"


@dataclass(frozen=True, slots=True)
class DeleteNamespace:
    """Remove the LAN's namespace, with all that is in it."""

    netns: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"delete namespace {self.netns}"


@dataclass(frozen=True, slots=True)
class CreateBridge:
    """Make the bridge."""

    bridge: Bridge

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"create bridge {self.bridge.name} (mtu {self.bridge.mtu})"


@dataclass(frozen=True, slots=True)
class SetBridge:
    """Bring the bridge's MTU, state and options to what they should be."""

    bridge: Bridge

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"set bridge {self.bridge.name}: up, quiet, mtu {self.bridge.mtu}"


@dataclass(frozen=True, slots=True)
class CreateVxlan:
    """Make the VXLAN device over the underlay and put it straight into the LAN's namespace."""

    link: Port
    tunnel: Tunnel
    underlay: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        tunnel = self.tunnel
        to = f"group {tunnel.group}" if tunnel.group else f"local {tunnel.local}"
        to += f" within {tunnel.ttl} hops" if tunnel.ttl else ""
        return (
            f"create vxlan {self.link.name} (vni {tunnel.vni}, port {tunnel.port}, over {self.underlay}, {to}, "
            f"mtu {self.link.mtu})"
        )


@dataclass(frozen=True, slots=True)
class CreateJoint:
    """Make the bridge port that stands for a VXLAN device which is none itself."""

    port: Port

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"create veth {self.port.name} (mtu {self.port.mtu})"


@dataclass(frozen=True, slots=True)
class JoinVxlan:
    """Lead what the bridge sends to its port for the VXLAN device there, and what comes from there in at the port."""

    vxlan: str
    port: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"redirect {self.port} to {self.vxlan} and back"


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """Make a veth pair: a bridge port, and the pod's interface or the lower device of a macvtap."""

    port: Port
    attachment: Attachment
    stub: Stub | None = None

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        attachment = self.attachment
        more = "" if self.port.offload else ", without offloads"
        if self.stub:
            return f"create veth {self.port.name} to {self.stub.name} (mtu {attachment.mtu}{more})"
        return f"create veth {self.port.name} to {attachment.who} (mac {attachment.mac}, mtu {attachment.mtu}{more})"


@dataclass(frozen=True, slots=True)
class CreateMacvtap:
    """Make the macvtap of a VM in its pod, on top of its lower device in the LAN's namespace."""

    attachment: Attachment
    stub: Stub

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        who, mac, tap = self.attachment.who, self.attachment.mac, self.attachment.tap
        return f"create macvtap over {self.stub.name} for {who} (mac {mac}, /dev/tap{tap})"


@dataclass(frozen=True, slots=True)
class GiveTap:
    """Give the device file of a macvtap to the user and group that open it, on the node before they do."""

    attachment: Attachment

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        attachment = self.attachment
        user, group = attachment.tap_owner
        return f"give /dev/tap{attachment.tap} of {attachment.who} to {user}:{group}"


@dataclass(frozen=True, slots=True)
class ConfigurePod:
    """Bring the pod's interface up and give it its addresses and routes; a macvtap's is to be silent."""

    attachment: Attachment

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        attachment = self.attachment
        addresses = f" with {', '.join(attachment.addresses)}" if attachment.addresses else ""
        return f"bring up {attachment.who}{addresses}"


@dataclass(frozen=True, slots=True)
class SetPort:
    """Bring a port's bridge, MTU, state and forwarding mask to what they should be."""

    port: Port

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        port = self.port
        state = "up" if port.up else "down"
        if port.bridge is None:
            return f"set {port.name}: {state}, in no bridge, mtu {port.mtu}"
        return f"set port {port.name}: {state}, in {port.bridge}, mtu {port.mtu}, group_fwd_mask {port.forwards:#x}"


@dataclass(frozen=True, slots=True)
class SetOffload:
    """Let frames leave the LAN at a port as the kernel has them; or with checksums filled in and cut to the MTU."""

    port: str
    on: bool

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"switch offloads of port {self.port} {'on' if self.on else 'off'}"


@dataclass(frozen=True, slots=True)
class CreateUplink:
    """Make the port of a NIC, or of a VLAN of it, straight in the LAN's namespace; it joins nothing yet."""

    uplink: UplinkPort

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        port, vlan = self.uplink.port, self.uplink.vlan
        kind = f"vlan {port.name} (id {vlan}" if vlan else f"macvlan {port.name} (passthru"
        return f"create {kind}, mtu {port.mtu}) for {port.owner}"


@dataclass(frozen=True, slots=True)
class OpenUplink:
    """Put the port of an uplink into the bridge."""

    uplink: UplinkPort

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        port = self.uplink.port
        return f"set {port.owner} active: {port.name} in {port.bridge}, mtu {port.mtu}"


@dataclass(frozen=True, slots=True)
class CloseUplink:
    """Take the port of an uplink out of the bridge."""

    uplink: UplinkPort

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        port = self.uplink.port
        return f"set {port.owner} standby: {port.name} out of the bridge, mtu {port.mtu}"


@dataclass(frozen=True, slots=True)
class SetStub:
    """Bring the lower device of a macvtap up."""

    stub: Stub

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"set {self.stub.name}: up, mtu {self.stub.mtu}"


@dataclass(frozen=True, slots=True)
class ShapePort:
    """Make of what is done to frames at a port, in either direction, what it should be."""

    port: str
    shape: Shaping
    before: Shaping = UNSHAPED

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"shape {self.port}: {shaping.words(self.shape)}"


@dataclass(frozen=True, slots=True)
class DeleteLinks:
    """Delete links of the LAN's namespace, all in one go."""

    names: tuple[str, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"delete {', '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class AddPeer:
    """Send what has no known place to one more VTEP."""

    vxlan: str
    peer: IpAddress

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"add peer {self.peer} to {self.vxlan}"


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """Send nothing more to a VTEP but what was learned from it."""

    vxlan: str
    peer: IpAddress

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"remove peer {self.peer} from {self.vxlan}"


@dataclass(frozen=True, slots=True)
class ForgetMac:
    """Take out what a bridge or VXLAN device has learned of a MAC address that has moved.

    ``link`` is the bridge port that it was learned at, or the VXLAN device with ``peer``, the VTEP that it was learned
    from. The entry has to be that one still: what has been learned since stays.
    """

    mac: str
    link: str
    peer: IpAddress | None = None

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"forget that {self.mac} is behind {f'{self.peer} at ' if self.peer else ''}{self.link}"


@dataclass(frozen=True, slots=True)
class ForgetPeer:
    """Take out all that a VXLAN device, and its bridge with it, has learned from a VTEP: hardware is elsewhere now.

    ``port`` is the bridge port behind which other nodes are.
    """

    vxlan: str
    peer: IpAddress
    port: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"forget what is behind {self.peer} at {self.vxlan}"


Operation = (
    CreateNamespace
    | MountNamespace
    | QuietNamespace
    | DeleteNamespace
    | CreateBridge
    | SetBridge
    | CreateVxlan
    | CreateJoint
    | JoinVxlan
    | CreateVeth
    | CreateMacvtap
    | GiveTap
    | ConfigurePod
    | SetPort
    | SetOffload
    | CreateUplink
    | OpenUplink
    | CloseUplink
    | SetStub
    | ShapePort
    | DeleteLinks
    | AddPeer
    | RemovePeer
    | ForgetMac
    | ForgetPeer
)
