// Where backups are: every place that databases were backed up to, or are to be by a schedule, and how it is there.

import { h } from "./dom.js";
import { json } from "./api.js";
import { live } from "./live.js";
import { proof, states } from "./overview.js";
import { ago, count, counted, size } from "./words.js";

export async function show(place, { signal, link }) {
  await live(
    place,
    () => places(signal),
    (found) => drawn(found, link),
    { signal, every: 5000 },
  );
}

// All that the server knows of, and how each is at this moment: what it has itself may be ten minutes old.
async function places(signal) {
  const [found, databases] = await Promise.all([json("/admin/destinations", signal), states(signal)]);
  const now = new Map(
    databases.flatMap(({ name, backups }) =>
      (backups?.destinations ?? []).map((state) => [JSON.stringify([name.toLowerCase(), state.destination]), state]),
    ),
  );
  return found.map((each) => {
    const state = now.get(JSON.stringify([each.Database.toLowerCase(), each.Destination])) ?? each.State;
    if (state?.last_backup) state.last_backup.age = undefined; // changes by itself
    return { ...each, State: state };
  });
}

function drawn(found, link) {
  if (!found.length)
    return h("p", { class: "empty" }, "No database was backed up yet, so there is no place to look at.");
  const bad = found.filter(({ State: state }) => state && (!state.there || state.problems.length)).length;
  const told = `${counted(bad, "place")} of ${count(found.length)} ${bad === 1 ? "needs" : "need"} a person.`;
  return [
    bad
      ? h("p", { class: "problem" }, told)
      : h("p", { class: "good" }, "Nothing is known to be wrong with any of these places."),
    table(found, link),
  ];
}

function table(found, link) {
  const heads = ["Database", "State", "Place", "Schedules", "Backups", "Room", "Last backup", "Verified", "Rehearsed"];
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
        found.map((each) => row(each, link)),
      ),
    ),
  );
}

function row({ Database: name, Destination: destination, Schedules: schedules, State: state }, link) {
  const head = h("th", { scope: "row" }, h("a", { href: link(name, "backups") }, name));
  const place = [
    h("td", {}, destination),
    h("td", {}, schedules.length ? h("a", { href: link(null, "schedules") }, schedules.join(", ")) : "none"),
  ];
  if (!state) return h("tr", {}, head, h("td", {}, "nothing is known of it yet"), place, h("td", { colspan: 5 }));
  const { last_backup: last } = state;
  const wrong = state.there || state.problems.length ? state.problems : ["It is not there now."];
  return h(
    "tr",
    {},
    head,
    h("td", {}, wrong.length ? wrong.map((text) => h("p", { class: "bad" }, text)) : "well"),
    place,
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
