"""The entry point ``k8slan``, and where errors become words and an exit status (the table of them: cli/exits.py)."""

from __future__ import annotations

import sys
from pathlib import PurePath

from k8slan_cli import garbage


def main() -> int:
    """Run the command of ``sys.argv``."""
    garbage.seldom()
    try:
        return _run()
    except KeyboardInterrupt:  # before the command itself: typer ends that in the same way
        return 130
    finally:
        garbage.no_more()


def _run() -> int:
    if sys.argv[1:] == ["cni"]:  # started by the container runtime for every pod: other commands are not loaded
        from k8slan_cli.cli import cni

        return cni.main()

    from k8slan_cli.cli import terminal
    from k8slan_cli.cli.app import app
    from k8slan_cli.errors import K8slanError

    terminal.stand_before()
    try:
        try:
            app(prog_name=_program())
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        return 1
    except K8slanError as error:
        if "--debug" in sys.argv[1:]:
            raise
        from k8slan_cli.cli import exits

        sys.stderr.write(f"k8slan: {exits.words(error)}\n")
        return exits.status(error)
    except Exception as error:  # the last edge: a limit that is reached, or a fault of k8slan itself
        if "--debug" in sys.argv[1:]:
            raise
        from k8slan_cli import limits

        if shortage := limits.shortage(error):
            sys.stderr.write(f"k8slan: {shortage.message}\n  {shortage.hint}\n")
            return 1
        sys.stderr.write(f"k8slan: internal error: {type(error).__name__}: {error}\n")
        sys.stderr.write("  please report it with what the same command says with --debug\n")
        return 1
    return 0


def _program() -> str:
    """How the user calls this: kubectl runs its plugin k8slan as ``kubectl-k8slan``."""
    return "kubectl k8slan" if PurePath(sys.argv[0]).name.startswith("kubectl-") else "k8slan"


if __name__ == "__main__":
    sys.exit(main())
