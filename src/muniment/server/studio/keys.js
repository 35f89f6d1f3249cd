// Keys: who may do what on this server. It has only hashes of their secrets, and of the command line's making: a secret
// never passes through this page.

import { json } from "./api.js";
import { read, store } from "./document.js";
import { button, confirm, field, fill, h, say } from "./dom.js";
import { live } from "./live.js";
import { problem } from "./problem.js";
import { local, quoted } from "./words.js";

const PREFIX = "Raven/ApiKeys/";
const RIGHTS = [
  ["read", "read documents"],
  ["write", "read and write documents"],
  ["backup", "take and see backups"],
  ["restore", "restore"],
  ["admin", "everything"],
];

export async function show(place, { signal }) {
  const told = h("div", {});
  place.append(told);
  await live(
    place,
    () => keys(signal),
    (found) => drawn(found, told),
    { signal },
  );
  place.append(making());
}

async function keys(signal) {
  const found = await json(`/docs?startsWith=${PREFIX}&pageSize=1024`, signal);
  return found.map(({ Name: name, Rights: rights, Databases: databases, Enabled: enabled, Created: created }) => ({
    name,
    rights: rights ?? [],
    databases: databases ?? [],
    enabled,
    created,
  }));
}

function drawn(found, told) {
  if (!found.length) {
    return h(
      "p",
      { class: "empty" },
      "There is no key. Make the first one for everything: when there is one, who has none may be let in no more.",
    );
  }
  const heads = ["Name", "May", "Databases", "Made", "State", ""];
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((text) => h("th", { scope: "col" }, text)),
        ),
      ),
      h(
        "tbody",
        {},
        found.map((key) => row(key, found, told)),
      ),
    ),
  );
}

function row(key, all, told) {
  const [state, action] = key.enabled ? ["opens", "Disable"] : ["disabled", "Enable"];
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, key.name),
    h("td", {}, key.rights.join(", ")),
    h("td", {}, key.databases.includes("*") ? "all" : key.databases.join(", ")),
    h("td", {}, local(key.created)),
    h("td", {}, state),
    h(
      "td",
      {},
      button(action, () => change(key, all, told), { "aria-label": `${action} ${key.name}` }),
    ),
  );
}

const mayChangeKeys = ({ enabled, rights, databases }) =>
  enabled && rights.includes("admin") && databases.includes("*");

async function change(key, all, told) {
  if (key.enabled && !(await confirmed(key, all))) return;
  try {
    const found = await read(null, PREFIX + key.name);
    const kept = JSON.stringify({ ...JSON.parse(found.body), Enabled: !key.enabled });
    await store(null, found.id, kept, found.metadata, found.etag);
    fill(told);
    say(`${key.name} ${key.enabled ? "is disabled" : "opens again what it did"}.`);
  } catch (error) {
    fill(told, problem(error));
  }
}

function confirmed(key, all) {
  const last = mayChangeKeys(key) && !all.some((other) => other.name !== key.name && mayChangeKeys(other));
  const more =
    last && " It is the last one that may change keys: only who may read the server's files could undo this.";
  const text = h("p", {}, "Whoever uses it is let in no more, and its tokens end now.", more);
  return confirm(`Disable ${key.name}?`, text, "Disable", { class: "danger" });
}

// The command that makes a key. It makes the secret, sends the hash, and prints the secret once.
function making() {
  const name = h("input", { autocomplete: "off", placeholder: "nightly" });
  const databases = h("input", { autocomplete: "off" });
  const boxes = RIGHTS.map(([right, text]) => [right, text, h("input", { type: "checkbox", value: right })]);
  const command = h("code", {});
  const write = () => {
    const rights = boxes.filter(([, , box]) => box.checked).map(([right]) => `--right ${right}`);
    const named = databases.value
      .split(",")
      .map((each) => each.trim())
      .filter(Boolean);
    const of = named.map((each) => `--database ${quoted(each)}`);
    const words = ["muniment keys add", quoted(name.value || "NAME"), ...rights, ...of, `--url ${location.origin}`];
    command.textContent = words.join(" ");
  };
  const form = h(
    "form",
    { input: write, submit: (event) => event.preventDefault() },
    field("Name", name),
    h(
      "fieldset",
      { class: "choice" },
      h("legend", {}, "May"),
      boxes.map(([, text, box]) => h("label", {}, box, ` ${text}`)),
    ),
    field("Databases", databases, "names with commas between; all, and the server itself, if it is empty"),
  );
  write();
  return h(
    "section",
    {},
    h("h2", {}, "New key"),
    h("p", {}, "This command makes it, and prints the secret once. Whoever may change keys runs it, anywhere."),
    form,
    h("pre", { tabindex: 0, "aria-label": "The command" }, command),
  );
}
