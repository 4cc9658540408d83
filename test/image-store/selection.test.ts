import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect } from '../../kudu/index.ts';
import { loadConfig } from '../../config.ts';
import { RowReader } from '../../sql/binary-rows.ts';
import { cutImages } from '../../sql/cut-images.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import { checkBeforehand, selectionSql } from '../../sql/selection.ts';
import type { StoredRowsRequest } from '../../sql/stored-images.ts';
import { storesOf } from '../support/stores.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];
const NOBODY = ['127.0.0.1:1'];

/** Ids and known labels, in chunks of a few rows. */
async function* labels(at: Twins, store: StoreName, request: Partial<StoredRowsRequest> = {}) {
  const { images } = at.stores[store];
  const columns = ['id', 'known_label', 'image_pgm'];
  const wanted = { columns, ...request, dataset: at.datasets[store] };
  for await (const { bytes } of images.rows(at.pool, wanted, { rows: 4, bytes: 1e6 })) {
    const reader = new RowReader(bytes);
    while (reader.next()) {
      const [id, label] = [reader.text()!, reader.int4()];
      reader.bytea();
      yield `${id} ${label}`;
    }
  }
}

/** Gives every row of the table in Kudu, as it is there, another label. */
async function relabelInKudu({ kudu, datasets }: Twins, label: number): Promise<void> {
  using client = await connect({ masters: kudu });
  const table = await client.openTable(datasets.kudu);
  await using session = client.session();
  for await (const { id } of table.scan({ columns: ['id'] }).rows()) {
    session.update(table, { id: id as string, known_label: label });
  }
}

describe('a user’s condition', () => {
  let shared: Promise<Twins>;
  beforeAll(() => (shared = twins((pool, dataset) => insertOddRows(pool, dataset, 60))));
  afterAll(async () => (await shared)[Symbol.asyncDispose]());

  test.each([
    ['that writes', "nextval('imagehub.revision') > 0", /read-only transaction/],
    ['about a column that there is not', 'colour = 3', /column "colour" does not exist/],
    ['about a column that is for the books of a store', 'inserted', /column "inserted" does not exist/],
    ['that frees itself', 'false) or (true', /syntax error/],
    ['with a second statement', 'true; drop table imagehub.models', /syntax error/],
    ['that fails on an image', '1 / (width - 28) > 0', /division by zero/],
  ])('%s cannot be used, in no store', async (_, where, says) => {
    const at = await shared;
    for (const store of STORES) {
      const refused = { code: 'USAGE', message: expect.stringMatching(says) };
      await expect(Array.fromAsync(labels(at, store, { selection: { where } }))).rejects.toMatchObject(
        refused,
      );
      const { images } = at.stores[store];
      const dataset = at.datasets[store];
      await expect(cutImages(images, at.pool, dataset, { selection: { where } })).rejects.toMatchObject(
        refused,
      );
      await expect(checkBeforehand(images, at.pool, dataset, { where }, '--only')).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining('--only'),
      });
    }
    expect(at.pool.idleCount).toBe(at.pool.totalCount);
  });

  test('selects the same ranges of ids for jobs in every store, and reading them gives each image once', async () => {
    const at = await shared;
    const asked = [
      { most: 16 },
      {
        selection: { where: 'known_label is not null', sample: { share: 0.5, seed: 3, byClass: true } },
        most: 7,
      },
      { selection: { where: 'prediction > 5' }, condition: 'i.width = 28', most: 4 },
      { selection: { where: "format <> 'inserted' and camera is distinct from 'reduced_width'" }, most: 9 },
      { selection: { where: 'false' } },
    ];
    for (const request of asked) {
      const [inPostgres, inKudu] = await Promise.all(
        STORES.map(async (store) => {
          const { ranges, drawn } = await cutImages(
            at.stores[store].images,
            at.pool,
            at.datasets[store],
            request,
          );
          const read: string[] = [];
          for (const { range, images } of ranges) {
            const selection = { ...request.selection, drawn };
            const { condition } = request;
            const found = await Array.fromAsync(labels(at, store, { ...range, selection, condition }));
            expect(found).toHaveLength(images);
            read.push(...found);
          }
          return { ranges, drawn, read };
        }),
      );
      expect(inKudu).toEqual(inPostgres);
      expect(new Set(inKudu!.read).size).toBe(inKudu!.read.length);
    }
  });
});

