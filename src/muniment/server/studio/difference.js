// Two texts side by side, and which lines differ.

import { h } from "./dom.js";

const MOST = 4_000_000; // cells of the table of common lines; larger texts are compared by their ends alone

// Rows of [before, after]: null where a line is on one side alone.
export function rows(before, after) {
  const left = before === null ? [] : before.split("\n");
  const right = after === null ? [] : after.split("\n");
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start += 1;
  let end = 0;
  while (end < left.length - start && end < right.length - start && left.at(-1 - end) === right.at(-1 - end)) end += 1;
  const middle = common(left.slice(start, left.length - end), right.slice(start, right.length - end));
  const same = (lines) => lines.map((line) => [line, line]);
  return [...same(left.slice(0, start)), ...middle, ...same(left.slice(left.length - end))];
}

function common(left, right) {
  const width = right.length + 1;
  if (left.length * right.length > MOST)
    return [...left.map((line) => [line, null]), ...right.map((line) => [null, line])];
  const table = new Uint32Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      table[i * width + j] =
        left[i] === right[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const found = [];
  for (let i = 0, j = 0; i < left.length || j < right.length;) {
    if (i < left.length && j < right.length && left[i] === right[j]) found.push([left[i++], right[j++]]);
    else if (j >= right.length || (i < left.length && table[(i + 1) * width + j] >= table[i * width + j + 1]))
      found.push([left[i++], null]);
    else found.push([null, right[j++]]);
  }
  return found;
}

// A table of both; lines that are the same far from any change are left out.
export function sideBySide(before, after, titles, near = 3) {
  const all = rows(before, after);
  const changed = all.map(([left, right]) => left !== right);
  const shown = all.map((_, at) => changed.slice(Math.max(0, at - near), at + near + 1).some(Boolean));
  if (!changed.some(Boolean)) return h("p", {}, "Both are the same.");
  const body = [];
  all.forEach(([left, right], at) => {
    if (shown[at]) {
      body.push(
        h(
          "tr",
          { class: changed[at] ? "changed" : null },
          h("td", { class: left !== null && changed[at] ? "before" : null }, left ?? ""),
          h("td", { class: right !== null && changed[at] ? "after" : null }, right ?? ""),
        ),
      );
    } else if (at === 0 || shown[at - 1]) body.push(h("tr", {}, h("td", { colspan: 2, class: "left-out" }, "…")));
  });
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "What differs" },
    h(
      "table",
      { class: "difference" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          titles.map((title) => h("th", { scope: "col" }, title)),
        ),
      ),
      h("tbody", {}, body),
    ),
  );
}
