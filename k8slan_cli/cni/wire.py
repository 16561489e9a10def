"""What travels between a CNI client and the agent, over a stream socket: one request, one answer.

::

    request   "k8s1", u32 length of the payload, payload
    payload   the CNI_* variables as NAME=VALUE NUL, an empty string NUL, then what came on stdin
    answer    u32 length of the rest, u8 exit status (0 success, 1 error object), JSON

Numbers are big-endian. With the request's first byte travels, as SCM_RIGHTS, a descriptor of CNI_NETNS if the client
could open it. A payload is also what a client leaves in the spool for a DEL that found no agent.

No socket may enter: decoders are fed bytes and keep no more than their bound. The C side of this is
``cni_plugins/forwarder.c``.
"""

from __future__ import annotations

from collections.abc import Mapping

from k8slan_cli.errors import CniError

MAGIC = b"k8s1"
MAX_STDIN = 1 << 20
MAX_VARIABLES = 64 << 10
MAX_PAYLOAD = MAX_STDIN + MAX_VARIABLES
MAX_ANSWER = 4 << 20

_HEADER = len(MAGIC) + 4

# CNI spec 1.1.0, "Error".
INCOMPATIBLE_VERSION = 1
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODE_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN = 11
NOT_AVAILABLE = 50
# 100 and above are a plugin's own.
NO_SUCH_LAN = 100
SPOKE_IN_USE = 101
KERNEL_REFUSED = 102
IPAM_FAILED = 103
CHECK_FAILED = 104
NOT_ALLOWED = 105


# ---------------------------------------------------------------- requests


def encode_payload(environ: Mapping[str, str], stdin: bytes) -> bytes:
    """The payload for an environment and what came on stdin; of the environment, only ``CNI_*`` travels.

    Raises:
        CniError: 4 when the variables, 6 when the configuration is larger than its bound.

    """
    variables = [f"{name}={value}\0" for name, value in environ.items() if name.startswith("CNI_")]
    head = "".join([*variables, "\0"]).encode(errors="surrogateescape")
    if len(head) > MAX_VARIABLES:
        raise CniError(INVALID_ENVIRONMENT, f"the CNI_* variables take more than {MAX_VARIABLES} bytes")
    if len(stdin) > MAX_STDIN:
        raise CniError(DECODE_FAILURE, f"the configuration on stdin is larger than {MAX_STDIN} bytes")
    return head + stdin


def decode_payload(payload: bytes) -> tuple[dict[str, str], bytes]:
    """The variables and stdin of a payload. A name that comes twice counts once, as getenv(3) takes it: the first.

    Raises:
        CniError: 6 when it is no payload, 4 when a variable is not UTF-8.

    """
    environ: dict[str, str] = {}
    start = 0
    while (end := payload.find(b"\0", start)) > start:
        name, equals, value = payload[start:end].partition(b"=")
        if not equals or not name.startswith(b"CNI_"):
            raise CniError(DECODE_FAILURE, f"the request holds {payload[start:end][:64]!r}, which is no CNI_* variable")
        try:
            environ.setdefault(name.decode(), value.decode())
        except UnicodeDecodeError:
            raise CniError(INVALID_ENVIRONMENT, f"{name[:64]!r} is not UTF-8") from None
        start = end + 1
    if end < 0:
        raise CniError(DECODE_FAILURE, "the request ends within its variables")
    return environ, payload[end + 1 :]


def encode_request(payload: bytes) -> bytes:
    """A payload with the header it travels under."""
    return MAGIC + len(payload).to_bytes(4, "big") + payload


class RequestDecoder:
    """Puts a request together from whatever pieces it comes in."""

    def __init__(self, limit: int = MAX_PAYLOAD) -> None:
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take more bytes; returns the payload once it is whole.

        Raises:
            CniError: 6 at the first byte that shows it is no request: another start, a length beyond the bound, more
                bytes than announced.

        """
        held = self._held
        held += data
        if not MAGIC.startswith(bytes(held[:4])):
            raise CniError(DECODE_FAILURE, "this is not a request of a k8slan CNI client")
        if len(held) < _HEADER:
            return None
        size = int.from_bytes(held[4:_HEADER], "big")
        if size > self._limit:
            raise CniError(DECODE_FAILURE, f"a request of {size} bytes is larger than {self._limit}")
        if len(held) > _HEADER + size:
            raise CniError(DECODE_FAILURE, "more came than the request's length says")
        return bytes(held[_HEADER:]) if len(held) == _HEADER + size else None


# ---------------------------------------------------------------- answers


def encode_answer(status: int, body: bytes) -> bytes:
    """An answer: exit status 0 or 1, and a JSON object without white space around it, or nothing where that is allowed.

    Raises:
        CniError: 5 when the JSON is larger than a client takes.

    """
    if len(body) > MAX_ANSWER:
        raise CniError(IO_FAILURE, f"a result of {len(body)} bytes is larger than {MAX_ANSWER}")
    return (len(body) + 1).to_bytes(4, "big") + bytes([status]) + body


class AnswerDecoder:
    """Puts an answer together; ``mute`` says that success may come without a result (all verbs but ADD)."""

    def __init__(self, *, mute: bool) -> None:
        self._mute = mute
        self._held = bytearray()

    def feed(self, data: bytes) -> tuple[int, bytes] | None:
        """Take more bytes; returns exit status and JSON once they are whole. What comes behind is not looked at.

        Raises:
            ValueError: this is not an answer.

        """
        held = self._held
        held += data
        if len(held) < 5:
            return None
        size, status = int.from_bytes(held[:4], "big") - 1, held[4]
        if not 0 <= size <= MAX_ANSWER or status > 1:
            raise ValueError("what it sent is not an answer")
        if len(held) < 5 + size:
            return None
        body = bytes(held[5 : 5 + size])
        if not (body.startswith(b"{") and body.endswith(b"}") if body else self._mute and status == 0):
            raise ValueError("what it sent is not an answer")
        return status, body
