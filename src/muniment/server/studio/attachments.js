// The attachments of a document: seen, saved, added, replaced and removed, and their versions in the log and the backups.

import { ask, base, json, query } from "./api.js";
import { button, confirm, field, fill, h, say } from "./dom.js";
import { problem } from "./problem.js";
import { ago, local, size, standing } from "./words.js";

const ABSENT = "00000000-0000-0000-0000-000000000000";
const SHOWN = 1_000_000; // bytes of a text or picture that is shown here

// Have the browser keep it as a file.
export function save(blob, name) {
  const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Its slashes are encoded too: the browser would take a/../b for b.
const at = (database, name, owner) => `${base(database)}/static/${encodeURIComponent(name)}${query({ owner })}`;

// What there is of a document, which may be gone; read when it is opened.
export function attachments(id, database) {
  const list = h("div", {});
  const shown = h("div", {});
  const told = h("div", {});
  const older = h("div", {});
  const doing = async (work) => {
    try {
      fill(told);
      await work();
    } catch (error) {
      fill(told, problem(error));
    }
  };
  const draw = () =>
    doing(async () => {
      const found = await json(`${base(database)}/static${query({ startsWith: `${id}/`, pageSize: 1024 })}`);
      const own = found.filter((each) => each.Owner?.toLowerCase() === id.toLowerCase());
      fill(
        list,
        own.length
          ? h(
              "ul",
              { class: "attachments" },
              own.map((each) => entry(each)),
            )
          : h("p", {}, "It has none."),
      );
    });
  const entry = (each) => {
    const path = at(database, each.Name, id);
    const called = (what) => ({ "aria-label": `${what} ${each.Name}` });
    return h(
      "li",
      {},
      h("strong", {}, each.Name),
      ` ${size(each.Size)} `,
      each.Size <= SHOWN && button("Show", () => doing(() => show(shown, path, each.Name)), called("Show")),
      " ",
      button("Save", () => doing(() => download(path, each.Name)), called("Save")),
      " ",
      button("Remove", () => doing(() => remove(each, path)), { class: "danger", ...called("Remove") }),
    );
  };
  const remove = async (each, path) => {
    const text = h("p", {}, "Backups keep it, but what changed since the last one is in none.");
    if (!(await confirm(`Remove ${each.Name}?`, text, "Remove", { class: "danger" }))) return;
    await ask("DELETE", path, { more: { "If-None-Match": each.Etag } });
    say(`${each.Name} was removed.`);
    fill(shown);
    await draw();
  };
  const file = h("input", {
    type: "file",
    change: () =>
      doing(async () => {
        const [added] = file.files;
        if (added && (await put(at(database, added.name, id), added, added.name))) await draw();
        file.value = "";
      }),
  });
  const history = () =>
    doing(async () => {
      fill(older, h("p", { role: "status" }, "Reading the log and the backups …"));
      const found = await json(`${base(database)}/versions/attachments${query({ owner: id })}`);
      const back = async (version, path) => {
        const content = await (await ask("GET", path)).blob();
        if (await put(at(database, version.name, id), content, version.name)) {
          say(`${version.name} is again as it was on ${local(version.time)}.`);
          await draw();
        }
      };
      fill(older, versions(found, database, doing, shown, back));
    });
  return h(
    "details",
    { toggle: (event) => event.target.open && draw() },
    h("summary", {}, "Attachments"),
    list,
    field("Add one", file, "the name of the file is its name"),
    told,
    shown,
    button("Look for older ones in the log and in all backups", history),
    older,
  );
}

// Store it; one of the same name is replaced only when that is confirmed. Resolves to whether it was stored.
async function put(path, content, name) {
  const send = (etag) =>
    ask("PUT", path, {
      body: content,
      type: content.type || "application/octet-stream",
      more: etag && { "If-None-Match": etag },
    });
  try {
    await send(ABSENT);
  } catch (error) {
    if (error.status !== 409) throw error;
    const text = h("p", {}, "There is one of this name. Backups keep it, if it was there when they were taken.");
    if (!(await confirm(`Replace ${name}?`, text, "Replace", { class: "danger" }))) return false;
    await send(undefined);
  }
  say(`${name} was stored.`);
  return true;
}

async function download(path, name) {
  save(await (await ask("GET", path)).blob(), name.split("/").at(-1));
}

// A picture or a text; what is neither is only saved. It is shown as what it is, and cannot act.
async function show(place, path, name) {
  const content = await (await ask("GET", path)).blob();
  const head = h("h2", {}, name);
  const [kind] = content.type.split(/[/;]/);
  if (kind === "image" && !content.type.startsWith("image/svg")) {
    const url = URL.createObjectURL(content);
    const done = () => URL.revokeObjectURL(url);
    fill(place, head, h("img", { src: url, alt: name, class: "attachment", load: done, error: done }));
    return;
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await content.arrayBuffer());
    fill(place, head, h("pre", { tabindex: 0, "aria-label": `Content of ${name}` }, text));
  } catch {
    fill(place, head, h("p", {}, "It is neither text nor a picture: save it instead."));
  }
}

function versions({ versions: found, notes }, database, doing, shown, back) {
  const path = ({ key, etag, lineage }) =>
    `${base(database)}/versions/attachments/${encodeURIComponent(key)}${query({ etag, lineage })}`;
  const entry = (version) => {
    const called = (what) => ({ "aria-label": `${what} ${version.name} of ${local(version.time)}` });
    return h(
      "li",
      {},
      h("strong", {}, version.name),
      version.deleted ? " removed " : " stored ",
      h("time", { datetime: version.time, title: version.time }, local(version.time)),
      ` (${ago(version.time)}) `,
      standing(version),
      " ",
      !version.deleted && [
        `· ${size(version.bytes)} `,
        version.bytes <= SHOWN &&
          button("Show", () => doing(() => show(shown, path(version), version.name)), called("Show")),
        " ",
        button("Save", () => doing(() => download(path(version), version.name)), called("Save")),
        " ",
        button("Put it back", () => doing(() => back(version, path(version))), called("Put back")),
      ],
    );
  };
  return [
    notes.map((note) => h("p", { class: "problem" }, note)),
    found.length
      ? h("ol", { class: "versions attachments", reversed: true }, found.toReversed().map(entry))
      : h("p", {}, "Neither the log nor a backup has an attachment of it."),
  ];
}
