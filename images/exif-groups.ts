export const GROUPS = ['Image', 'Photo', 'GPSInfo', 'Iop'] as const;
export type Group = Record<string, unknown>;
/** Tags by group, as exif-reader gives them: rationals are numbers, dates local times held by a Date as if they were UTC. */
export type Groups = Partial<Record<(typeof GROUPS)[number], Group | null>>;

const MAX_TEXT = 500;

/** A text without padding and control characters; bytes if they are text in UTF-8 (EXIF knows ASCII only). Else null. */
export function text(value: unknown): string | null {
  let string = value;
  if (Buffer.isBuffer(value)) {
    string = value.toString('utf8', 0, MAX_TEXT * 4).replace(/\0+$/, '');
    if (/[\p{Cc}\ufffd]/u.test(string as string)) return null; // binary
  }
  if (typeof string !== 'string') return null;
  const clean = string.replace(/\0[^]*$/, '').replace(/\p{Cc}+/gu, ' ');
  return clean.trim().slice(0, MAX_TEXT).toWellFormed() || null;
}

export const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number');
