// The server itself: how it is, what was done with it, and the settings that it was started with.

import { json } from "./api.js";
import { button, fill, h } from "./dom.js";
import { live } from "./live.js";
import { problem } from "./problem.js";
import { count, local, size } from "./words.js";

const PAGE = 50;

export async function show(place, { signal }) {
  const state = h("section", {});
  const log = h("section", {});
  const told = h("section", {});
  place.append(state, log, told);
  await live(
    state,
    async () => {
      const statistics = await json("/admin/stats", signal);
      delete statistics.TotalNumberOfRequests; // changes with every look
      return statistics;
    },
    facts,
    { signal },
  );
  await pages(log, 0, signal);
  fill(told, h("h2", {}, "Settings"), settings(await json("/admin/settings", signal)));
}

function facts(statistics) {
  const found = [
    ["Runs for", statistics.Uptime.split(":").slice(0, 2).join(":")],
    ["Open databases", count(statistics.LoadedDatabases.length)],
    ["Memory", size(statistics.Memory.ResidentSetSizeInBytes ?? 0)],
    ["Log lines that could not be written", count(statistics.UnwrittenLogLines)],
    ["Lines of the audit log that could not be written", count(statistics.UnwrittenAuditLines)],
  ];
  return h(
    "dl",
    { class: "facts" },
    found.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))),
  );
}

// Who had what done, a page at a time.
async function pages(place, start, signal) {
  try {
    const found = await json(`/admin/audit?start=${start}&pageSize=${PAGE}`, signal);
    const turn = (by) => pages(place, Math.max(0, start + by), signal);
    fill(
      place,
      h("h2", {}, "Who had what done"),
      found.length ? entries(found) : h("p", { class: "empty" }, "There is nothing more in the audit log."),
      h(
        "p",
        { class: "row" },
        button("Newer", () => turn(-PAGE), { disabled: start === 0 }),
        button("Older", () => turn(PAGE), { disabled: found.length < PAGE }),
        button("Look again", () => turn(0)),
      ),
    );
  } catch (error) {
    if (error.name === "AbortError") throw error;
    fill(place, h("h2", {}, "Who had what done"), problem(error));
  }
}

function entries(found) {
  const heads = ["When", "What", "Of", "By", "Outcome"];
  return table(
    "The audit log, the latest first",
    heads,
    found.map((each) => [
      h("time", { datetime: each.time, title: each.time }, local(each.time)),
      each.what,
      each.database || each.subject || "",
      [each.key ?? (each.local ? "the server's user" : ""), each.source && `from ${each.source}`]
        .filter(Boolean)
        .join(" "),
      [each.outcome, each.error && h("p", { class: "bad" }, each.error)],
    ]),
  );
}

function settings(found) {
  const heads = ["Setting", "Value", "What it is"];
  return [
    h("p", {}, "They are read when the server starts: from its file, its environment, and its command line."),
    table(
      "The settings of the server",
      heads,
      found.map(({ Name: name, Value: value, Default: usual, Description: text }) => [
        h("code", {}, name),
        usual ? value || "none" : h("strong", {}, value || "none"),
        text,
      ]),
    ),
  ];
}

function table(name, heads, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((text) => h("th", { scope: "col" }, text)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((cells) =>
          h(
            "tr",
            {},
            cells.map((cell) => h("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
}
