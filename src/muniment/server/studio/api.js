// The server's HTTP API. Nothing here can do what another client could not.

const KEPT = "muniment-token"; // in this tab alone, and gone with it

export class Failed extends Error {
  constructor(status, message, hint, kind) {
    super(message);
    Object.assign(this, { status, hint, kind });
  }
}

let signIn = async () => false;
let entering = null;

// What to do when the server wants a key: resolves to whether one was given.
export function whenAsked(asking) {
  signIn = asking;
}

function headers(more) {
  const token = sessionStorage.getItem(KEPT);
  return { "Muniment-Request": "1", ...(token && { Authorization: `Bearer ${token}` }), ...more };
}

// Keep a token for this key, not the key itself; raises `Failed` when it is wrong.
export async function enter(key) {
  const answer = await fetch("/access-token", {
    method: "POST",
    headers: { "Muniment-Request": "1", Authorization: `Bearer ${key}` },
  });
  if (!answer.ok) throw await failure(answer);
  sessionStorage.setItem(KEPT, (await answer.json()).access_token);
}

// Do what makes a key wanted and then gives one: what is refused meanwhile waits for that, and no person is asked.
export async function becoming(act) {
  try {
    return await (entering = act());
  } finally {
    entering = null;
  }
}

export const entered = () => sessionStorage.getItem(KEPT) !== null;
export const leave = () => sessionStorage.removeItem(KEPT);

// A request; the answer when it is a good one. Raises `Failed` with what the server says.
export async function ask(method, path, { body, type = "application/json", more = {}, signal } = {}) {
  const sent = body === undefined || typeof body === "string" || body instanceof Blob ? body : JSON.stringify(body);
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    let answer;
    try {
      answer = await fetch(path, {
        method,
        body: sent,
        signal,
        headers: headers(sent === undefined ? more : { "Content-Type": type, ...more }),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failed(
        0,
        "The server does not answer.",
        "See whether it runs and can be reached; this page goes on by itself when it can.",
      );
    }
    if (answer.ok || answer.status === 304) return answer;
    const failed = await failure(answer);
    if (answer.status === 401) {
      if (method === "GET") await entering?.catch(() => {});
      const kept = sessionStorage.getItem(KEPT);
      if ((kept && kept !== token) || (await signIn(failed))) continue; // it was sent before there was this token
    }
    throw failed;
  }
}

async function failure(answer) {
  const text = await answer.text();
  let told = text;
  try {
    told = JSON.parse(text);
  } catch {
    /* a proxy's page, say */
  }
  if (told && typeof told === "object")
    return new Failed(answer.status, told.Message ?? told.Error ?? text, told.Hint, told.Kind);
  return new Failed(answer.status, String(told) || `${answer.status} ${answer.statusText}`);
}

export async function json(path, signal) {
  return (await ask("GET", path, { signal })).json();
}
export async function text(path, signal) {
  return (await ask("GET", path, { signal })).text();
}
export async function send(method, path, body) {
  return (await ask(method, path, { body })).json();
}

// Where a database is; null is the server's own.
export const base = (database) => (database === null ? "" : `/databases/${encodeURIComponent(database)}`);

// An id or key in a path: its slashes stay.
export const inPath = (id) => encodeURIComponent(id).replaceAll("%2F", "/");

// A query string of what is there.
export function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

const PATIENCE = 300; // seconds for which a server may be out of reach before its job is given up here

// Follow a job to its end, telling each state. Resolves to the last status; raises `Failed` when the job failed.
export async function follow(path, id, tell, { signal, changes = false } = {}) {
  for (let wait = 100, lost = 0; ; wait = Math.min(1000, wait * 1.5)) {
    await pause(lost ? 1000 : 0, signal);
    let status;
    try {
      status = await json(`${path}/operation/status?id=${id}${changes ? "&changes=true" : ""}`, signal);
      lost = 0;
    } catch (error) {
      lost += 1;
      if (error.status !== 0 || lost > PATIENCE) throw error; // the job goes on while only the way to it is gone
      continue;
    }
    tell(status);
    if (status.Completed) {
      if (status.Canceled) throw new Failed(0, "It was cancelled.");
      if (status.Faulted)
        throw new Failed(0, status.State.Error ?? status.Exception, status.State.Hint, status.State.Kind);
      return status;
    }
    await pause(wait, signal);
  }
}

export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(new DOMException("left", "AbortError"));
      },
      { once: true },
    );
  });
}
