// The page: a document that the server keeps up to date, in tables and as a picture, and what may be done with it.

import { about, bits, byId, element, follow, inSight, linkState, mark, onSight, say, sorted, write } from "./elements.js";
import { draw, fill, reveal } from "./picture.js";
import { live, post } from "./stream.js";
import * as pane from "./pane.js";

const rows = new Map();
const lanRows = new Map();
let all = null;
let due = false;
let redraw = true;
let told = null; // events, by what they say

// ---------------------------------------------------------------- what changes

function changed(whole, patch, anew) {
  all = whole;
  redraw ||= anew || "picture" in patch;
  if (patch.events) tell(patch.events);
  wake();
}

function wake() {
  if (due || !all) return;
  due = true;
  requestAnimationFrame(show);
}

function show() {
  due = false;
  const begun = performance.now();
  write(byId("where"), `${all.scope} · ${all.cluster}`);
  document.title = `k8slan, ${all.scope}`;
  showMissing();
  if (redraw) draw(all, choose);
  redraw = false;
  byId("empty").hidden = Object.keys(all.lans).length > 0;
  fill(all, pane.chosen());
  showLinks();
  showLans();
  showEvents();
  pane.show(all);
  performance.clearMeasures("update");
  performance.measure("update", { start: begun, end: performance.now() });
}

// What has happened, for who does not see the page.
function tell(events) {
  const words = events.map((event) => `${event.last} ${event.lan}: ${event.message}`);
  const fresh = told ? words.filter((each) => !told.has(each)).slice(0, 3) : [];
  told = new Set(words);
  if (fresh.length) byId("news").textContent = fresh.map((each) => each.slice(each.indexOf(" ") + 1)).join(". ");
}

function showMissing() {
  const found = Object.entries(all.missing).map(([what, why]) => (why ? `${what}: ${why}` : what));
  if (all.fixed) found.push(all.fixed);
  const list = byId("missing").firstElementChild;
  byId("missing").hidden = !found.length;
  if (list.children.length === found.length && found.every((text, n) => list.children[n].textContent === text)) return;
  list.replaceChildren(...found.map((text) => element("li", {}, text)));
}

// ---------------------------------------------------------------- tables

// Keeps the rows of a table those of `names`, in their order; says whether they are others now.
function keep(table, known, names, make) {
  const body = table.tBodies[0];
  if (names.length === known.size && names.every((name) => known.has(name))) return false;
  const there = new Set(names);
  for (const [name, row] of known) {
    if (!there.has(name)) {
      row.row.remove();
      known.delete(name);
    }
  }
  let at = body.firstElementChild;
  for (const name of sorted(names)) {
    if (!known.has(name)) known.set(name, make(name));
    const { row } = known.get(name);
    if (row === at) at = at.nextElementSibling;
    else body.insertBefore(row, at); // one that is moved would lose the focus
  }
  return true;
}

function cells(labels) {
  return labels.map((label) => element("td", { "data-label": label }));
}

function linkRow(key) {
  const end = all.ends[key];
  const name = `${end.interface} of ${all.devices[end.device]?.name ?? end.device}`;
  const [lan, link, frames, sent, received, dropped, errors, notes] = cells([
    "LAN", "Link", "Frames/s", "Sent", "Received", "Dropped", "Errors", "Shape",
  ]);
  const kind = element("small");
  const who = element("th", { scope: "row" }, name, kind);
  const pull = element("button", { type: "button", onclick: () => toggle(key) });
  const more = element("button", { type: "button", onclick: () => choose({ lan: end.lan, end: key }, true) }, "More");
  more.setAttribute("aria-label", `More of ${name}`);
  const what = element("td", {}, pull, more);
  const row = follow(element("tr", {}, lan, who, link, frames, sent, received, dropped, errors, notes, what));
  lan.textContent = end.lan;
  return { row, name, kind, link, frames, sent, received, dropped, errors, notes, pull };
}

