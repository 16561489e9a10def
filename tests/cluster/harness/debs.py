"""Debian's packages as files, fetched by an apt that has a state of its own; nothing in them is run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.harness.build import BuildError

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch(folder: Path, release: str, *packages: str) -> list[Path]:
    """Download packages of a release, and what they depend on, into an empty folder."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources").write_text(f"deb [signed-by={_KEYS}] {_mirror()} {release} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Binary::apt-get::APT::Keep-Downloaded-Packages": "true",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    run("apt-get", *options, "-qq", "update")
    run("apt-get", *options, "-qq", "--yes", "--download-only", "install", *packages)
    return list((folder / "cache" / "archives").glob("*.deb"))


def unpack(package: Path, root: Path) -> None:
    """Put a package's files below a folder."""
    run("dpkg-deb", "--extract", str(package), str(root))


def _mirror() -> str:
    """Where this machine gets Debian from."""
    targets = run("apt-get", "indextargets", "--format=$(SITE) $(ORIGIN) $(LABEL)", "Created-By: Packages")
    for line in targets.splitlines():
        site, *whose = line.split()
        if whose == ["Debian", "Debian"]:
            return site
    raise BuildError("apt knows no source of Debian, and some of the tests' images are made of its packages")


def run(*command: str) -> str:
    """Run a command and return what it printed. Raises BuildError."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
