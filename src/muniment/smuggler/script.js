// Runs a transform script inside QuickJS. The value of this file is a function: it takes the script, and returns one
// that takes a document in parts and answers "=" (unchanged), "-" (left out), "+BODY\nMETADATA" (each empty where it is
// unchanged) or "!MESSAGE".
(script => {
  "use strict";
  const { parse, stringify } = JSON;
  const { defineProperty, is, keys, setPrototypeOf } = Object;
  const kind = Object.prototype.toString;
  const MAX_DEPTH = 900;
  const flat = (...strings) => strings.join(""); // what + makes of long strings is a rope, which does not come out
  const LATER_NAMES = {
    "@collection": "Raven-Entity-Name", "@last-modified": "Last-Modified", "@expires": "Raven-Expiration-Date",
  };

  // RavenDB 2 and 3 have one function, which returns the document; RavenDB 4 and later statements that change `this`.
  const compile = () => {
    const text = script.replace(/^(?:\s|\/\/.*|\/\*[^]*?\*\/)+|[\s;]+$/g, "");
    let failure = new SyntaxError("it is no function(doc) { ... }, nor statements about `this`");
    if (/^(?:\(\s*)*(?:async\b|function\b|[\w$]+\s*=>|\([\w$\s,]*\)\s*=>)/.test(text)) {
      try {
        const found = (0, eval)("(" + text + "\n)");
        if (typeof found === "function") return document => found.call(globalThis, document);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        failure = error;
      }
    }
    if (!/\b(?:this|throw)\b/.test(text)) throw failure;
    try {
      const statements = new Function(text);
      return document => (statements.call(document), document);
    } catch (error) {
      throw /^(?:\(\s*)*function\b/.test(text) ? failure : error;
    }
  };

  const described = error => (error instanceof Error ? `${error.name}: ${error.message}` : `it threw ${String(error)}`);

  // Where a number stood whose text JavaScript would not write again, and which of them a double cannot hold.
  class Spelling {
    constructor() {
      this.places = new Map();
      this.inexact = new Map();
    }

    // `marked` is the same value with such numbers as strings of their text, behind "!" those no double can hold.
    collect(value, marked) {
      for (const key of keys(value)) {
        const member = value[key], mark = marked[key];
        if (typeof member === "object" && member !== null) this.collect(member, mark);
        else if (typeof member === "number" && typeof mark === "string") this.keep(value, key, member, mark);
      }
    }

    keep(container, key, number, mark) {
      const text = mark[0] === "!" ? mark.slice(1) : mark;
      let places = this.places.get(container);
      if (!places) this.places.set(container, places = new Map());
      places.set(key, text);
      if (mark[0] === "!" && Number.isFinite(number)) {
        const other = this.inexact.get(number);
        this.inexact.set(number, other === undefined || other === text ? text : null);
      }
    }

    write(number, container, key) {
      const kept = this.places.get(container)?.get(key);
      if (kept !== undefined && is(Number(kept), number)) return kept;
      const moved = this.inexact.get(number);
      if (moved === null) throw new RangeError(`it moves one of several numbers that all are ${number} to JavaScript`);
      if (moved !== undefined) return moved;
      if (!Number.isFinite(number)) throw new RangeError(`${key} is ${number}, which JSON cannot hold`);
      return is(number, -0) ? "-0.0" : String(number);
    }
  }

  const boxed = value => value instanceof Number || value instanceof String || value instanceof Boolean;

  const write = (value, container, key, spelling, depth) => {
    if (typeof value === "number") return spelling.write(value, container, key);
    if (typeof value === "bigint") return String(value);
    if (typeof value !== "object" || value === null) return stringify(value);
    if (depth > MAX_DEPTH) throw new RangeError("the result is nested too deeply, or holds itself");
    if (typeof value.toJSON === "function") return write(value.toJSON(key), container, key, spelling, depth + 1);
    if (boxed(value)) return write(value.valueOf(), container, key, spelling, depth + 1);
    const parts = [];
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++)
        parts.push(write(value[i], value, String(i), spelling, depth + 1) ?? "null");
      return "[" + parts.join() + "]";
    }
    for (const name of keys(value)) {
      const member = write(value[name], value, name, spelling, depth + 1);
      if (member !== undefined) parts.push(stringify(name) + ":" + member);
    }
    return "{" + parts.join() + "}";
  };

  const plain = value => kind.call(value) === "[object Object]";

  // Empty if it is written as it was before.
  const changed = (value, before, spelling) => {
    try {
      const after = stringify(value);
      if (after === before) return "";
      if (!spelling.places.size && !after.includes("null")) return after; // null is also what is written of NaN
    } catch {} // it holds a BigInt, or itself
    return write(value, null, "", spelling, 0);
  };

  // What metadata inherits: the names of RavenDB 4 and later, which are no members of their own.
  const laterNames = Object.create(Object.prototype);
  for (const later of keys(LATER_NAMES)) {
    const wanted = LATER_NAMES[later].toLowerCase();
    const nameIn = metadata => keys(metadata).find(each => each.toLowerCase() === wanted) ?? LATER_NAMES[later];
    defineProperty(laterNames, later, {
      get() {
        return this[nameIn(this)];
      },
      set(value) {
        if (value == null) delete this[nameIn(this)];
        else this[nameIn(this)] = value;
      },
    });
  }

  globalThis.id = document => document["@metadata"]["@id"];
  const transform = compile();

  const run = (bodyText, metadataText, idText, markedBody, markedMetadata) => {
    const document = parse(bodyText), metadata = parse(metadataText), id = parse(idText), spelling = new Spelling();
    if (markedBody) spelling.collect(document, parse(markedBody));
    if (markedMetadata) spelling.collect(metadata, parse(markedMetadata));
    const before = stringify(document), metadataBefore = stringify(metadata);
    setPrototypeOf(metadata, laterNames);
    metadata["@id"] = id;
    document["@metadata"] = metadata;

    const result = transform(document);
    if (result === null) return "-";
    if (result === undefined) throw new TypeError("it returns nothing: return the document, or null to leave it out");
    if (!plain(result)) throw new TypeError(`it returns ${kind.call(result).slice(8, -1)}, which is no document`);
    const after = result["@metadata"] ?? metadata;
    if (!plain(after)) throw new TypeError("@metadata is no object");
    if ((after["@id"] ?? id) !== id) throw new TypeError("it changes the document's @id, which it cannot");
    delete result["@metadata"];
    delete after["@id"];
    const body = changed(result, before, spelling), newMetadata = changed(after, metadataBefore, spelling);
    return body || newMetadata ? flat("+", body, "\n", newMetadata) : "=";
  };

  return (...parts) => {
    try {
      return run(...parts);
    } catch (error) {
      return error === "skip" ? "-" : flat("!", described(error));
    }
  };
})
