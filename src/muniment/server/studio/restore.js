// Restoring in three steps: which moment, what of it, and where to. Nothing is written before the last button.

import { base, json, query, send } from "./api.js";
import { button, choice, field, fill, h } from "./dom.js";
import { sideBySide } from "./difference.js";
import { content, read } from "./document.js";
import { laidOut } from "./lexical.js";
import { FORMATS, saved } from "./moving.js";
import { asOptions, part } from "./part.js";
import { problem } from "./problem.js";
import { watch } from "./progress.js";
import { timeline } from "./timeline.js";
import { count, counted, instants, local, quoted, size } from "./words.js";
import * as api from "./api.js";

export async function show(place, context) {
  const { database, parameters, signal } = context;
  const wanted = {
    location: parameters.location ?? "",
    moment: parameters.backup ? { Backup: parameters.backup } : {},
    plan: Promise.resolve(null),
    part: {},
    where: database === null ? "new" : "into",
    format: "ravendbdump",
    lineage: null, // of the database as it is now
    name: "",
    changed: () => {}, // what was shown for other choices is not to be acted on
  };
  if (database !== null) {
    const { destinations, lineage } = await json(`${base(database)}/backups`, signal);
    wanted.location ||= destinations[0]?.destination ?? "";
    wanted.lineage = lineage;
  }
  const steps = h("div", {});
  const folder = h("input", { required: true, autocomplete: "off", value: wanted.location });
  const open = async (event) => {
    event?.preventDefault();
    wanted.location = folder.value;
    try {
      const listing = await json(`/admin/backups${query({ location: wanted.location })}`, signal);
      fill(steps, moment(listing, wanted, context), which(wanted), target(listing, wanted, context));
    } catch (error) {
      if (error.name !== "AbortError") fill(steps, problem(error));
    }
  };
  place.append(
    h(
      "form",
      { class: "row", submit: open },
      field("Folder with the backups", folder, "on the server's machine"),
      h("button", { type: "submit" }, "Open"),
    ),
    steps,
  );
  if (wanted.location) await open();
}

function moment(listing, wanted, { signal }) {
  const told = h("p", { role: "status" });
  const twice = h("div", {});
  const input = h("input", { type: "datetime-local", step: 1 });
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const zone = h(
    "select",
    { "aria-label": "Time zone" },
    timeZone !== "UTC" && h("option", { value: "local" }, timeZone),
    h("option", { value: "UTC" }, "UTC"),
  );
  const planned = async (at) => {
    try {
      return await send("POST", "/admin/restore/plan", { BackupLocation: wanted.location, ...at });
    } catch (error) {
      return { error };
    }
  };
  const show_ = async () => {
    told.textContent = "…";
    const mine = planned(wanted.moment);
    wanted.plan = mine;
    const plan = await mine;
    if (wanted.plan !== mine) return; // another moment was chosen meanwhile
    const { error } = plan;
    told.textContent = error
      ? [error.message, error.hint].filter(Boolean).join(". ")
      : `The state of ${local(plan.time)} (${plan.time}), etag ${count(plan.etag)}; ` +
        `${counted(plan.backups.length, "backup")}, ${size(plan.file_bytes)} will be read.`;
    told.className = error ? "problem" : "";
    if (!error) drawing.choose?.(plan.time);
  };
  const newest = newestOf(listing, wanted);
  if (!Object.keys(wanted.moment).length) wanted.moment = newest;
  const choose = (chosen) => {
    wanted.moment = chosen;
    wanted.changed();
    show_();
  };
  const clear = () => {
    input.value = "";
    fill(twice);
  };
  const click = (time, lineage) => {
    clear();
    choose({ At: time, Lineage: lineage });
  };
  const typed = () => {
    fill(twice);
    if (!input.value) return;
    const found = zone.value === "UTC" ? [`${input.value}Z`] : instants(input.value);
    if (found.length > 1) {
      const which = found.map((time, at) => [time, `the ${at ? "second" : "first"} time, ${time}`]);
      fill(
        twice,
        choice("Clocks were put back: this time was there twice", "twice", which, found[0], (time) =>
          choose({ At: time }),
        ),
      );
    }
    if (found.length) choose({ At: found[0] });
    else none(`No clock in ${timeZone} showed that: they were put forward over it.`);
  };
  const none = (text) => {
    wanted.plan = Promise.resolve({ error: new api.Failed(0, text) });
    wanted.changed();
    told.textContent = text;
    told.className = "problem";
  };
  const drawing = timeline(
    listing,
    Date.now(),
    (backup) => {
      clear();
      choose({ Backup: backup.backup });
    },
    click,
  );
  input.addEventListener("change", typed);
  zone.addEventListener("change", typed);
  show_();
  return h(
    "section",
    {},
    h("h2", {}, "1. Which moment"),
    drawing,
    h(
      "p",
      { class: "row" },
      button("The newest", () => {
        clear();
        choose(newest);
      }),
      field("or at", input),
      zone,
    ),
    twice,
    told,
  );
}

