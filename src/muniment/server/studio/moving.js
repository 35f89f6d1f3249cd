// Dumps: one that is dropped on the page is imported, and a database, or a part of it, is saved as one.

import { ask, base, Failed, json } from "./api.js";
import { button, choice, field, fill, h, say } from "./dom.js";
import { save } from "./attachments.js";
import { asOptions, asParameters, part } from "./part.js";
import { problem } from "./problem.js";
import { counted, quoted, size } from "./words.js";

export const FORMATS = [
  ["ravendbdump", "RavenDB 4 to 7"],
  ["ravendump", "RavenDB 2 and 3"],
  ["ndjson", "lines of JSON"],
  ["parquet", "Parquet"],
];

export async function show(place, context) {
  place.append(importing(context), exporting(context));
}

function importing(context) {
  const told = h("div", {});
  const file = h("input", { type: "file", change: () => file.files.length && bring(file.files[0], told, context) });
  const area = h("div", { class: "drop" }, field("A dump of RavenDB (2 to 7) or of Muniment", file, "or drop it here"));
  const over = (event) => {
    event.preventDefault();
    area.classList.add("over");
  };
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  const drop = (event) => {
    event.preventDefault();
    area.classList.remove("over");
    const [dropped] = event.dataTransfer.files;
    if (dropped) bring(dropped, told, context);
  };
  // anywhere on the page: beside the area the browser would open the file instead of the page
  const { signal } = context;
  document.addEventListener("dragover", over, { signal });
  document.addEventListener("drop", drop, { signal });
  return h(
    "section",
    {},
    h("h2", {}, "Import"),
    h("p", {}, "What it has is added; documents with the same ids are replaced."),
    area,
    told,
  );
}

let sending = 0; // imports that run, also while another view is looked at
addEventListener("beforeunload", (event) => sending && event.preventDefault());

// The browser reads the file as it sends it, so its size does not matter. It goes on when another view is opened: half
// a dump would be in the database otherwise.
async function bring(file, told, { database, link }) {
  sending += 1;
  const bar = h("progress", { "aria-label": `Sending ${file.name}`, max: file.size || 1, value: 0 });
  const text = h("p", { role: "status" }, "Sending …");
  fill(told, h("div", { class: "job" }, h("strong", {}, file.name), bar, text));
  try {
    const done = await upload(`${base(database)}/smuggler/import`, file, (sent) => {
      bar.value = sent;
      text.textContent =
        sent < file.size ? `${size(sent)} of ${size(file.size)} sent` : "All is sent; the rest is being stored …";
    });
    const skipped = Object.entries(done.skipped ?? {});
    fill(
      told,
      h(
        "div",
        { class: "good", role: "status" },
        h(
          "p",
          {},
          h(
            "strong",
            {},
            `Imported ${counted(done.documents, "document")} and ${counted(done.attachments, "attachment")}`,
          ),
          ` from ${file.name}.`,
        ),
        skipped.length > 0 &&
          h("p", {}, "There is no place for: ", skipped.map(([name, number]) => `${name} (${number})`).join(", "), "."),
        done.failed > 0 && h("p", { class: "problem" }, `${counted(done.failed, "item")} failed.`),
        h(
          "p",
          {},
          h("a", { class: "button", href: link(database, "backups") }, "Back it up now"),
          " ",
          h("a", { class: "button", href: link(database, "documents") }, "See the documents"),
        ),
      ),
    );
    say(`The import of ${file.name} into ${database} is complete.`);
  } catch (error) {
    fill(told, problem(error));
    say(`The import of ${file.name} into ${database} failed: ${error.message}`);
  } finally {
    sending -= 1;
  }
}

// XMLHttpRequest, because fetch does not tell how much was sent.
async function upload(path, file, tell) {
  await ask("GET", `${path.replace(/smuggler.*/, "")}stats`); // has whoever needs a key asked for it
  const token = sessionStorage.getItem("muniment-token");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Muniment-Request", "1");
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.addEventListener("progress", (event) => tell(event.loaded));
    request.addEventListener("load", () => {
      let told = request.responseText;
      try {
        told = JSON.parse(told);
      } catch {
        /* told as it is */
      }
      if (request.status === 200) resolve(told);
      else reject(Object.assign(new SyntaxError(told.Message ?? told.Error ?? String(told)), { hint: told.Hint }));
    });
    request.addEventListener("error", () =>
      reject(new SyntaxError("The connection broke before all was sent; what was stored before that stays.")),
    );
    request.send(file);
  });
}

function exporting({ database }) {
  let format = "ravendbdump";
  const told = h("div", {});
  const command = h("code", {});
  const show_ = () => {
    const words = [`${location.origin}${base(database)}`, `${database}.${format}`].map(quoted);
    command.textContent = ["muniment smuggler out", ...words, ...asOptions(value())].join(" ");
  };
  const { fields, value, empty } = part(show_);
  show_();
  const start = async (event) => {
    event.preventDefault();
    if (empty()) {
      fill(told, h("p", { class: "problem", role: "alert" }, "A part is wanted, and nothing is named yet."));
      return;
    }
    const body = { format, ...asParameters(value()) }; // a thousand ids are too long for an address
    const asked = { method: "POST", path: `${base(database)}/smuggler/export`, body };
    await saved(told, asked, `${database}.${format}`).catch((error) => fill(told, problem(error)));
  };
  return h(
    "section",
    {},
    h("h2", {}, "Export"),
    h(
      "form",
      { submit: start },
      choice("As", "format", FORMATS, format, (value) => {
        format = value;
        show_();
      }),
      fields,
      h("button", { type: "submit" }, "Export"),
      h("details", {}, h("summary", {}, "As a command"), h("pre", { tabindex: 0 }, command)),
    ),
    told,
  );
}

// Save what is answered to this as a file of this name, and tell how far it is. Raises `Failed`.
export async function saved(told, { method, path, body }, name) {
  const file = await chosen(name);
  if (file === undefined) return;
  fill(told, h("p", { role: "status" }, "Exporting …"));
  const answer = await ask(method, path, { body });
  await keep(answer, file, name, (bytes) => {
    told.firstChild.textContent = `${size(bytes)} received …`;
  });
  fill(told, h("p", { class: "good", role: "status" }, `${name} is complete.`));
}

// Where to save it; null where a browser cannot be told, and then it is saved at its end. It asks only right after a
// click. Resolves to undefined when the person thought better of it.
async function chosen(name) {
  if (!window.showSaveFilePicker) return null;
  return window
    .showSaveFilePicker({ suggestedName: name })
    .catch((error) => (error.name === "AbortError" ? undefined : null));
}

// To disk as it comes where the browser can do that, and otherwise at its end.
async function keep(answer, file, name, tell) {
  let bytes = 0;
  const counted_ = answer.body.pipeThrough(
    new TransformStream({
      transform(chunk, out) {
        tell((bytes += chunk.byteLength));
        out.enqueue(chunk);
      },
    }),
  );
  try {
    if (file) await counted_.pipeTo(await file.createWritable());
    else save(await new Response(counted_).blob(), name);
  } catch (error) {
    // Where the server has stopped it, the connection broke: the job knows why.
    const job = await json(`/operation/status?id=${answer.headers.get("Muniment-Operation")}`).catch(() => null);
    const { Error: why, Hint: hint } = job?.State ?? {};
    throw new Failed(0, `Nothing whole was saved: ${why ?? error.message}`, hint ?? "See Operations, and export again.");
  }
}
