// Small things that all parts of the page use. Text is only ever set as text.

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

export function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// What is the same is not set again: the browser would lay it out again.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Which elements are in sight: numbers that change every second are not written where nobody sees them, so that very
// many cost no more than a screen of them.
const sight = new WeakSet();
let appeared = () => {};
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) sight[isIntersecting ? "add" : "delete"](target);
  appeared();
});
export const inSight = (node) => sight.has(node);
export const onSight = (act) => (appeared = act);
export function follow(node) {
  observer.observe(node);
  return node;
}

const order = new Intl.Collator("en", { numeric: true }).compare;
export const sorted = (names) => [...names].sort(order);

export function bits(number) {
  for (const [size, unit] of [[1e9, "Gbit/s"], [1e6, "Mbit/s"], [1e3, "kbit/s"]]) {
    if (number >= size) return `${(number / size).toPrecision(3)} ${unit}`;
  }
  return `${number} bit/s`;
}

export const short = (text, longest = 24) =>
  text.length <= longest ? text : `${text.slice(0, longest / 2)}…${text.slice(1 - longest / 2)}`;

let clear = 0;
export function say(words, wrong = false) {
  const said = byId("said");
  said.textContent = words;
  said.className = wrong ? "wrong" : "";
  clearTimeout(clear);
  if (!wrong) clear = setTimeout(() => (said.textContent = ""), 8000);
}

// How a link is, in words; `sign` is what a picture has of it.
export function linkState(end, flow) {
  if (end.link === "waiting") return { words: "waiting", sign: "waiting" };
  if (end.link === "down") return { words: end.wanted?.state === "down" ? "pulled out" : "down", sign: "down" };
  if (flow && !flow.carrier) return { words: "no carrier", sign: "down" };
  return { words: "up", sign: "up" };
}

// What a device is, and where or how.
export function about(device, cut = (text) => text) {
  const kind = { vm: "VM", host: "outside" }[device.kind] ?? "";
  return [kind, device.state === "attached" ? cut(device.node) : device.state].filter(Boolean).join(" · ");
}
