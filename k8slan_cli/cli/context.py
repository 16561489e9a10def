"""Which cluster, as whom, in which namespace: the options of every command with a cluster, as kubectl has them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.here import Here

OPTIONS: dict[str, Any] = {
    "namespace": Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Namespace (default: the context's).",
            autocompletion=completion.namespaces,
        ),
    ],
    "context": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Context of the kubeconfig (default: the current one).",
            autocompletion=completion.contexts,
        ),
    ],
    "kubeconfig": Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The kubeconfig (default: $KUBECONFIG or ~/.kube/config)."),
    ],
    "as_user": Annotated[
        str | None, typer.Option("--as", metavar="USER", help="Act as another user, with the right to impersonate.")
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")],
}


def in_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command``, whose first parameter is ``here``, the options that say where that is."""
    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "here"]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        where = {name: given.pop(name) for name in OPTIONS}
        command(Here(where["kubeconfig"], where["context"], where["namespace"], where["as_user"]), **given)

    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "debug" else None, annotation=annotation
        )
        for name, annotation in OPTIONS.items()
    ]
    wrapper.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {}
    return wrapper
