// Elements are made here and nowhere else. What comes from documents only ever becomes text or the value of an
// attribute, never markup, so nothing in a document can act.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children. An attribute whose value is a function is a listener; false, null and
// undefined leave an attribute or a child out.
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== false && child !== null && child !== undefined) element.append(child);
  }
}

// Let these be all that is in an element.
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

let named = 0;

// A labelled field of a form; `input` gets an id if it has none.
export function field(label, input, hint) {
  input.id ||= `field-${++named}`;
  const told = hint && h("small", { id: `${input.id}-hint` }, hint);
  if (told) input.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, told);
}

export function button(text, click, attributes = {}) {
  return h("button", { type: "button", click, ...attributes }, text);
}

// One of several: `options` are pairs of value and text.
export function choice(legend, name, options, chosen, change) {
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", {}, legend),
    options.map(([value, text]) =>
      h(
        "label",
        {},
        h("input", { type: "radio", name, value, checked: value === chosen, change: () => change(value) }),
        text,
      ),
    ),
  );
}

// Tell whoever looks, or has it read out.
export function say(text) {
  document.getElementById("said").textContent = text;
}

// A question that must be answered before anything else; resolves to whether it was confirmed.
export function confirm(title, contents, action, attributes = {}) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question" },
      h("h2", { id: "question" }, title),
      contents,
      h(
        "form",
        { method: "dialog", class: "row" },
        h("button", { value: "no", autofocus: true }, "Cancel"),
        h("button", { value: "yes", ...attributes }, action),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
