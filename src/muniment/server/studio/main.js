// The frame of the page: which view an address shows, what is above it, and who looks.
// Addresses are #/, #/schedules, #/destinations, #/operations, #/keys, #/server, #/restore and #/NAME/VIEW?PARAMETERS for a database.

import { enter, entered, Failed, leave, whenAsked } from "./api.js";
import { field, fill, h, say } from "./dom.js";
import * as backups from "./backups.js";
import * as destinations from "./destinations.js";
import * as document_ from "./document.js";
import * as documents from "./documents.js";
import * as keys from "./keys.js";
import * as moving from "./moving.js";
import * as operations from "./operations.js";
import * as overview from "./overview.js";
import { problem } from "./problem.js";
import * as queries from "./queries.js";
import * as restore from "./restore.js";
import * as schedules from "./schedules.js";
import * as server from "./server.js";
import * as settings from "./settings.js";

const OF_SERVER = { "": overview, destinations, keys, operations, restore, schedules, server };
const OF_DATABASE = { documents, document: document_, backups, restore, query: queries, move: moving, settings };
const TABS = [
  ["documents", "Documents"],
  ["query", "Query"],
  ["backups", "Backups"],
  ["restore", "Restore"],
  ["move", "Import, export"],
  ["settings", "Settings"],
];

const top_ = document.getElementById("top");
const content = document.getElementById("content");
let leaving = new AbortController();

// The address of a view.
export function link(database, view = "", parameters = {}) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== undefined && value !== ""),
  );
  const path = database === null ? view : `${encodeURIComponent(database)}/${view}`;
  return `#/${path}${query.size ? `?${query}` : ""}`;
}

function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, second] = path.split("/");
  const parameters = Object.fromEntries(new URLSearchParams(query));
  if (second === undefined) return { database: null, name: first, view: OF_SERVER[first], parameters };
  return {
    database: decodeURIComponent(first),
    name: second || "documents",
    view: OF_DATABASE[second || "documents"],
    parameters,
  };
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { database, name, view, parameters } = place();
  frame(database, name);
  const body = h("div", { class: "view" });
  fill(content, h("h1", {}, title(database, name)), body);
  document.title = `${title(database, name)} – Muniment`;
  try {
    if (!view) throw new Failed(404, "There is no such page.", "Go to the overview.");
    await view.show(body, {
      database,
      parameters,
      signal,
      link,
      refresh: () => frame(database, name),
      go: (...to) => {
        location.hash = link(...to);
      },
    });
  } catch (error) {
    if (error.name !== "AbortError") body.append(problem(error, show));
  }
  if (!signal.aborted && !content.contains(document.activeElement)) content.focus({ preventScroll: true });
}

function title(database, name) {
  if (database === null)
    return (
      {
        "": "Databases",
        destinations: "Where backups are",
        keys: "Keys",
        operations: "Operations",
        restore: "Restore from backups",
        schedules: "Schedules",
        server: "Server",
      }[name] ?? "Not found"
    );
  const tab = TABS.find(([view]) => view === name);
  return `${database}: ${tab ? tab[1].toLowerCase() : name}`;
}

function frame(database, name) {
  const tab = (view, text) =>
    h(
      "a",
      {
        href: link(database, view),
        "aria-current": view === name || (view === "documents" && name === "document") ? "page" : null,
      },
      text,
    );
  const whole = (view, text) =>
    h("a", { href: link(null, view), "aria-current": database === null && view === name ? "page" : null }, text);
  fill(
    top_,
    h("a", { href: link(null), class: "name" }, "Muniment"),
    h(
      "nav",
      { "aria-label": "Server" },
      whole("", "Databases"),
      whole("schedules", "Schedules"),
      whole("destinations", "Destinations"),
      whole("restore", "Restore"),
      whole("operations", "Operations"),
      whole("keys", "Keys"),
      whole("server", "Server"),
    ),
    entered() &&
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          click: () => {
            leave();
            show();
          },
        },
        "Sign out",
      ),
    database !== null &&
      h(
        "nav",
        { "aria-label": `Database ${database}`, class: "tabs" },
        TABS.map(([view, text]) => tab(view, text)),
      ),
  );
}

let asking = null;

// Ask once for a key, however many requests wait for it.
function signIn(failed) {
  asking ??= new Promise((resolve) => {
    const key = h("input", { type: "password", autocomplete: "current-password", required: true });
    const told = h("p", { role: "alert" }, entered() ? "The key is not accepted any more." : failed.message);
    const form = h(
      "form",
      {
        submit: async (event) => {
          event.preventDefault();
          try {
            await enter(key.value.trim());
            resolve(true);
            dialog.close();
            frame(place().database, place().name);
          } catch (error) {
            told.textContent = error.message;
          }
        },
      },
      field("Key", key, "NAME/SECRET, as muniment keys add printed it. Only a token is kept, in this tab."),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", click: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit" }, "Sign in"),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": "sign-in" }, h("h2", { id: "sign-in" }, "Sign in"), told, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      asking = null;
      resolve(false);
    });
    leave();
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

whenAsked(signIn);
addEventListener("hashchange", show);
addEventListener("offline", () => say("This computer has no network."));
show();
