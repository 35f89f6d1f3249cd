// A job that runs: how far it is, how fast, how long it will take, and a button that ends it.

import { ask, follow } from "./api.js";
import { button, fill, h, say } from "./dom.js";
import { count, counted, duration, size } from "./words.js";

// Show a job in a place until it ends; resolves to its last status, raises `Failed` when it failed or was cancelled.
export async function watch(place, path, id, name, { signal, changes } = {}) {
  const bar = h("progress", { "aria-label": name });
  const told = h("p", { role: "status" });
  const end = button("Cancel", async () => {
    end.disabled = true;
    await ask("POST", `${path}/operation/kill?id=${id}`).catch(() => {});
  });
  fill(place, h("div", { class: "job" }, h("strong", {}, name), bar, told, end));
  try {
    const status = await follow(path, id, ({ State: state }) => draw(bar, told, state), { signal, changes });
    say(`${name}: done.`);
    return status;
  } finally {
    end.remove();
    bar.remove();
  }
}

function draw(bar, told, state) {
  const share = state.TotalBytes
    ? state.Bytes / state.TotalBytes
    : state.TotalDocuments
      ? state.Documents / state.TotalDocuments
      : null;
  if (share === null) bar.removeAttribute("value");
  else bar.value = Math.min(1, share);
  const rate = state.Seconds > 0.5 ? state.Bytes / state.Seconds : 0;
  const left = share > 0 && share < 1 && state.Seconds > 2 ? state.Seconds / share - state.Seconds : null;
  told.textContent = [
    state.Waiting ? `waiting, place ${count(state.Position ?? 1)}` : state.Progress,
    counted(state.Documents, "document"),
    state.Attachments && counted(state.Attachments, "attachment"),
    size(state.Bytes),
    rate > 0 && `${size(Math.round(rate))}/s`,
    left !== null && `${duration(left)} left`,
  ]
    .filter(Boolean)
    .join(", ");
}
