// What is chosen, in detail, with all that may be done to it.

import { bits, byId, element, linkState, say, sorted, write } from "./elements.js";
import { bytes, lines, post } from "./stream.js";

const MOST_BYTES = 256e6;
const MOST_LINES = 300;
const SHAPES = [
  ["delay", "Delay", "20ms"],
  ["jitter", "Jitter", "2ms"],
  ["loss", "Loss", "1%"],
  ["rate", "Rate", "10Mbit"],
];
const pane = byId("chosen");
let does = {};
let what = null;
let place = {}; // how the server is told of it
let from = null; // what had the focus before
let shown = {}; // nodes whose text follows the document
let refill = null; // has the form follow the document, but for what is edited
let running = null; // ends in good order what shows or captures frames
const probes = new Map(); // those that go on, or whose end nobody has seen

export const setUp = (actions) => (does = actions);
export const chosen = () => what;

export function choose(wanted, all, focus) {
  if (wanted && JSON.stringify(wanted) === JSON.stringify(what)) {
    if (focus) pane.focus();
    return;
  }
  if (focus && !pane.contains(document.activeElement)) from = document.activeElement;
  leave();
  const end = all.ends[wanted?.end];
  what = wanted;
  place = end ? { lan: end.lan, device: end.device, interface: end.interface } : { lan: wanted?.lan };
  build(all);
  show(all);
  pane.hidden = what === null;
  if (focus) pane.focus();
}

function close() {
  pane.hidden = true;
  does.choose(null);
  from?.focus();
}

function leave() {
  running?.();
  running = null;
}

pane.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
});

// ---------------------------------------------------------------- what it has

const button = (text, onclick, more = {}) => element("button", { type: "button", onclick, ...more }, text);

function build(all) {
  shown = {};
  refill = null;
  const parts = what === null ? [] : what.end ? ofEnd(all) : what.device ? ofDevice(all) : ofLan(all);
  pane.replaceChildren(...parts);
}

function head(title) {
  return element(
    "div",
    { className: "head" },
    element("h2", { id: "chosen-title" }, title),
    button("Close", close, { ariaLabel: "Close what is chosen" }),
  );
}

function facts(names) {
  const list = element("dl");
  for (const name of names) {
    shown[name] = element("dd");
    list.append(element("div", {}, element("dt", {}, name), shown[name]));
  }
  return list;
}

function ofDevice(all) {
  const ends = sorted(Object.keys(all.ends).filter((key) => all.ends[key].device === what.device));
  const list = element("ul", { className: "ends" });
  for (const key of ends) {
    const end = all.ends[key];
    list.append(
      element("li", {}, button(`${end.interface} on ${end.lan}`, () => does.choose({ lan: end.lan, end: key }, true))),
    );
  }
  return [head(all.devices[what.device]?.name ?? what.device), facts(["Kind", "Node", "State", "Lab"]), list];
}

function ofLan() {
  return [head(`LAN ${what.lan}`), facts(["State", "VNI"]), ...frames(), ...probe()];
}

function ofEnd(all) {
  const end = all.ends[what.end];
  const key = what.end;
  const name = all.devices[end.device]?.name ?? end.device;
  const counted = ["Sent", "Received", "Errors"];
  const names = ["LAN", "Link", "Node", "Spoke", "MAC", "Addresses", ...counted, "Shape", "Until", "Notes"];
  const device = button(`Device ${name}`, () => does.choose({ device: end.device }, true));
  const parts = [head(`${end.interface} of ${name}`), facts(names), element("p", {}, device)];
  if (all.devices[end.device]?.kind === "host") return parts;
  shown.pull = button("", () => does.toggle(key), { disabled: Boolean(all.fixed) });
  device.before(shown.pull);
  parts.push(shape(end, all.fixed), ...frames(), ...probe());
  return parts;
}

export function show(all) {
  if (what === null) return;
  if (what.end ? !all.ends[what.end] : what.device ? !all.devices[what.device] : !all.lans[what.lan]) {
    say("What was chosen is gone");
    close();
    return;
  }
  refill?.(all.ends[what.end]);
  const found = what.end ? endFacts(all) : what.device ? deviceFacts(all) : lanFacts(all);
  for (const [name, text] of Object.entries(found)) {
    if (!shown[name]) continue;
    write(shown[name], String(text));
    if (shown[name].parentElement.parentElement.tagName === "DL") shown[name].parentElement.hidden = text === "";
  }
}

function endFacts(all) {
  const end = all.ends[what.end];
  const flow = all.flows[what.end];
  return {
    LAN: end.lan,
    Link: linkState(end, flow).words,
    Node: all.devices[end.device]?.node ?? "",
    Spoke: end.spoke,
    MAC: end.mac,
    Addresses: end.addresses,
    Sent: flow ? bits(flow.sent) : "",
    Received: flow ? bits(flow.received) : "",
    Errors: flow ? `${flow.errors}, and ${flow.dropped} dropped` : "",
    Shape: end.impairment,
    Until: end.wanted?.until ?? "",
    Notes: [end.note, flow?.fault].filter(Boolean).join("; "),
    pull: end.wanted?.state === "down" ? "Plug in" : "Pull out",
  };
}

