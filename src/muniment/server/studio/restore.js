// Restoring in three steps: which moment, what of it, and where to. Nothing is written before the last button.

import { base, json, query, send } from "./api.js";
import { button, choice, field, fill, h } from "./dom.js";
import { sideBySide } from "./difference.js";
import { elements, laidOut, members } from "./lexical.js";
import { problem } from "./problem.js";
import { watch } from "./progress.js";
import { timeline } from "./timeline.js";
import { count, counted, local, quoted, size } from "./words.js";
import * as api from "./api.js";

export async function show(place, context) {
  const { database, parameters, signal } = context;
  const wanted = { location: parameters.location ?? "", moment: parameters.backup ? { Backup: parameters.backup } : {}, part: {}, into: database !== null, name: "", conflict: "overwrite" };
  if (!wanted.location && database !== null) wanted.location = (await json(`${base(database)}/backups`, signal)).destinations[0]?.destination ?? "";
  const steps = h("div", {});
  const folder = h("input", { required: true, autocomplete: "off", value: wanted.location });
  const open = async (event) => {
    event?.preventDefault();
    wanted.location = folder.value;
    try {
      const listing = await json(`/admin/backups${query({ location: wanted.location })}`, signal);
      fill(steps, moment(listing, wanted, context), part(listing, wanted), target(listing, wanted, context));
    } catch (error) { if (error.name !== "AbortError") fill(steps, problem(error)); }
  };
  place.append(h("form", { class: "row", submit: open }, field("Folder with the backups", folder, "on the server's machine"), h("button", { type: "submit" }, "Open")), steps);
  if (wanted.location) await open();
}

function moment(listing, wanted, { signal }) {
  const told = h("p", { role: "status" });
  const input = h("input", { type: "datetime-local", step: 1 });
  const zone = h("select", { "aria-label": "Time zone" }, h("option", { value: "local" }, Intl.DateTimeFormat().resolvedOptions().timeZone), h("option", { value: "UTC" }, "UTC"));
  const show_ = async () => {
    told.textContent = "…";
    try {
      const plan = await send("POST", "/admin/restore/plan", { BackupLocation: wanted.location, ...wanted.moment });
      told.textContent = `The state of ${local(plan.time)} (${plan.time}), etag ${count(plan.etag)}; ${counted(plan.backups.length, "backup")}, ${size(plan.file_bytes)} will be read.`;
      wanted.plan = plan;
    } catch (error) {
      wanted.plan = null;
      told.textContent = `${error.message}. ${error.hint ?? ""}`;
    }
  };
  const choose = (chosen) => { wanted.moment = chosen; show_(); };
  const typed = () => {
    if (!input.value) return;
    const time = zone.value === "UTC" ? `${input.value}Z` : new Date(input.value).toISOString();
    choose({ At: time });
  };
  input.addEventListener("change", typed);
  zone.addEventListener("change", typed);
  show_();
  return h("section", {}, h("h2", {}, "1. Which moment"),
    timeline(listing, Date.now(), (backup) => choose({ Backup: backup.backup })),
    h("p", { class: "row" }, button("The newest", () => { input.value = ""; choose({}); }), field("or at", input), zone), told);
}

function part(listing, wanted) {
  const names = h("textarea", { rows: 3, autocomplete: "off" });
  const labelled = field("Which", names, "one to a line");
  labelled.hidden = true;
  let kind = "all";
  const change = () => {
    const lines = names.value.split("\n").map((line) => line.trim()).filter(Boolean);
    wanted.part = kind === "all" ? {} : { [kind]: lines };
    wanted.empty = kind !== "all" && !lines.length;
  };
  names.addEventListener("input", change);
  return h("section", {}, h("h2", {}, "2. What of it"),
    choice("What", "part", [["all", "Everything"], ["Collections", "Collections"], ["Ids", "Documents by their ids"], ["IdPrefixes", "All whose ids begin so"]], "all",
      (value) => { kind = value; labelled.hidden = value === "all"; change(); }), labelled);
}

function target(listing, wanted, context) {
  const { database } = context;
  const told = h("div", {});
  const first = listing.chains[0]?.name ?? database ?? "";
  const name = h("input", { required: true, autocomplete: "off", value: `${first}-restored` });
  const made = field("Name of the new database", name);
  const commanded = h("code", {});
  const show_ = () => {
    made.hidden = wanted.into;
    wanted.name = name.value;
    commanded.textContent = command(wanted, database);
  };
  const go = async () => {
    show_();
    if (wanted.empty) { fill(told, h("p", { class: "problem", role: "alert" }, "Step 2 names nothing yet.")); return; }
    if (wanted.plan === null) { fill(told, h("p", { class: "problem", role: "alert" }, "Step 1 names no moment that can be restored.")); return; }
    try { await (wanted.into ? compare(told, wanted, context) : make(told, wanted, context)); } catch (error) { if (error.name !== "AbortError") fill(told, problem(error)); }
  };
  name.addEventListener("input", show_);
  show_();
  return h("section", {}, h("h2", {}, "3. Where to"),
    database !== null && choice("Where", "where", [["into", `Into ${database}, after showing what would change`], ["new", "A new database; nothing that exists is touched"]], "into", (value) => { wanted.into = value === "into"; show_(); }),
    made, h("p", { class: "row" }, button(database === null ? "Restore" : "Go on", go, { class: "main" })),
    h("details", { toggle: show_ }, h("summary", {}, "As a command"), h("pre", { tabindex: 0 }, commanded)), told);
}

