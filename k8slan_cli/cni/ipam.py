"""Delegation to an IPAM plugin (CNI spec 1.1.0, section 4): what it is given, and what it gives.

The delegate gets the very environment and configuration that k8slan got, with another CNI_COMMAND where an ADD
that failed has to be undone. Only the version may be lowered, for a plugin that is older than the runtime. Who runs
it is the agent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from k8slan_cli.cni import versions, wire
from k8slan_cli.cni.fields import Field, parse_json
from k8slan_cli.cni.result import Result, decode, encode, to_json
from k8slan_cli.errors import CniError


def environ(given: Mapping[str, str], verb: str) -> dict[str, str]:
    """The delegate's ``CNI_*`` variables."""
    return {name: value for name, value in given.items() if name.startswith("CNI_")} | {"CNI_COMMAND": verb}


def directories(given: Mapping[str, str]) -> tuple[str, ...]:
    """Where to look for the delegate, in order: the absolute paths of CNI_PATH."""
    return tuple(path for path in given.get("CNI_PATH", "").split(":") if path.startswith("/"))


def config(given: bytes, version: str) -> bytes:
    """The delegate's configuration: the one that was given, in ``version``, also what it holds of an earlier result."""
    if version == versions.asked(given):
        return given
    document = json.loads(given) | {"cniVersion": version}
    if document.get("prevResult"):
        previous = Field(value=document["prevResult"], path="prevResult", code=wire.INVALID_CONFIG)
        document["prevResult"] = encode(decode(previous), version)
    return to_json(document)


def version_for(asked: str, output: bytes) -> str:
    """The version to speak with a plugin: the newest it knows up to ``asked``, by what it printed at VERSION.

    One that does not say what it knows, or that knows none of k8slan's, is spoken to as asked, and may say so itself.
    """
    try:
        answer = Field(value=parse_json(output, wire.IPAM_FAILED, "the answer"), path="", code=wire.IPAM_FAILED)
        known = answer.at("supportedVersions").texts()
    except CniError:
        return asked
    shared = [v for v in versions.SUPPORTED if v in known and versions.at_least(asked, v)]
    return shared[-1] if shared else asked


def knows(version: str, verb: str) -> bool:
    """Whether a plugin that speaks ``version`` has a verb: STATUS and GC came with 1.1.0."""
    return verb not in ("STATUS", "GC") or versions.at_least(version, "1.1.0")


def read_result(plugin: str, output: bytes) -> Result:
    """What an ADD of the delegate printed.

    Raises:
        CniError: 103, when it is not a result of a supported version, or holds no address.

    """
    what = f"the answer of IPAM plugin {plugin}"
    try:
        result = decode(Field(value=parse_json(output, wire.IPAM_FAILED, what), path="", code=wire.IPAM_FAILED))
    except CniError as error:
        if error.msg.startswith(what):
            raise
        raise CniError(error.code, f"{what}: {error.msg}", error.details) from None
    if not result.ips:
        raise CniError(wire.IPAM_FAILED, f"IPAM plugin {plugin} gave no address")
    return result


def read_error(plugin: str, verb: str, output: bytes) -> CniError:
    """What a failed delegate printed, as an error of code 103 that holds the plugin's own words.

    A plugin that is asked for a version it does not know says so with code 1, which is kept for the caller to see.
    """
    said = f"IPAM plugin {plugin} failed at {verb}"
    try:
        document = Field(value=parse_json(output, wire.IPAM_FAILED, said), path="", code=wire.IPAM_FAILED)
        code, msg, details = (
            document.at("code").number(0, 1 << 31),
            document.at("msg").value,
            document.at("details").value,
        )
    except CniError:
        return CniError(wire.IPAM_FAILED, f"{said} without saying why", "its own words, if any, are in the agent's log")
    code = wire.INCOMPATIBLE_VERSION if code == wire.INCOMPATIBLE_VERSION else wire.IPAM_FAILED
    return CniError(code, f"{said}: {msg or 'it did not say why'}", details if isinstance(details, str) else "")
