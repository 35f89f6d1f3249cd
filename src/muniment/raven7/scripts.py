"""Scripts of RavenDB 4 and later as those of patches here, with what they know and RavenDB 3's do not.

In them `args.NAME` and `$NAME` are values, the alias of a query is the document, as `this` is, and `id(this)`,
`getMetadata(this)`, `load`, `put` and `del` are there. `@collection` of metadata may be read, and set in what is put.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from muniment.errors import InvalidInput
from muniment.scripting import Script

ARGS: Final = "args"
_name: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# The script's own block is inside, so that what it declares may have the names of what is around.
_AROUND: Final = """{
const __ids = new WeakMap([[this, __document_id]]);
const __shown = (of, id) => {
  if (of === null) return of;
  __ids.set(of, id);
  const metadata = of["@metadata"] ?? (of["@metadata"] = {});
  const shown = { "@id": id, "@collection": metadata["Raven-Entity-Name"] ?? "@empty" };
  for (const name of Object.keys(shown))
    if (!Object.hasOwn(metadata, name))
      Object.defineProperty(metadata, name, { value: shown[name], configurable: true, writable: true });
  return of;
};
const load = id => Array.isArray(id) ? id.map(load) : __shown(LoadDocument(id), id);
const put = (id, of, vector) => {
  if (of === null || typeof of !== "object" || Array.isArray(of)) throw new TypeError("put needs an object");
  const { "@metadata": given, ...body } = of, metadata = {};
  for (const name of Object.keys(given ?? {})) if (name[0] !== "@") metadata[name] = given[name];
  const collection = given?.["@collection"];
  if (typeof collection === "string" && collection !== "@empty") metadata["Raven-Entity-Name"] = collection;
  return PutDocument(id, body, metadata, vector);
};
const del = id => DeleteDocument(id);
const id = of => __ids.get(of) ?? null;
const getMetadata = of => of["@metadata"];
__shown(this, __document_id);
const __collection = this["@metadata"]["@collection"];
PRELUDE
try {
SCRIPT
} finally {
  const metadata = this["@metadata"], collection = metadata?.["@collection"];
  if (collection === "@empty") delete metadata["Raven-Entity-Name"];
  else if (typeof collection === "string" && collection !== __collection) metadata["Raven-Entity-Name"] = collection;
}
}"""


def script_of(text: str, values: Mapping[str, Any] | None, alias: str | None = None) -> Script:
    """The script that does what this one does; raises `InvalidInput` for a name that cannot be a variable."""
    named = {name.removeprefix("$"): value for name, value in (values or {}).items()}
    prelude = [f"const ${name} = {ARGS}[{json.dumps(name)}];" for name in named if _checked(name)]
    if alias is not None and _checked(alias):
        prelude.append(f"const {alias} = this;")
    around = {"PRELUDE": "\n".join(prelude), "SCRIPT": text}
    return Script(re.sub("PRELUDE|SCRIPT", lambda found: around[found[0]], _AROUND), {ARGS: named})


def _checked(name: str) -> bool:
    if not _name.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a variable in a script", "use letters, digits and _")
    return True
