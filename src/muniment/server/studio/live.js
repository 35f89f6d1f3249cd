// Contents that follow the server: asked again and again while they can be seen, and drawn anew when they changed.

import { pause } from "./api.js";
import { fill, h } from "./dom.js";

// Ask and draw until the signal. Resolves after the first time; what fails later is shown above what was there.
export async function live(place, ask, draw, { signal, every = 3000 }) {
  const told = h("div", {});
  const body = h("div", {});
  place.append(told, body);
  let last = "";
  let took = 0;
  const once = async () => {
    const begun = performance.now();
    const found = await ask();
    took = performance.now() - begun;
    const text = JSON.stringify(found);
    fill(told);
    if (text !== last && !isBeingWritten(body)) {
      keepFocus(body, () => fill(body, draw(found)));
      last = text;
    }
  };
  await once();
  const follow = async () => {
    while (!signal.aborted) {
      await pause(Math.max(every, 2 * took), signal); // a thousand databases are not asked without a break
      if (document.hidden) continue;
      try {
        await once();
      } catch (error) {
        if (error.name === "AbortError") return;
        fill(
          told,
          h(
            "p",
            { class: "problem", role: "alert" },
            h("strong", {}, error.message),
            " What is below may have changed.",
          ),
        );
      }
    }
  };
  follow().catch(() => {});
}

// Whether somebody is in the middle of writing something in it, which would be gone.
function isBeingWritten(body) {
  const active = document.activeElement;
  return body.contains(active) && active.matches("input, textarea, select");
}

// Do this, and have the same button or link in the focus as before, though it is another element now.
function keepFocus(body, change) {
  const active = document.activeElement;
  const inside = body.contains(active) && active !== body;
  const name = (element) => `${element.tagName} ${element.getAttribute("aria-label") ?? element.textContent}`;
  const was = inside && name(active);
  change();
  if (inside)
    [...body.querySelectorAll("a, button, summary")]
      .find((element) => name(element) === was)
      ?.focus({ preventScroll: true });
}
