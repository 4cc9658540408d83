import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, readdirSync } from 'node:fs';
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { tableFromIPC } from 'apache-arrow';
import { parquetReadObjects } from 'hyparquet';
import { loadConfig } from '../../config.ts';
import { type ExportFormat, exportImages, type ExportRequest } from '../../export/export.ts';
import { holdFolder } from '../../export/state.ts';
import { openDirectSink } from '../../ingest/direct.ts';
import { openFolder } from '../../ingest/senders/folder.ts';
import { openIdx } from '../../ingest/senders/idx.ts';
import type { ImageSource } from '../../ingest/senders/image.ts';
import { readLabelFile } from '../../ingest/senders/labels-file.ts';
import { withLabels } from '../../ingest/senders/open.ts';
import { createLogger } from '../../log.ts';
import { createDataset, getDataset } from '../../sql/datasets.ts';
import { digitPixels, digitPng, SIDE } from '../support/digits.ts';
import { idxImages, idxLabels } from '../support/idx-files.ts';
import { recordOmissions } from '../support/omissions.ts';
import { TEN } from '../support/pipeline.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { POSTGRES_STORES } from '../support/stores.ts';
import { temporaryFolder, type TemporaryFolder } from '../support/temporary-folder.ts';

const DIGITS = 250;
const IDX = 'train-images-idx3-ubyte';
const never = new AbortController().signal;

