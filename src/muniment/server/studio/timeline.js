// When backups were taken and which moments can be restored, drawn over time.

import { button, fill, h, svg } from "./dom.js";
import { counted, local, size } from "./words.js";

const WIDTH = 1000; // of the drawing's own units; it is scaled to the room that there is

// The restorable moments of all destinations up to now, as one bar.
export function bar(destinations, now) {
  const spans = destinations.flatMap(({ restorable }) => restorable);
  if (!spans.length) return h("p", {}, "No moment can be restored.");
  const scale = scaled(spans, now);
  const [first, last] = [spans[0].from.time, spans.at(-1).until ?? spans.at(-1).to.time];
  const label = `Can be restored: from ${local(first)} to ${local(last)}`;
  return h(
    "div",
    { class: "restorable" },
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} 24`, role: "img", "aria-label": label, preserveAspectRatio: "none" },
      svg("rect", { class: "ground", width: WIDTH, height: 24 }),
      spans.map((span) => stretch(span, scale, 0, 24)),
    ),
    h("small", {}, local(first), h("span", {}, "now")),
  );
}

function scaled(spans, now) {
  const from = Math.min(...spans.map((span) => new Date(span.from.time).getTime()));
  const length = Math.max(1, now - from);
  return (time) => 8 + ((new Date(time).getTime() - from) / length) * (WIDTH - 16);
}

// From its first moment for as long as its last is known to have been the state.
function stretch(span, scale, y, height) {
  const from = scale(span.from.time);
  const to = Math.max(scale(span.until ?? span.to.time), from + 3);
  return svg("rect", { class: "span", x: from, y, width: to - from, height });
}

const ROW = 46;

// Every history of a folder's backups in a row of its own; `pick` is told the backup that was clicked, and `pickTime`
// the moment and the history. Its `choose` marks the moment that is chosen.
export function timeline(listing, now, pick, pickTime, proofs = []) {
  const histories = listing.lineages;
  const backups = listing.chains.flatMap((chain, number) =>
    chain.backups.map((backup) => ({ ...backup, lineage: chain.lineage, number: number + 1, problem: chain.problem })),
  );
  const among = h("p", { class: "row" });
  const choose = (backup) => {
    fill(among);
    pick(backup);
  };
  const open = (several) =>
    fill(
      among,
      several.map((each) => button(said(each), () => choose(each))),
    );
  const times = [
    ...backups.map((backup) => ({ from: { time: backup.time } })),
    ...histories.flatMap(({ restorable }) => restorable),
  ];
  if (!times.length) return h("p", { class: "empty" }, "There are no backups here.");
  const scale = scaled(times, now);
  const row = new Map(histories.map(({ lineage }, at) => [lineage, at]));
  const height = histories.length * ROW + 20;
  const middle = (lineage) => (row.get(lineage) ?? 0) * ROW + ROW / 2;
  const line = svg("line", { class: "chosen", y1: 2, y2: height - 18, visibility: "hidden" });
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, class: "timeline", role: "group", "aria-label": "Backups over time" },
    histories.map((history) => fork(history, row, scale, middle)),
    histories.flatMap((history) =>
      history.restorable.map((span) =>
        picked(stretch(span, scale, middle(history.lineage) - 6, 12), span, history, pickTime),
      ),
    ),
    clusters(backups, scale).map((several) =>
      several.length === 1 ? mark(several[0], scale, middle, choose) : numbered(several, scale, middle, open),
    ),
    proofs.map((proof) => proven(proof, scale, height)),
    line,
    svg("text", { x: 8, y: height - 4 }, local(times.map(({ from }) => from.time).sort()[0])),
    svg("text", { x: WIDTH - 8, y: height - 4, "text-anchor": "end" }, "now"),
  );
  const room = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Drawing" }, drawing);
  const figure = h(
    "figure",
    {},
    room,
    among,
    h(
      "figcaption",
      {},
      h("span", { class: "key span" }),
      " can be restored ",
      h("span", { class: "key full" }),
      " full backup ",
      h("span", { class: "key incremental" }),
      " incremental ",
      proofs.length > 0 && "▲ verified or rehearsed ",
      histories.length > 1 && "– a row is a history of the database: a restore begins one",
    ),
  );
  figure.choose = (time) => {
    const x = scale(time);
    for (const [name, value] of [
      ["x1", x],
      ["x2", x],
      ["visibility", "visible"],
    ])
      line.setAttribute(name, value);
  };
  return figure;
}

// Let a click on a stretch of moments choose the one below the pointer. By keyboard a moment is typed.
function picked(shape, span, { lineage }, pickTime) {
  if (!pickTime) return shape;
  const [from, until] = [span.from.time, span.until ?? span.to.time];
  shape.classList.add("moments");
  shape.append(svg("title", {}, `From ${local(from)} to ${local(until)}: click for a moment`));
  shape.addEventListener("click", (event) => {
    const { left, width } = shape.getBoundingClientRect();
    const [first, last] = [new Date(from).getTime(), new Date(until).getTime()];
    const time = first + ((event.clientX - left) / width) * (last - first);
    pickTime(time <= first + 1 ? from : new Date(Math.min(time, last)).toISOString(), lineage);
  });
  return shape;
}

// The line from a history to the one that it left.
function fork(history, row, scale, middle) {
  if (!history.parent || !row.has(history.parent) || !history.time) return null;
  const x = scale(history.time);
  const [from, to] = [middle(history.parent), middle(history.lineage)];
  return svg("path", { class: "fork", d: `M ${x} ${from} C ${x} ${to}, ${x} ${to}, ${x + 12} ${to}` });
}

const NEAR = 15; // units of the drawing within which marks would lie on each other

// The backups of each history, those together that are too near to be told apart.
function clusters(backups, scale) {
  const found = [];
  for (const backup of backups.toSorted((one, other) => one.time.localeCompare(other.time))) {
    const near = found.findLast(([first]) => first.lineage === backup.lineage);
    if (near && scale(backup.time) - scale(near[0].time) < NEAR) near.push(backup);
    else found.push([backup]);
  }
  return found;
}

const said = (backup) =>
  `${backup.kind} backup of ${local(backup.time)}, ${counted(backup.rows, "row")}, ${size(backup.file_bytes)}` +
  (backup.problem ? `: ${backup.problem}` : "");

// Several in one mark, which is asked for them.
function numbered(several, scale, middle, open) {
  const [x, y] = [scale(several[0].time), middle(several[0].lineage)];
  const kind = several.some(({ problem }) => problem)
    ? "bad"
    : several.some(({ kind: one }) => one === "full")
      ? "full"
      : "incremental";
  const name = `${several.length} backups from ${local(several[0].time)} to ${local(several.at(-1).time)}`;
  const chosen = (event) => {
    event.preventDefault();
    open(several);
  };
  return svg(
    "a",
    {
      href: "#",
      role: "button",
      "aria-label": name,
      click: chosen,
      keydown: (event) => event.key === " " && chosen(event),
    },
    svg("title", {}, name),
    svg("rect", { x: x - 6, y: y - 11, width: 26, height: 22, rx: 3, class: kind }),
    svg("text", { x: x + 7, y: y + 5, "text-anchor": "middle", class: "several" }, String(several.length)),
  );
}

// When it was proven that they can be restored.
function proven({ time, text }, scale, height) {
  const [x, y] = [scale(time), height - 30];
  return svg(
    "path",
    { class: "proven", role: "img", "aria-label": text, d: `M ${x - 6} ${y + 10} L ${x} ${y} L ${x + 6} ${y + 10} Z` },
    svg("title", {}, text),
  );
}

function mark(backup, scale, middle, pick) {
  const [x, y] = [scale(backup.time), middle(backup.lineage)];
  const shape =
    backup.kind === "full"
      ? svg("rect", { x: x - 6, y: y - 11, width: 12, height: 22, rx: 3 })
      : svg("circle", { cx: x, cy: y, r: 6 });
  shape.setAttribute("class", backup.problem ? "bad" : backup.kind);
  const chosen = (event) => {
    event.preventDefault();
    pick(backup);
  };
  return svg(
    "a",
    {
      href: "#",
      role: "button",
      "aria-label": said(backup),
      click: chosen,
      keydown: (event) => event.key === " " && chosen(event),
    },
    svg("title", {}, said(backup)),
    shape,
  );
}
