// A part of a database: the collections, ids and beginnings of ids that a person names.

import { choice, field, h } from "./dom.js";
import { quoted } from "./words.js";

const KINDS = [
  ["Collections", "--collection", "Collections"],
  ["Ids", "--id", "Ids of documents"],
  ["IdPrefixes", "--id-prefix", "Beginnings of ids"],
];

// Fields for it. `value` is the part, {} for everything; `empty` whether a part is wanted and nothing named yet.
export function part(changed) {
  let all = true;
  const texts = KINDS.map(([kind, , label]) => [kind, label, h("textarea", { rows: 2, autocomplete: "off" })]);
  // an id may begin or end with a space
  const lines = (text) => text.value.split("\n").filter((line) => line.trim());
  const named = () => texts.map(([kind, , text]) => [kind, lines(text)]).filter(([, found]) => found.length);
  const parts = h(
    "div",
    { hidden: true },
    h("p", {}, "What any of these names is taken, documents with their attachments; one name to a line."),
    texts.map(([, label, text]) => field(label, text)),
  );
  const kinds = [
    ["all", "Everything"],
    ["part", "A part of it"],
  ];
  const choose = (kind) => {
    all = kind === "all";
    parts.hidden = all;
    changed();
  };
  return {
    fields: h("div", { input: changed }, choice("What", "part", kinds, "all", choose), parts),
    value: () => (all ? {} : Object.fromEntries(named())),
    empty: () => !all && !named().length,
  };
}

// The same as words of a command line.
export const asOptions = (wanted) =>
  KINDS.flatMap(([kind, option]) => (wanted[kind] ?? []).flatMap((name) => [option, quoted(name)]));

// And as options of a request for an export.
export const asParameters = (wanted) =>
  Object.fromEntries(KINDS.map(([kind, option]) => [option.slice(2), wanted[kind] ?? []]));
