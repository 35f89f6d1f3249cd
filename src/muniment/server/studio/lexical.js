// JSON as text: laid out and taken apart without reading its numbers and texts, which a reader would change (1.10,
// integers over 2^53, repeated names). Raises SyntaxError with the place for what is no JSON.

const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/;
const TOKEN = new RegExp(`[ \\t\\r\\n]+|[{}[\\],:]|${STRING.source}|${NUMBER.source}|true|false|null`, "y");

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

// The members of an object in their order, repeated names too: `name` is what is meant, `written` and `value` are the
// texts that stand there, and `at` is where the member begins.
export function entries(text) {
  const found = [];
  let depth = 0;
  let begun = null;
  let start = -1;
  for (const [token, at] of tokens(text)) {
    if (depth === 1 && begun === null && token.startsWith('"')) {
      begun = { name: JSON.parse(token), written: token, at };
      continue;
    }
    if (depth === 1 && token === ":" && start < 0) {
      start = at + 1;
      continue;
    }
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    if ((depth === 1 && token === ",") || depth === 0) {
      if (begun !== null) found.push({ ...begun, value: text.slice(start, at).trim() });
      begun = null;
      start = -1;
    }
  }
  return found;
}

// The members of an object by name, of a repeated one the last, each as the text that it is.
export function members(text) {
  return new Map(entries(text).map(({ name, value }) => [name, value]));
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

// The same object without the members of these names; all others as they are, repeated ones too.
export function without(text, names) {
  const kept = entries(text).filter(({ name }) => !names.includes(name));
  return `{${kept.map(({ written, value }) => `${written}:${value}`).join(",")}}`;
}

// An object whose last member is put apart: the text before it, whole again, and the value of that member.
export function withoutLast(text) {
  const { at, value } = entries(text).at(-1);
  return [`${text.slice(0, at).trimEnd().replace(/,$/, "")}}`, value];
}