function deviceFacts(all) {
  const device = all.devices[what.device];
  const kind = { vm: "VM", host: "outside of the cluster", pod: "pod" }[device.kind];
  return { Kind: kind, Node: device.node, State: device.state, Lab: device.lab };
}

function lanFacts(all) {
  const lan = all.lans[what.lan];
  return { State: [lan.state, lan.message].filter(Boolean).join(": "), VNI: lan.vni || "" };
}

// ---------------------------------------------------------------- shaping

function field(name, title, example) {
  const input = element("input", { name, placeholder: example, autocomplete: "off", spellcheck: false });
  return element("label", {}, title, input);
}

function shape(end, fixed) {
  const way = element(
    "select",
    { name: "way" },
    element("option", { value: "" }, "both ways"),
    element("option", { value: "toPod" }, "to the device"),
    element("option", { value: "fromPod" }, "from the device"),
  );
  const form = element(
    "form",
    {},
    element("h3", {}, "Shape"),
    element("label", {}, "Direction", way),
    ...SHAPES.map((each) => field(...each)),
    element("p", {}, element("button", { type: "submit" }, "Apply"), button("Clear", () => apply({ clear: true }))),
  );
  for (const control of form.elements) control.disabled = Boolean(fixed);
  const inputs = SHAPES.map(([name]) => form.elements[name]);
  const edited = (input) => input.value !== input.defaultValue;
  let wanted = {};
  const fillIn = () => {
    const [to, from] = ["toPod", "fromPod"].map((each) => (wanted.toPod || wanted.fromPod ? wanted[each] ?? {} : wanted));
    for (const [name, , example] of SHAPES) {
      const input = form.elements[name];
      const kept = edited(input);
      const differ = !way.value && to[name] !== from[name];
      input.placeholder = differ ? `${to[name] ?? "none"} to, ${from[name] ?? "none"} from` : example;
      input.defaultValue = differ ? "" : (way.value === "fromPod" ? from : to)[name] ?? "";
      if (!kept) input.value = input.defaultValue;
    }
  };
  refill = (end) => {
    if (JSON.stringify(end.wanted ?? {}) === JSON.stringify(wanted)) return;
    wanted = structuredClone(end.wanted ?? {}); // the document changes in place
    fillIn();
  };
  refill(end);
  if (!wanted.toPod !== !wanted.fromPod) way.value = wanted.toPod ? "toPod" : "fromPod";
  fillIn();
  way.addEventListener("change", fillIn);
  const link = place;
  async function apply(given) {
    try {
      say((await post("/api/link", { ...link, way: way.value, ...given })).message);
      for (const input of inputs) {
        if (given.clear) input.value = input.defaultValue = "";
        else input.defaultValue = given[input.name] ?? input.defaultValue;
      }
    } catch (error) {
      say(error.message, true);
    }
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = inputs.filter(edited).map((input) => [input.name, input.value]);
    if (given.length) apply(Object.fromEntries(given));
    else say("No field has been changed");
  });
  return form;
}

// ---------------------------------------------------------------- frames

