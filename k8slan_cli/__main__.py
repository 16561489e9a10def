"""The entry point ``k8slan``, and where errors become words and an exit status.

Exit status: 0 done, 1 it could not be done (the reason is on stderr), 2 the command line is wrong, 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of ``sys.argv``."""
    if sys.argv[1:] == ["cni"]:  # started by the container runtime for every pod: no look at other commands
        from k8slan_cli.cli import cni

        return cni.main()

    from k8slan_cli.cli.app import app
    from k8slan_cli.errors import Invalid, K8slanError

    try:
        app()
    except K8slanError as error:
        if "--debug" in sys.argv[1:]:
            raise
        if isinstance(error, Invalid):
            words = "\n  ".join([f"{error.subject} is not valid:", *map(str, error.problems)])
        else:
            words = error.message + (f"\n  {error.hint}" if error.hint else "")
        sys.stderr.write(f"k8slan: {words}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
