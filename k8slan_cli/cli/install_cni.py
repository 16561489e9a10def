"""``k8slan install-cni``: puts the CNI executable on a node, under the names that multus calls it by.

It runs as the first container of each agent's pod, while other pods of the node come and go: so a name always leads
to an entire executable, the old one or the new one, and one that is up to date is not touched.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

import typer

from k8slan_cli.errors import K8slanError

SOURCE = Path("/opt/k8slan/cni/k8slan-cni")
"""Where the image has it."""
_MODE = 0o755


def install_cni(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The node's folder for CNI plugins, /opt/cni/bin on most.")
    ],
    source: Annotated[Path, typer.Option(metavar="FILE", help="The executable.")] = SOURCE,
) -> None:
    """Install the CNI executables into a folder of the node.

    Exit status: 0 installed or up to date, 1 not.

    Examples:
      k8slan install-cni /opt/cni/bin --source ./k8slan-cni
    """
    from k8slan_cli.plan.objects import PLUGINS

    for name in PLUGINS:
        done = "installed" if install(source, folder / name) else "is up to date:"
        typer.echo(f"{done} {folder / name}", err=True)


def install(source: Path, target: Path) -> bool:
    """Make ``target`` the same executable as ``source``, at once or not at all; whether it had to be changed.

    Raises:
        K8slanError: what could not be read or written.

    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise K8slanError(f"{source} cannot be read: {error.strerror}") from None
    beside = target.with_name(f".{target.name}.new")  # the same name each time, so that a crash leaves one at most
    try:
        if _is(target, content):
            return False
        beside.unlink(missing_ok=True)
        with open(beside, "xb", opener=_executable) as file:
            file.write(content)
            os.fchmod(file.fileno(), _MODE)  # whatever the umask is
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise K8slanError(f"{target} cannot be written: {error.strerror}") from None
    return True


def _is(target: Path, content: bytes) -> bool:
    try:
        found = target.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == _MODE and target.read_bytes() == content


def _executable(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
