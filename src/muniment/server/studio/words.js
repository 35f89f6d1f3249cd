// Numbers, sizes and times as people read them.

const COUNT = new Intl.NumberFormat("en");
const LOCAL = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const count = (number) => COUNT.format(number);

export function counted(number, noun) {
  return `${count(number)} ${number === 1 ? noun : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;
}

// Bytes in powers of 1000, as the command line writes them.
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${bytes} ${bytes === 1 ? "byte" : "bytes"}` : `${bytes.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, seconds).toFixed(1)} s`;
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([length]) => seconds >= length);
  const [length, unit] = parts[first];
  const whole = Math.floor(seconds / length);
  const next = parts[first + 1];
  const rest = next && Math.floor((seconds - whole * length) / next[0]);
  return rest ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
}

// A time of the server, in this browser's zone; the exact UTC is beside it wherever a moment is chosen.
export function local(time) {
  return time ? LOCAL.format(new Date(time)) : "never";
}

// The moments, as UTC, at which clocks of this browser's zone show this (`2026-10-25T02:30`): two where they were put
// back, none where they were put forward, and one at any other time.
export function instants(shown) {
  const asUtc = new Date(`${shown}Z`);
  const day = 86_400_000;
  const offsets = [-day, day].map((by) => new Date(asUtc.getTime() + by).getTimezoneOffset());
  return [...new Set(offsets)]
    .map((minutes) => new Date(asUtc.getTime() + minutes * 60_000))
    .filter((time) => time.getTime() - time.getTimezoneOffset() * 60_000 === asUtc.getTime())
    .sort((one, other) => one - other)
    .map((time) => time.toISOString());
}

export function ago(time, now = Date.now()) {
  if (!time) return "never";
  const seconds = (now - new Date(time)) / 1000;
  return seconds < 60 ? "just now" : `${duration(seconds)} ago`;
}

// Where a version of a document or an attachment is.
export function standing({ current, logged, backups }) {
  if (current) return "now";
  return logged ? "in the history" : counted(backups.length, "backup");
}

// Text as one word of a shell's command line.
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
