// What runs a scripted patch of RavenDB 3, as a transform of an envelope: `this` is the document, and what the script
// puts, deletes and tells is answered beside it. A document that it loads and that is not here yet is asked for, and the
// script runs again. Its text and the names of its values are put in before.
function (envelope) {
  "use strict";
  const { stringify } = JSON;
  const { document, metadata, values, loaded, id } = envelope;
  const puts = [], told = [], fold = text => String(text).toLowerCase();
  class Missing extends Error {}

  for (const [name, method] of Object.entries({
    Map(f) { return this.map(f); },
    Where(f) { return this.filter(f); },
    RemoveWhere(f) { for (let i = this.length; i-- > 0;) if (f(this[i])) this.splice(i, 1); return this; },
    Remove(value) { const i = this.indexOf(value); if (i >= 0) this.splice(i, 1); return this; },
  })) Object.defineProperty(Array.prototype, name, { value: method, configurable: true, writable: true });

  const helpers = {
    __document_id: id,
    output: value => { told.push(typeof value === "string" ? value : stringify(value) ?? String(value)); },
    LoadDocument: asked => {
      if (asked === null || asked === undefined || asked === "") return null;
      const key = fold(asked);
      if (!Object.hasOwn(loaded, key)) throw new Missing(String(asked));
      return loaded[key];
    },
    PutDocument: (key, body, meta, etag) => {
      if (body === null || typeof body !== "object" || Array.isArray(body)) throw new TypeError("PutDocument needs an object");
      const copy = Object.assign({}, body), own = meta ?? copy["@metadata"] ?? {};
      delete copy["@metadata"];
      puts.push({ id: key === null || key === undefined ? "" : String(key), document: copy, metadata: own, etag: etag ?? null });
      return key;
    },
    DeleteDocument: key => { puts.push({ id: String(key), document: null, metadata: {}, etag: null }); },
  };
  helpers.load = helpers.LoadDocument;
  helpers.put = helpers.PutDocument;

  const before = stringify(document), metadataBefore = stringify(metadata);
  document["@metadata"] = metadata;
  try {
    const names = Object.keys(helpers);
    new Function(...names, ...NAMES, SCRIPT).call(document, ...names.map(name => helpers[name]), ...NAMES.map(name => values[name]));
  } catch (error) {
    if (error instanceof Missing) return { wanted: error.message };
    throw error;
  }
  const after = document["@metadata"] ?? metadata;
  delete document["@metadata"];
  return {
    document, metadata: after, puts, told,
    changed: stringify(document) !== before, metadataChanged: stringify(after) !== metadataBefore,
  };
}
