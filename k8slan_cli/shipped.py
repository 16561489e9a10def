"""Where the files lie that come with the package but are not modules: templates, manifests, the forwarder's source.

A wheel has them inside the package, put there by the build; a checkout, and so an editable install, has them at its
top. Nothing else in the package may guess such a path.
"""

from __future__ import annotations

from pathlib import Path

from k8slan_cli.errors import K8slanError

FOLDERS = ("templates", "manifests", "cni_plugins")
_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder ``name``, one of ``FOLDERS``.

    Raises:
        K8slanError: it is neither in the package nor in a checkout around it.

    """
    for place in (_PACKAGE, _PACKAGE.parent):
        if (found := place / name).is_dir():
            return found
    raise K8slanError(f"the folder {name!r} of k8slan is missing", hint="reinstall k8slan: its wheel holds it")


def page() -> Path:
    """The folder of the files that the page of ``k8slan ui`` is made of, which lies among the modules."""
    return _PACKAGE / "ui" / "static"
