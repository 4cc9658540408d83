import type { Table } from '../../kudu/index.ts';
import type { UnclassifiedImage } from '../../sql/backlog.ts';
import type { BacklogQuery } from '../../sql/stored-verdicts.ts';
import { rowsOfIds } from '../scan-ids.ts';
import { TRIED, type TriedRow, triedOf } from './verdict-cells.ts';

/** A stored image that waits for the classifier. */
export interface Waiting {
  id: string;
  /** About; not more. */
  bytes: number;
}

/** Those of a dataset, as far as they are remembered. */
export interface FoundWaiting {
  /** In the order of their places in Kudu: of those that lie together, the images are read quickly. */
  waiting: Waiting[];
  /** How many more there are. */
  beyond: number;
}

/** Remembered at a time, some 10 MB: of more, the first are found again when these are done. */
const REMEMBERED = 100_000;
const TABLETS_AT_ONCE = 8;
/** Of predictions that are none, as the server is asked. */
const WITHOUT_PREDICTION = { prediction: -1 };

type Cells = Record<string, unknown>;

const isWaiting = ({ promotionNo, attempts }: TriedRow, query: BacklogQuery): boolean =>
  attempts < query.attempts || promotionNo !== query.model.promotionNo;

/** @param cellBytes the most bytes of an image's cell */
export async function findWaiting(
  table: Table,
  query: BacklogQuery,
  cellBytes: number,
  remembered = REMEMBERED,
): Promise<FoundWaiting> {
  const waiting: Waiting[] = [];
  const scan = table.scan({
    columns: ['id', 'byte_size', ...TRIED],
    where: WITHOUT_PREDICTION,
    faultTolerant: true,
    cacheBlocks: false,
  });
  for await (const row of scan.rows()) {
    if (!isWaiting(triedOf(row), query)) continue;
    waiting.push({ id: row.id as string, bytes: (row.byte_size as number | null) ?? cellBytes });
    if (waiting.length === remembered)
      return { waiting, beyond: (await countWaiting(table, query)) - remembered };
  }
  return { waiting, beyond: 0 };
}

async function countWaiting(table: Table, query: BacklogQuery): Promise<number> {
  let count = 0;
  const scan = table.scan({
    columns: TRIED,
    where: WITHOUT_PREDICTION,
    cacheBlocks: false,
    parallel: TABLETS_AT_ONCE,
  });
  for await (const row of scan.rows()) if (isWaiting(triedOf(row), query)) count++;
  return count;
}

/** Takes the first of them; one that is larger than `bytes` is taken alone. */
export function takeFirst(
  found: FoundWaiting,
  { images, bytes }: { images: number; bytes: number },
): Waiting[] {
  let sum = 0;
  const over = found.waiting.slice(0, images).findIndex((image) => (sum += image.bytes) > bytes);
  return found.waiting.splice(0, over < 0 ? images : Math.max(over, 1));
}

const CONTENT = ['sha256', 'source_topic', 'source_partition', 'source_epoch', 'source_offset'];

/** Tells bytes apart: by their hash, or, where the dataset keeps none, by the message that they came with. */
const contentOf = (row: Cells): string =>
  (row.sha256 as string | null) ??
  CONTENT.slice(1)
    .map((name) => String(row[name]))
    .join('/');

/** An image that waits, and how it is known again. */
export interface WaitingImage extends UnclassifiedImage {
  content: string;
}

/** Those of the images that still wait, in the given order. */
export async function readWaiting(table: Table, ids: string[], query: BacklogQuery): Promise<WaitingImage[]> {
  const images = new Map<string, WaitingImage>();
  const columns = ['id', 'image_base64', ...TRIED, ...CONTENT];
  for await (const row of rowsOfIds(table, columns, ids, WITHOUT_PREDICTION)) {
    if (!isWaiting(triedOf(row), query)) continue;
    const {
      id,
      image_base64: imageBase64,
      sha256,
    } = row as { id: string; image_base64: string | null; sha256: string | null };
    images.set(id, {
      id,
      sha256: sha256 === null ? null : Buffer.from(sha256, 'hex'),
      imageBase64: imageBase64 ?? '',
      content: contentOf(row),
    });
  }
  return ids.flatMap((id) => images.get(id) ?? []);
}

/** Of the images those that still hold the same bytes and wait, with what is known of each. */
export async function readStillWaiting(
  table: Table,
  images: readonly WaitingImage[],
  query: BacklogQuery,
): Promise<Map<string, TriedRow>> {
  const content = new Map(images.map((image) => [image.id, image.content]));
  const still = new Map<string, TriedRow>();
  for await (const row of rowsOfIds(
    table,
    ['id', ...TRIED, ...CONTENT],
    [...content.keys()],
    WITHOUT_PREDICTION,
  )) {
    const id = row.id as string;
    const tried = triedOf(row);
    if (isWaiting(tried, query) && contentOf(row) === content.get(id)) still.set(id, tried);
  }
  return still;
}
