"""A short run of the forwarder's fuzzer; the long one is ``make -C tests/fuzz/forwarder long``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.require import require

FUZZER = Path(__file__).parent / "forwarder"


@pytest.fixture(scope="session")
def libfuzzer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Clang with libFuzzer and its sanitizers."""
    require("fuzz", shutil.which("clang") is not None, "needs clang (Debian: clang)")
    empty = tmp_path_factory.mktemp("libfuzzer") / "empty.c"
    empty.write_text("int LLVMFuzzerTestOneInput(const char *d, long n) { return d[n - n] && 0; }\n")
    build = ("clang", "-fsanitize=fuzzer,address,undefined", "-o", f"{empty}.out", str(empty))
    works = subprocess.run(build, capture_output=True, timeout=120, check=False).returncode == 0
    require("fuzz", works, "needs clang's runtime with libFuzzer (Debian: libclang-rt-14-dev)")


@pytest.mark.usefixtures("libfuzzer")
def test_ten_thousand_inputs_break_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ("make", "-s", "-C", str(FUZZER), f"BUILD={tmp_path}", "short"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "stat::number_of_executed_units: 10000" in done.stdout, done.stdout[-4000:]
