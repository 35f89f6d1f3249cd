// The backups of a database: what there is over time, and taking another.

import { base, json, query, send } from "./api.js";
import { button, choice, field, fill, h } from "./dom.js";
import { problem } from "./problem.js";
import { next, proof } from "./overview.js";
import { options, policy } from "./policy.js";
import { watch } from "./progress.js";
import { timeline } from "./timeline.js";
import { ago, count, counted, local, quoted, size } from "./words.js";

export async function show(place, context) {
  const { database, signal } = context;
  const told = h("div", {});
  const state = h("div", {});
  const draw = async () => {
    const found = await json(`${base(database)}/backups`, signal);
    fill(
      state,
      taking(found, context, told, draw),
      await Promise.all(found.destinations.map((each) => destination(each, context))),
    );
  };
  place.append(told, state);
  await draw();
  running(context, told, draw).catch((error) => {
    if (error.name !== "AbortError") fill(told, problem(error));
  });
}

function taking(found, context, told, draw) {
  const { database } = context;
  let incremental = found.destinations.some((each) => each.backups > 0);
  const folder = h("input", {
    required: true,
    autocomplete: "off",
    value: found.destinations[0]?.destination ?? `~/Backups/${database}`,
  });
  const command = h("code", {});
  const show_ = () => {
    const words = ["--url", location.origin, "--database", quoted(database), "--dest", quoted(folder.value)];
    command.textContent = ["muniment backup", ...words, ...(incremental ? ["--incremental"] : [])].join(" ");
  };
  folder.addEventListener("input", show_);
  show_();
  const start = async (event) => {
    event.preventDefault();
    try {
      const { OperationId: id } = await send(
        "POST",
        `${base(database)}/admin/backup${incremental ? "?incremental=true" : ""}`,
        { BackupLocation: folder.value },
      );
      await followed(id, context, told, draw);
    } catch (error) {
      if (error.name !== "AbortError") fill(told, problem(error));
    }
  };
  return h(
    "section",
    {},
    h("h2", {}, "Back up now"),
    found.next && h("p", { class: "next" }, h("strong", {}, "Next: "), next(found.next)),
    h(
      "form",
      { submit: start },
      choice(
        "How much",
        "kind",
        [
          ["yes", "What changed since the last backup"],
          ["no", "Everything"],
        ],
        incremental ? "yes" : "no",
        (value) => {
          incremental = value === "yes";
          show_();
        },
      ),
      h(
        "div",
        { class: "row" },
        field("Folder of the server's machine", folder),
        h("button", { type: "submit", class: "main" }, "Back up now"),
      ),
      h("details", {}, h("summary", {}, "As a command"), h("pre", { tabindex: 0 }, command)),
    ),
  );
}

// Show a backup until its end, then what it holds, and draw what is there now.
async function followed(id, { database, signal }, told, draw) {
  const { State } = await watch(told, base(database), id, `Backup of ${database}`, { signal });
  const result = State.Result;
  const holds = [counted(result.documents, "document"), counted(result.attachments, "attachment")].join(", ");
  const complete = `The backup is complete: ${result.kind} (${result.reason}), ${size(result.file_bytes)}.`;
  fill(
    told,
    h(
      "div",
      { class: "good", role: "status" },
      h("p", {}, h("strong", {}, complete)),
      h("p", {}, `It is the state of ${local(result.time)}: ${holds}, fingerprint ${result.fingerprint}.`),
      result.notes.map((note) => h("p", {}, note)),
    ),
  );
  await draw();
}

// A backup that was begun in another tab, by a schedule or by a command is shown too.
async function running(context, told, draw) {
  const { database, signal } = context;
  const jobs = await json("/operations", signal);
  const mine = ({ Status: state, Description: what }) =>
    ["Running", "Waiting"].includes(state) && what.toLowerCase() === `backup of ${database}`.toLowerCase();
  const job = jobs.find(mine);
  if (job) await followed(job.Id, context, told, draw);
}

