// JSON as text: laid out and taken apart without reading its numbers and texts, which a reader would change (1.10,
// integers over 2^53, repeated names). Raises SyntaxError with the place for what is no JSON.

const TOKEN = /\s+|[{}[\],:]|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

function* tokens(text) {
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const start = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw wrong(text, start);
    if (match[0].trim()) yield [match[0], start];
  }
}

function wrong(text, at) {
  const before = text.slice(0, at).split("\n");
  return new SyntaxError(`line ${before.length}, column ${before.at(-1).length + 1}: this is not JSON`);
}

// The text on lines of its own, indented by two.
export function laidOut(text) {
  check(text);
  const parts = [];
  let depth = 0;
  let before = "";
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of tokens(text)) {
    if (token === "}" || token === "]") {
      depth -= 1;
      parts.push(before === "{" || before === "[" ? token : line() + token);
    } else {
      if (before === "{" || before === "[") parts.push(line());
      parts.push(token === ":" ? ": " : token === "," ? `,${line()}` : token);
      if (token === "{" || token === "[") depth += 1;
    }
    before = token;
  }
  return parts.join("");
}

// Raises SyntaxError unless the text is one value of JSON. JSON.parse knows the grammar; its result is thrown away.
export function check(text) {
  try {
    JSON.parse(text);
  } catch (error) {
    for (const _ of tokens(text)); // whose message has a place that people can find
    throw new SyntaxError(error.message);
  }
}

// The members of an object by name, each as the text that it is.
export function members(text) {
  const found = new Map();
  let depth = 0;
  let name = null;
  let start = -1;
  for (const [token, at] of tokens(text)) {
    if (depth === 1 && start < 0 && token.startsWith('"') && name === null) { name = JSON.parse(token); continue; }
    if (depth === 1 && token === ":" && start < 0) { start = at + 1; continue; }
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    if ((depth === 1 && token === ",") || depth === 0) {
      if (name !== null) found.set(name, text.slice(start, at).trim());
      name = null;
      start = -1;
    }
  }
  return found;
}

// The elements of an array, each as the text that it is.
export function elements(text) {
  const found = [];
  let depth = 0;
  let start = -1;
  for (const [token, at] of tokens(text)) {
    const opens = token === "{" || token === "[";
    if (token === "}" || token === "]") depth -= 1;
    if ((depth === 1 && token === ",") || (depth === 0 && !opens)) {
      if (start >= 0) found.push(text.slice(start, at).trim());
      start = -1;
    } else if (depth >= 1 && start < 0) start = at;
    if (opens) depth += 1;
  }
  return found;
}

// An object of members as `members` gives them.
export function object(found) {
  return `{${[...found].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
}
