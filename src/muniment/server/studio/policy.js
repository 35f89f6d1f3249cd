// Which backups are kept: the same fields for a schedule and for doing it once.

import { field, h } from "./dom.js";

const COUNTS = [
  ["KeepLast", "The last"],
  ["KeepHourly", "One an hour, for so many hours"],
  ["KeepDaily", "One a day, for so many days"],
  ["KeepWeekly", "One a week, for so many weeks"],
  ["KeepMonthly", "One a month, for so many months"],
  ["KeepYearly", "One a year, for so many years"],
];
const TIMES = [
  ["KeepWithin", "All of the last", "30d, 12h"],
  ["RestorableWithin", "Any moment of the last", "what a restore to any moment in it needs: 7d"],
];

// The fields of a policy, and what they say; an empty one asks for nothing.
export function policy(given = {}) {
  const number = (name) => h("input", { type: "number", min: 0, value: given[name] || "" });
  const counts = COUNTS.map(([name, text]) => [name, text, number(name)]);
  const times = TIMES.map(([name, text, hint]) => [
    name,
    text,
    h("input", { autocomplete: "off", value: given[name] ?? "" }),
    hint,
  ]);
  const merge = number("MergeAfter");
  const zone = h("input", { autocomplete: "off", value: given.TimeZone ?? "UTC" });
  const fields = h(
    "fieldset",
    {},
    h("legend", {}, "Keep"),
    h(
      "div",
      { class: "row" },
      counts.map(([, text, input]) => field(text, input)),
      times.map(([, text, input, hint]) => field(text, input, hint)),
      field("Time zone of days and weeks", zone),
      field("Merge chains with more incremental backups than", merge, "those that nothing but later ones needs"),
    ),
  );
  const value = () => ({
    ...Object.fromEntries(
      [...counts, ["MergeAfter", "", merge]]
        .filter(([, , input]) => Number(input.value))
        .map(([name, , input]) => [name, Number(input.value)]),
    ),
    ...Object.fromEntries(
      times.filter(([, , input]) => input.value.trim()).map(([name, , input]) => [name, input.value.trim()]),
    ),
    ...(zone.value.trim() && zone.value.trim() !== "UTC" && { TimeZone: zone.value.trim() }),
  });
  return { fields, value };
}

// The same as options of `muniment expire`.
export function options(policy_) {
  return Object.entries(policy_).flatMap(([name, value]) => [
    `--${name.replace(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}`,
    String(value),
  ]);
}