async function destination(state, context) {
  const { database, signal, link } = context;
  const head = h("h2", {}, state.destination);
  const facts = h(
    "dl",
    { class: "facts" },
    [
      ["Backups", `${count(state.backups)}, ${size(state.size)}`],
      [
        "Last one",
        state.last_backup
          ? `${ago(state.last_backup.completed)} (${local(state.last_backup.completed)}), ${state.last_backup.kind}`
          : "none",
      ],
      ["Changes since", state.changes_since === null ? "cannot be told" : count(state.changes_since)],
      ["Verified", proof(state.last_verification)],
      ["Rehearsed", proof(state.last_rehearsal, "recovery took")],
    ].map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))),
  );
  const notes = [
    ...state.problems.map((text) => h("p", { class: "problem" }, text)),
    ...state.notes.map((text) => h("p", {}, text)),
    state.unfinished.length > 0 &&
      h(
        "p",
        {},
        `Not finished: ${state.unfinished.join(", ")}. A backup runs there, or was ended in the middle; what it left may be deleted then.`,
      ),
  ];
  if (!state.there) {
    const gone = !state.problems.length && h("p", { class: "problem" }, "This folder is not there now.");
    return h("section", {}, head, gone, notes);
  }
  try {
    const listing = await json(`/admin/backups${query({ location: state.destination })}`, signal);
    const chosen = h("div", {});
    const done = h("div", {});
    const pick = (backup) =>
      fill(
        chosen,
        h(
          "p",
          { class: "row" },
          `${backup.backup}: ${backup.kind} (${backup.reason}), the state of ${local(backup.time)}, ${counted(backup.rows, "row")}, ${size(backup.file_bytes)}`,
          h(
            "a",
            {
              class: "button",
              href: link(database, "restore", { location: state.destination, backup: backup.backup }),
            },
            "Restore this state",
          ),
          button("Verify this state", () => verify(done, state.destination, context, backup.backup)),
          button("Rehearse this state", () => rehearse(done, state.destination, context, backup.backup)),
          backup.kind === "incremental" && button("Merge through this one", () => merge(done, state, backup, signal)),
        ),
        done,
      );
    return h(
      "section",
      {},
      head,
      facts,
      notes,
      timeline(listing, Date.now(), pick, undefined, proofs(state)),
      unusable(listing),
      chosen,
      chores(state.destination, context),
      chains(listing),
    );
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return h("section", {}, head, facts, notes, problem(error));
  }
}

// One full backup out of the chain that ends with this one. It is proven before it exists, and nothing is removed.
async function merge(place, { destination: folder }, backup, signal) {
  try {
    const wanted = { BackupLocation: folder, Through: backup.backup };
    const { OperationId: id } = await send("POST", "/admin/merge", wanted);
    const {
      State: { Result: result },
    } = await watch(place, "", id, `Merge through ${backup.backup}`, { signal });
    fill(
      place,
      h(
        "p",
        { class: "good", role: "status" },
        h("strong", {}, "Merged and proven: "),
        `${result.backup} is a full backup of the same state. The others stay, until they are let go.`,
      ),
    );
  } catch (error) {
    if (error.name !== "AbortError") fill(place, problem(error));
  }
}

// When the backups were last proven, for the drawing.
function proofs({ last_rehearsal: rehearsal, last_verification: verification }) {
  return [
    ["verified", verification],
    ["rehearsed", rehearsal],
  ]
    .filter(([, told]) => told)
    .map(([what, told]) => ({
      time: told.completed,
      text: `${told.problem ? "could not be " : ""}${what} ${local(told.completed)}`,
    }));
}

// What is in the folder and cannot be used, and why.
function unusable({ unusable: found, chains: all }) {
  const broken = all.filter(({ problem: wrong }) => wrong);
  return [
    ...found.map(({ folder, problem: wrong }) => h("p", { class: "problem" }, `${folder}: ${wrong}`)),
    ...broken.map(({ problem: wrong }) => h("p", { class: "problem" }, `A chain has a gap: ${wrong}`)),
  ];
}

