import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DataType, type RecordBatch } from 'apache-arrow';
import { setTimeout as sleep } from 'node:timers/promises';
import { images, type ImagesOptions } from '../../api.ts';
import { COLUMN_NAMES } from '../../export/columns.ts';
import { createDataset } from '../../sql/datasets.ts';
import { insertImage } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const ROWS = 3000;
const LONG_AGO = '1712-05-01 12:34:56.654321+00';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog', 'ünkä'] });
  // Values of all kinds, nulls among them, and bytes of all lengths.
  await db.pool.query(`
    begin; set local imagehub.writer = 'ingest';
    insert into pets (id, image_base64, image_pgm, prediction, confidence, scores, model_id, promotion_no, predicted_at,
      classify_error, known_label, format, width, height, sha256, phash, latitude, captured_at, camera, exif, source_offset,
      colour_space, brightness, blank, over_exposed, dominant_colours, captured_offset, altitude, lens, aperture, exposure_time, iso, focal_length)
    select 'ä' || lpad(n::text, 5, '0'), translate(encode(repeat(chr(32 + n % 90), n % 700)::bytea, 'base64'), E'\\n', ''),
      decode(repeat(lpad(to_hex(n % 256), 2, '0'), n % 50), 'hex'), n % 4 - 1, nullif(n % 7, 0) / 7.0,
      case when n % 5 > 0 then (array[n / 3.0, -n, 0.5]::real[])[1:n % 5] end, 1000000007::bigint * n, nullif(n % 3, 0),
      timestamptz '2026-01-01 00:00:00.000001+00' + n * interval '1 day 1 microsecond', case when n % 2 = 0 then 'é' || n end,
      nullif(n % 4, 3), case when n % 3 = 0 then 'png' end, n, nullif(n, 5), sha256(n::text::bytea),
      (-300000007::bigint) * n * n * n, n / 8.0, case n when 1 then 'infinity' when 2 then '${LONG_AGO}' end::timestamptz,
      case when n % 3 = 1 then repeat('x', n % 60) end, case when n % 3 = 1 then jsonb_build_object('n', n) end, n::bigint << 35,
      case when n % 5 = 1 then 'Display P3' end, n / 3000.0, case when n % 7 > 0 then n % 3 = 0 end, n % 2 = 0,
      case when n % 5 > 0 then (array['#' || n, 'ä', '', '#ffffff'])[1:n % 5 - 1] end, n % 100, -n / 7.0, 'lens ' || n, n / 10.0,
      1.0 / (n + 1), nullif(n, 3), n * 1.5
    from generate_series(0, ${ROWS - 1}) n; commit`);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const read = (options: ImagesOptions = {}) => images('pets', { url: db.url, ...options });
async function all(options: ImagesOptions = {}): Promise<RecordBatch[]> {
  return Array.fromAsync(read(options));
}

/** A value as text that says all of it. */
function shown(type: DataType, batch: RecordBatch, name: string, row: number): unknown {
  const vector = batch.getChild(name)!;
  const value: unknown = vector.get(row);
  if (value === null) return null;
  if (DataType.isBinary(type)) return Buffer.from(value as Uint8Array).toString('hex');
  if (DataType.isTimestamp(type)) return String((vector.data[0]!.values as BigInt64Array)[row]);
  if (DataType.isList(type)) return Array.from(value as Iterable<number>);
  return typeof value === 'bigint' ? String(value) : value;
}

const asFloat4 = (value: unknown): unknown =>
  typeof value === 'number' ? Math.fround(value) : Array.isArray(value) ? value.map(Math.fround) : value;

