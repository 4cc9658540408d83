import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { parquetReadObjects } from 'hyparquet';
import { images, type ImagesOptions } from '../../api.ts';
import { type ExportFormat, exportImages, type ExportRequest } from '../../export/export.ts';
import { getDataset } from '../../sql/datasets.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import { digitPixels } from '../support/digits.ts';
import { imagehub } from '../support/imagehub.ts';
import { temporaryFolder, type TemporaryFolder } from '../support/temporary-folder.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const compressors = { ZSTD: (input: Uint8Array) => new Uint8Array(zstdDecompressSync(input)) };
const STORES = Object.keys(STORE_SUPPORT) as StoreName[];

describe('what is exported', () => {
  let at: Twins;
  let folder: TemporaryFolder;
  let number = 0;
  beforeAll(async () => {
    folder = await temporaryFolder();
    at = await twins(async (pool, dataset) => {
      await insertOddRows(pool, dataset, 300);
      // As the renditions of digits are.
      const { rows } = await pool.query<{ id: string; n: number }>(
        `select id, byte_size as n from ${dataset}`,
      );
      const pgm = ({ n }: { n: number }) =>
        Buffer.concat([Buffer.from('P5\n28 28\n255\n'), digitPixels(n % 10, n)]);
      await pool.query(
        `update ${dataset} i set image_pgm = t.pgm from unnest($1::text[], $2::bytea[]) t (id, pgm) where i.id = t.id`,
        [rows.map(({ id }) => id), rows.map(pgm)],
      );
      await pool.query(`update ${dataset} set format = null where id like '%7.png'`);
    });
  });
  afterAll(async () => {
    await at[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });
  beforeEach(() => void number++);

  const read = async (store: StoreName, options: ImagesOptions): Promise<unknown[]> => {
    const where = { url: at.database.url, kuduMasters: at.kudu };
    const batches = await Array.fromAsync(images(at.datasets[store], { ...where, ...options }));
    expect(batches.every(({ schema }) => schema.metadata.get('dataset') === at.datasets[store])).toBe(true);
    return batches.flatMap((batch) =>
      batch.toArray().map((row: { toJSON(): unknown }) => plain(row.toJSON())),
    );
  };

  test.each<[string, ImagesOptions]>([
    ['all of it', { columns: ['all'] }],
    ['what training needs', { batchRows: 100 }],
    ['a condition', { columns: ['id', 'exif', 'scores'], where: "camera = '相机1' and blank" }],
    ['a sample', { sample: { share: 0.3, seed: 2, byClass: true }, columns: ['id', 'predicted_class'] }],
    ['the first few', { limit: 7, since: new Date('2026-03-01T02:00:00Z') }],
    ['none', { where: 'false' }],
  ])('as batches of %s is the same in every store', async (_, options) => {
    const [inPostgres, inKudu] = await Promise.all(STORES.map((store) => read(store, options)));
    expect(inKudu).toEqual(inPostgres);
    // In another order all the same.
    const lying = await read('kudu', { ...options, order: 'any' });
    if (options.limit === undefined) expect(new Set(lying.map(idOf))).toEqual(new Set(inKudu!.map(idOf)));
  });

  /** The files of an export by name, as read again. */
  const files = async (output: string): Promise<Record<string, unknown>> => {
    const names = (await readdir(output, { recursive: true, withFileTypes: true })).filter((entry) =>
      entry.isFile(),
    );
    const found = names.map(async ({ parentPath, name }): Promise<[string, unknown]> => {
      const bytes = await readFile(join(parentPath, name));
      const { buffer, byteOffset, length } = bytes;
      const rows = () =>
        parquetReadObjects({ file: buffer.slice(byteOffset, byteOffset + length), utf8: false, compressors });
      const short = join(parentPath, name).slice(output.length + 1);
      return [short, name.endsWith('.parquet') ? plain(await rows()) : bytes.toString('latin1')];
    });
    const all = Object.fromEntries(await Promise.all(found));
    delete all['_export.json'];
    return all;
  };

  const write = async (store: StoreName, format: ExportFormat, request: Partial<ExportRequest>) => {
    const output = folder.at(`${store}-${number}`);
    const dataset = await getDataset(at.pool, at.datasets[store]);
    return exportImages(at, dataset, { format, output, selection: {}, name: 'digits', ...request });
  };

  test.each<[ExportFormat, Partial<ExportRequest>]>([
    ['parquet', { columns: ['id', 'image', 'known_class', 'exif'], partRows: 64 }],
    ['folder', { selection: { where: 'prediction > 0' } }],
    ['idx', { selection: { where: 'known_label is not null' } }],
  ])(
    'as %s is the same in every store, also where it was interrupted and went on',
    async (format, request) => {
      const whole = await write('postgres', format, request);
      const stop = new AbortController();
      const interrupted = write('kudu', format, {
        ...request,
        partRows: request.partRows ?? 50,
        signal: stop.signal,
        onProgress: () => stop.abort(),
      });
      await expect(interrupted).rejects.toMatchObject({ code: 'INTERRUPTED' });
      const rest = await write('kudu', format, request);
      expect(rest).toMatchObject({ images: whole.images, dataset: at.datasets.kudu });
      expect(rest.imagesBefore).toBeGreaterThan(0);
      expect(rest.imagesBefore).toBeLessThan(whole.images);
      expect(await files(rest.output)).toEqual(await files(whole.output));
    },
  );

  test('is what the command writes', async () => {
    const output = folder.at(`command-${number}`);
    const env = {
      IMAGEHUB_POSTGRES_URL: at.database.url,
      IMAGEHUB_KUDU_MASTERS: at.kudu.join(','),
      IMAGEHUB_KAFKA_BROKERS: '',
    };
    const options = ['--format', 'arrow', '--output', output, '--where', 'known_label = 3', '--json'];
    const { status, stdout, stderr } = await imagehub(['export', at.datasets.kudu, ...options], { env });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const { rows } = await at.pool.query<{ n: number }>(
      'select count(*) as n from digits where known_label = 3',
    );
    expect(JSON.parse(stdout)).toMatchObject({ dataset: at.datasets.kudu, images: rows[0]!.n });
  });
});

/** Comparable, and shown where it differs. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, part: unknown) =>
      typeof part === 'bigint'
        ? `${part}n`
        : part instanceof Uint8Array
          ? Buffer.from(part).toString('hex')
          : typeof part === 'number' && !Number.isFinite(part)
            ? String(part)
            : part,
    ),
  );

const idOf = (row: unknown) => (row as { id: string }).id;
