import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { RowReader } from '../../sql/binary-rows.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import type { StoredRowsRequest } from '../../sql/stored-images.ts';
import { COLUMN_NAMES } from '../../export/columns.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];
const LIMITS = { rows: 64, bytes: 50_000 };
const ALL = [
  ...COLUMN_NAMES.map((name) => ({ image: 'image_base64', known_class: 'known_label' })[name] ?? name),
  'exif_text',
  'predicted',
  'source_epoch',
  'classify_attempts',
].map((name) => (name === 'predicted_class' ? 'predicted' : name));

/** The chunks that a store gives. */
const chunks = (at: Twins, store: StoreName, request: Partial<StoredRowsRequest>) =>
  Array.fromAsync(
    at.stores[store].images.rows(
      at.pool,
      { columns: ['id'], ...request, dataset: at.datasets[store] },
      LIMITS,
    ),
  );

/** Each row's fields as they are, a byte for a character. */
function fields(bytes: Uint8Array<ArrayBuffer>, columns: number): (string | null)[][] {
  const reader = new RowReader(bytes);
  const rows: (string | null)[][] = [];
  while (reader.next()) {
    rows.push(Array.from({ length: columns }, () => reader.bytea()?.toString('latin1') ?? null));
  }
  return rows;
}

/** Their first column, which is text. */
async function ids(at: Twins, store: StoreName, request: Partial<StoredRowsRequest>): Promise<string[]> {
  return (await chunks(at, store, { ...request, columns: ['id'] })).flatMap(({ bytes }) => {
    const reader = new RowReader(bytes);
    const found: string[] = [];
    while (reader.next()) found.push(reader.text()!);
    return found;
  });
}

describe('rows of a dataset', () => {
  let shared: Promise<Twins>;
  beforeAll(() => (shared = twins((pool, dataset) => insertOddRows(pool, dataset, 300))));
  afterAll(async () => (await shared)[Symbol.asyncDispose]());

  test('are the same in every store, byte for byte, in the order of their ids', async () => {
    const at = await shared;
    const [inPostgres, inKudu] = await Promise.all(
      STORES.map(async (store) => {
        const found = await chunks(at, store, { columns: ALL });
        for (const { rows, bytes } of found) {
          expect(rows).toBeLessThanOrEqual(LIMITS.rows);
          expect(bytes.buffer.byteLength).toBe(bytes.byteLength);
        }
        expect(found.length).toBeGreaterThan(4);
        return found.flatMap(({ bytes }) => fields(bytes, ALL.length));
      }),
    );
    expect(inKudu).toHaveLength(300);
    // Row by row: what differs is shown.
    inPostgres!.forEach((row, i) => expect(inKudu![i]).toEqual(row));
    expect(await ids(at, 'kudu', {})).toEqual(await ids(at, 'postgres', {}));
  });

  test.each<[string, Partial<StoredRowsRequest>]>([
    ['a range of ids', { from: 'test/B', before: 'train/ä' }],
    ['a range with its last', { from: 'test/B', through: 'train/B97.png' }],
    ['behind an id', { after: 'test/🦊4.png', limit: 20 }],
    [
      'times',
      { selection: { since: new Date('2026-03-01T01:00:00Z'), until: new Date('2026-03-01T02:00:00Z') } },
    ],
    ['a condition', { selection: { where: "known_label in (3, 8) and i.format = 'png' -- digits" } }],
    [
      'a condition on a document',
      { selection: { where: "exif->>'longer' > '1' or (exif->'big')::numeric > 1e20" } },
    ],
    ['a condition on lists', { selection: { where: "'#00ff00' = any(dominant_colours) or scores[1] > 20" } }],
    ['a condition on bytes', { selection: { where: "sha256 < '\\x80' and length(image_pgm) > 0" } }],
    [
      'a condition on times',
      { selection: { where: "predicted_at > '2026-01-01 12:36:00Z' and labelled_at = 'infinity'" } },
    ],
    [
      'a condition about other rows',
      {
        from: 'train/',
        selection: {
          where:
            "width in (select i.width from public.images) or id in (select replace(i.id, 'train', 'test') from THIS i)",
        },
      },
    ],
    ['a condition of ours', { condition: 'i.prediction = -1 and i.promotion_no is distinct from 2' }],
    ['a sample', { selection: { sample: { share: 0.2, seed: 5, byClass: false } } }],
    [
      'a sample of each class',
      {
        from: 'train/',
        selection: { where: 'prediction > 2', sample: { share: 0.2, seed: 5, byClass: true } },
      },
    ],
    [
      'one that was drawn',
      {
        selection: {
          sample: { share: 0.2, seed: 5, byClass: true },
          drawn: { 3: String(2n ** 61n), '-1': String(2n ** 62n) },
        },
      },
    ],
    ['short ids first', { order: 'length', limit: 50 }],
    [
      'short ids first, going on',
      { order: 'length', after: 'train/ä10.png', selection: { where: 'known_label > 4' } },
    ],
  ])('%s: the same in every store', async (_, request) => {
    const at = await shared;
    const [inPostgres, inKudu] = await Promise.all(
      STORES.map(async (store) => {
        const { where } = request.selection ?? {};
        const selection = { ...request.selection, where: where?.replace('THIS', at.datasets[store]) };
        const counted: number[] = [];
        const found = await ids(at, store, {
          ...request,
          selection,
          counted: (images) => counted.push(images),
        });
        expect(await ids(at, store, { ...request, selection })).toEqual(found);
        return { found, counted };
      }),
    );
    expect(inPostgres!.found.length).toBeGreaterThan(0);
    expect(inPostgres!.found.length).toBeLessThan(300);
    expect(inKudu).toEqual(inPostgres);
  });
});
