import { describe, expect, test } from '@jest/globals';
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
  test('are the same in every store, byte for byte, in the order of their ids', async () => {
    await using at = await twins((pool, dataset) => insertOddRows(pool, dataset, 300));
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
});
