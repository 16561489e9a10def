"""The bytes between client and agent: what is put together comes apart again, and nothing else does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.cni import wire
from k8slan_cli.errors import CniError

_NAMES = st.from_regex(r"CNI_[A-Z]{1,12}", fullmatch=True)
_VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_ENVIRONS = st.dictionaries(_NAMES, _VALUES, max_size=6)


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def _feed(decoder: wire.RequestDecoder | wire.AnswerDecoder, pieces: list[bytes]) -> object:
    for number, piece in enumerate(pieces):
        found = decoder.feed(piece)
        if found is not None:
            assert b"".join(pieces[number + 1 :]) == b"", "whole before its end"
            return found
    return None


@given(_ENVIRONS, st.binary(max_size=200))
def test_a_payload_comes_apart_as_it_was_put_together(environ: dict[str, str], stdin: bytes) -> None:
    others = {"PATH": "/bin", "XCNI_A": "x"}
    assert wire.decode_payload(wire.encode_payload(environ | others, stdin)) == (environ, stdin)


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=8))
def test_a_request_is_whole_whatever_pieces_it_comes_in(payload: bytes, places: list[int]) -> None:
    assert _feed(wire.RequestDecoder(), _cut(wire.encode_request(payload), places)) == payload


@given(st.binary(max_size=64), st.lists(st.integers(0, 80), max_size=4))
def test_anything_on_the_socket_is_a_request_or_a_decoding_error_or_waited_for(data: bytes, places: list[int]) -> None:
    decoder, found, code = wire.RequestDecoder(limit=32), None, 6
    try:
        found = _feed(decoder, _cut(data, places))
    except CniError as error:
        code = error.code
    assert code == 6
    assert found is None or data == wire.MAGIC + len(found).to_bytes(4, "big") + found


@given(st.binary(max_size=64))
def test_any_payload_is_taken_apart_or_refused(payload: bytes) -> None:
    try:
        environ, stdin = wire.decode_payload(payload)
    except CniError as error:
        environ, stdin, code = {}, b"", error.code
    else:
        code = 0
        assert payload.endswith(b"\0" + stdin)
    assert code in (0, 4, 6)
    assert all(name.startswith("CNI_") for name in environ)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", 6),
        (b"CNI_A=1", 6),
        (b"CNI_A=1\0", 6),
        (b"CNI_A\0\0", 6),
        (b"PATH=/bin\0\0", 6),
        (b"=\0\0", 6),
        (b"CNI_A=\xff\0\0", 4),
        (b"CNI_\xff=1\0\0", 4),
    ],
)
def test_what_is_no_payload_is_refused(payload: bytes, code: int) -> None:
    with pytest.raises(CniError) as caught:
        wire.decode_payload(payload)
    assert caught.value.code == code


def test_of_a_variable_that_comes_twice_the_first_counts() -> None:
    """As in getenv(3), by which the forwarder finds the namespace."""
    assert wire.decode_payload(b"CNI_A=1\0CNI_A=2\0\0") == ({"CNI_A": "1"}, b"")


@pytest.mark.parametrize("start", [b"k8s2", b"K", b"GET / HTTP/1.1\r\n", b"\0"])
def test_another_start_is_refused_at_its_first_byte(start: bytes) -> None:
    with pytest.raises(CniError, match="not a request"):
        wire.RequestDecoder().feed(start)


def test_a_length_beyond_the_bound_is_refused_before_its_bytes_come() -> None:
    decoder = wire.RequestDecoder()
    assert decoder.feed(wire.MAGIC + (wire.MAX_PAYLOAD).to_bytes(4, "big")) is None
    with pytest.raises(CniError, match="larger than"):
        wire.RequestDecoder().feed(wire.MAGIC + (wire.MAX_PAYLOAD + 1).to_bytes(4, "big"))


def test_more_than_announced_is_refused() -> None:
    with pytest.raises(CniError, match="more came"):
        wire.RequestDecoder().feed(wire.encode_request(b"abc") + b"d")


def test_the_largest_request_a_client_makes_is_one_the_agent_takes() -> None:
    room = wire.MAX_VARIABLES - len("CNI_A=\0\0")
    payload = wire.encode_payload({"CNI_A": "x" * room}, b"y" * wire.MAX_STDIN)
    assert wire.RequestDecoder().feed(wire.encode_request(payload)) == payload


def test_what_is_larger_is_not_made() -> None:
    room = wire.MAX_VARIABLES - len("CNI_A=\0\0")
    with pytest.raises(CniError) as caught:
        wire.encode_payload({"CNI_A": "x" * (room + 1)}, b"")
    assert caught.value.code == 4
    with pytest.raises(CniError) as caught:
        wire.encode_payload({}, b"y" * (wire.MAX_STDIN + 1))
    assert caught.value.code == 6


@given(
    st.one_of(
        st.tuples(st.sampled_from([0, 1]), st.binary(max_size=99).map(lambda inner: b"{" + inner + b"}")),
        st.just((0, b"")),
    ),
    st.lists(st.integers(0, 120), max_size=8),
)
def test_an_answer_is_whole_whatever_pieces_it_comes_in(answer: tuple[int, bytes], places: list[int]) -> None:
    data = wire.encode_answer(*answer)
    assert _feed(wire.AnswerDecoder(mute=True), _cut(data, places)) == answer


@given(st.binary(max_size=24), st.booleans())
def test_anything_else_is_no_answer_or_waited_for(data: bytes, mute: bool) -> None:
    try:
        found = wire.AnswerDecoder(mute=mute).feed(data)
    except ValueError:
        return
    assert found is None or data.startswith(wire.encode_answer(*found))
    assert found is None or mute or found[1]


def test_a_result_no_client_takes_is_not_sent() -> None:
    wire.encode_answer(0, b"x" * wire.MAX_ANSWER)
    with pytest.raises(CniError) as caught:
        wire.encode_answer(0, b"x" * (wire.MAX_ANSWER + 1))
    assert caught.value.code == 5


@pytest.mark.parametrize(
    ("mute", "data"),
    [
        (True, b"\0\0\0\0\0"),
        (True, b"\xff\xff\xff\xff\0"),
        (True, (wire.MAX_ANSWER + 2).to_bytes(4, "big") + b"\0"),
        (True, b"\0\0\0\3\2{}"),
        (True, b"\0\0\0\1\1"),
        (False, b"\0\0\0\1\0"),
        (True, b"\0\0\0\3\0{]"),
        (True, b"\0\0\0\3\0[}"),
        (True, b"\0\0\0\4\0{} "),
    ],
)
def test_what_is_no_answer_is_refused(mute: bool, data: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        wire.AnswerDecoder(mute=mute).feed(data)
