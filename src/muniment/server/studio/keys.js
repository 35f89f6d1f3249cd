// Keys: who may do what on this server. The server keeps only hashes of their secrets, so a new one is shown once.

import { becoming, enter, entered, json, send } from "./api.js";
import { button, confirm, field, fill, h, say } from "./dom.js";
import { live } from "./live.js";
import { problem } from "./problem.js";
import { local, quoted } from "./words.js";

const RIGHTS = [
  ["read", "read documents"],
  ["write", "read and write documents"],
  ["backup", "take and see backups"],
  ["restore", "restore"],
  ["admin", "everything"],
];

export async function show(place, { signal, refresh }) {
  const told = h("div", {});
  place.append(told);
  await live(
    place,
    () => json("/admin/keys", signal),
    (found) => drawn(found, told),
    { signal },
  );
  place.append(making(told, refresh));
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
  const { Name: name, Enabled: enabled, Rights: rights, Databases: databases } = key;
  const [state, action] = enabled ? ["opens", "Disable"] : ["disabled", "Enable"];
  const folders = [
    ["databases below", key.DataRoots],
    ["backups below", key.BackupRoots],
  ].filter(([, roots]) => roots.length);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name),
    h("td", {}, rights.join(", ") || "cannot be read, and opens nothing"),
    h(
      "td",
      {},
      databases.includes("*") ? "all" : databases.join(", "),
      folders.map(([what, roots]) => h("p", {}, `only ${what} ${roots.join(", ")}`)),
    ),
    h("td", {}, local(key.Created)),
    h("td", {}, state),
    h(
      "td",
      { class: "row" },
      rights.length > 0 && [
        button(action, () => change(key, all, told), { "aria-label": `${action} ${name}` }),
        button("New secret", () => rotate(key, told), { "aria-label": `New secret for ${name}` }),
      ],
    ),
  );
}

const mayChangeKeys = ({ Enabled: enabled, Rights: rights, Databases: databases }) =>
  enabled && rights.includes("admin") && databases.includes("*");

const act = (name, action) => send("POST", `/admin/keys/${encodeURIComponent(name)}`, { Action: action });

async function change(key, all, told) {
  const { Name: name, Enabled: enabled } = key;
  if (enabled && !(await confirmed(key, all))) return;
  try {
    await act(name, enabled ? "disable" : "enable");
    fill(told);
    say(`${name} ${enabled ? "is disabled" : "opens again what it did"}.`);
  } catch (error) {
    fill(told, problem(error));
  }
}

async function rotate({ Name: name }, told) {
  const text = h("p", {}, "The secret that it has opens nothing from then on, and its tokens end now.");
  if (!(await confirm(`Give ${name} another secret?`, text, "New secret", { class: "danger" }))) return;
  try {
    const { ApiKey: secret } = await act(name, "rotate");
    fill(told, shown(`${name} has another secret.`, secret));
  } catch (error) {
    fill(told, problem(error));
  }
}

function confirmed(key, all) {
  const last = mayChangeKeys(key) && !all.some((other) => other !== key && mayChangeKeys(other));
  const more =
    last && " It is the last one that may change keys: only who may read the server's files could undo this.";
  const text = h("p", {}, "Whoever uses it is let in no more, and its tokens end now.", more);
  return confirm(`Disable ${key.Name}?`, text, "Disable", { class: "danger" });
}

// A secret, to be copied now: nobody can show it again.
function shown(what, secret) {
  const copied = h("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(secret);
      copied.textContent = "Copied.";
    } catch {
      copied.textContent = "This browser does not let pages copy: mark it and copy it yourself.";
    }
  };
  return h(
    "div",
    { class: "good", role: "alert" },
    h("p", {}, h("strong", {}, what), " This is the only time that it is shown: keep it where its holder has it."),
    h("pre", { tabindex: 0, class: "secret", "aria-label": "The key" }, secret),
    h("p", { class: "row" }, button("Copy", copy), copied),
  );
}

function making(told, refresh) {
  const name = h("input", { autocomplete: "off", placeholder: "nightly", required: true });
  const databases = h("input", { autocomplete: "off" });
  const boxes = RIGHTS.map(([right, text]) => [right, text, h("input", { type: "checkbox", value: right })]);
  const command = h("code", {});
  const rights = () => boxes.filter(([, , box]) => box.checked).map(([right]) => right);
  const named = () =>
    databases.value
      .split(",")
      .map((each) => each.trim())
      .filter(Boolean);
  const write = () => {
    const words = [
      ...["muniment keys add", quoted(name.value || "NAME")],
      ...rights().map((right) => `--right ${right}`),
      ...named().map((each) => `--database ${quoted(each)}`),
      `--url ${location.origin}`,
    ];
    command.textContent = words.join(" ");
  };
  const make = async (event) => {
    event.preventDefault();
    try {
      const wanted = { Name: name.value, Rights: rights(), Databases: named() };
      await becoming(async () => {
        const made = await send("POST", "/admin/keys", wanted);
        fill(told, shown(`Made the key ${made.Name}.`, made.ApiKey));
        form.reset();
        write();
        if (entered() || !mayChangeKeys(made)) return;
        await enter(made.ApiKey); // who has none may be let in no more, and this page goes on with it
        refresh();
      });
      told.scrollIntoView({ block: "nearest" });
    } catch (error) {
      fill(told, problem(error));
    }
  };
  const form = h(
    "form",
    { input: write, submit: make },
    field("Name", name),
    h(
      "fieldset",
      { class: "choice" },
      h("legend", {}, "May"),
      boxes.map(([, text, box]) => h("label", {}, box, ` ${text}`)),
    ),
    field("Databases", databases, "names with commas between; all, and the server itself, if it is empty"),
    h("button", { type: "submit" }, "Make the key"),
    h(
      "details",
      {},
      h("summary", {}, "As a command"),
      h("p", {}, "It makes the secret where it runs, so that only the hash is sent."),
      h("pre", { tabindex: 0, "aria-label": "The command" }, command),
    ),
  );
  write();
  return h("section", {}, h("h2", {}, "New key"), form);
}
