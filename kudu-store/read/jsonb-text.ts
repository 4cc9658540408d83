/**
 * A document as Postgres writes a `jsonb`: shorter keys first, then by their bytes; a space behind each colon and comma;
 * numbers in full (https://www.postgresql.org/docs/current/datatype-json.html, compareJsonbPair in jsonb_util.c).
 */
export function jsonbText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonbText).join(', ')}]`;
  if (typeof value === 'number') return plainNumber(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(([key, of]) => ({ key, bytes: Buffer.from(key), of }));
  entries.sort((a, b) => a.bytes.length - b.bytes.length || Buffer.compare(a.bytes, b.bytes));
  return `{${entries.map(({ key, of }) => `${JSON.stringify(key)}: ${jsonbText(of)}`).join(', ')}}`;
}

/** Without an exponent: JavaScript has one from 1e21 on and below 1e-6. */
function plainNumber(value: number): string {
  const text = String(value);
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (!match) return text;
  const [, sign, first, rest = '', exponent] = match;
  const digits = first! + rest;
  const point = 1 + Number(exponent);
  return point <= 0 ? `${sign}0.${'0'.repeat(-point)}${digits}` : `${sign}${digits.padEnd(point, '0')}`;
}