let db: TestDatabase;
let folder: TemporaryFolder;
let idx: { images: Buffer; labels: Buffer };
beforeAll(async () => {
  db = await freshDatabase();
  folder = await temporaryFolder();
  // 250 handwritten digits in IDX form, sent by the pipeline's own way.
  const values = Array.from({ length: DIGITS }, (_, n) => n % 10);
  const pixels = values.map((digit, n) => digitPixels(digit, n));
  idx = {
    images: Buffer.concat([idxImages(DIGITS, SIDE, SIDE).subarray(0, 16), ...pixels]),
    labels: idxLabels(values),
  };
  await createDataset(db.pool, { name: 'digits', classes: TEN });
  const path = await folder.write(IDX, idx.images);
  const labels = { path: 'labels', values: Uint8Array.from(values) };
  await send('digits', await openIdx(path, labels, TEN));
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Straight through the pipeline into a dataset. */
async function send(name: string, source: ImageSource, labels: string | null = null): Promise<void> {
  const dataset = await getDataset(db.pool, name);
  const servers = { postgres: db.url, kafka: null, elasticsearch: null, kudu: null };
  const config = { ...loadConfig({}), workers: 1 };
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  const sink = await openDirectSink(config, servers, dataset, log);
  const labelFile = labels === null ? null : await readLabelFile(labels, dataset.classes);
  await sink.send(await Array.fromAsync(withLabels(source.images(undefined, never), labelFile, null)));
  await sink.close();
}

let output: string;
let number = 0;
beforeEach(() => {
  output = folder.at(`export-${number++}`);
});

const run = async (format: ExportFormat, request: Partial<ExportRequest> = {}, dataset = 'digits') =>
  exportImages({ pool: db.pool, stores: POSTGRES_STORES }, await getDataset(db.pool, dataset), {
    format,
    output,
    selection: {},
    ...request,
  });

const stored = async (columns: string, dataset = 'digits') =>
  (await db.pool.query<Record<string, unknown>>(`select ${columns} from ${dataset} order by id`)).rows;

const readParquet = async (file: string) => {
  const bytes = await readFile(file);
  return parquetReadObjects({
    file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer,
    compressors: { ZSTD: (input: Uint8Array) => new Uint8Array(zstdDecompressSync(input)) },
    utf8: false,
  });
};

const hex = (bytes: unknown) => Buffer.from(bytes as Uint8Array).toString('hex');

describe('Arrow files', () => {
  test('hold what the table holds, in parts that other readers take together', async () => {
    const columns = ['id', 'image', 'image_pgm', 'known_label', 'known_class', 'ingested_at', 'width'];
    const result = await run('arrow', { columns, partRows: 100 });
    const files = ['part-00000.arrow', 'part-00001.arrow', 'part-00002.arrow'];
    expect(result).toMatchObject({ images: DIGITS, imagesBefore: 0 });
    expect(result.files.map(({ file, images }) => [file, images])).toEqual(
      files.map((file, n) => [file, [100, 100, 50][n]]),
    );
    expect((await readdir(output)).sort()).toEqual(['_export.json', ...files]);
    const parts = await Promise.all(files.map((file) => readFile(join(output, file))));
    const [first, ...rest] = parts.map((bytes) => tableFromIPC(bytes));
    const table = first!.concat(...rest);
    expect(table.schema.names).toEqual(columns);
    expect(table.numRows).toBe(DIGITS);
    const rows = await stored(
      "id, decode(image_base64, 'base64') as image, image_pgm, known_label, ingested_at, width",
    );
    for (const [n, row] of rows.entries()) {
      const found = table.get(n)!;
      expect(found.id).toBe(row.id);
      expect(hex(found.image)).toBe(hex(row.image));
      expect(hex(found.image_pgm)).toBe(hex(row.image_pgm));
      expect([found.known_label, found.known_class, found.width]).toEqual([
        row.known_label,
        String(row.known_label),
        28,
      ]);
      expect(Math.floor(found.ingested_at as number)).toBe((row.ingested_at as Date).getTime());
    }
  });
});

describe('Parquet files', () => {
  test('hold what the table holds', async () => {
    await db.pool.query(
      `begin; set local imagehub.writer = 'ingest';
       update digits set scores = case when id like '%3' then array[0.25, 0.5]::real[] end, confidence = 0.5,
         latitude = 1.5, known_label = nullif(known_label, 4), captured_at = '2026-01-02 03:04:05.678Z',
         blank = case when id like '%4' then null else id like '%5' end,
         dominant_colours = case when id like '%3' then array['#000000', 'ü', ''] when id like '%4' then '{}' end; commit`,
    );
    const columns = [
      'image',
      'known_label',
      'known_class',
      'scores',
      'confidence',
      'latitude',
      'captured_at',
      'blank',
      'dominant_colours',
      'revision',
    ];
    await run('parquet', { columns });
    const found = await readParquet(join(output, 'part-00000.parquet'));
    const rows = await stored(
      "decode(image_base64, 'base64') as image, known_label, known_label::text as known_class, scores, confidence, latitude, captured_at, blank, dominant_colours, revision",
    );
    expect(found).toHaveLength(DIGITS);
    for (const [n, row] of rows.entries()) {
      const { image, revision, scores = null, blank = null, dominant_colours = null, ...rest } = found[n]!;
      expect(hex(image)).toBe(hex(row.image));
      expect(Number(revision)).toBe(row.revision);
      expect({ ...rest, scores, blank, dominant_colours }).toEqual({
        blank: row.blank,
        dominant_colours: row.dominant_colours,
        known_label: row.known_label,
        known_class: row.known_class,
        scores: row.scores,
        confidence: 0.5,
        latitude: 1.5,
        captured_at: row.captured_at,
      });
    }
    await db.pool.query(
      "begin; set local imagehub.writer = 'ingest'; update digits set known_label = 4 where known_label is null; commit",
    );
  });
});

describe('folders', () => {
  test('hold the original bytes by class; sent into another dataset they are the same images again', async () => {
    await createDataset(db.pool, { name: 'mixed', classes: ['cat', '.', 'a/b'] });
    const files = await temporaryFolder();
    const images: [string, number, string][] = [
      ['x/a.png', 1, 'cat'],
      ['x/b', 2, 'a/b'],
      ['.. /c, "d".png', 3, '.'],
      ['plain', 4, ''],
    ];
    await db.pool.query(
      `insert into mixed (id, image_base64, image_pgm, known_label, format)
       select * from unnest($1::text[], $2::text[], $3::bytea[], $4::int[], $5::text[])`,
      [
        images.map(([id]) => id),
        images.map(([, digit]) => digitPng(digit, 0).toString('base64')),
        images.map(() => Buffer.alloc(0)),
        images.map(([, , label]) => (label === '' ? null : ['cat', '.', 'a/b'].indexOf(label))),
        images.map(([id]) => (id === 'plain' ? null : 'png')),
      ],
    );
    await run('folder', {}, 'mixed');
    expect(await readFile(join(output, 'labels.csv'), 'utf8')).toBe(
      [
        'file,label,id',
        '"%2E/%2E.%20/c, %22d%22.png",.,".. /c, ""d"".png"',
        'unlabelled/plain~.png,,plain',
        'cat/x/a.png,cat,x/a.png',
        'a%2Fb/x/b~.png,a/b,x/b',
        '',
      ].join('\n'),
    );
    expect(await readFile(join(output, 'cat/x/a.png'))).toEqual(digitPng(1, 0));

    await createDataset(db.pool, { name: 'again', classes: ['a/b', 'cat', '.'] });
    const omissions = recordOmissions();
    await send('again', await openFolder(output, omissions), join(output, 'labels.csv'));
    const same = `select image_base64, c.name from %s i left join imagehub.classes c on c.dataset = i.dataset and c.index = known_label order by 1`;
    const read = async (name: string) => (await db.pool.query(same.replace('%s', name))).rows;
    expect(await read('again')).toEqual(await read('mixed'));
    await files[Symbol.asyncDispose]();
  });

  test('of digits in, digits out: every byte', async () => {
    await run('folder');
    await createDataset(db.pool, { name: 'copy', classes: TEN });
    await send('copy', await openFolder(output, recordOmissions()), join(output, 'labels.csv'));
    const key = 'image_base64, known_label, width, phash';
    const read = async (name: string) =>
      (await db.pool.query(`select ${key} from ${name} order by ${key}`)).rows;
    expect(await read('copy')).toEqual(await read('digits'));
  });
});

describe('IDX files', () => {
  test('are those that the images came from, byte by byte', async () => {
    await run('idx', { name: 'train' });
    expect(await readFile(join(output, IDX))).toEqual(idx.images);
    expect(await readFile(join(output, 'train-labels-idx1-ubyte'))).toEqual(idx.labels);
  });

  test.each([
    ['update digits set known_label = null where id = $1', /has no known label.*cannot say so/],
    ["update digits set image_pgm = 'P5\n2 1\n255\nab' where id = $1", /images of one size: .* is 2 × 1/],
  ])('refuse what they cannot hold: %s', async (change, message) => {
    const client = await db.pool.connect();
    try {
      const id = `${IDX}/7`;
      const { rows } = await client.query<{ known_label: number; image_pgm: Buffer }>(
        'select known_label, image_pgm from digits where id = $1',
        [id],
      );
      await client.query(change, [id]);
      await expect(run('idx')).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(message),
      });
      await client.query('update digits set known_label = $2, image_pgm = $3 where id = $1', [
        id,
        rows[0]!.known_label,
        rows[0]!.image_pgm,
      ]);
    } finally {
      client.release();
    }
  });
});

