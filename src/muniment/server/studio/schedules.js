// What the server does by itself: schedules, when each of their tasks is next due, and what became of them.

import { ask, json, send } from "./api.js";
import { button, confirm, field, fill, h, say } from "./dom.js";
import { live } from "./live.js";
import { policy } from "./policy.js";
import { problem } from "./problem.js";
import { ago, duration, local, size } from "./words.js";

const TASKS = [
  ["Full", "Full backups", "0 1 * * 0"],
  ["Incremental", "Incremental backups", "*/15 * * * *"],
  ["Verify", "Verifications", "0 3 * * *"],
  ["Rehearse", "Rehearsals", "0 4 * * 6"],
  ["Expire", "Expiry", "30 4 * * *"],
];

export async function show(place, { signal }) {
  const told = h("div", {});
  const forms = h("div", {});
  const edit = (schedule) => {
    fill(
      forms,
      form(schedule, told, () => fill(forms)),
    );
    forms.scrollIntoView({ block: "nearest" });
  };
  place.append(
    told,
    h(
      "p",
      {},
      button("New schedule", () => edit(null), { class: "main" }),
    ),
    forms,
  );
  await live(
    place,
    async () => {
      const [schedules, runs] = await Promise.all([
        json("/admin/schedules", signal),
        json("/admin/runs?pageSize=50", signal),
      ]);
      return { schedules, runs };
    },
    (found) => drawn(found, told, edit),
    { signal },
  );
}

function drawn({ schedules, runs }, told, edit) {
  return [
    schedules.length
      ? h(
          "ul",
          { class: "cards" },
          schedules.map((each) => card(each, told, edit)),
        )
      : h("p", { class: "empty" }, "There is no schedule: nobody but you remembers to take a backup."),
    h(
      "section",
      {},
      h("h2", {}, "What became of them"),
      runs.length ? history(runs) : h("p", { class: "empty" }, "Nothing was due yet."),
    ),
  ];
}

function card({ Name: name, Schedule: schedule, Due: due }, told, edit) {
  const act = async (body, said) => {
    try {
      await ask("POST", `/admin/schedules/${encodeURIComponent(name)}`, { body });
      say(said);
      fill(told);
    } catch (error) {
      fill(told, problem(error));
    }
  };
  const remove = async () => {
    if (
      !(await confirm(`Remove the schedule ${name}?`, h("p", {}, "The backups that it took stay."), "Remove", {
        class: "danger",
      }))
    )
      return;
    await ask("DELETE", `/admin/schedules/${encodeURIComponent(name)}`).catch((error) => fill(told, problem(error)));
  };
  return h(
    "li",
    { class: "card" },
    h("h2", {}, name),
    h(
      "p",
      {},
      `${schedule.Databases.includes("*") ? "All databases" : schedule.Databases.join(", ")} to ${schedule.Destination}`,
    ),
    schedule.Paused &&
      h("p", { class: "problem" }, schedule.PausedUntil ? `Paused until ${local(schedule.PausedUntil)}.` : "Paused."),
    h(
      "dl",
      { class: "facts" },
      TASKS.filter(([task]) => schedule[task]).map(([task, text]) =>
        h(
          "div",
          {},
          h("dt", {}, text),
          h(
            "dd",
            {},
            h("code", {}, schedule[task]),
            due[task.toLowerCase()] && `, next ${local(due[task.toLowerCase()])}`,
          ),
        ),
      ),
    ),
    h(
      "p",
      { class: "row" },
      button("Run now", () => act({ Action: "run" }, `${name} was begun.`), { "aria-label": `Run ${name} now` }),
      schedule.Paused
        ? button("Resume", () => act({ Action: "resume" }, `${name} goes on.`))
        : button("Pause", () => act({ Action: "pause" }, `${name} is paused.`)),
      button("Edit", () => edit({ name, schedule }), { "aria-label": `Edit ${name}` }),
      button("Remove", remove, { class: "danger", "aria-label": `Remove ${name}` }),
    ),
  );
}

