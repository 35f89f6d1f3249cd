// Documents by what is in them, asked in RavenDB's query language.

import { ask, base } from "./api.js";
import { field, fill, h } from "./dom.js";
import { elements, laidOut, members } from "./lexical.js";
import { problem } from "./problem.js";
import { count, counted } from "./words.js";

const PAGE = 25;

export async function show(place, { database, parameters, signal, link, go }) {
  const input = h("textarea", {
    rows: 3,
    spellcheck: "false",
    class: "json",
    required: true,
    value: parameters.q ?? "from Orders where Company = 'companies/1' order by OrderedAt desc",
  });
  const results = h("div", {});
  const ask_ = (event) => {
    event.preventDefault();
    go(database, "query", { q: input.value });
  };
  place.append(
    h(
      "form",
      { submit: ask_ },
      field("Query", input, "from COLLECTION where FIELD = VALUE order by FIELD: RavenDB's language (RQL)"),
      h("button", { type: "submit" }, "Ask"),
    ),
    results,
  );
  if (parameters.q) await answer(results, { database, parameters, signal, link });
}

async function answer(place, { database, parameters, signal, link }) {
  const skip = Number(parameters.skip ?? 0);
  try {
    const text = await (
      await ask("POST", `${base(database)}/query`, { body: { Rql: parameters.q, Skip: skip, Take: PAGE }, signal })
    ).text();
    const told = members(text);
    const found = elements(told.get("Results"));
    const total = Number(told.get("TotalResults") ?? found.length);
    const { Index: index } = JSON.parse(told.get("Plan") ?? "{}");
    fill(
      place,
      h(
        "p",
        { role: "status" },
        total
          ? `${count(skip + 1)} to ${count(skip + found.length)} of ${counted(total, "result")}`
          : "Nothing was found.",
        index && `, by the index ${index}`,
      ),
      h(
        "ul",
        { class: "results" },
        found.map((each) => result(each, database, link)),
      ),
      h(
        "p",
        { class: "row" },
        skip > 0 &&
          h(
            "a",
            {
              class: "button",
              rel: "prev",
              href: link(database, "query", { q: parameters.q, skip: Math.max(0, skip - PAGE) }),
            },
            "Previous page",
          ),
        skip + found.length < total &&
          h(
            "a",
            { class: "button", rel: "next", href: link(database, "query", { q: parameters.q, skip: skip + PAGE }) },
            "Next page",
          ),
      ),
    );
  } catch (error) {
    if (error.name !== "AbortError") fill(place, problem(error));
  }
}

function result(text, database, link) {
  const all = members(text);
  const metadata = all.get("@metadata");
  const id = metadata && JSON.parse(metadata)["@id"];
  all.delete("@metadata");
  const body = `{${[...all].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
  return h(
    "li",
    {},
    id && h("a", { href: link(database, "document", { id }) }, id),
    h("pre", { class: "json", tabindex: 0, "aria-label": id ?? "A result" }, laidOut(body)),
  );
}
