import { parse, type Info } from 'csv-parse';
import { Readable } from 'node:stream';
import { errorText, HubError } from '../../errors.ts';
import { resolveLabel } from '../labels.ts';
import { readUnpacked } from './file.ts';
import { idxKind, readIdxLabels } from './idx.ts';
import { idOfPath } from './list.ts';

/** Labels from a file: by image id (CSV), or by position (IDX, for an IDX image file). */
export type LabelFile =
  | { kind: 'csv'; path: string; byId: Map<string, string> }
  | { kind: 'idx'; path: string; values: Uint8Array };

const ID_COLUMN = /^(id|file|path|file_?name|file_?path|image|image_?id)$/i;
const LABEL_COLUMN = /^(label|class|class_?name|known_?label|category)$/i;
/** An error names so many lines; the rest is counted. */
const SHOWN = 5;

/** What a line of a CSV says of one image. */
export interface LabelLine {
  /** Class name or index, as written. */
  label: string;
  /** Counted from 1. */
  line: number;
}

const SEND_HINT =
  'Two columns are wanted: id (the path inside the folder sent) and label (class name or index); a header names them. Nothing was sent.';

/**
 * Reads `--labels FILE`: a CSV (comma, semicolon or tab; with or without a header line), or an IDX label file; both
 * also compressed by gzip.
 * @throws HubError BAD_FILE with line numbers; also when a label names no class.
 */
export async function readLabelFile(path: string, classes: readonly string[]): Promise<LabelFile> {
  const start = await firstBytes(path);
  if (idxKind(start)) return { kind: 'idx', path, values: await readIdxLabels(path) };
  const lines = await readCsv(path, start, classes, ID_COLUMN, SEND_HINT);
  return { kind: 'csv', path, byId: new Map(Array.from(lines, ([id, { label }]) => [id, label])) };
}

/**
 * Reads such a CSV with the line of every id. A column named `id` is preferred to one named `file` or `path`, which a
 * folder's labels have too (imagehub export).
 * @param hint what to do about a bad file
 * @throws HubError BAD_FILE with line numbers; also when a label names no class.
 */
export async function readLabelLines(
  path: string,
  classes: readonly string[],
  hint: string,
): Promise<Map<string, LabelLine>> {
  const start = await firstBytes(path);
  if (idxKind(start)) throw new HubError('BAD_FILE', `${path} is an IDX file, which holds no ids.`, { hint });
  return readCsv(path, start, classes, /^id$/i, hint);
}

async function firstBytes(path: string): Promise<Buffer> {
  try {
    for await (const chunk of readUnpacked(path)) return chunk;
    return Buffer.alloc(0);
  } catch (error) {
    throw new HubError('BAD_FILE', `Cannot read the labels in ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

interface Row {
  line: number;
  cells: string[];
}

async function readCsv(
  path: string,
  start: Buffer,
  classes: readonly string[],
  preferred: RegExp,
  hint: string,
): Promise<Map<string, LabelLine>> {
  const byId = new Map<string, LabelLine>();
  const bad = (what: string, cause?: unknown) => badCsv(path, what, hint, cause);
  const problems: string[] = [];
  const unknown = new Map<string, number>();
  let columns: { id: number; label: number } | undefined;
  for await (const { line, cells } of rows(path, start, bad)) {
    if (columns === undefined) {
      columns = headerColumns(cells, preferred) ?? undefined;
      if (columns) continue;
      columns = { id: 0, label: 1 };
      if (cells.length !== 2) {
        throw bad(`line ${line} has ${cells.length} columns and no header that says which two are meant`);
      }
    }
    const id = idOfPath(cells[columns.id] ?? '');
    const label = cells[columns.label];
    const earlier = byId.get(id);
    if (id === '' || label === undefined) problems.push(`line ${line}: ${id === '' ? 'no id' : 'no label'}`);
    else if (label === '')
      continue; // unknown
    else if (earlier && earlier.label !== label) {
      problems.push(`line ${line}: ${id} is ${label}, but ${earlier.label} in line ${earlier.line}`);
    } else {
      if (resolveLabel(label, classes) === null && !unknown.has(label)) unknown.set(label, line);
      byId.set(id, { label, line });
    }
  }
  if (problems.length > 0) throw bad(some(problems));
  if (unknown.size > 0) {
    const names = [...unknown].map(([label, line]) => `“${label}” (line ${line})`);
    throw bad(`no class of the dataset: ${some(names)}. Its classes are: ${classes.join(', ')}`);
  }
  if (byId.size === 0) throw bad('it holds no labels');
  return byId;
}

/** The first few; the rest is counted. */
export const some = (texts: string[]): string =>
  texts.slice(0, SHOWN).join('; ') + (texts.length > SHOWN ? `; and ${texts.length - SHOWN} more` : '');

/** Which columns hold id and label, when the first line is a header; columns in between may be anything. */
function headerColumns(cells: string[], preferred: RegExp): { id: number; label: number } | null {
  const exact = cells.findIndex((cell) => preferred.test(cell));
  const id = exact >= 0 ? exact : cells.findIndex((cell) => ID_COLUMN.test(cell));
  const label = cells.findIndex((cell) => LABEL_COLUMN.test(cell));
  return id >= 0 && label >= 0 ? { id, label } : null;
}

async function* rows(
  path: string,
  start: Buffer,
  bad: (what: string, cause: unknown) => HubError,
): AsyncGenerator<Row> {
  const [firstLine = ''] = start.toString('utf8').split('\n', 1);
  const delimiter = [',', '\t', ';'].find((candidate) => firstLine.includes(candidate)) ?? ',';
  const parser = Readable.from(readUnpacked(path)).pipe(
    parse({ delimiter, bom: true, trim: true, info: true, relax_column_count: true, skip_empty_lines: true }),
  );
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: Info }>) {
      yield { line: info.lines, cells: record };
    }
  } catch (error) {
    if (error instanceof HubError) throw error;
    throw bad(errorText(error), error);
  }
}

const badCsv = (path: string, what: string, hint: string, cause: unknown) =>
  new HubError('BAD_FILE', `Labels in ${path}: ${what}.`, { hint, cause });
