// One document: its content exactly as it is stored, its metadata and attachments, and all versions that there are.

import { ask, base, json, query, send, text } from "./api.js";
import { attachments } from "./attachments.js";
import { button, confirm, field, fill, h, say } from "./dom.js";
import { sideBySide } from "./difference.js";
import { check, elements, laidOut, members, without, withoutLast } from "./lexical.js";
import { problem } from "./problem.js";
import { ago, local, size, standing } from "./words.js";

const OF_SERVER = ["@id", "@etag", "Last-Modified", "Raven-Last-Modified", "Non-Authoritative-Information"];
const ABSENT = "00000000-0000-0000-0000-000000000000";

export async function show(place, context) {
  const {
    database,
    parameters: { id, collection },
    signal,
  } = context;
  if (!id) return create(place, context, collection);
  const current = h("section", {});
  const versions = h("section", {});
  place.append(current, versions);
  const [heading] = document.getElementsByTagName("h1");
  heading.textContent = `${database}: ${id}`;
  const draw = async () => {
    const found = await read(database, id, signal);
    fill(current, found ? view(found, context, draw) : absent(id, database));
    fill(
      versions,
      h("h2", {}, "Versions"),
      button("Look in the log and in all backups", () => history(versions, found, context, draw)),
    );
    if (!found) await history(versions, found, context, draw);
  };
  await draw();
  if (drafts.has(draftOf(database, id))) say("You have written something here that is not stored yet: Edit shows it.");
}

function absent(id, database) {
  return h(
    "div",
    {},
    h("p", { class: "empty" }, `${id} is not there now. If it was backed up, it can be put back from below.`),
    attachments(id, database),
  );
}

// A document as it is: its body and metadata as text, never read into numbers.
export async function read(database, id, signal) {
  const found = members(await text(`${base(database)}/queries?id=${encodeURIComponent(id)}`, signal));
  const [document] = elements(found.get("Results"));
  if (!document || document === "null") return null;
  const [body, metadata] = withoutLast(document); // the server puts the metadata after all that is stored
  const told = JSON.parse(metadata);
  return {
    id: told["@id"] ?? id,
    etag: told["@etag"],
    changed: told["Raven-Last-Modified"] ?? told["Last-Modified"],
    body,
    metadata: without(metadata, OF_SERVER),
  };
}

// Store it if it is still what it was; the texts go out as they are.
export async function store(database, id, body, metadata, etag) {
  const [key, expected] = [id, etag].map((each) => JSON.stringify(each));
  const command = `[{"Method":"PUT","Key":${key},"Etag":${expected},"Document":${body},"Metadata":${metadata}}]`;
  return (await ask("POST", `${base(database)}/bulk_docs`, { body: command })).json();
}

function view(found, context, draw) {
  const { database, go } = context;
  const told = h("div", {});
  const edit = () => fill(place, editor(found, context, draw));
  const remove = async () => {
    if (
      !(await confirm(
        `Delete ${found.id}?`,
        h("p", {}, "Backups keep it, but what changed since the last one is in none."),
        "Delete",
        { class: "danger" },
      ))
    )
      return;
    try {
      // not DELETE docs/ID: the browser would take a/../b for b
      await send("POST", `${base(database)}/bulk_docs`, [{ Method: "DELETE", Key: found.id, Etag: found.etag }]);
      drafts.delete(draftOf(database, found.id));
      say(`${found.id} was deleted.`);
      go(database, "documents");
    } catch (error) {
      fill(told, problem(error, draw));
    }
  };
  const place = h(
    "div",
    {},
    h("p", {}, `Changed ${local(found.changed)}`, " · ", h("code", {}, found.etag)),
    h("pre", { class: "json", tabindex: 0, "aria-label": `Content of ${found.id}` }, laidOut(found.body)),
    h(
      "p",
      { class: "row" },
      button(drafts.has(draftOf(database, found.id)) ? "Edit on: not stored yet" : "Edit", edit),
      button("Delete", remove, { class: "danger" }),
    ),
    told,
    h("details", {}, h("summary", {}, "Metadata"), h("pre", { class: "json", tabindex: 0 }, laidOut(found.metadata))),
    attachments(found.id, database),
  );
  return place;
}

