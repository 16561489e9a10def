"""Device plugins against a kubelet that writes its messages out byte by byte."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from k8slan_cli.kubelet.plugins import Plugins, Resource
from tests.support.kubelet import fields, kubelet

VM = Resource(
    name="macvtap.k8slan.io/k8slan-mac-vm",
    socket="k8slan-mac-vm.sock",
    devices=("vm",),
    healthy=True,
    files=("/dev/tap77",),
)
HEALTHY = b"\x0a\x0d\x0a\x02vm\x12\x07Healthy"


@asynccontextmanager
async def running(folder: Path, *resources: Resource) -> AsyncIterator[Plugins]:
    plugins = Plugins(folder)
    plugins.change({r.name: r for r in resources})
    task = asyncio.create_task(plugins.run())
    try:
        yield plugins
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_resource_is_registered_listed_and_allocated(folder: Path) -> None:
    async def play() -> None:
        async with kubelet(folder) as node, running(folder, VM):
            await node.until(lambda: VM.name in node.devices)
            assert node.registered == [("v1beta1", "k8slan-mac-vm.sock", VM.name)]
            assert node.devices[VM.name] == [HEALTHY]
            answer = await node.call(VM.name, "Allocate", b"\x0a\x04\x0a\x02vm")
            ((number, container),) = fields(answer)
            assert number == 1
            assert [fields(spec) for _, spec in fields(container)] == [
                [(1, b"/dev/tap77"), (2, b"/dev/tap77"), (3, b"rw")]
            ]

    asyncio.run(play())


def test_what_has_not_changed_is_not_told_again(folder: Path) -> None:
    async def play() -> None:
        async with kubelet(folder) as node, running(folder, VM) as plugins:
            await node.until(lambda: VM.name in node.devices)
            plugins.change({VM.name: VM})
            sick = replace(VM, healthy=False)
            plugins.change({VM.name: sick})
            await node.until(lambda: len(node.devices[VM.name]) == 2)
            assert node.devices[VM.name] == [HEALTHY, b"\x0a\x0f\x0a\x02vm\x12\x09Unhealthy"]

    asyncio.run(play())


def test_a_withdrawn_resource_ends_its_stream_and_its_socket(folder: Path) -> None:
    async def play() -> None:
        async with kubelet(folder) as node, running(folder, VM) as plugins:
            await node.until(lambda: VM.name in node.devices)
            plugins.change({VM.name: None})
            await node.until(lambda: VM.name not in node.devices)
            assert not (folder / VM.socket).exists()

    asyncio.run(play())


def test_a_kubelet_that_restarts_hears_of_everything_again(folder: Path) -> None:
    async def play() -> None:
        async with running(folder, VM):
            for _ in range(2):
                async with kubelet(folder) as node:
                    await node.until(lambda node=node: VM.name in node.devices)

    asyncio.run(play())


def test_four_hundred_resources_are_registered_at_once(folder: Path) -> None:
    many = [replace(VM, name=f"macvtap.k8slan.io/r{i}", socket=f"r{i}.sock") for i in range(400)]

    async def play() -> None:
        async with kubelet(folder) as node, running(folder, *many):
            await node.until(lambda: len(node.devices) == 400, seconds=30)

    asyncio.run(play())


def test_a_refusal_is_tried_again_until_it_is_taken_back(folder: Path) -> None:
    async def play() -> None:
        async with kubelet(folder) as node:
            node.refuse = "unsupported version"
            made = asyncio.create_task(_until_made(folder / VM.socket))
            async with running(folder, VM):
                await asyncio.wait_for(made, 5)
                node.refuse = None
                await node.until(lambda: VM.name in node.devices)

    asyncio.run(play())


async def _until_made(path: Path) -> None:
    from asyncinotify import Inotify, Mask

    with Inotify() as inotify:
        inotify.add_watch(path.parent, Mask.CREATE)
        async for event in inotify:
            if event.name and event.name.name == path.name:
                return


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x0a\x7f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0b"],
    ids=["longer than it is", "a number without end", "a group"],
)
def test_a_broken_allocate_is_an_error_and_no_more(folder: Path, request_bytes: bytes) -> None:
    async def play() -> None:
        async with kubelet(folder) as node, running(folder, VM):
            await node.until(lambda: VM.name in node.devices)
            with pytest.raises(GRPCError) as refusal:
                await node.call(VM.name, "Allocate", request_bytes)
            assert refusal.value.status is Status.INVALID_ARGUMENT
            await node.call(VM.name, "Allocate", b"\x0a\x04\x0a\x02vm")

    asyncio.run(play())


_POOR = """
import asyncio, logging, sys
from pathlib import Path
from k8slan_cli.agent import run
from k8slan_cli.kubelet.plugins import Plugins, Resource
from tests.support.limits import descriptors_left
logging.basicConfig(format="%(message)s")
async def play():
    asyncio.get_running_loop().set_exception_handler(run._say)
    plugins = Plugins(Path(sys.argv[1]))
    running = asyncio.create_task(plugins.run())
    await asyncio.sleep(0)
    with descriptors_left(int(sys.argv[2])):
        plugins.change({"k8slan.io/r": Resource(name="k8slan.io/r", socket="r.sock", devices=("0",), healthy=True)})
        await asyncio.to_thread(sys.stdin.readline)
    await running
asyncio.run(play())
"""
"""An agent's plugins with few descriptors left, until a line comes in."""


@pytest.mark.parametrize("left", range(3))
def test_plugins_that_no_descriptor_is_left_for_do_not_blame_the_kubelet(folder: Path, left: int) -> None:
    """One takes a socket to listen on and a connection, and to register takes one more; all is well once there are."""

    async def play() -> None:
        async with kubelet(folder) as node:
            pipe = asyncio.subprocess.PIPE
            poor = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _POOR, str(folder), str(left), stdin=pipe, stderr=pipe
            )
            assert poor.stdin
            assert poor.stderr
            try:
                async with asyncio.timeout(20):
                    said = (await poor.stderr.readline()).decode()
                assert "Too many open files: " in said
                assert "descriptors: raise the limit (ulimit -n" in said
                assert "the kubelet does not take" not in said
                poor.stdin.write(b"\n")
                await node.until(lambda: "k8slan.io/r" in node.devices, seconds=20)
            finally:
                poor.kill()
                await poor.wait()

    asyncio.run(play())
