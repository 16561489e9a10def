"""Commands as a shell calls them: by the entry point, which makes words and an exit status of errors."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from k8slan_cli.__main__ import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command has left."""

    status: int
    stdout: str
    stderr: str


def call(*arguments: str, stdin: str | None = None, status: int = 0) -> Done:
    """Run ``k8slan`` with ``arguments``; it must end with ``status``, and without a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["k8slan", *arguments]),
        patch.object(sys, "stdin", io.StringIO(stdin or "")),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            found: object = main()
        except SystemExit as end:
            found = end.code
    done = Done(
        status=found if isinstance(found, int) else int(found is not None), stdout=out.getvalue(), stderr=err.getvalue()
    )
    assert done.status == status, done
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr
    return done
