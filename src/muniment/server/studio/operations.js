// What the server does and has done.

import { ask, json } from "./api.js";
import { button, h, say } from "./dom.js";
import { live } from "./live.js";
import { ago } from "./words.js";

export async function show(place, { signal }) {
  await live(place, () => json("/operations", signal), drawn, { signal, every: 1500 });
}

// What cannot be cancelled any more has ended: the list says so by itself.
async function cancel({ Id: id, Description: what }) {
  try {
    await ask("POST", `/operation/kill?id=${id}`);
    say(`${what} is being cancelled.`);
  } catch (error) {
    say(error.message);
  }
}

function drawn(operations) {
  return [
    operations.length
      ? h(
          "div",
          { class: "scroll" },
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
                ["What", "State", "Begun", ""].map((name) => h("th", { scope: "col" }, name)),
              ),
            ),
            h(
              "tbody",
              {},
              operations.map((each) =>
                h(
                  "tr",
                  {},
                  h("th", { scope: "row" }, each.Description),
                  h("td", {}, each.Status, each.ExceptionText && h("p", { class: "bad" }, each.ExceptionText)),
                  h("td", {}, ago(each.StartTime)),
                  h(
                    "td",
                    {},
                    ["Running", "Waiting"].includes(each.Status) &&
                      button("Cancel", () => cancel(each), { "aria-label": `Cancel ${each.Description}` }),
                  ),
                ),
              ),
            ),
          ),
        )
      : h("p", { class: "empty" }, "Nothing has run since the server was started."),
  ];
}
