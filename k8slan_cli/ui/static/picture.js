// The picture: boxes, wires and buses where the server has put them, each with how it is at this moment.

import { about, bits, byId, drawn, follow, inSight, linkState, mark, short, write } from "./elements.js";

const svg = byId("picture");
let parts = { ends: new Map(), wires: [], devices: new Map(), lans: new Map() };

// Anew: somebody has come or gone.
export function draw(all, choose) {
  const { size, boxes, wires, buses } = all.picture;
  parts = { ends: new Map(), wires: [], devices: new Map(), lans: new Map() };
  const [width, height] = size.map((length) => length + 24);
  mark(svg, "viewBox", `-12 -12 ${width} ${height}`);
  mark(svg, "width", width);
  mark(svg, "height", height);
  const found = [];
  for (const bus of buses) {
    const name = drawn("text", { x: bus.at[0], y: bus.at[1] });
    const bars = bus.bars.map(([x1, y1, x2, y2]) => drawn("line", { x1, y1, x2, y2 }));
    const group = drawn("g", { class: "bus" }, ...bars, name);
    group.addEventListener("click", () => choose({ lan: bus.lan }));
    parts.lans.set(bus.lan, { name, group });
    found.push(group);
  }
  for (const wire of wires) {
    const points = wire.points.map((point) => point.join(",")).join(" ");
    const line = drawn("polyline", { points, class: "line" });
    const group = drawn("g", { class: "wire" }, drawn("polyline", { points, class: "reach" }), line);
    const labels = wire.labels.map(([x, y, right]) => follow(drawn("text", { x, y, class: right ? "right" : "" })));
    group.addEventListener("click", () => choose({ lan: wire.lan, end: wire.ends[0] }));
    labels.forEach((label, number) => {
      const end = wire.ends[number];
      label.addEventListener("click", (event) => {
        event.stopPropagation();
        choose({ lan: wire.lan, end });
      });
      parts.ends.set(end, { label, wire: group });
    });
    group.append(...labels);
    parts.wires.push({ group, line, ends: wire.ends });
    found.push(group);
  }
  for (const [key, [x, y, width, height]] of Object.entries(boxes)) {
    const middle = y + height / 2;
    const name = drawn("text", { x: x + width / 2, y: middle - 4, class: "name" });
    const kind = drawn("text", { x: x + width / 2, y: middle + 13, class: "about" });
    const group = drawn("g", { class: "device" }, drawn("rect", { x, y, width, height, rx: 5 }), name, kind);
    group.addEventListener("click", () => choose({ device: key }));
    parts.devices.set(key, { name, kind, group });
    found.push(group);
  }
  svg.replaceChildren(...found);
}

export function fill(all, chosen) {
  for (const [key, { name, kind, group }] of parts.devices) {
    const device = all.devices[key];
    if (!device) continue;
    write(name, short(device.name));
    write(kind, about(device, short));
    mark(group, "class", `device ${device.kind} ${device.state}${chosen?.device === key ? " chosen" : ""}`);
  }
  for (const [key, { name, group }] of parts.lans) {
    const lan = all.lans[key];
    if (!lan) continue;
    const good = ["Ready", "unknown"].includes(lan.state);
    write(name, short(lan.name) + (good ? "" : ` ${lan.state}`));
    mark(group, "class", `bus${good ? "" : " ill"}${chosen?.lan === key && !chosen.end ? " chosen" : ""}`);
  }
  for (const { group, line, ends } of parts.wires) {
    const states = ends.map((end) => sign(all, end));
    const state = ["down", "waiting"].find((each) => states.includes(each)) ?? "up";
    const busy = Math.max(...ends.map((end) => (all.flows[end]?.sent ?? 0) + (all.flows[end]?.received ?? 0)));
    const here = ends.includes(chosen?.end) ? " chosen" : "";
    const shaped = ends.some((end) => all.ends[end]?.impairment) ? " shaped" : "";
    mark(group, "class", `wire ${state}${shaped}${here}`);
    mark(line, "stroke-width", (1.5 + Math.max(0, Math.floor(Math.log10(busy + 1)) - 4) / 2).toFixed(1));
  }
  for (const [key, { label }] of parts.ends) {
    const end = all.ends[key];
    if (!end) continue;
    const flow = all.flows[key];
    const state = linkState(end, flow);
    const busy = flow ? flow.sent + flow.received : 0;
    const more = state.sign === "up" ? (busy ? bits(busy) : "") : state.words;
    if (state.sign === "up" && !inSight(label) && label.textContent) continue;
    write(label, `${end.interface}${end.impairment ? " ~" : ""}${state.sign === "down" ? " ✕" : ""} ${more}`.trim());
  }
}

// Scrolls the picture, and nothing else, to where an end or a bus is.
export function reveal(key) {
  const label = (parts.ends.get(key)?.label ?? parts.lans.get(key)?.name)?.getBoundingClientRect();
  const view = svg.parentElement;
  const room = view.getBoundingClientRect();
  if (!label || (label.left >= room.left && label.right <= room.right && label.top >= room.top && label.bottom <= room.bottom))
    return;
  view.scrollBy(label.left - room.left - room.width / 2, label.top - room.top - room.height / 2);
}

const sign = (all, key) => (all.ends[key] ? linkState(all.ends[key], all.flows[key]).sign : "up");
