// What goes between this page and the command that serves it. The token is kept for this tab alone.

const KEY = "token";
const WAIT = 2000; // milliseconds before the next try

// The token is in the part of the address that browsers do not send; there it does not stay.
const given = location.hash.slice(1);
if (given.length >= 32) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname);
}

// What others have written may not hide or turn around text beside it.
const plain = (_, value) => (typeof value === "string" ? value.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "�") : value);
const parsed = (text) => JSON.parse(text, plain);

export class Refused extends Error {}

async function ask(path, body, signal) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!answer.ok) {
    const found = await answer.text().then(parsed).catch(() => ({ error: `HTTP status ${answer.status}`, hint: "" }));
    throw new Refused([found.error, found.hint].filter(Boolean).join(". "));
  }
  return answer;
}

// One answer.
export const post = async (path, body) => parsed(await (await ask(path, body)).text());

// Bytes as they come.
export async function* bytes(path, body, signal) {
  const reader = (await ask(path, body, signal)).body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

async function* parts(path, body, end, signal) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const data of bytes(path, body, signal)) {
    const found = (rest + decoder.decode(data, { stream: true })).split(end);
    rest = found.pop();
    yield* found;
  }
}

// Objects as they come, one in a line.
export async function* lines(path, body, signal) {
  for await (const line of parts(path, body, "\n", signal)) yield parsed(line);
}

// RFC 7386.
export function merge(target, patch) {
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete target[name];
    else if (value && typeof value === "object" && !Array.isArray(value))
      target[name] = merge(target[name] && typeof target[name] === "object" ? target[name] : {}, value);
    else target[name] = value;
  }
  return target;
}

// What is there, and what changes, until the page is closed: `changed(whole, patch, anew)`, `state(words, good)`.
export async function live(changed, state) {
  for (;;) {
    try {
      let whole = null;
      for await (const event of parts("/api/live", {}, "\n\n")) {
        const patch = parsed(event.slice("data: ".length));
        if (!Object.keys(patch).length) continue; // nothing has happened
        const anew = whole === null;
        whole = merge(whole ?? {}, patch);
        state("Live", true);
        changed(whole, patch, anew);
      }
      state("k8slan ui has ended; what you see is old. Trying again…", false);
    } catch (error) {
      const refused = error instanceof Refused;
      state(refused ? error.message : "k8slan ui does not answer; what you see is old. Trying again…", false);
      if (refused) return;
    }
    await new Promise((done) => setTimeout(done, WAIT));
  }
}