describe('images()', () => {
  test('gives every column of every row as the table holds it', async () => {
    const batches = await all({ columns: ['all'], batchRows: 700 });
    expect(batches.map(({ numRows }) => numRows)).toEqual([700, 700, 700, 700, 200]);
    expect(batches[0]!.schema.names).toEqual(COLUMN_NAMES);
    const microseconds = (column: string) =>
      `case when isfinite(${column}) then (extract(epoch from ${column}) * 1000000)::bigint::text end as ${column}`;
    const { rows } = await db.pool.query<Record<string, unknown>>(`
      select i.*, encode(decode(image_base64, 'base64'), 'hex') as image, encode(image_pgm, 'hex') as image_pgm,
        k.name as known_class, p.name as predicted_class, model_id::text, promotion_no::text, phash::text,
        source_offset::text, revision::text, encode(sha256, 'hex') as sha256, exif::text,
        ${['predicted_at', 'labelled_at', 'captured_at', 'source_timestamp', 'ingested_at'].map(microseconds).join(', ')}
      from pets i left join imagehub.classes k on k.dataset = i.dataset and k.index = known_label
        left join imagehub.classes p on p.dataset = i.dataset and p.index = prediction order by i.id`);
    let n = 0;
    for (const batch of batches) {
      for (let row = 0; row < batch.numRows; row++, n++) {
        for (const { name, type, nullable } of batch.schema.fields) {
          const value = shown(type, batch, name, row);
          if (value === null && !nullable) throw new Error(`${name} is null`);
          const stored = rows[n]![name];
          // PostgreSQL writes as few digits as tell one float4 from the next.
          const expected = /Float32/.test(String(type)) ? asFloat4(stored) : stored;
          if (JSON.stringify(value) !== JSON.stringify(expected)) {
            expect({ n, name, value }).toEqual({ n, name, value: expected });
          }
        }
      }
    }
    expect(n).toBe(ROWS);
  });

  test('has Arrow’s types, and columns as typed arrays of a batch', async () => {
    const [batch] = await all({
      columns: ['known_label', 'confidence', 'scores', 'predicted_at', 'known_class', 'image'],
    });
    expect(batch!.schema.fields.map(({ name, type }) => `${name} ${String(type)}`)).toEqual([
      'known_label Int32',
      'confidence Float32',
      'scores List<Float32>',
      'predicted_at Timestamp<MICROSECOND, UTC>',
      'known_class Dictionary<Int32, Utf8>',
      'image Binary',
    ]);
    expect(batch!.getChild('confidence')!.toArray()).toBeInstanceOf(Float32Array);
    expect(JSON.parse(batch!.schema.metadata.get('classes')!)).toEqual(['cat', 'dog', 'ünkä']);
  });

  test('selects by condition, time and number, in the order of the ids', async () => {
    const ids = async (options: ImagesOptions) =>
      (await all({ ...options, columns: ['id'] })).flatMap((batch) => [
        ...(batch.getChild('id') as Iterable<string>),
      ]);
    expect(await ids({ where: 'width between 10 and 12' })).toEqual(['ä00010', 'ä00011', 'ä00012']);
    expect(await ids({ where: 'width > 10 -- and more', limit: 2 })).toEqual(['ä00011', 'ä00012']);
    expect(await ids({ until: new Date(0) })).toEqual([]);
    expect(await ids({ since: new Date(0), limit: 1 })).toEqual(['ä00000']);
    expect((await ids({ order: 'any' })).sort()).toHaveLength(ROWS);
  });

  test('reads large images whole, in batches of some megabytes', async () => {
    await createDataset(db.pool, { name: 'photos', classes: ['one'] });
    const bytes = Buffer.alloc(3_000_000, 'photo');
    for (let n = 0; n < 5; n++) {
      await insertImage(db.pool, 'photos', { id: `p${n}`, image_base64: bytes.toString('base64') });
    }
    const sizes: number[] = [];
    for await (const batch of images('photos', { url: db.url, columns: ['image'] })) {
      sizes.push(batch.numRows);
      for (const image of batch.getChild('image') as Iterable<Uint8Array>)
        expect(bytes.equals(image)).toBe(true);
    }
    expect(sizes.reduce((sum, size) => sum + size)).toBe(5);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(2);
  });

  test('of an empty dataset is nothing', async () => {
    await createDataset(db.pool, { name: 'empty', classes: ['one'] });
    expect(await Array.fromAsync(images('empty', { url: db.url }))).toEqual([]);
  });
});

describe('leaving the loop early', () => {
  const sessions = async () =>
    (
      await db.pool.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where datname = current_database() and query like 'copy%' and pid <> pg_backend_pid()",
      )
    ).rows[0]!.n;

  test('closes the connection, although there is much more to come', async () => {
    // More than fits into the buffers between here and there.
    const where = 'exists (select from generate_series(1, 2))';
    for await (const batch of read({ columns: ['all'], batchRows: 10, where })) {
      expect(batch.numRows).toBe(10);
      expect(await sessions()).toBe(1);
      break;
    }
    for (let tries = 0; (await sessions()) > 0 && tries < 100; tries++) await sleep(50);
    expect(await sessions()).toBe(0);
  });

  test('as an abort does, which says so', async () => {
    const stop = new AbortController();
    const reading = read({ columns: ['all'], batchRows: 10, signal: stop.signal });
    await reading.next();
    stop.abort();
    await expect(reading.next()).rejects.toMatchObject({ code: 'INTERRUPTED' });
    for (let tries = 0; (await sessions()) > 0 && tries < 100; tries++) await sleep(50);
    expect(await sessions()).toBe(0);
  });
});

describe('errors are clear:', () => {
  test.each<[string, ImagesOptions, object]>([
    [
      'no such column',
      { columns: ['id', 'picture'] },
      { code: 'USAGE', message: expect.stringContaining('picture') },
    ],
    ['a column twice', { columns: ['id', 'id'] }, { code: 'USAGE' }],
    ['no column', { columns: [] }, { code: 'USAGE' }],
    ['a condition that is none', { where: 'nonsense here' }, { code: 'USAGE' }],
    [
      'a condition that fails for some row',
      { where: '1 / (width - 2500) >= 0' },
      { code: 'USAGE', message: expect.stringContaining('division by zero') },
    ],
    ['a condition that writes', { where: "nextval('imagehub.revision') > 0" }, { code: 'USAGE' }],
    [
      'a condition that is more than one',
      { where: 'true); delete from pets; select (true' },
      { code: 'USAGE' },
    ],
    [
      'a condition that leaves the query',
      { where: "true)) to program 'touch /tmp/never' --" },
      { code: 'USAGE' },
    ],
    ['no server', { url: 'postgresql://127.0.0.1:1/none' }, { code: 'SERVER_UNREACHABLE' }],
  ])('%s', async (_, options, error) => {
    await expect(all(options)).rejects.toMatchObject(error);
    expect((await db.pool.query('select count(*)::int as n from pets')).rows).toEqual([{ n: ROWS }]);
  });

  test('no such dataset', async () => {
    await expect(Array.fromAsync(images('nowhere', { url: db.url }))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('a connection that is cut on the way', async () => {
    // 20 MB: more than fits into the buffers on the way.
    const reading = images('photos', { url: db.url, batchRows: 1 });
    await reading.next();
    await db.pool.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'copy%' and pid <> pg_backend_pid()",
    );
    const rest = (async () => {
      for await (const _ of reading);
    })();
    await expect(rest).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
  });
});
