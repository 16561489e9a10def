"""``k8slan lab save``: configurations that nodes run with, as files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from k8slan_cli.cli import files
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lab import source
from k8slan_cli.errors import K8slanError


@in_cluster
def save(
    here: Here,
    lab: source.LabOrTopology,
    to: Annotated[str, typer.Option(metavar="FOLDER", help="Where to (default: clab-LAB, beside the topology).")] = "",
) -> None:
    """Save the configurations that the nodes of a lab run with, as files.

    Each node of a kind whose command for that is known (FRR, SR Linux, cEOS, cRPD) gets FOLDER/NODE/FILE, as its kind
    calls the file; nodes of other kinds are named. Nothing changes in the nodes. To start with it the next time, name
    the file in startup-config.

    Examples:
      k8slan lab save frr01.clab.yml -n lab
    """
    from k8slan_cli.cli.lab import state
    from k8slan_cli.cli.lab.execute import pod_of
    from k8slan_cli.kube import execute as run
    from k8slan_cli.kube import kinds as kube
    from k8slan_cli.lab import kinds
    from k8slan_cli.lab.manifests import CONTAINER, KIND_ANNOTATION
    from k8slan_cli.lan.names import LAB_NODE_LABEL

    name = source.lab(lab)
    beside = source.find(lab).parent if source.is_topology(lab) else Path()
    folder = Path(to) if to else beside / f"clab-{name}"
    failed: list[str] = []
    for target, document in sorted(state.of(here, name).items(), key=lambda pair: str(pair[0])):
        if target.kind != kube.DEPLOYMENTS:
            continue
        metadata = document["metadata"]
        node = metadata["labels"][LAB_NODE_LABEL]
        kind = (metadata.get("annotations") or {}).get(KIND_ANNOTATION, "")
        known = kinds.known(kind)
        if not known.save:
            typer.echo(f"{node}: nothing to save, how {kind or 'it'} prints its configuration is not known")
            continue
        place = folder / node / PurePosixPath(known.config).name
        said, wrong = bytearray(), bytearray()
        try:
            pod = pod_of(here.cluster, here.namespace, f"{name}/{node}")["metadata"]["name"]
            status = run.run(
                here.cluster, here.namespace, pod, CONTAINER, known.save, stdout=said.extend, stderr=wrong.extend
            )
            if status:
                words = " ".join(wrong.decode(errors="replace").split())
                raise K8slanError(f"{' '.join(known.save)} ended with status {status}: {words}")
            _write(place, bytes(said))
        except K8slanError as error:
            failed.append(f"{node}: {error.message}")
        else:
            typer.echo(f"{node}: {place}")
    if failed:
        raise K8slanError("; ".join(failed))


def _write(place: Path, content: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise K8slanError(f"cannot make {place.parent}: {error.strerror}") from error
    with files.writing(place) as output:
        output.write(content)
