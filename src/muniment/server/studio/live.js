// Contents that follow the server: asked again and again while they can be seen, and drawn anew when they changed.

import { pause } from "./api.js";
import { fill, h } from "./dom.js";

// Ask and draw until the signal. Resolves after the first time; what fails later is shown above what was there.
export async function live(place, ask, draw, { signal, every = 3000 }) {
  const told = h("div", {});
  const body = h("div", {});
  place.append(told, body);
  let last = "";
  const once = async () => {
    const found = await ask();
    const text = JSON.stringify(found);
    fill(told);
    if (text !== last && !isBeingUsed(body)) { fill(body, draw(found)); last = text; }
  };
  await once();
  const follow = async () => {
    while (!signal.aborted) {
      await pause(every, signal);
      if (document.hidden) continue;
      try { await once(); } catch (error) {
        if (error.name === "AbortError") return;
        fill(told, h("p", { class: "problem", role: "alert" }, h("strong", {}, error.message), " What is below may have changed."));
      }
    }
  };
  follow().catch(() => {});
}

// Whether somebody is in the middle of something in it: what is drawn anew would take away the focus, or a text.
function isBeingUsed(body) {
  return body.contains(document.activeElement) && document.activeElement !== body;
}
