"""The webhook's verdict on a LAN as somebody wants to write it: a pure function; all problems, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import codec, validate
from k8slan_cli.lan.model import Lan

Clashes = Callable[[Lan], tuple[Problem, ...]]


def judge(request: Mapping[str, Any], clashes: Clashes) -> tuple[Problem, ...]:
    """What is wrong with the object of an AdmissionRequest (admission.k8s.io/v1); nothing is wrong with a deletion.

    ``clashes`` says what a LAN has in common with older ones. Whoever writes comes last here, whenever the LAN was
    created: an edit may not take from another LAN what it has. What a LAN had in common before may stay, so that it
    can be mended one thing at a time.
    """
    operation, document = request.get("operation"), request.get("object")
    if operation not in ("CREATE", "UPDATE") or not isinstance(document, dict):
        return ()
    metadata = document.get("metadata") or {}
    before = request.get("oldObject") if operation == "UPDATE" else None
    if "deletionTimestamp" in metadata:
        return ()
    if before is not None and before.get("spec") == document.get("spec"):
        return ()  # finalizers, labels and the like
    if not metadata.get("name") and metadata.get("generateName"):
        document = {**document, "metadata": {**metadata, "name": f"{metadata['generateName']}xxxxx"}}
    try:
        lan = codec.decode(document)
    except Invalid as error:
        return error.problems
    old = _lan(before) if before is not None else None
    had = {problem.message for problem in clashes(_last(old))} if old else set()
    fresh = tuple(problem for problem in clashes(_last(lan)) if problem.message not in had)
    return (*(validate.change(old, lan) if old else ()), *fresh)


def _last(lan: Lan) -> Lan:
    """A LAN that is younger than all others."""
    return replace(lan, created="")


def _lan(document: object) -> Lan | None:
    try:
        return codec.decode(document, strict=False)
    except Invalid:
        return None  # it was broken before: nothing of it has to stay
