"""The webhook's verdict on a LAN as somebody wants to write it: a pure function; all problems, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import codec, validate
from k8slan_cli.lan.model import Lan

Clashes = Callable[[Lan], tuple[Problem, ...]]
_LATE = Problem(field="spec", message="broke rules before, and cannot be mended while the LAN is being deleted")


def judge(request: Mapping[str, Any], clashes: Clashes) -> tuple[Problem, ...]:
    """What is wrong with the object of an AdmissionRequest (admission.k8s.io/v1); nothing is wrong with a deletion.

    ``clashes`` says what other LANs, and nodes, have of a LAN. The LAN that is written comes last here, whenever it
    was created, but for what it has been granted: an edit may not take from another LAN what it has. A clash that
    was there before may stay, so that a LAN can be mended one thing at a time. A LAN that is being deleted may give
    up things, and gain nothing.
    """
    operation, document = request.get("operation"), request.get("object")
    if operation not in ("CREATE", "UPDATE") or not isinstance(document, dict):
        return ()
    metadata = document.get("metadata") or {}
    before = request.get("oldObject") if operation == "UPDATE" else None
    if before is not None and before.get("spec") == document.get("spec"):
        return ()  # finalizers, labels and the like
    if not metadata.get("name") and metadata.get("generateName"):
        document = {**document, "metadata": {**metadata, "name": f"{metadata['generateName']}xxxxx"}}
    try:
        lan = codec.decode(document)
    except Invalid as error:
        return error.problems
    old = _lan(before) if before is not None else None
    lan = replace(lan, granted=codec.remains(before).granted if before is not None else None)
    if before is not None and lan.deleting:
        return validate.gain(old, lan) if old else (_LATE,)
    had = {problem.message for problem in clashes(validate.as_newest(old))} if old else set()
    fresh = tuple(problem for problem in clashes(validate.as_newest(lan)) if problem.message not in had)
    return (*(validate.change(old, lan) if old else ()), *fresh)


def _lan(document: object) -> Lan | None:
    try:
        return codec.decode(document, strict=False)
    except Invalid:
        return None  # it was broken before: nothing of it has to stay