describe('an export of many images', () => {
  const MANY = 20_000;
  beforeAll(async () => {
    await createDataset(db.pool, { name: 'many', classes: TEN });
    await db.pool.query(
      `begin; set local imagehub.writer = 'ingest';
       insert into many (id, image_base64, image_pgm, known_label, format)
       select 'n/' || n, encode(n::text::bytea, 'base64'), convert_to(E'P5\n2 1\n255\n' || chr(65 + n % 26) || chr(65 + n % 7), 'utf8'), n % 10, 'png'
       from generate_series(0, ${MANY - 1}) n; commit`,
    );
  });

  /** Stops after the first batch, as Ctrl-C does. */
  async function interrupt(format: ExportFormat): Promise<void> {
    const stop = new AbortController();
    const stopped = run(
      format,
      { partRows: 5000, signal: stop.signal, onProgress: () => stop.abort() },
      'many',
    );
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  }

  const filesOf = async (of: string) => {
    const names = (await readdir(of, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile() && entry.name !== '_export.json')
      .map((entry) => join(entry.parentPath, entry.name).slice(of.length + 1));
    return new Map(
      await Promise.all(names.sort().map(async (name) => [name, await readFile(join(of, name))] as const)),
    );
  };

  test('lets no other write into its folder meanwhile', async () => {
    let locked = false;
    const onProgress = () => {
      locked = readdirSync(output).includes('_export.lock');
    };
    expect(await run('arrow', { onProgress }, 'many')).toMatchObject({ images: MANY, imagesBefore: 0 });
    expect(locked).toBe(true);
    const kept = (await readdir(output)).filter((name) => name.startsWith('_'));
    expect(kept).toEqual(['_export.json']);
  });

  test('does not begin while another one writes', async () => {
    await using _held = await holdFolder(output);
    const message: unknown = expect.stringContaining(`Process ${process.pid} is exporting into`);
    await expect(run('arrow')).rejects.toMatchObject({ code: 'CONFLICT', message });
  });

  test.each(['folder', 'idx'] as const)(
    'to %s that is interrupted goes on, and ends as if nothing had been',
    async (format) => {
      const limit = format === 'folder' ? 10_000 : undefined;
      const uninterrupted = folder.at(`whole-${format}`);
      await run(format, { output: uninterrupted, ...(limit && { limit }) }, 'many');
      const stop = new AbortController();
      await expect(
        run(format, { signal: stop.signal, onProgress: () => stop.abort(), ...(limit && { limit }) }, 'many'),
      ).rejects.toMatchObject({ code: 'INTERRUPTED' });
      // What a kill leaves behind the last images that were sure.
      const grown = format === 'folder' ? 'labels.csv' : 'many-images-idx3-ubyte';
      await appendFile(join(output, grown), 'half a rec');
      const result = await run(format, { ...(limit && { limit }) }, 'many');
      expect(result).toMatchObject({ images: limit ?? MANY, imagesBefore: 8192 });
      const [whole, resumed] = [await filesOf(uninterrupted), await filesOf(output)];
      expect([...resumed.keys()]).toEqual([...whole.keys()]);
      for (const [name, bytes] of whole) {
        if (!bytes.equals(resumed.get(name)!)) throw new Error(`${name} is not the same`);
      }
      await expect(run(format, { ...(limit && { limit }) }, 'many')).rejects.toMatchObject({
        code: 'ALREADY_EXISTS',
        message: expect.stringContaining('complete since'),
      });
    },
  );

  test('to folders that is interrupted removes what it is not sure of: the images may be of another class by then', async () => {
    const request = { partRows: 100, limit: 300 };
    const linesOf = async (of: string) =>
      (await readFile(join(of, 'labels.csv'), 'utf8'))
        .trimEnd()
        .split('\n')
        .slice(1)
        .map((line) => line.split(','));
    const whole = folder.at('whole-batches');
    await run('folder', { ...request, output: whole }, 'many');
    const lines = await linesOf(whole);
    // In the second batch a folder is in the way of the 51st file.
    const way = join(output, lines[150]![0]!);
    const broken = run(
      'folder',
      { ...request, onProgress: () => mkdirSync(way, { recursive: true }) },
      'many',
    );
    await expect(broken).rejects.toThrow('EISDIR');
    await rm(way, { recursive: true });
    const id = lines[120]![2]!;
    await db.pool.query('update many set known_label = (known_label + 1) % 10 where id = $1', [id]);
    expect(await run('folder', request, 'many')).toMatchObject({ images: 300, imagesBefore: 100 });
    const files = [...(await filesOf(output)).keys()].filter((name) => name !== 'labels.csv');
    expect(files).toEqual((await linesOf(output)).map(([path]) => path!).sort());
    await db.pool.query('update many set known_label = (known_label + 9) % 10 where id = $1', [id]);
  });

  test('to Arrow or Parquet that is interrupted goes on behind the last complete part', async () => {
    for (const format of ['arrow', 'parquet'] as const) {
      output = folder.at(`parts-${format}`);
      await interrupt(format);
      // The part that was on its way is not there; one that a kill leaves has another name.
      await writeFile(join(output, `_unfinished.${format}`), 'half a file');
      const result = await run(format, { partRows: 5000 }, 'many');
      expect(result).toMatchObject({ images: MANY, imagesBefore: 5000 });
      const ids: string[] = [];
      for (const { file, images } of result.files) {
        const found =
          format === 'arrow'
            ? [...tableFromIPC(await readFile(join(output, file))).getChild('id')!]
            : (await readParquet(join(output, file))).map(({ id }) => id as string);
        expect(found).toHaveLength(images);
        ids.push(...(found as string[]));
      }
      expect(result.files.map(({ file }) => file)).toEqual(
        [0, 1, 2, 3].map((n) => `part-0000${n}.${format}`),
      );
      expect(ids).toEqual((await stored('id', 'many')).map(({ id }) => id));
      expect((await readdir(output)).filter((name) => name.startsWith('_unfinished'))).toEqual([]);
    }
  });

  test('that is interrupted does not go on when a part is gone, or in a folder of something else', async () => {
    const stop = new AbortController();
    let seen = 0;
    const stopped = run(
      'arrow',
      { partRows: 5000, signal: stop.signal, onProgress: () => ++seen === 2 && stop.abort() },
      'many',
    );
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await expect(run('arrow', { partRows: 5000, columns: ['id'] }, 'many')).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      message: expect.stringContaining('other columns'),
    });
    await expect(run('arrow', { selection: { where: 'true' } }, 'many')).rejects.toMatchObject({
      message: expect.stringContaining('other selection'),
    });
    await rm(join(output, 'part-00000.arrow'));
    await expect(run('arrow', { partRows: 5000 }, 'many')).rejects.toMatchObject({ code: 'BAD_FILE' });
    output = folder.path;
    await expect(run('arrow')).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      message: expect.stringContaining('not empty'),
    });
  });
});

describe('an export refuses', () => {
  test.each<[string, ExportFormat, Partial<ExportRequest>, object]>([
    ['an empty selection', 'arrow', { selection: { where: 'false' } }, { code: 'NOT_FOUND' }],
    [
      'a condition that writes',
      'folder',
      { selection: { where: "nextval('imagehub.revision') > 0" } },
      { code: 'USAGE' },
    ],
    ['columns where there are none to choose', 'idx', { columns: ['id'] }, { code: 'USAGE' }],
    ['a column that there is not', 'parquet', { columns: ['picture'] }, { code: 'USAGE' }],
    ['a place that is no folder', 'arrow', { output: '/dev/null/x' }, { code: 'BAD_FILE' }],
  ])('%s, and leaves nothing behind', async (_, format, request, error) => {
    await expect(run(format, request)).rejects.toMatchObject(error);
    await expect(readdir(output)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
