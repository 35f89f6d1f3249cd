// Where backups are: every place that a database was backed up to or is to be by a schedule, and how it is there.

import { h } from "./dom.js";
import { json } from "./api.js";
import { live } from "./live.js";
import { forbidden, proof, states } from "./overview.js";
import { ago, count, counted, size } from "./words.js";

export async function show(place, { signal, link }) {
  await live(
    place,
    async () => {
      const [databases, schedules] = await Promise.all([
        states(signal),
        json("/admin/schedules", signal).catch(forbidden),
      ]);
      return { databases, schedules: (schedules ?? []).map(({ Name: name, Schedule: schedule }) => [name, schedule]) };
    },
    (found) => drawn(found, link),
    { signal, every: 5000 },
  );
}

function drawn({ databases, schedules }, link) {
  const rows = databases.flatMap(({ name, backups, error }) =>
    error ? [{ name, error }] : (backups?.destinations ?? []).map((state) => ({ name, state })),
  );
  const bad = rows.filter(({ error, state }) => error || !state.there || state.problems.length).length;
  return [
    rows.length
      ? [
          bad
            ? h(
                "p",
                { class: "problem" },
                `${counted(bad, "place")} of ${count(rows.length)} ${bad === 1 ? "needs" : "need"} a person.`,
              )
            : h("p", { class: "good" }, "Every place can be reached, and nothing is known to be wrong there."),
          table(rows, link),
        ]
      : h("p", { class: "empty" }, "No database was backed up yet, so there is no place to look at."),
    h(
      "section",
      {},
      h("h2", {}, "By schedules"),
      schedules.length
        ? h(
            "ul",
            {},
            schedules.map(([name, schedule]) =>
              h(
                "li",
                {},
                h("a", { href: link(null, "schedules") }, name),
                ` writes ${schedule.Databases.includes("*") ? "all databases" : schedule.Databases.join(", ")} to `,
                h("strong", {}, schedule.Destination),
                schedule.Paused && ", and is paused",
              ),
            ),
          )
        : h("p", { class: "empty" }, "No schedule writes anywhere."),
    ),
  ];
}

function table(rows, link) {
  const heads = ["Database", "Place", "State", "Backups", "Room", "Last backup", "Verified", "Rehearsed"];
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Places" },
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
        rows.map((each) => row(each, link)),
      ),
    ),
  );
}

function row({ name, state, error }, link) {
  const head = h("th", { scope: "row" }, h("a", { href: link(name, "backups") }, name));
  if (error) return h("tr", {}, head, h("td", { class: "bad", colspan: 7 }, error));
  const { last_backup: last } = state;
  const wrong = state.there || state.problems.length ? state.problems : ["It is not there now."];
  return h(
    "tr",
    {},
    head,
    h("td", {}, state.destination),
    h("td", {}, wrong.length ? wrong.map((text) => h("p", { class: "bad" }, text)) : "well"),
    h("td", {}, `${count(state.backups)}, ${size(state.size)}`),
    h("td", {}, room(state)),
    h("td", {}, last ? `${ago(last.completed)}, ${last.kind}` : "none"),
    h("td", {}, proof(state.last_verification)),
    h("td", {}, proof(state.last_rehearsal, "recovery took")),
  );
}

// How much more fits there, and whether the next full backup does.
function room({ room: free, full_size: full }) {
  if (free === null || free === undefined) return "not told";
  const few = full !== null && full !== undefined && free < full;
  return few ? h("span", { class: "bad" }, `${size(free)}: too little for a full backup`) : size(free);
}