function frames() {
  const name = what.end ?? what.lan;
  const filter = field("filter", "Filter", "arp or vlan 7");
  const log = element("pre", { className: "frames", tabIndex: 0, hidden: true, role: "region" });
  log.setAttribute("aria-label", "Frames");
  const state = element("p", { role: "status" });
  const watch = button("Show frames", () => run(shownAsLines));
  const save = button("Capture to a file", () => run(saved));
  const stop = button("Stop", leave, { hidden: true });
  let begun = false;

  async function run(act) {
    leave();
    const cut = new AbortController();
    const body = { ...place, id: crypto.randomUUID(), filter: filter.lastElementChild.value };
    // What is refused an end has not begun, or comes to one by itself: what is on its way is waited for.
    const mine = () => post("/api/stop", { id: body.id }).catch(() => begun || cut.abort());
    running = mine;
    begun = false;
    stop.hidden = false;
    watch.disabled = save.disabled = true;
    stop.focus();
    log.hidden = true;
    log.textContent = "";
    write(state, "");
    try {
      await act(body, cut.signal, mine);
      const { said, faults } = await post("/api/captured", { id: body.id });
      if (log.hidden) tell(said);
      if (faults.length) say(faults.join(". "), true);
    } catch (error) {
      if (!cut.signal.aborted) say(begun ? `The capture broke off: ${error.message}` : error.message, true);
    } finally {
      stop.hidden = true;
      watch.disabled = save.disabled = false;
      if (document.activeElement === document.body) watch.focus();
      if (running === mine) running = null;
    }
  }

  function tell(text) {
    log.hidden = false;
    log.textContent = text.join("\n");
    log.scrollTop = log.scrollHeight;
  }

  async function shownAsLines(body, signal) {
    const kept = [];
    for await (const event of lines("/api/capture", { ...body, lines: true }, signal)) {
      begun = true;
      if (event.said) write(state, event.said);
      if (!event.lines) continue;
      kept.push(...event.lines);
      kept.splice(0, kept.length - MOST_LINES);
      tell(kept);
      if (event.passed) write(state, `${event.passed} frames more than can be shown`);
    }
  }

  async function saved(body, signal, mine) {
    const parts = [];
    let size = 0;
    const warn = (event) => event.preventDefault();
    addEventListener("beforeunload", warn);
    try {
      for await (const data of bytes("/api/capture", body, signal)) {
        begun = true;
        parts.push(data);
        size += data.length;
        write(state, `Capturing: ${Math.ceil(size / 1000)} kB`);
        if (size > MOST_BYTES && running === mine) {
          say("The page keeps no more: k8slan lan capture -w writes longer captures", true);
          leave();
        }
      }
    } finally {
      removeEventListener("beforeunload", warn);
      if (size) keep(parts, size);
    }
  }

  function keep(parts, size) {
    const link = element("a", {
      href: URL.createObjectURL(new Blob(parts, { type: "application/x-pcapng" })),
      download: `${name.replace(/[^\w.-]+/g, "-")}.pcapng`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    const words = `Captured ${Math.ceil(size / 1000)} kB: ${link.download}`;
    write(state, words);
    if (!state.isConnected) say(words); // something else has been chosen
  }

  return [element("h3", {}, "Frames"), filter, element("p", {}, watch, save, stop), state, log];
}

// ---------------------------------------------------------------- probes

function probe() {
  const key = what.end ?? what.lan;
  const kept = probes.get(key);
  if (kept && !kept.start.disabled) probes.delete(key);
  if (kept) return kept.parts;
  const whose = what.end ? `${place.interface} of ${place.device}` : `LAN ${what.lan}`;
  const state = element("p", { role: "status" });
  const found = element("div", { className: "matrix" });
  const start = button(what.end ? "Probe from here" : "Probe all pairs", async () => {
    start.disabled = true;
    probes.set(key, { start, parts });
    found.replaceChildren();
    write(state, "Probing…");
    let words = "";
    let fault = "it broke off";
    try {
      for await (const event of lines("/api/probe", place)) {
        if (event.progress) write(state, event.progress);
        if (!event.result) continue;
        fault = "";
        words = event.result.passed ? "Every class of frames passes." : "Not every class of frames passes.";
        found.replaceChildren(...matrix(event));
      }
    } catch (error) {
      fault = error.message;
    }
    start.disabled = false;
    write(state, words);
    if (fault || start.isConnected) probes.delete(key);
    if (fault || !start.isConnected) say(`Probe of ${whose}: ${fault || words}`, Boolean(fault));
  });
  const parts = [element("h3", {}, "Probe"), element("p", {}, start), state, found];
  return parts;
}

const unseen = (text) => element("span", { className: "unseen" }, text);

// From each to each; of pairs with one end alone, a row for each way.
function matrix({ result, ends, titles }) {
  const paths = result.paths;
  const known = new Map(paths.map((path) => [`${path.from} ${path.to}`, path]));
  const short = (name) => name.replace(`${result.lan.split("/")[0]}/`, "");
  const title = (name, scope) => element("th", { scope }, short(name));
  const whole = paths.length === ends.length * (ends.length - 1);
  const heads = whole
    ? [element("td"), ...ends.map((end, at) => element("th", { scope: "col", title: end }, `${at + 1}`, unseen(` ${short(end)}`)))]
    : ["From", "To", "Passed"].map((head) => title(head, "col"));
  const rows = whole
    ? ends.map((src, at) => [
        element("th", { scope: "row" }, `${at + 1} ${short(src)}`),
        ...ends.map((dst) => cell(known.get(`${src} ${dst}`))),
      ])
    : paths.map((path) => [title(path.from, "row"), element("td", {}, short(path.to)), cell(path)]);
  const table = element(
    "table",
    {},
    element("caption", {}, whole ? "Classes that pass, from the row to the column" : "Classes that pass"),
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row))),
  );
  const notes = [...failures(paths, titles, short), ...result.notProbed, ...result.notes];
  return [table, element("ul", {}, ...notes.map((text) => element("li", {}, text)))];
}

function cell(path) {
  if (!path) return element("td", {}, "–");
  const good = path.classes.filter((each) => each.verdict === "passed").length;
  const text = `${path.passed ? "✓" : "✕"} ${good}/${path.classes.length}`;
  return element("td", { className: path.passed ? "" : "wrong" }, text);
}

// What failed, and on which ways: what is the same on several is told once.
function failures(paths, titles, short) {
  const ways = new Map();
  for (const path of paths) {
    const bad = path.classes.filter((each) => each.verdict !== "passed");
    const silent = bad.length === path.classes.length;
    for (const what of silent ? ["Nothing arrives"] : bad.map((each) => `${titles[each.class]}: ${each.detail || each.verdict}`))
      ways.set(what, [...(ways.get(what) ?? []), `${short(path.from)} → ${short(path.to)}`]);
  }
  return [...ways].map(([what, found]) => `${what} (${found.length === paths.length ? "on every way" : found.join(", ")})`);
}
