// What went wrong.

import { Failed } from "./api.js";
import { h } from "./dom.js";

// What went wrong and what to do, in the server's own words.
export function problem(error, again) {
  const told = error instanceof Failed || error instanceof SyntaxError;
  if (!told) console.error(error);
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", {}, h("strong", {}, told ? error.message : `This page has a fault: ${error.message}`)),
    error.hint && h("p", {}, error.hint),
    again && h("p", {}, h("button", { type: "button", click: again }, "Try again")),
  );
}