// The newest moment; where a folder has several histories, of the one that the database goes on with.
function newestOf({ lineages }, { lineage }) {
  const own = lineages.find((each) => each.lineage === lineage && each.backed_up_through);
  return own && lineages.length > 1 ? { Lineage: lineage } : {};
}

function which(wanted) {
  const { fields, value, empty } = part(() => {
    wanted.part = value();
    wanted.empty = empty();
    wanted.changed();
  });
  return h("section", {}, h("h2", {}, "2. What of it"), fields);
}

function target(listing, wanted, context) {
  const { database } = context;
  const told = h("div", {});
  const first = listing.chains[0]?.name ?? database ?? "";
  const name = h("input", { required: true, autocomplete: "off", value: `${first}-restored` });
  const made = field("Name of the new database", name);
  const shape = choice("As", "format", FORMATS, wanted.format, (value) => {
    wanted.format = value;
    wanted.changed();
  });
  const commanded = h("code", {});
  const show_ = () => {
    made.hidden = wanted.where !== "new";
    shape.hidden = wanted.where !== "dump";
    wanted.name = name.value;
    commanded.textContent = command(wanted, database);
  };
  let writing = false;
  wanted.changed = () => {
    show_();
    if (!writing) fill(told);
  };
  const go = async () => {
    show_();
    if (wanted.empty) {
      fill(told, h("p", { class: "problem", role: "alert" }, "Step 2 names nothing yet."));
      return;
    }
    const plan = await wanted.plan;
    if (plan.error) {
      fill(told, h("p", { class: "problem", role: "alert" }, "Step 1 names no moment that can be restored."));
      return;
    }
    if (writing) return;
    writing = true; // until it has ended, nothing that is shown here goes
    const asked = fixed(wanted, plan);
    try {
      if (asked.where === "dump") await dump(told, asked, first, context);
      else await (asked.where === "into" ? compare(told, asked, context) : make(told, asked, context));
      if (asked.where === "into" && text_(asked) !== text_(fixed(wanted, plan))) fill(told); // chosen otherwise while it was compared
    } catch (error) {
      if (error.name !== "AbortError") fill(told, problem(error));
    } finally {
      writing = false;
    }
  };
  name.addEventListener("input", show_);
  show_();
  return h(
    "section",
    {},
    h("h2", {}, "3. Where to"),
    choice(
      "Where",
      "where",
      [
        database !== null && ["into", `Into ${database}, after showing what would change`],
        ["new", "A new database; nothing that exists is touched"],
        ["dump", "A dump on this computer; nothing is restored"],
      ].filter(Boolean),
      wanted.where,
      (value) => {
        wanted.where = value;
        wanted.changed();
      },
    ),
    made,
    shape,
    h("p", { class: "row" }, button(database === null ? "Restore" : "Go on", go, { class: "main" })),
    h("details", { toggle: show_ }, h("summary", {}, "As a command"), h("pre", { tabindex: 0 }, commanded)),
    told,
  );
}

// What was chosen when it was asked for, apart from the steps, which may be changed then: the newest moment by the name
// of its backup, since a newer one may be there before the last button.
function fixed({ location: folder, moment: at, part: of, where, format, name }, plan) {
  const newest = plan.backups
    .map(({ backup }) => folderOf(backup))
    .sort()
    .at(-1);
  const named = "At" in at || "Backup" in at;
  return structuredClone({
    location: folder,
    moment: named ? at : { Backup: newest },
    part: of,
    where,
    format,
    name,
    plan,
  });
}

// The name of a backup, which is the last part of its path; the paths of Windows have other slashes.
const folderOf = (path) => path.split(/[\\/]/).filter(Boolean).at(-1);

const text_ = ({ moment: at, part: of, where }) => JSON.stringify([at, of, where]);

// What does the same on the command line.
function command(wanted, database) {
  const { At: at, Backup: backup, Lineage: lineage } = wanted.moment;
  const dumped = wanted.where === "dump";
  const words = [dumped ? "muniment smuggler out" : "muniment restore", quoted(wanted.location)];
  if (dumped) words.push(`moment.${wanted.format}`);
  if (at) words.push("--at", quoted(at));
  if (lineage) words.push("--lineage", quoted(lineage));
  if (backup) words.push("--backup", quoted(backup));
  words.push(...asOptions(wanted.part));
  if (dumped) return words.join(" ");
  const into = wanted.where === "into";
  words.push("--server", location.origin, "--name", quoted(into ? database : wanted.name));
  if (into) words.push("--on-conflict=overwrite", "--dry-run");
  return words.join(" ");
}

const body = (wanted, more) => ({ BackupLocation: wanted.location, ...wanted.moment, ...wanted.part, ...more });

