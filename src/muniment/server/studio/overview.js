// All databases: how much is in each, how far each could be recovered, and the one thing to do next.

import { ask, base, json } from "./api.js";
import { button, field, fill, h, say } from "./dom.js";
import { live } from "./live.js";
import { problem } from "./problem.js";
import { bar } from "./timeline.js";
import { next as due } from "./schedules.js";
import { ago, count, counted, duration, local, size } from "./words.js";

export async function show(place, { signal, link, go }) {
  const cards = h("div", {});
  const names = h("div", {}); // until it is known how they all are
  const sought = h("input", {
    type: "search",
    autocomplete: "off",
    input: () => [names, cards].forEach((each) => narrow(each, sought.value)),
  });
  const finding = field("Find a database", sought);
  finding.hidden = true;
  place.append(finding, names, cards, creation(go));
  const listed = await all(signal);
  if (listed.length > MANY) {
    finding.hidden = false;
    const early = listed.map(({ Name: name }) => h("li", { class: "card" }, titled(name, link)));
    fill(names, h("p", { role: "status" }, "Asking how they are …"), h("ul", { class: "cards" }, early));
  }
  await live(
    cards,
    () => states(signal),
    (found) => {
      names.remove();
      finding.hidden = found.length <= MANY;
      return narrow(h("div", {}, drawn(found, link)), sought.value);
    },
    { signal },
  );
}

const MANY = 12; // databases; of more than these somebody wants to find one by its name

function narrow(cards, text) {
  for (const each of cards.querySelectorAll(".card"))
    each.hidden = !each.querySelector("h2").textContent.toLowerCase().includes(text.trim().toLowerCase());
  return cards;
}

const all = (signal) => json("/databases?getAdditionalData=true&pageSize=1024", signal);
const titled = (name, link) => h("h2", {}, h("a", { href: link(name, "documents") }, name));

export async function states(signal) {
  const [listed, schedules] = await Promise.all([
    all(signal),
    json("/admin/schedules", signal).catch(forbidden),
  ]);
  return Promise.all(
    listed.map(async ({ Name: name, Disabled: disabled }) => {
      if (disabled) return { name, disabled };
      try {
        const [statistics, backups, alerts] = await Promise.all([
          json(`${base(name)}/stats`, signal),
          json(`${base(name)}/backups`, signal).catch(forbidden),
          json(`${base(name)}/alerts`, signal).catch(forbidden),
        ]);
        for (const each of backups?.destinations ?? []) if (each.last_backup) each.last_backup.age = undefined; // changes by itself
        return { name, statistics, backups, alerts, due: schedules && due(schedules, name) };
      } catch (error) {
        if (error.name === "AbortError") throw error;
        return { name, error: error.message };
      }
    }),
  );
}

function forbidden(error) {
  if (error.status === 403) return null;
  throw error;
}

function drawn(found, link) {
  if (!found.length)
    return h(
      "p",
      { class: "empty" },
      "There is no database yet. Make the first one below: then you can drop a dump on it, or restore a backup.",
    );
  const bad = found.filter(needsSomebody);
  const rest = found.filter((each) => !needsSomebody(each));
  return [
    bad.length > 0 &&
      h(
        "p",
        { class: "problem" },
        `${counted(bad.length, "database")} of ${count(found.length)} ${bad.length === 1 ? "needs" : "need"} a person.`,
      ),
    h(
      "ul",
      { class: "cards" },
      [...bad, ...rest].map((each) => card(each, link)),
    ),
  ];
}

// What is wrong with a database, as far as it may be seen.
function problemsOf({ backups, alerts }) {
  return alerts
    ? alerts.map((each) => each.text)
    : (backups?.destinations ?? []).flatMap((each) => each.problems);
}

const needsSomebody = (each) => Boolean(each.error) || problemsOf(each).length > 0;

function card({ name, disabled, statistics, backups, alerts, due: next_, error }, link) {
  const head = titled(name, link);
  if (disabled) return h("li", { class: "card" }, head, h("p", {}, "Disabled."));
  if (error) return h("li", { class: "card" }, head, h("p", { class: "problem" }, error));
  const [first] = backups?.destinations ?? [];
  const problems = problemsOf({ backups, alerts });
  return h(
    "li",
    { class: "card" },
    head,
    h(
      "p",
      {},
      counted(statistics.CountOfDocuments, "document"),
      ", ",
      counted(statistics.CountOfAttachments, "attachment"),
      ", ",
      size(statistics.FileBytes),
    ),
    backups &&
      (first
        ? bar(backups.destinations, Date.now())
        : h("p", {}, "No backup yet: nothing of it could be brought back.")),
    first &&
      h(
        "dl",
        { class: "facts" },
        fact(
          "Last backup",
          first.last_backup ? `${ago(first.last_backup.completed)}, ${first.last_backup.kind}` : "none",
        ),
        fact("Not in it", first.changes_since === null ? "cannot be told" : counted(first.changes_since, "change")),
        fact("Verified", proof(first.last_verification)),
        fact("Rehearsed", proof(first.last_rehearsal, "recovery took")),
        next_ !== undefined && fact("Next by a schedule", next_ ? `${next_[0]}, ${local(next_[1])}` : "none"),
      ),
    problems.map((text) => h("p", { class: "problem" }, text)),
    backups?.next &&
      h(
        "p",
        { class: "next" },
        h("strong", {}, "Next: "),
        next(backups.next),
        " ",
        h("a", { href: link(name, "backups") }, first ? "See its backups" : "Back it up"),
      ),
  );
}

// What to do, without the command that the page has a button for, and by the clock of whoever reads it.
export const next = (text) => text.split(": muniment ")[0].replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, local);

function fact(name, text) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, text));
}

export function proof(told, took) {
  if (!told) return "never";
  if (told.problem) return h("span", { class: "bad" }, `failed ${ago(told.completed)}: ${told.problem}`);
  return `${ago(told.completed)}${took ? `, ${took} ${duration(told.seconds)}` : ""}${told.of_last ? "" : ", an older backup"}`;
}

function creation(go) {
  const name = h("input", { required: true, autocomplete: "off", maxlength: 100 });
  const told = h("div", {});
  return h(
    "section",
    {},
    h("h2", {}, "New database"),
    h(
      "form",
      {
        class: "row",
        submit: async (event) => {
          event.preventDefault();
          try {
            await ask("PUT", `/admin/databases/${encodeURIComponent(name.value)}`, { body: { Settings: {} } });
            say(`${name.value} was made.`);
            go(name.value, "move");
          } catch (error) {
            fill(told, problem(error));
          }
        },
      },
      field("Name", name),
      h("button", { type: "submit" }, "Create"),
    ),
    told,
  );
}