function showLinks() {
  if (keep(byId("links"), rows, Object.keys(all.ends), linkRow)) find();
  const here = pane.chosen()?.end;
  for (const [key, found] of rows) {
    const end = all.ends[key];
    const flow = all.flows[key];
    const state = linkState(end, flow);
    const down = end.wanted?.state === "down";
    mark(found.row, "class", `${state.sign}${here === key ? " chosen" : ""}`);
    write(found.kind, about(all.devices[end.device]));
    write(found.link, state.words);
    const until = end.wanted?.until && `until ${end.wanted.until}`;
    write(found.notes, [end.impairment, until, end.note, flow?.fault].filter(Boolean).join("; "));
    write(found.pull, down ? "Plug in" : "Pull out");
    mark(found.pull, "aria-label", `${down ? "Plug in" : "Pull out"} ${found.name}`);
    found.pull.disabled = Boolean(all.fixed) || all.devices[end.device]?.kind === "host";
    const first = !found.frames.textContent || (flow && found.frames.textContent === "–");
    if (!first && !inSight(found.row)) continue;
    write(found.frames, flow ? String(flow.frames) : "–");
    write(found.sent, flow ? bits(flow.sent) : "–");
    write(found.received, flow ? bits(flow.received) : "–");
    write(found.dropped, flow ? String(flow.dropped) : "–");
    write(found.errors, flow ? String(flow.errors) : "–");
  }
}

function lanRow(key) {
  const [state, ends, vni] = cells(["State", "Ends", "VNI"]);
  const more = element("button", { type: "button", onclick: () => choose({ lan: key }, true) }, "More");
  more.setAttribute("aria-label", `More of LAN ${key}`);
  const row = element("tr", {}, element("th", { scope: "row" }, key), state, ends, vni, element("td", {}, more));
  return { row, state, ends, vni };
}

function showLans() {
  keep(byId("lans"), lanRows, Object.keys(all.lans), lanRow);
  const counts = {};
  for (const end of Object.values(all.ends)) counts[end.lan] = (counts[end.lan] ?? 0) + 1;
  for (const [key, found] of lanRows) {
    const lan = all.lans[key];
    mark(found.row, "class", ["Ready", "unknown"].includes(lan.state) ? "" : "down");
    write(found.state, [lan.state, lan.message].filter(Boolean).join(": "));
    write(found.ends, String(counts[key] ?? 0));
    write(found.vni, lan.vni ? String(lan.vni) : "–");
  }
}

let shownEvents = "";
function showEvents() {
  const text = JSON.stringify(all.events);
  if (text === shownEvents) return;
  shownEvents = text;
  byId("quiet").hidden = all.events.length > 0;
  byId("events").replaceChildren(
    ...all.events.map((event) =>
      element(
        "li",
        { className: event.warning ? "warning" : "" },
        element("time", { dateTime: event.last }, new Date(event.last).toLocaleString()),
        ` ${event.warning ? "Warning: " : ""}${event.lan}: ${event.reason}. ${event.message}`,
        event.count > 1 ? ` (${event.count} times)` : "",
      ),
    ),
  );
}

// ---------------------------------------------------------------- what is done

async function toggle(key) {
  const end = all.ends[key];
  const state = end.wanted?.state === "down" ? "up" : "down";
  try {
    say((await post("/api/link", { lan: end.lan, device: end.device, interface: end.interface, state })).message);
  } catch (error) {
    say(error.message, true);
  }
}

function choose(what, focus = false) {
  pane.choose(what, all, focus);
  fill(all, pane.chosen());
  showLinks();
  if (what) reveal(what.end ?? what.lan);
}

byId("find").addEventListener("input", find);
function find() {
  const wanted = byId("find").value.toLowerCase();
  for (const [key, { row, name }] of rows) row.hidden = !`${key} ${name}`.toLowerCase().includes(wanted);
}

onSight(wake);
pane.setUp({ toggle, choose });
live(changed, (words, good) => {
  write(byId("state"), words);
  mark(byId("state"), "class", good ? "" : "wrong");
});