// What was written and not stored yet, by document: leaving the view does not lose it.
const drafts = new Map();
const draftOf = (database, id) => JSON.stringify([database, id]);
addEventListener("beforeunload", (event) => drafts.size && event.preventDefault());

function editor(found, context, draw) {
  const { database } = context;
  const named = draftOf(database, found.id);
  const draft = drafts.get(named);
  const before = { body: laidOut(found.body), metadata: laidOut(found.metadata) };
  const rows = Math.min(40, before.body.split("\n").length + 2);
  const area = (rows_, value) =>
    h("textarea", { rows: rows_, spellcheck: "false", class: "json", value, input: remember });
  const body = area(rows, draft?.body ?? before.body);
  const metadata = area(6, draft?.metadata ?? before.metadata);
  const told = h("div", {});
  const etag = draft?.etag ?? found.etag; // of the document that was begun with

  function remember() {
    drafts.set(named, { body: body.value, metadata: metadata.value, etag });
  }
  const done = async () => {
    drafts.delete(named);
    await draw();
  };
  // What was not touched goes out as it is stored, not as it is laid out.
  const written = (input, part) => (input.value === before[part] ? found[part] : input.value);
  const keep = async (event, expected = etag) => {
    event?.preventDefault();
    try {
      check(body.value);
      check(metadata.value);
      await store(database, found.id, written(body, "body"), written(metadata, "metadata"), expected);
      say(`${found.id} was stored.`);
      await done();
    } catch (error) {
      if (error.status === 409) await conflict().catch((other) => fill(told, problem(other)));
      else fill(told, problem(error));
    }
  };
  const conflict = async () => {
    const now = await read(database, found.id, context.signal);
    const who = now ? "Somebody else has changed it meanwhile." : "Somebody else has deleted it meanwhile.";
    fill(
      told,
      h(
        "div",
        { class: "problem", role: "alert" },
        h("p", {}, h("strong", {}, who), " Nothing was stored."),
        sideBySide(now && laidOut(now.body), pretty(body.value), ["as it is now", "as you have it"]),
        h(
          "p",
          { class: "row" },
          button("Store mine over it", () => keep(null, now ? now.etag : ABSENT), { class: "danger" }),
          button("Throw mine away", done),
        ),
      ),
    );
  };
  return h(
    "form",
    { submit: keep },
    draft && h("p", { role: "status" }, "This is what you had written before and not stored."),
    field(`Content of ${found.id}`, body),
    h("details", {}, h("summary", {}, "Metadata"), field("Metadata", metadata)),
    h("p", { class: "row" }, h("button", { type: "submit" }, "Store"), button("Cancel", done)),
    told,
  );
}

const pretty = (text_) => {
  try {
    return laidOut(text_);
  } catch {
    return text_;
  }
};

function create(place, { database, go }, collection = "") {
  const id = h("input", { required: true, autocomplete: "off", placeholder: "orders/" });
  const into = h("input", { autocomplete: "off", value: collection });
  const body = h("textarea", { rows: 12, spellcheck: "false", class: "json", value: "{\n  \n}" });
  const told = h("div", {});
  place.append(
    h(
      "form",
      {
        submit: async (event) => {
          event.preventDefault();
          try {
            check(body.value);
            const metadata = into.value ? JSON.stringify({ "Raven-Entity-Name": into.value }) : "{}";
            const [stored] = await store(database, id.value, body.value, metadata, ABSENT);
            say(`${stored.Key} was stored.`);
            go(database, "document", { id: stored.Key });
          } catch (error) {
            fill(
              told,
              problem(
                error.status === 409
                  ? Object.assign(error, { hint: "There is a document with this id: open that one." })
                  : error,
              ),
            );
          }
        },
      },
      field("Id", id, "One that ends in / gets the next number."),
      field("Collection", into),
      field("Content", body),
      h("button", { type: "submit" }, "Store"),
      told,
    ),
  );
}

const NOW = { now: true }; // what is there now, which may be nothing
const titled = (version) =>
  version === NOW ? "now" : version === null ? "before" : `${local(version.time)}${version.deleted ? ", deleted" : ""}`;

