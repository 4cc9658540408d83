/** bigint (offsets, revisions) as a number where that is exact, else as a string; Dates as ISO 8601. */
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}

/**
 * What a reporting command ends with: `--json` prints one JSON document on standard output, otherwise `human`
 * makes the text. Everything that is not the report goes to standard error.
 */
export function report<T>(options: { json?: boolean }, value: T, human: (value: T) => string): void {
  const text = options.json ? JSON.stringify(value, jsonValue, 2) : human(value);
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** A line for people, kept off standard output. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