// The moment, or the part of it, as a dump on this computer.
async function dump(told, wanted, name) {
  const path = `/admin/restore/export${query({ format: wanted.format })}`;
  const asked = { method: "POST", path, body: body(wanted) };
  await saved(told, asked, `${name}.${wanted.format}`);
}

async function make(told, wanted, { signal, link }) {
  const { OperationId: id } = await send("POST", "/admin/restore", body(wanted, { DatabaseName: wanted.name }));
  await watch(told, "", id, `Restore of ${wanted.name}`, { signal });
  fill(
    told,
    h(
      "div",
      { class: "good", role: "status" },
      h(
        "p",
        {},
        h("strong", {}, `${wanted.name} was made and is proven: its fingerprint is the one that the backup recorded.`),
      ),
      h(
        "p",
        {},
        h("a", { class: "button", href: link(wanted.name, "documents") }, `Open ${wanted.name}`),
        " ",
        h("a", { class: "button", href: link(wanted.name, "move") }, "Save it as a dump"),
      ),
    ),
  );
}

const SHOWN = 200;

async function compare(told, wanted, context) {
  const { database, signal } = context;
  const { OperationId: id } = await send(
    "POST",
    `${base(database)}/admin/restore-into`,
    body(wanted, { DryRun: true }),
  );
  const status = await watch(told, base(database), id, "Comparing", { signal, changes: true });
  const { added, changed, deleted, nowhere } = status.State.Difference;
  const sum = (counts) =>
    typeof counts === "number" ? counts : Object.values(counts ?? {}).reduce((all, each) => all + sum(each), 0);
  const changes = (status.Changes ?? []).flatMap((each) =>
    ["added", "changed", "deleted"].flatMap((what) =>
      each[what].map((key) => ({ kind: each.kind, collection: each.collection, what, key })),
    ),
  );
  if (!changes.length && !(sum(added) + sum(changed) + sum(deleted))) {
    fill(
      told,
      h("p", { class: "good", role: "status" }, "It is as it was at that moment: there is nothing to do."),
      nowhere?.length > 0 && h("p", {}, `In neither: ${nowhere.join(", ")}`),
    );
    return;
  }
  let conflict = "overwrite";
  const shown = h("div", {});
  const words = {
    added: "will be added again",
    changed: "will be as it was",
    deleted: "came later and will be deleted",
  };
  const write = async () => {
    try {
      last.disabled = true;
      const asked = body(wanted, { OnConflict: conflict });
      const { OperationId: number } = await send("POST", `${base(database)}/admin/restore-into`, asked);
      const { State: state } = await watch(told, base(database), number, `Restore into ${database}`, { signal });
      fill(
        told,
        h(
          "p",
          { class: "good", role: "status" },
          h("strong", {}, `Done: ${counted(state.Written, "change")} were made in one transaction.`),
        ),
      );
    } catch (error) {
      if (error.name !== "AbortError") fill(told, problem(error));
    }
  };
  const last = button(`Write ${counted(changes.length, "change")} into ${database}`, write, { class: "main" });
  fill(
    told,
    h("h3", {}, `To return ${database} to that moment`),
    h(
      "ul",
      {},
      changes
        .slice(0, SHOWN)
        .map((each) =>
          h(
            "li",
            {},
            each.kind === "document"
              ? button(each.key, () => showOne(shown, each, wanted, context), { class: "quiet" })
              : each.key,
            ` ${words[each.what]}`,
          ),
        ),
    ),
    changes.length > SHOWN && h("p", {}, `and ${count(changes.length - SHOWN)} more`),
    shown,
    choice(
      "What was changed or deleted since",
      "conflict",
      [
        ["overwrite", "becomes as it was"],
        ["skip", "stays; only what is missing comes back"],
      ],
      conflict,
      (value) => {
        conflict = value;
      },
    ),
    h("p", { class: "row" }, last),
  );
}

// The version that a plan restores: the last up to its etag in the backups that it reads. Another history of the
// database may have the same etags.
function at(versions, plan) {
  const read_ = new Set(plan.backups.map(({ backup }) => folderOf(backup)));
  const within = (version) => version.backups.some((path) => read_.has(folderOf(path)));
  return versions.filter((version) => version.etag <= plan.etag && within(version)).at(-1);
}

// One document as it is now and as it was.
async function showOne(place, { key, what }, wanted, { database, signal }) {
  try {
    const now = what === "added" ? null : laidOut((await read(database, key, signal)).body);
    let then = null;
    if (what !== "deleted") {
      const listed = await json(`${base(database)}/versions${query({ id: key })}`, signal);
      const version = at(listed.versions, wanted.plan);
      if (!version)
        throw new api.Failed(0, `The version of ${key} at that moment cannot be shown.`, listed.notes.join(" "));
      then = laidOut((await content(database, key, version)).body);
    }
    fill(place, h("h4", {}, key), sideBySide(now, then, ["now", "as it was"]));
  } catch (error) {
    fill(place, problem(error));
  }
}