test('what is read of Kudu is as it was when reading began, whatever changes meanwhile', async () => {
  await using at = await twins(async (pool, dataset) => {
    await insertOddRows(pool, dataset, 160);
    // Several answers of a server.
    await pool.query(`update ${dataset} set image_pgm = decode(repeat('00', 50000), 'hex')`);
  });
  const before = await Array.fromAsync(labels(at, 'postgres'));
  const { images } = at.stores.kudu;
  await using held = await images.hold(at.pool, at.datasets.kudu);
  const streams = [
    labels(at, 'kudu'),
    labels(at, 'kudu', { selection: { where: 'true' } }),
    labels(at, 'kudu', { order: 'any' }),
  ];
  const first = await Promise.all(streams.map((stream) => stream.next()));
  await relabelInKudu(at, 99);
  for (const [i, stream] of streams.entries()) {
    expect([first[i]!.value, ...(await Array.fromAsync(stream))]).toEqual(before);
  }
  expect(await Array.fromAsync(labels(at, 'kudu', { snapshot: held }))).toEqual(before);
  const where = { where: 'known_label = 99' };
  const count = (snapshot?: typeof held) =>
    images.query(at.pool, { dataset: at.datasets.kudu, snapshot }, async (client, inSql) => {
      const { rows } = await client.query<{ n: number }>(
        `select count(*) as n from ${selectionSql(inSql, where)}`,
      );
      return rows[0]!.n;
    });
  expect(await count(held)).toBe(0);
  expect(await count()).toBe(160);
  expect((await Array.fromAsync(labels(at, 'kudu')))[0]).toMatch(/ 99$/);
});

test('a row whose deletion is still to be carried out in Kudu is read no more, unless it came again', async () => {
  await using at = await twins((pool, dataset) => insertOddRows(pool, dataset, 12));
  const all = await Array.fromAsync(labels(at, 'kudu'));
  const [gone, back] = ['train/B1.png', 'train/B9.png'];
  await at.pool.query(
    `insert into imagehub.deleted_images (dataset, id, in_kudu, revision) values ($1, $2, true, nextval('imagehub.revision')), ($1, $3, true, 0)`,
    [at.datasets.kudu, gone, back],
  );
  const left = all.filter((row) => !row.startsWith(gone!));
  expect(left).toHaveLength(11);
  for (const request of [{}, { selection: { where: 'true' } }, { order: 'length' as const }]) {
    const counted: number[] = [];
    const read = await Array.fromAsync(labels(at, 'kudu', { ...request, counted: (n) => counted.push(n) }));
    expect(read.sort()).toEqual(left.toSorted());
    expect(counted).toEqual([11]);
  }
});

test('with Kudu away, reading says so, and nothing is left open', async () => {
  await using at = await twins((pool, dataset) => insertOddRows(pool, dataset, 1));
  using stores = storesOf(at.pool, loadConfig({}), NOBODY);
  const away = { ...at, stores };
  const { images } = stores.kudu;
  const unreachable = {
    code: 'SERVER_UNREACHABLE',
    message: expect.stringContaining('Kudu does not answer'),
  };
  await Promise.all([
    expect(Array.fromAsync(labels(away, 'kudu'))).rejects.toMatchObject(unreachable),
    expect(Array.fromAsync(labels(away, 'kudu', { selection: { where: 'true' } }))).rejects.toMatchObject(
      unreachable,
    ),
    expect(images.hold(at.pool, at.datasets.kudu)).rejects.toMatchObject(unreachable),
  ]);
  expect(at.pool.idleCount).toBe(at.pool.totalCount);
});
