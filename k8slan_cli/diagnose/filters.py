"""Filter expressions as tcpdump has them (``arp or udp port 53``, pcap-filter(7)), compiled by libpcap for the kernel.

libpcap is asked for nothing else. It compiles in sight of the interface: the kernel hands a frame's outer VLAN tag
over beside the frame, and a program has to look for it there, which libpcap does only for an interface that is open.
"""

from __future__ import annotations

import ctypes
import functools
import socket
import struct
import threading
from collections.abc import Iterable

from k8slan_cli.errors import Invalid, K8slanError, Problem
from k8slan_cli.net import netns

_NAMES = ("libpcap.so.0.8", "libpcap.so.1")  # Debian's, and everybody else's
_SO_ATTACH_FILTER = 26
_LD_W_ABS, _JEQ_K, _RET_K = 0x20, 0x15, 0x06  # linux/filter.h: load a word, jump if equal, return
_INSTRUCTION = struct.Struct("=HBBI")  # sock_filter, and libpcap's bpf_insn just the same: code, jt, jf, k
_ERROR_BYTES = 256  # PCAP_ERRBUF_SIZE
_RING = 64 << 10  # bytes; nothing is received through libpcap
_WHOLE = 1 << 18  # bytes; more than any frame has
_ANY_MASK = 0xFFFFFFFF  # PCAP_NETMASK_UNKNOWN
_compiling = threading.Lock()


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


@functools.cache
def _library() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.pcap_create.restype = ctypes.c_void_p
        found.pcap_geterr.restype = ctypes.c_char_p
        return found
    raise K8slanError(
        "filters are compiled by libpcap, and this agent has none",
        hint="add the package libpcap0.8 to its image, or capture without a filter",
    )


def accept_all(snaplen: int) -> bytes:
    """A program that takes every frame, the first ``snaplen`` bytes of it."""
    return _INSTRUCTION.pack(_RET_K, 0, 0, snaplen)


def with_mark(mark: bytes, offsets: Iterable[int]) -> bytes:
    """A program that takes the frames with the four bytes ``mark`` at one of the ``offsets``, and none without."""
    value = int.from_bytes(mark, "big")
    program = b""
    for offset in sorted(offsets):  # a load past a frame's end rejects it, so what is near the beginning goes first
        program += _INSTRUCTION.pack(_LD_W_ABS, 0, 0, offset)
        program += _INSTRUCTION.pack(_JEQ_K, 0, 1, value) + accept_all(_WHOLE)
    return program + accept_all(0)


def compile_for(fd: int, interface: str, expression: str, snaplen: int) -> bytes:
    """The program of ``expression`` for an interface in the namespace of ``fd``; "" takes every frame.

    Raises:
        Invalid: it is no expression; in libpcap's words.
        K8slanError: there is no libpcap, or it cannot open the interface.

    """
    if not expression.strip():
        return accept_all(snaplen)
    library = _library()
    words = ctypes.create_string_buffer(_ERROR_BYTES)
    with _compiling, netns.inside(fd):
        handle = ctypes.c_void_p(library.pcap_create(interface.encode(), words))
        if not handle:
            raise K8slanError(f"libpcap cannot open {interface}: {words.value.decode(errors='replace')}")
        try:
            library.pcap_set_snaplen(handle, snaplen)
            library.pcap_set_buffer_size(handle, _RING)
            if library.pcap_activate(handle) < 0:
                raise K8slanError(f"libpcap cannot open {interface}: {_said(library, handle)}")
            return _compiled(library, handle, expression)
        finally:
            library.pcap_close(handle)


def _compiled(library: ctypes.CDLL, handle: ctypes.c_void_p, expression: str) -> bytes:
    program = _Program()
    if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, ctypes.c_uint(_ANY_MASK)) != 0:
        raise Invalid("the filter", (Problem(field="filter", message=f"{expression!r}: {_said(library, handle)}"),))
    try:
        return ctypes.string_at(program.instructions or 0, program.length * _INSTRUCTION.size)
    finally:
        library.pcap_freecode(ctypes.byref(program))


def _said(library: ctypes.CDLL, handle: ctypes.c_void_p) -> str:
    text: bytes = library.pcap_geterr(handle)
    return text.decode(errors="replace")


def attach(sock: socket.socket, program: bytes) -> None:
    """Let only what a program takes into a socket's queue (SO_ATTACH_FILTER, socket(7)).

    Raises:
        OSError: the kernel does not take the program.

    """
    kept = ctypes.create_string_buffer(program, len(program))
    # sock_fprog: the number of instructions, and where they are
    sock.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(kept)),
    )