async function history(place, current, context, draw) {
  const {
    database,
    parameters: { id },
    signal,
  } = context;
  fill(place, h("h2", {}, "Versions"), h("p", { role: "status" }, "Reading the backups …"));
  try {
    const found = await json(`${base(database)}/versions${query({ id })}`, signal);
    const shown = h("div", {});
    const see = (left, right) => compare(shown, left, right, current, context, draw);
    const all = found.versions.toReversed();
    fill(
      place,
      h("h2", {}, "Versions"),
      found.notes.map((note) => h("p", { class: "problem" }, note)),
      h(
        "ol",
        { class: "versions", reversed: true },
        all.map((version, at) =>
          h(
            "li",
            {},
            version.deleted ? "deleted" : "stored",
            " ",
            h("time", { datetime: version.time, title: version.time }, local(version.time)),
            ` (${ago(version.time)}) `,
            version.current ? h("strong", {}, standing(version)) : standing(version),
            !version.deleted && ` · ${size(version.bytes)}`,
            " ",
            button("Compare", () => (version.current ? see(all[at + 1] ?? null, version) : see(version, NOW)), {
              "aria-label": `Compare the version of ${local(version.time)}`,
            }),
          ),
        ),
      ),
      all.length > 1 && pair(all, see),
      shown,
    );
    const last = found.versions.findLast((version) => !version.deleted);
    if (!current && last) await see(last, NOW);
  } catch (error) {
    fill(
      place,
      h("h2", {}, "Versions"),
      error.status === 404
        ? h("p", {}, "No backup has it either.")
        : problem(error, () => history(place, current, context, draw)),
    );
  }
}

// Any two of them beside each other.
function pair(all, see) {
  const select = (chosen) =>
    h(
      "select",
      {},
      all.map((version, at) =>
        h("option", { value: at, selected: at === chosen }, `${titled(version)} · etag ${version.etag}`),
      ),
    );
  const [left, right] = [select(1), select(0)];
  const submit = (event) => {
    event.preventDefault();
    see(all[left.value], all[right.value]);
  };
  return h(
    "form",
    { class: "row", submit },
    field("Compare", left),
    field("with", right),
    h("button", { type: "submit" }, "Compare these two"),
  );
}

export async function content(database, id, version) {
  if (!version || version.deleted) return null;
  const told = members(
    await text(`${base(database)}/versions${query({ id, etag: version.etag, lineage: version.lineage })}`),
  );
  const [one] = elements(told.get("versions"));
  const found = members(one);
  return { id: JSON.parse(told.get("id")), body: found.get("document"), metadata: found.get("metadata") };
}

// Two versions side by side; one that is not there now can be put back.
async function compare(place, one, other, current, context, draw) {
  const {
    database,
    parameters: { id },
  } = context;
  try {
    const wanted = [one, other];
    const [left, right] = await Promise.all(
      wanted.map((version) => (version === NOW ? current : content(database, id, version))),
    );
    const titles = wanted.map(titled);
    const old = [
      [one, left],
      [other, right],
    ].filter(([version, told]) => told && version !== NOW && !version.current);
    const backs = old.map(([version, told]) =>
      button(
        old.length > 1 ? `Put back the one of ${local(version.time)}` : "Put this one back",
        () => putBack(place, told, version, current, context, draw),
        { class: "main" },
      ),
    );
    fill(
      place,
      h("h3", {}, `${titles[0]} and ${titles[1]}`),
      h("p", { class: "row" }, backs),
      sideBySide(left && laidOut(left.body), right && laidOut(right.body), titles),
      left &&
        right &&
        JSON.stringify(JSON.parse(left.metadata)) !== JSON.stringify(JSON.parse(right.metadata)) &&
        h(
          "details",
          {},
          h("summary", {}, "Their metadata differ"),
          sideBySide(laidOut(left.metadata), laidOut(right.metadata), titles),
        ),
    );
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    fill(place, problem(error));
  }
}

async function putBack(place, told, version, current, context, draw) {
  const {
    database,
    parameters: { id },
  } = context;
  try {
    const metadata = without(told.metadata, OF_SERVER);
    await store(database, current?.id ?? told.id, told.body, metadata, current ? current.etag : ABSENT);
    say(`${id} is again as it was on ${local(version.time)}.`);
    await draw();
  } catch (error) {
    fill(
      place,
      problem(
        error.status === 409
          ? Object.assign(error, { hint: "It was changed meanwhile: look at it again first." })
          : error,
        draw,
      ),
    );
  }
}
