// The documents of a database: by collection, id or the beginning of an id, a page at a time however many there are.

import { base, json, query } from "./api.js";
import { field, fill, h } from "./dom.js";
import { problem } from "./problem.js";
import { count, counted, local } from "./words.js";

const PAGE = 50;

export async function show(place, { database, parameters, signal, link, go }) {
  const statistics = await json(`${base(database)}/stats`, signal);
  const prefix = parameters.prefix ?? "";
  const input = h("input", { type: "search", value: prefix, autocomplete: "off", placeholder: "orders/" });
  const search = (event) => {
    event.preventDefault();
    go(database, "documents", { prefix: input.value });
  };
  const results = h("div", {});
  place.append(
    h(
      "form",
      { class: "row", role: "search", submit: search },
      field("Id, or how it begins", input),
      h("button", { type: "submit" }, "Find"),
      h("a", { class: "button", href: link(database, "document") }, "New document"),
    ),
    h("div", { class: "columns" }, collections(statistics, database, parameters, link), results),
  );
  await page(results, { database, parameters, prefix, signal, link });
}

function collections(statistics, database, parameters, link) {
  const names = Object.entries(statistics.Collections).sort(([one], [other]) => one.localeCompare(other));
  const entry = (name, text, number) =>
    h(
      "li",
      {},
      h(
        "a",
        {
          href: link(database, "documents", name === null ? {} : { collection: name }),
          "aria-current": (parameters.collection ?? null) === name && !parameters.prefix ? "true" : null,
        },
        text,
      ),
      " ",
      h("span", { class: "number" }, count(number)),
    );
  return h(
    "nav",
    { "aria-label": "Collections", class: "side" },
    h("h2", {}, "Collections"),
    h(
      "ul",
      {},
      entry(null, "All documents", statistics.CountOfDocuments),
      names.filter(([name]) => name).map(([name, number]) => entry(name, name, number)),
    ),
  );
}

async function page(place, { database, parameters, prefix, signal, link }) {
  const found =
    parameters.collection && !prefix
      ? await inCollection(database, parameters, signal)
      : await byId(database, prefix, parameters.after, signal);
  if (!found.rows.length) {
    fill(
      place,
      h(
        "p",
        { class: "empty" },
        prefix
          ? `No document's id begins with “${prefix}”.`
          : parameters.after
            ? "There are no more."
            : "There are no documents.",
      ),
      prefix &&
        h(
          "p",
          {},
          "It may have been deleted. ",
          h("a", { href: link(database, "document", { id: prefix }) }, `Look for “${prefix}” in the backups`),
        ),
    );
    return;
  }
  const next =
    found.next &&
    h(
      "a",
      { class: "button", rel: "next", href: link(database, "documents", { ...parameters, after: found.next }) },
      "Next page",
    );
  fill(
    place,
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        {},
        h(
          "caption",
          {},
          counted(found.rows.length, "document"),
          parameters.after ? ", from the middle" : "",
          found.next ? " of more" : "",
        ),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Id", "Collection", "Last changed"].map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h(
          "tbody",
          {},
          found.rows.map((metadata) =>
            h(
              "tr",
              {},
              h(
                "th",
                { scope: "row" },
                h("a", { href: link(database, "document", { id: metadata["@id"] }) }, metadata["@id"]),
              ),
              h("td", {}, metadata["Raven-Entity-Name"] ?? ""),
              h("td", {}, local(metadata["Raven-Last-Modified"] ?? metadata["Last-Modified"])),
            ),
          ),
        ),
      ),
    ),
    h(
      "p",
      { class: "row" },
      parameters.after &&
        h("a", { class: "button", href: link(database, "documents", { ...parameters, after: "" }) }, "First page"),
      next,
    ),
  );
}

// After an id, so that the last page of a million is as quick as the first.
async function byId(database, prefix, after, signal) {
  const rows = await json(
    `${base(database)}/docs${query({ skipAfter: after, pageSize: PAGE, "metadata-only": true })}&startsWith=${encodeURIComponent(prefix)}`,
    signal,
  );
  const found = rows.map((row) => row["@metadata"]);
  return { rows: found, next: found.length === PAGE && found.at(-1)["@id"] };
}

// In the order in which they were last changed, which is the one that a collection is kept in.
async function inCollection(database, { collection, after }, signal) {
  const rows = await json(
    `${base(database)}/docs${query({ collection, etag: after, pageSize: PAGE, "metadata-only": true })}`,
    signal,
  );
  const found = rows.map((row) => row["@metadata"]);
  return { rows: found, next: found.length === PAGE && found.at(-1)["@etag"] };
}
