// The settings of a database, and taking it off the server.

import { ask } from "./api.js";
import { button, confirm, field, fill, h, say } from "./dom.js";
import { check, laidOut } from "./lexical.js";
import { problem } from "./problem.js";

export async function show(place, { database, signal, go }) {
  const path = `/admin/databases/${encodeURIComponent(database)}`;
  const draw = async () => {
    const answer = await ask("GET", path, { signal });
    const etag = answer.headers.get("etag")?.replaceAll('"', "");
    const input = h("textarea", { rows: 14, spellcheck: "false", class: "json", value: laidOut(await answer.text()) });
    const told = h("div", {});
    const store = async (event) => {
      event.preventDefault();
      try {
        check(input.value);
        await ask("PUT", path, { body: input.value, more: { "If-None-Match": etag } });
        say("The settings were stored.");
        await draw();
      } catch (error) {
        fill(told, problem(error, error.status === 409 ? draw : undefined));
      }
    };
    const remove = async () => {
      const name = h("input", { autocomplete: "off" });
      const files = h("input", { type: "checkbox", id: "files" });
      if (
        !(await confirm(
          `Remove ${database} from the server?`,
          [
            h("p", {}, "Its backups stay. Without the box, its files stay too."),
            field(`Type ${database} to go on`, name),
            h("p", {}, files, h("label", { for: "files" }, " Delete its files: what is in no backup is lost")),
          ],
          "Remove",
          { class: "danger" },
        ))
      )
        return;
      if (name.value !== database) {
        fill(told, h("p", { class: "problem", role: "alert" }, "The name was another, so nothing was removed."));
        return;
      }
      try {
        await ask("DELETE", `${path}?hard-delete=${files.checked}`);
        say(`${database} was removed.`);
        go(null, "");
      } catch (error) {
        fill(told, problem(error));
      }
    };
    fill(
      place,
      h(
        "form",
        { submit: store },
        field("The document that describes the database", input, "See docs/server.md for the names in Settings."),
        h("p", { class: "row" }, h("button", { type: "submit" }, "Store")),
      ),
      told,
      h("section", {}, h("h2", {}, "Remove"), button("Remove this database …", remove, { class: "danger" })),
    );
  };
  await draw();
}
