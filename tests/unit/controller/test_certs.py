"""The webhook's certificates: what is made verifies, what is due is renewed, what is broken is replaced."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain, Policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("k8slan-webhook.k8slan-system.svc", "localhost")
POLICY = Policy()


@pytest.fixture(scope="module")
def chain() -> Chain:
    return certs.renewed(None, NAMES, NOW, POLICY)


def handshake(server: Chain, trusted: bytes, name: str, folder: Path) -> None:
    """Shake hands in memory; raises ssl.SSLError if the client does not trust the server."""
    file = folder / "server.pem"
    file.write_bytes(server.key + server.certificate)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(file)
    ours = ssl.create_default_context(cadata=trusted.decode())
    ours.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(to_client, to_server, server_hostname=name)
    peer = theirs.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def fresh(previous: Chain | None = None) -> Chain:
    return certs.renewed(previous, NAMES, datetime.now(UTC), POLICY)


def test_what_is_made_verifies(tmp_path: Path) -> None:
    made = fresh()
    for name in NAMES:
        handshake(made, made.authority, name, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, made.authority, "elsewhere.svc", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, fresh().authority, NAMES[0], tmp_path)


def test_a_secret_holds_it(chain: Chain) -> None:
    assert certs.read({"data": certs.data(chain)}) == chain


@pytest.mark.parametrize(
    "data", [None, {}, {"tls.crt": "eA=="}, dict.fromkeys(("ca.crt", "ca.key", "tls.crt", "tls.key"), "%")]
)
def test_a_secret_without_one_has_none(data: dict[str, str] | None) -> None:
    assert certs.read({"data": data}) is None


def test_nothing_is_due_before_two_thirds_of_the_time_are_over(chain: Chain) -> None:
    due = certs.due(chain, NAMES, NOW)
    assert timedelta(days=59) < due - NOW < timedelta(days=61)
    assert certs.due(chain, NAMES, NOW + timedelta(days=59)) == due
    assert certs.due(chain, NAMES, NOW + timedelta(days=62)) == NOW + timedelta(days=62)


def test_without_a_chain_one_is_due() -> None:
    assert certs.due(None, NAMES, NOW) == NOW


def test_a_renewal_keeps_the_authority_while_that_is_good(chain: Chain) -> None:
    later = NOW + timedelta(days=70)
    after = certs.renewed(chain, NAMES, later, POLICY)
    assert after.authority == chain.authority
    assert after.certificate != chain.certificate
    assert certs.due(after, NAMES, later) > later
    assert certs.expires(after) == later + POLICY.serving


def test_a_new_authority_leaves_the_old_one_trusted(tmp_path: Path) -> None:
    before = fresh()
    after = certs.renewed(before, NAMES, datetime.now(UTC) + POLICY.authority * 0.7, POLICY)
    assert after.authority.endswith(before.authority)
    assert after.authority != before.authority
    assert after.authority_key != before.authority_key
    handshake(before, after.authority, NAMES[0], tmp_path)  # a controller that has not heard of the new one yet


def test_an_authority_that_is_over_is_trusted_no_longer(chain: Chain) -> None:
    later = NOW + POLICY.authority + timedelta(days=1)
    after = certs.renewed(chain, NAMES, later, POLICY)
    assert after.authority.count(b"BEGIN CERTIFICATE") == 1
    assert certs.due(after, NAMES, later) > later


BROKEN = base64.b64decode("AAAA")


@pytest.mark.parametrize("field", ["authority", "authority_key", "certificate", "key"])
@pytest.mark.parametrize("how", ["garbage", "empty", "another's"])
def test_a_broken_chain_is_due_and_is_mended(chain: Chain, field: str, how: str) -> None:
    other = certs.renewed(None, NAMES, NOW, POLICY)
    value = {"garbage": BROKEN, "empty": b"", "another's": getattr(other, field)}[how]
    broken = replace(chain, **{field: value})
    assert certs.due(broken, NAMES, NOW) == NOW
    mended = certs.renewed(broken, NAMES, NOW, POLICY)
    assert certs.due(mended, NAMES, NOW) > NOW


def test_other_names_are_due(chain: Chain) -> None:
    assert certs.due(chain, ("other.svc",), NOW) == NOW