function form(found, told, close) {
  const schedule = found?.schedule ?? {};
  const name = h("input", {
    required: true,
    autocomplete: "off",
    value: found?.name ?? "nightly",
    readonly: Boolean(found),
  });
  const destination = h("input", { required: true, autocomplete: "off", value: schedule.Destination ?? "~/Backups" });
  const databases = h("input", { autocomplete: "off", value: (schedule.Databases ?? ["*"]).join(", ") });
  const zone = h("input", {
    autocomplete: "off",
    value: schedule.TimeZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
  });
  const times = TASKS.map(([task, text, usual]) => [
    task,
    text,
    h("input", { autocomplete: "off", value: found ? (schedule[task] ?? "") : usual }),
  ]);
  const keep = policy(found ? schedule.Retention : { KeepDaily: 7, KeepWeekly: 8 });
  const grace = h("input", { autocomplete: "off", value: schedule.Grace ?? "24h" });
  const wrong = h("div", {});
  const store = async (event) => {
    event.preventDefault();
    const body = {
      ...schedule,
      Destination: destination.value,
      Databases: databases.value
        .split(",")
        .map((each) => each.trim())
        .filter(Boolean),
      TimeZone: zone.value,
      ...Object.fromEntries(times.map(([task, , input]) => [task, input.value.trim() || null])),
      Retention: keep.value(),
      Grace: grace.value.trim() || null,
    };
    for (const [member, value] of Object.entries(body)) if (value === null) delete body[member];
    delete body.Since;
    try {
      const { Notes: notes = [] } = await send("PUT", `/admin/schedules/${encodeURIComponent(name.value)}`, body);
      say(`The schedule ${name.value} was stored.`);
      fill(
        told,
        notes.map((note) =>
          h("p", { class: "problem", role: "alert" }, h("strong", {}, `${name.value} is stored, but `), `${note}.`),
        ),
      );
      close();
    } catch (error) {
      fill(wrong, problem(error));
    }
  };
  return h(
    "form",
    { submit: store, class: "card" },
    h("h2", {}, found ? `Schedule ${found.name}` : "New schedule"),
    field("Name", name),
    field(
      "Folder or address",
      destination,
      "of the server's machine, or s3://bucket/prefix; each database has a folder in it",
    ),
    field("Databases", databases, "names with commas between, or * for all, new ones too"),
    field("Time zone", zone),
    times.map(([, text, input]) => field(text, input, "minute hour day month weekday; never if it is empty")),
    h(
      "details",
      { open: Boolean(schedule.Expire) },
      h("summary", {}, "What expiry keeps"),
      keep.fields,
      field("Remove what has been marked for", grace),
    ),
    h("p", { class: "row" }, h("button", { type: "submit" }, "Store"), button("Cancel", close)),
    wrong,
  );
}

function history(runs) {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs" },
    h(
      "table",
      {},
      h("caption", {}, "The latest first"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["When", "What", "Database", "Outcome"].map((text) => h("th", { scope: "col" }, text)),
        ),
      ),
      h(
        "tbody",
        {},
        runs.map((run) =>
          h(
            "tr",
            {},
            h("td", {}, h("time", { datetime: run.Due, title: local(run.Due) }, ago(run.Started ?? run.Due))),
            h("th", { scope: "row" }, run.Task, run.Schedule && ` of ${run.Schedule}`),
            h("td", {}, run.Database),
            h("td", {}, outcome(run)),
          ),
        ),
      ),
    ),
  );
}

function outcome(run) {
  if (run.Error) return h("span", { class: "bad" }, `${run.State}: ${run.Error}`);
  const { file_bytes: bytes, recovery_seconds: recovery } = run.Result ?? {};
  return [
    run.State,
    bytes && size(bytes),
    run.Seconds && duration(run.Seconds),
    recovery && `recovery took ${duration(recovery)}`,
  ]
    .filter(Boolean)
    .join(", ");
}

// When anything is due for this database next, and what: null without a schedule.
export function next(schedules, database) {
  const due = schedules
    .filter(
      ({ Schedule: { Databases: names, Paused: paused } }) =>
        !paused && (names.includes("*") || names.some((name) => name.toLowerCase() === database.toLowerCase())),
    )
    .flatMap(({ Due }) => Object.entries(Due).filter(([task]) => task === "full" || task === "incremental"));
  return due.sort(([, one], [, other]) => new Date(one) - new Date(other))[0] ?? null;
}