// Show a job with the backups of a folder until its end, and then what `done` makes of its result.
async function chore(told, path, name, body, signal, done) {
  try {
    const { OperationId: id } = await send("POST", path, body);
    const {
      State: { Result: result },
    } = await watch(told, "", id, name, { signal });
    fill(
      told,
      h(
        "div",
        { class: "good", role: "status" },
        done(result),
        result.notes?.map((note) => h("p", {}, note)),
      ),
    );
  } catch (error) {
    if (error.name !== "AbortError") fill(told, problem(error));
  }
}

// All backups of a folder, or what a restore of the state at the end of this one would read.
const verify = (told, folder, { database, signal }, backup) =>
  chore(
    told,
    "/admin/verify",
    `Verification of ${database}`,
    { BackupLocation: folder, ...(backup && { Backup: backup }) },
    signal,
    (result) =>
      h(
        "p",
        {},
        h("strong", {}, `All that a restore${backup ? " of it" : ""} would need is there and undamaged: `),
        counted(result.backups, "backup"),
        ".",
      ),
  );

const rehearse = (told, folder, { database, signal }, backup) =>
  chore(
    told,
    "/admin/rehearse",
    `Rehearsal of ${database}`,
    { BackupLocation: folder, ...(backup && { Backup: backup }) },
    signal,
    (result) =>
      h(
        "p",
        {},
        h("strong", {}, "It can be recovered"),
        `: the ${backup ? "" : "newest "}state of ${local(result.time)} was really restored, looked at, and deleted again.`,
      ),
  );

// Proving the backups of a folder, and removing what a policy does not keep, after its decisions were shown.
function chores(folder, context) {
  const told = h("div", {});
  const job = (path, name, body, done) =>
    chore(told, path, name, { BackupLocation: folder, ...body }, context.signal, done);
  const { fields, value } = policy({ KeepLast: 7 });
  const grace = h("input", { autocomplete: "off", value: "24h", required: true });
  const command = h("code", {});
  const wanted = () => ({ Policy: value(), Grace: grace.value });
  const write = () => {
    const words = ["muniment expire", quoted(folder), ...options(value()).map(quoted), "--grace", quoted(grace.value)];
    command.textContent = [...words, "--dry-run"].join(" ");
  };
  const expire = (event) => {
    event.preventDefault();
    const asked = wanted(); // what was shown is what is done
    job("/admin/expire", "Looking what would go", { ...asked, DryRun: true }, (result) => [
      h(
        "ul",
        {},
        result.decisions.map((each) =>
          h("li", {}, h("strong", {}, each.kept ? "keep " : "remove "), each.backup, `: ${each.reasons.join(", ")}`),
        ),
      ),
      result.decisions.some((each) => !each.kept) &&
        button(
          "Let these go",
          () =>
            job("/admin/expire", "Expiry", asked, (done) =>
              h(
                "p",
                {},
                `${counted(done.removed, "backup")} removed; others are marked, and go when they were for ${asked.Grace}.`,
              ),
            ),
          { class: "danger" },
        ),
    ]);
  };
  write();
  return h(
    "div",
    {},
    h(
      "p",
      { class: "row" },
      button("Verify", () => verify(told, folder, context)),
      button("Rehearse", () => rehearse(told, folder, context)),
    ),
    h(
      "details",
      {},
      h("summary", {}, "Let old backups go"),
      h(
        "form",
        { submit: expire, input: write },
        fields,
        field("Remove what has been marked for", grace, "a time of grace, in which a backup can still be kept: 24h"),
        h("button", { type: "submit" }, "Show what would go"),
        h("details", {}, h("summary", {}, "As a command"), h("pre", { tabindex: 0 }, command)),
      ),
    ),
    told,
  );
}

function chains(listing) {
  return h(
    "details",
    {},
    h("summary", {}, "As a list"),
    listing.chains.map((chain, number) =>
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          {},
          h("caption", {}, `Chain ${number + 1} of ${chain.name}`, chain.problem && `: ${chain.problem}`),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["Backup", "Kind", "State of", "Rows", "Size"].map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            {},
            chain.backups.map((each) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, each.backup),
                h("td", {}, `${each.kind} (${each.reason})`),
                h("td", {}, local(each.time)),
                h("td", { class: "number" }, count(each.rows)),
                h("td", { class: "number" }, size(each.file_bytes)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
