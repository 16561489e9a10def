"""The page of ``k8slan ui`` in a browser: what is seen, what is done by keyboard, and how soon it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.capture.pcapng import BlockType, Reader
from tests.support import scene
from tests.support.browser import Browser, View
from tests.unit.cli.cluster import LANS
from tests.unit.diagnose.test_recording import Agent
from tests.unit.ui.rig import Lab, crowd, lab, routers, served


@contextmanager
def shown(browser: Browser, found: Lab, ends: int) -> Iterator[View]:
    """The page with so many ends."""
    with (
        found.watching() as watching,
        served(watching.board, found.actions) as page,
        browser.show(page.url) as view,
    ):
        view.until(f"document.querySelectorAll('#links tbody tr').length === {ends}")
        yield view


@pytest.fixture
def routed(tmp_path: Path) -> Iterator[Lab]:
    """Three routers and a LAN of hosts."""
    with lab(tmp_path) as found:
        routers(found)
        yield found


def row(name: str) -> str:
    """The JavaScript for the row of an end."""
    return f"[...document.querySelectorAll('#links tbody tr')].find(row => row.innerText.includes({json.dumps(name)}))"


def button(name: str) -> str:
    """The JavaScript for a button by what screen readers call it."""
    return f"document.querySelector({json.dumps(f'button[aria-label={json.dumps(name)}]')})"


def named(words: str) -> str:
    """The JavaScript for a button beside the picture by its words."""
    return f"[...document.querySelectorAll('#chosen button')].find(b => b.textContent === {json.dumps(words)})"


def focus(view: View) -> str:
    """What screen readers call the element that has the focus."""
    found = view.run(
        "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
    )
    return str(found)


def tab_to(view: View, name: str) -> None:
    """Go on with Tab until an element has the focus."""
    for _ in range(100):
        if focus(view) == name:
            return
        view.press("Tab")
    raise AssertionError(f"Tab does not come to {name!r}")


# ---------------------------------------------------------------- looking


def test_devices_lans_and_links_are_there_and_nothing_is_loaded_from_elsewhere(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        view.until("document.querySelectorAll('#picture .device').length === 7")
        names = view.run(
            "() => [...document.querySelectorAll('#picture .device .name')].map(e => e.textContent).sort()"
        )
        assert names == ["host1", "host2", "host3", "r1", "r2", "r3", "vm-firewall"]
        assert view.run("() => document.querySelectorAll('#picture .wire').length") == 3 + 5
        assert view.run("() => document.querySelector('#state').textContent") == "Live"
        assert {url.split("/")[2] for url in view.requests} == {view.run("() => location.host")}
        assert view.complaints == []


def test_the_token_does_not_stay_in_the_address_and_a_reload_keeps_it(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        assert view.run("() => location.hash") == ""
        view.run("() => location.reload()")
        view.until("document.querySelectorAll('#links tbody tr').length === 11")


def test_without_the_token_the_page_says_what_to_do(browser: Browser, routed: Lab) -> None:
    with (
        routed.watching() as watching,
        served(watching.board, routed.actions) as page,
        browser.show(page.url.partition("#")[0]) as view,
    ):
        words = view.until("document.querySelector('#state.wrong')?.textContent")
        assert "open the address that k8slan ui has printed" in words
        assert view.run("() => document.querySelectorAll('#links tbody tr').length") == 0


def test_counters_are_shown_as_they_come(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        view.until(f"{row('to-r2 of r1')}.innerText.includes('0 bit/s')")
        routed.agents.tick()
        assert view.until(f"{row('to-r2 of r1')}.innerText.includes('100 kbit/s')")


def test_who_comes_and_goes_is_seen_and_told(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('Pull out to-r2 of r1')}.focus()")
        routed.lan("new", ("r1", "eth5", "worker1"), ("extra", "eth0", "worker2"), vni=77)
        view.until("[...document.querySelectorAll('#picture .name')].some(e => e.textContent === 'extra')")
        about = {"kind": "LAN", "namespace": "lab", "name": "new"}
        event: Any = scene.EVENTS[1] | {"involvedObject": about, "reason": "Attached", "message": "extra is attached"}
        event["metadata"] = {"name": "e", "namespace": "lab", "creationTimestamp": "2026-11-24T12:00:00Z"}
        routed.api.put("/api/v1/namespaces/lab/events/e", event)
        assert view.until("document.querySelector('#news').textContent") == "lab/new: extra is attached"
        order = view.run("() => [...document.querySelectorAll('#links tbody tr')].map(row => row.cells[0].innerText)")
        assert order == sorted(order)
        assert focus(view) == "Pull out to-r2 of r1", "who works by keyboard stays where they are"
        routed.api.delete(f"{LANS}/new")
        view.until("document.querySelectorAll('#links tbody tr').length === 11")


def test_what_may_not_be_seen_or_done_is_said(browser: Browser, routed: Lab) -> None:
    message = 'x is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "lab"'
    routed.api.refuse["/api/v1/namespaces/lab/pods"] = (403, message)
    routed.api.denied.add(("patch", "lans"))
    with shown(browser, routed, 11) as view:
        words = view.until(
            "document.querySelector('#missing li:nth-child(2)') && document.querySelector('#missing').innerText"
        )
        assert "pods: user eve cannot list pods in namespace lab" in words
        assert "links cannot be changed without the right to patch lans" in words
        assert view.run(f"() => {button('Pull out to-r2 of r1')}.disabled")


def test_words_of_others_are_text_and_nothing_else(browser: Browser, routed: Lab) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    condition = scene.condition("Ready", False, "Evil", f"{evil}\u202eturned")
    routed.put(scene.lan("evil", spokes=["a"], vni=66, status=scene.status(condition)))
    with shown(browser, routed, 11) as view:
        words = json.dumps(f"{evil}\ufffdturned")
        view.until(f"document.querySelector('#lans').innerText.includes({words})")
        assert view.run("() => document.querySelectorAll('img, main script').length") == 0
        assert view.complaints == []


# ---------------------------------------------------------------- doing


def test_a_link_is_pulled_out_by_keyboard_and_the_change_is_there_within_a_second(
    browser: Browser, routed: Lab
) -> None:
    with shown(browser, routed, 11) as view:
        view.press("Tab")
        assert focus(view) == "Skip to the table of links"
        view.press("Enter")
        tab_to(view, "Pull out to-r2 of r1")
        ring = view.run("() => getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid"
        begun = time.monotonic()
        view.press("Enter")
        view.until(f"{row('to-r2 of r1')}.innerText.includes('pulled out')")
        assert time.monotonic() - begun < 8  # what does not hear of a change looks again after ten
        assert routed.api.objects[f"{LANS}/r1-r2"]["spec"]["links"] == {"r1-to-r2": {"state": "down"}}
        assert view.until(f"{row('to-r1 of r2')}.innerText.includes('link down at the other end')")
        assert "is down, and so is the other end of the cable" in view.until(
            "document.querySelector('#said').textContent"
        )
        assert view.run(
            "() => [...document.querySelectorAll('#picture text')].some(e => e.textContent === 'to-r2 ✕ pulled out')"
        )
        assert focus(view) == "Plug in to-r2 of r1", "the same button puts it back"
        view.press("Enter")
        view.until(
            f"{row('to-r1 of r2')}.innerText.includes('Pull out') && {row('to-r1 of r2')}.cells[2].innerText === 'up'"
        )


def test_what_the_picture_shows_of_devices_is_in_the_table_and_by_keyboard(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        picture = "[...document.querySelectorAll('#picture .device')].map(g => g.innerHTML.match(/[^>]+(?=<.text>)/g))"
        view.until(f"{picture}.every(words => words.length === 2)")
        for name, about in view.run(f"() => {picture}"):
            heads = view.until(
                "[...document.querySelectorAll('#links tbody th')].map(th => th.innerText)"
                f".filter(text => text.includes({json.dumps(f' of {name}')}))"
            )
            assert heads
            assert {text.split("\n")[1] for text in heads} == {about}
        view.run(f"() => {button('More of eth0 of vm-firewall')}.focus()")
        view.press("Enter")
        tab_to(view, "Device vm-firewall")
        view.press("Enter")
        words = view.run("() => document.querySelector('#chosen').innerText.split('\\n')")
        assert [word for word in words if word] == [
            "vm-firewall", "Close", "Kind", "VM", "Node", "worker2", "State", "attached", "eth0 on lab/meadow",
        ]  # fmt: skip
        tab_to(view, "eth0 on lab/meadow")
        view.press("Escape")
        assert focus(view) == "More of eth0 of vm-firewall"


def test_a_shape_is_set_and_what_cannot_be_is_said(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of eth0 of host1')}.focus()")
        view.press("Enter")
        assert view.run("() => document.activeElement.id") == "chosen"
        view.run("() => { document.querySelector('form').elements.delay.focus() }")
        for letter in "fast":
            view.press(letter)
        view.press("Enter")
        assert "delay: 'fast' is not written as 10ms" in view.until(
            "document.querySelector('#said.wrong')?.textContent"
        )
        view.run("() => { document.querySelector('form').elements.delay.value = '' }")
        for letter in "20ms":
            view.press(letter)
        view.press("Enter")
        view.until(f"{row('eth0 of host1')}.innerText.includes('delay 20ms')")
        assert routed.api.objects[f"{LANS}/meadow"]["spec"]["links"] == {"host1-eth0": {"delay": "20ms"}}
        view.press("Escape")
        assert view.run("() => document.querySelector('#chosen').hidden")
        assert focus(view) == "More of eth0 of host1"


def fill(view: View, **fields: str) -> None:
    """Write into the form."""
    for name, text in fields.items():
        view.run(f"() => {{ document.querySelector('form').elements.{name}.value = {json.dumps(text)} }}")


def fields(view: View) -> dict[str, str]:
    """What the form has."""
    found: dict[str, str] = view.run("() => Object.fromEntries(new FormData(document.querySelector('form')))")
    return {name: text for name, text in found.items() if text}


def shape(routed: Lab, link: dict[str, Any]) -> None:
    """Give host1 such a link."""
    meadow = json.loads(json.dumps(routed.api.objects[f"{LANS}/meadow"]))
    meadow["spec"]["links"] = {"host1-eth0": link} if link else {}
    routed.api.put(f"{LANS}/meadow", meadow)


def test_a_form_writes_what_is_edited_and_nothing_else(browser: Browser, routed: Lab) -> None:
    shape(routed, {"toPod": {"delay": "20ms"}, "fromPod": {"delay": "50ms"}})
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        assert view.run("() => document.querySelector('form').elements.delay.placeholder") == "20ms to, 50ms from"
        view.run(f"() => {named('Apply')}.click()")
        view.until("document.querySelector('#said').textContent === 'No field has been changed'")
        fill(view, loss="1%")
        view.run(f"() => {named('Apply')}.click()")
        view.until(f"{row('eth0 of host1')}.innerText.includes('loss 1%')")
        both = {"toPod": {"delay": "20ms", "loss": "1%"}, "fromPod": {"delay": "50ms", "loss": "1%"}}
        assert routed.api.objects[f"{LANS}/meadow"]["spec"]["links"] == {"host1-eth0": both}


def test_a_form_follows_the_link_and_keeps_what_is_edited(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        fill(view, loss="1%")
        shape(routed, {"toPod": {"delay": "20ms"}, "fromPod": {"rate": "1Mbit", "burst": "32kB"}})
        view.until("document.querySelector('form').elements.delay.placeholder === '20ms to, none from'")
        assert fields(view) == {"loss": "1%"}
        view.run(
            "() => { const way = document.querySelector('form').elements.way; way.value = 'fromPod';"
            "way.dispatchEvent(new Event('change')) }"
        )
        assert fields(view) == {"way": "fromPod", "rate": "1Mbit", "loss": "1%"}
        view.run(f"() => {named('Clear')}.click()")
        view.until("!document.querySelector('form').elements.rate.value")
        assert fields(view) == {"way": "fromPod"}
        assert routed.api.objects[f"{LANS}/meadow"]["spec"]["links"] == {"host1-eth0": {"toPod": {"delay": "20ms"}}}


def test_a_link_that_is_for_a_time_says_until_when(browser: Browser, routed: Lab) -> None:
    shape(routed, {"delay": "20ms", "until": "2199-01-01T00:00:00Z"})
    with shown(browser, routed, 11) as view:
        view.until(f"{row('eth0 of host1')}.innerText.includes('delay 20ms; until 2199-01-01T00:00:00Z')")
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        facts = view.until("document.querySelector('#chosen dl').innerText")
        assert "Until\n2199-01-01T00:00:00Z" in facts


def test_frames_are_shown_live_and_can_be_kept(browser: Browser, routed: Lab) -> None:
    routed.agents.captures = [Agent("lab/host1:eth0", 3), Agent("lab/host1:eth0", 2)]
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        view.run(f"() => {named('Show frames')}.click()")
        view.until("document.querySelector('.frames').textContent.split('\\n').length === 3")
        view.run(f"() => {named('Stop')}.click()")
        view.until(f"!{named('Show frames')}.disabled")
        view.run("() => { window.kept = []; URL.createObjectURL = blob => (kept.push(blob), '#') }")
        view.run(f"() => {named('Capture to a file')}.click()")
        view.until("document.querySelector('#chosen').innerText.includes('Capturing: 1 kB')")
        view.run(f"() => {named('Stop')}.click()")
        size = view.until("window.kept[0]?.size")
        head = view.run("async () => [...new Uint8Array(await kept[0].slice(0, 4).arrayBuffer())]")
        assert (size > 200, bytes(head)) == (True, b"\x0a\x0d\x0d\x0a")


def test_a_capture_is_kept_when_something_else_is_chosen(browser: Browser, routed: Lab) -> None:
    routed.agents.captures = [Agent("lab/host1:eth0", 2)]
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        view.run("() => { window.kept = []; URL.createObjectURL = blob => (kept.push(blob), '#') }")
        leaves = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))"
        assert not view.run(f"() => {leaves}")
        view.run(f"() => {named('Capture to a file')}.click()")
        view.until("document.querySelector('#chosen').innerText.includes('Capturing: 1 kB')")
        assert view.run(f"() => {leaves}"), "who closes the page is asked before"
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        assert view.run(f"() => {named('Stop')}.checkVisibility()"), "it goes on if the same is chosen again"
        view.run(f"() => {button('More of eth0 of host2')}.click()")
        view.until("document.querySelector('#said').textContent === 'Captured 1 kB: lab-meadow-lab-host1-eth0.pcapng'")
        size = view.run("() => kept[0].size")
        data = bytes(view.run("async () => [...new Uint8Array(await kept[0].arrayBuffer())]"))
        assert (len(data), [block.kind for block in Reader().feed(data)][-1]) == (size, BlockType.STATISTICS)
        assert not view.run(f"() => {leaves}")


def test_what_went_wrong_with_a_capture_is_said(browser: Browser, routed: Lab) -> None:
    routed.agents.captures = [Agent("lab/host1:eth0", 2, breaks="out of memory") for _ in range(2)]
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        view.run("() => { window.kept = []; URL.createObjectURL = blob => (kept.push(blob), '#') }")
        for way in ("Capture to a file", "Show frames"):
            view.run(f"() => {{ document.querySelector('#said').className = ''; {named(way)}.click() }}")
            words = view.until("document.querySelector('#said.wrong')?.textContent")
            assert words == "the capture on node worker2 broke off: out of memory"
        assert view.run("() => kept.length") == 1


def test_a_capture_is_kept_when_the_command_ends(browser: Browser, routed: Lab) -> None:
    routed.agents.captures = [Agent("lab/host1:eth0", 2)]
    with routed.watching() as watching, ExitStack() as stack:
        page = stack.enter_context(served(watching.board, routed.actions))
        with browser.show(page.url) as view:
            view.until("document.querySelectorAll('#links tbody tr').length === 11")
            view.run(f"() => {button('More of eth0 of host1')}.click()")
            view.run("() => { window.kept = []; URL.createObjectURL = blob => (kept.push(blob), '#') }")
            view.run(f"() => {named('Capture to a file')}.click()")
            view.until("document.querySelector('#chosen').innerText.includes('Capturing: 1 kB')")
            stack.close()
            words = view.until("document.querySelector('#said.wrong')?.textContent")
            assert words.startswith("The capture broke off: ")
            assert view.run("() => kept[0].size") > 200


def test_a_probe_goes_on_when_something_else_is_chosen(browser: Browser, routed: Lab) -> None:
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of LAN lab/meadow')}.click()")
        view.run(f"() => {{ {named('Probe all pairs')}.click(); {button('More of LAN lab/r1-r2')}.click() }}")
        words = "Probe of LAN lab/meadow: Every class of frames passes."
        view.until(f"document.querySelector('#said').textContent === {json.dumps(words)}")
        view.run(f"() => {button('More of LAN lab/meadow')}.click()")
        assert view.run("() => document.querySelectorAll('.matrix tr').length") == 6


def test_a_probe_is_a_matrix_and_what_fails_is_named(browser: Browser, routed: Lab) -> None:
    routed.agents.lost = {"lldp"}
    with shown(browser, routed, 11) as view:
        view.run(f"() => {button('More of LAN lab/r1-r2')}.click()")
        view.run(f"() => {named('Probe all pairs')}.click()")
        view.until("document.querySelector('.matrix table')")
        rows = view.run(
            "() => [...document.querySelectorAll('.matrix tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        assert rows == [
            ["", "1 r1:to-r2", "2 r2:to-r1"],
            ["1 r1:to-r2", "–", "✕ 33/34"],
            ["2 r2:to-r1", "✕ 33/34", "–"],
        ]
        words = view.run("() => document.querySelector('.matrix ul').innerText")
        assert words.startswith("LLDP: dropped (on every way)")


# ---------------------------------------------------------------- how it looks and how fast it is


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 390])
def test_it_fits_into_a_window_and_a_phone_and_can_be_read(
    browser: Browser, routed: Lab, width: int, scheme: str
) -> None:
    with shown(browser, routed, 11) as view:
        view.resize(width)
        view.prefer(scheme)
        view.run(f"() => {button('More of eth0 of host1')}.click()")
        assert view.until("document.documentElement.scrollWidth <= window.innerWidth")
        assert view.run(f"() => {row('eth0 of host1')}.querySelector('[data-label=Shape]').offsetWidth") > 100
        colours = view.run("() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor] }")
        text, page = (_luminance(colour) for colour in colours)
        assert (page < 0.1) == (scheme == "dark")
        assert (max(text, page) + 0.05) / (min(text, page) + 0.05) > 7  # WCAG 2.2, 1.4.6
        small = view.run(
            "() => [...document.querySelectorAll('button, input, select')].filter(e => e.offsetParent)"
            ".filter(e => e.offsetHeight < 24).map(e => e.outerHTML)"
        )
        assert small == []  # WCAG 2.2, 2.5.8
        nameless = view.run(
            "() => [...document.querySelectorAll('button, input, select, section, table')].filter(e => e.offsetParent)"
            ".filter(e => !(e.ariaLabel || e.getAttribute('aria-labelledby') || e.labels?.length || e.innerText))"
            ".map(e => e.outerHTML)"
        )
        assert nameless == []


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_an_update_of_three_hundred_attachments_costs_as_much_as_what_is_in_sight(
    browser: Browser, tmp_path: Path
) -> None:
    """When every number is another, they are written where they are seen alone, and no element is made anew.

    How long that takes, ``python -m tests.bench page`` tells.
    """
    with lab(tmp_path) as found:
        crowd(found, 300)
        with shown(browser, found, 300) as view:
            view.until(f"{row('eth0 of p299')}.innerText.includes('0 bit/s')")
            tick(view, found, 0)
            view.run(_WRITTEN)
            tick(view, found, 1)
            written, elements = view.run("() => [written.size, made]")
            assert 0 < written < 300
            assert elements == 0


_WRITTEN = """() => {
    window.written = new Set();
    window.made = 0;
    new MutationObserver((all) => {
        for (const { target, addedNodes } of all) {
            written.add(target);
            made += [...addedNodes].filter((node) => node.nodeType === Node.ELEMENT_NODE).length;
        }
    }).observe(document.body, { childList: true, characterData: true, attributes: true, subtree: true });
}"""


def tick(view: View, found: Lab, number: int) -> None:
    """Let every attachment in sight have another rate, and wait until it is seen."""
    label = "document.querySelector('#picture .wire text').textContent"
    before = view.run(f"() => {label}")
    found.agents.tick(lambda each: 1000 * (number + 1) + each)
    view.until(f"{label} !== {json.dumps(before)}")
