"""A cluster that stands in for a real one: commands as a shell calls them, against objects that a test puts there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import scene
from tests.unit.render.api import Api, serve
from tests.unit.render.command import Done, call

LANS, VTEPS = (f"/apis/lan.k8slan.io/v1beta1/namespaces/lab/{kind}" for kind in ("lans", "vteps"))


class Workstation:
    """The command in namespace lab of a cluster."""

    def __init__(self, api: Api, kubeconfig: Path) -> None:
        self.api = api
        self.kubeconfig = kubeconfig

    def __call__(self, *words: str, status: int = 0, stdin: str | None = None) -> Done:
        """Run it; it has to end with ``status``."""
        return call(*words, "-n", "lab", "--kubeconfig", str(self.kubeconfig), status=status, stdin=stdin)

    def put(self, *documents: Any) -> None:
        """Put objects of the scene there, each under its name."""
        for document in documents:
            found = json.loads(json.dumps(document))
            metadata = found["metadata"]
            root = "/api/v1" if found["kind"] == "Pod" else "/apis/lan.k8slan.io/v1beta1"
            kind = f"{found['kind'].lower()}s"
            self.api.put(f"{root}/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}", found)

    def pull(self, *links: str, lan: str = "red") -> None:
        """Have the links of a LAN pulled out."""
        found = json.loads(json.dumps(self.api.objects[f"{LANS}/{lan}"]))
        found["metadata"]["annotations"] = {"lan.k8slan.io/links-down": ",".join(links)}
        self.api.put(f"{LANS}/{lan}", found)


@contextmanager
def workstation(folder: Path) -> Iterator[Workstation]:
    """A cluster in which the scene's LAN is in use."""
    api = Api()
    with serve(api, folder / "kubeconfig"):
        found = Workstation(api, folder / "kubeconfig")
        found.put(scene.RED, *scene.PODS, *scene.VTEPS)
        yield found