// What does the same on the command line.
function command(wanted, database) {
  const { At: at, Backup: backup } = wanted.moment;
  const words = ["muniment restore", quoted(wanted.location)];
  if (at) words.push("--at", quoted(at));
  if (backup) words.push("--backup", quoted(backup));
  for (const [option, names] of [["--collection", wanted.part.Collections], ["--id", wanted.part.Ids], ["--id-prefix", wanted.part.IdPrefixes]]) {
    for (const each of names ?? []) words.push(option, quoted(each));
  }
  words.push(wanted.into ? `--into ${location.origin}/databases/${quoted(database)} --dry-run` : `--url ${location.origin} --database ${quoted(wanted.name)}`);
  return words.join(" ");
}

const body = (wanted, more) => ({ BackupLocation: wanted.location, ...wanted.moment, ...wanted.part, ...more });

async function make(told, wanted, { signal, link }) {
  const { OperationId: id } = await send("POST", "/admin/restore", body(wanted, { DatabaseName: wanted.name }));
  await watch(told, "", id, `Restore of ${wanted.name}`, { signal });
  fill(told, h("div", { class: "good", role: "status" }, h("p", {}, h("strong", {}, `${wanted.name} was made and is proven: its fingerprint is the one that the backup recorded.`)),
    h("p", {}, h("a", { class: "button", href: link(wanted.name, "documents") }, `Open ${wanted.name}`))));
}

const SHOWN = 200;

async function compare(told, wanted, context) {
  const { database, signal } = context;
  const { OperationId: id } = await send("POST", `${base(database)}/admin/restore-into`, body(wanted, { DryRun: true }));
  const status = await watch(told, base(database), id, "Comparing", { signal, changes: true });
  const { added, changed, deleted, nowhere } = status.State.Difference;
  const sum = (counts) => typeof counts === "number" ? counts : Object.values(counts ?? {}).reduce((all, each) => all + sum(each), 0);
  const changes = (status.Changes ?? []).flatMap((each) => ["added", "changed", "deleted"].flatMap((what) => each[what].map((key) => ({ kind: each.kind, collection: each.collection, what, key }))));
  if (!changes.length && !(sum(added) + sum(changed) + sum(deleted))) {
    fill(told, h("p", { class: "good", role: "status" }, "It is as it was at that moment: there is nothing to do."), nowhere?.length > 0 && h("p", {}, `In neither: ${nowhere.join(", ")}`));
    return;
  }
  let conflict = "overwrite";
  const shown = h("div", {});
  const words = { added: "will be added again", changed: "will be as it was", deleted: "came later and will be deleted" };
  const write = async () => {
    try {
      const { OperationId: number } = await send("POST", `${base(database)}/admin/restore-into`, body(wanted, { OnConflict: conflict }));
      const { State: state } = await watch(told, base(database), number, `Restore into ${database}`, { signal });
      fill(told, h("p", { class: "good", role: "status" }, h("strong", {}, `Done: ${counted(state.Written, "change")} were made in one transaction.`)));
    } catch (error) { if (error.name !== "AbortError") fill(told, problem(error)); }
  };
  fill(told, h("h3", {}, `To return ${database} to that moment`),
    h("ul", {}, changes.slice(0, SHOWN).map((each) => h("li", {}, each.kind === "document" ? button(each.key, () => showOne(shown, each, wanted, context), { class: "quiet" }) : each.key, ` ${words[each.what]}`))),
    changes.length > SHOWN && h("p", {}, `and ${count(changes.length - SHOWN)} more`), shown,
    choice("What was changed or deleted since", "conflict", [["overwrite", "becomes as it was"], ["skip", "stays; only what is missing comes back"]], conflict, (value) => { conflict = value; }),
    h("p", { class: "row" }, button(`Write ${counted(changes.length, "change")} into ${database}`, write, { class: "main" })));
}

// One document as it is now and as it was.
async function showOne(place, { key, what }, wanted, { database, signal }) {
  const one = async (path) => {
    const found = members(await api.text(path, signal));
    return found;
  };
  try {
    const now = what === "added" ? null : laidOut((await (await api.ask("GET", `${base(database)}/docs/${api.inPath(key)}`, { signal })).text()));
    let then = null;
    if (what !== "deleted") {
      const listed = await json(`${base(database)}/versions${query({ id: key })}`, signal);
      const version = listed.versions.filter((each) => each.etag <= wanted.plan.etag).at(-1);
      const [found] = elements((await one(`${base(database)}/versions${query({ id: key, etag: version.etag, lineage: version.lineage })}`)).get("versions"));
      then = laidOut(members(found).get("document"));
    }
    fill(place, h("h4", {}, key), sideBySide(now, then, ["now", "as it was"]));
  } catch (error) { fill(place, problem(error)); }
}
