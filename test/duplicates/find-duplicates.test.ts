import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { loadConfig } from '../../config.ts';
import { deleteFromGroups, ignoreAll, labelGroups } from '../../duplicates/act.ts';
import {
  type DuplicateGroup,
  type DuplicatesOptions,
  type DuplicatesReport,
  findDuplicates,
} from '../../duplicates/find-duplicates.ts';
import { openDirectSink } from '../../ingest/direct.ts';
import { createLogger } from '../../log.ts';
import type { HubPool } from '../../sql/database.ts';
import { createDataset, dropDataset, getDataset } from '../../sql/datasets.ts';
import { listIgnored, unignoreGroups } from '../../sql/ignored-duplicates.ts';
import { imageLabels } from '../../sql/label-history.ts';
import { undoRelabel } from '../../sql/relabel.ts';

import { type HashedImage, insertHashed } from '../support/hashed-rows.ts';
import { pictureHash, turned } from '../support/hashes.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { POSTGRES_STORES as stores } from '../support/stores.ts';
import { twoDigits } from '../support/two-digits.ts';
import { REFUSED_CONDITIONS } from '../support/refused-conditions.ts';

/** A dataset `pets` that holds these images. */
async function petsWith(images: HashedImage[]) {
  const db = await freshDatabase();
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog', 'bird'] });
  await insertHashed(db.pool, 'pets', images);
  return db;
}

const find = (pool: HubPool, options: DuplicatesOptions = {}) =>
  findDuplicates({ pool, stores }, 'pets', options);
const shape = ({ groups }: Pick<DuplicatesReport, 'groups'>) =>
  groups.map(({ group, members }) => [group, ...members.map(({ id }) => id)]);
const idsIn = async (pool: HubPool) =>
  (await pool.query<{ id: string }>('select id from pets order by id')).rows.map(({ id }) => id);

const [ONE, TWO, THREE] = [pictureHash(1), pictureHash(2), pictureHash(3)];

describe('duplicates', () => {
  test('of real images on their way through the pipeline are found: recompressed, resized, brightened, the same bytes', async () => {
    await using db = await freshDatabase();
    await createDataset(db.pool, { name: 'pets', classes: ['digit'] });
    const servers = { postgres: db.url, kafka: null, elasticsearch: null, kudu: null };
    const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
    const sink = await openDirectSink(
      { ...loadConfig({}), workers: 1 },
      servers,
      await getDataset(db.pool, 'pets'),
      log,
    );
    const images: { id: string; bytes: Buffer }[] = [];
    for (let n = 0; n < 5; n++) {
      const picture = await twoDigits(n);
      images.push(
        { id: `${n}`, bytes: picture },
        { id: `${n} again`, bytes: picture },
        { id: `${n} recompressed`, bytes: await sharp(picture).jpeg({ quality: 50 }).toBuffer() },
        { id: `${n} resized`, bytes: await sharp(picture).resize(96).png().toBuffer() },
        { id: `${n} brightened`, bytes: await sharp(picture).modulate({ brightness: 1.1 }).png().toBuffer() },
      );
    }
    await sink.send(images);
    await sink.close();

    const report = await find(db.pool);
    expect(report).toMatchObject({ images: 25, withoutHash: 0, plain: 0, duplicates: 20, nearGroups: 5 });
    for (const { kept, members } of report.groups) {
      const number = kept.id[0]!;
      expect(members.map(({ id }) => id[0])).toEqual(Array(4).fill(number));
      // The smallest one does not stay.
      expect(kept).toMatchObject({ width: 128, height: 64 });
    }
    expect((await find(db.pool, { distance: null })).groups).toMatchObject(
      Array(5).fill({ kind: 'exact', distance: 0, members: [{ exact: true, distance: 0 }] }),
    );
  });

  test('are grouped around the one that stays: a person’s label, pixels, bytes, the first one', async () => {
    const images: HashedImage[] = [
      { id: 'small', phash: ONE, side: 16 },
      { id: 'first', phash: turned(ONE, 1, 2), bytes: 'as many 1' },
      { id: 'later', phash: ONE, bytes: 'as many 2' },
      { id: 'more bytes', phash: ONE, bytes: 'more than the others' },
      { id: 'more pixels', phash: ONE, side: 64 },
      { id: 'a label', phash: turned(ONE, 3), side: 8, known: 1 },
      { id: 'other', phash: TWO },
      { id: 'no hash', phash: null },
    ];
    await using db = await petsWith(images);
    const order = ['more pixels', 'more bytes', 'first', 'later', 'small', 'a label'];
    const report = await find(db.pool);
    expect(shape(report)).toEqual([order]);
    expect(report).toMatchObject({
      images: 7,
      withoutHash: 1,
      exactGroups: 0,
      nearGroups: 1,
      duplicates: 5,
      groups: [{ kind: 'near', distance: 2, classes: [{ class: 'dog', images: 1 }] }],
    });
    await db.pool.query("update pets set known_label = 0 where id = 'a label'");
    const labelled = await find(db.pool);
    expect(shape(labelled)).toEqual([['a label', ...order.slice(0, -1)]]);
    expect(labelled.groups[0]).toMatchObject({ distance: 3, kept: { class: 'cat', byPerson: true } });
  });

  test('across a condition are pairs with one image on each side, and only those that it holds for stay', async () => {
    await using db = await petsWith([
      { id: 'train/1', phash: ONE, known: 0, side: 64 },
      { id: 'train/2', phash: turned(ONE, 5), known: 1 },
      { id: 'test/1', phash: ONE, known: 0 },
      { id: 'test/2', phash: turned(ONE, 8, 9), known: 0 },
      { id: 'train/3', phash: TWO },
      { id: 'train/4', phash: TWO },
      { id: 'test/5', phash: THREE },
    ]);
    const report = await find(db.pool, { distance: 2, across: "id like 'test/%' -- the rest is to train" });
    expect(shape(report)).toEqual([
      ['test/1', 'train/1', 'train/2'],
      ['test/2', 'train/1'],
    ]);
    // One image is in two groups, and counts once.
    expect(report).toMatchObject({ duplicates: 2, contradictions: 1 });
    const context = { pool: db.pool, stores, by: 'ada' };
    await ignoreAll(context, report, report.groups.slice(0, 1));
    expect(shape(await find(db.pool, { distance: 2, across: "id like 'test/%'" }))).toEqual([
      ['test/2', 'train/1'],
    ]);
    const left = await find(db.pool, { across: "id like 'test/%'" });
    expect(await deleteFromGroups(context, 'pets', left.groups)).toMatchObject({ deleted: 2 });
    expect(await idsIn(db.pool)).toEqual(['test/1', 'test/2', 'test/5', 'train/3', 'train/4']);
    expect(
      (await find(db.pool, { across: 'known_label = 0', selection: { where: "id < 'u'" } })).groups,
    ).toEqual([]);
  });

  test('of plain images are those with the same bytes, and their number is told', async () => {
    const blank = 1n << 63n;
    await using db = await petsWith(
      Array.from({ length: 30 }, (_, n) => ({ id: `${n}`, phash: blank, bytes: n < 3 ? 'same' : `${n}` })),
    );
    expect(await find(db.pool)).toMatchObject({ plain: 30, exactGroups: 1, nearGroups: 0, duplicates: 2 });
  });

  test('are not to be had of a dataset without hashes, or of none', async () => {
    await using db = await freshDatabase();
    await createDataset(db.pool, { name: 'pets', classes: ['cat'], columns: 'classic' });
    await expect(find(db.pool)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/no hashes/),
    });
    await expect(findDuplicates({ pool: db.pool, stores }, 'cars')).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});

describe('duplicates are refused in words with', () => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await petsWith([{ id: 'a', phash: ONE }]);
  });
  afterAll(async () => {
    await db[Symbol.asyncDispose]();
  });

  test.each<[string, DuplicatesOptions, RegExp]>([
    ['a distance that is too large', { distance: 13 }, /13 is no distance.*0 to 12/],
    ['a distance that is no whole number', { distance: 1.5 }, /1.5 is no distance/],
    ...REFUSED_CONDITIONS,
  ])('%s', async (_, options, message) => {
    await expect(find(db.pool, options)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/./),
    });
  });
});

const labelsOf = async (pool: HubPool, ids: string[]) =>
  (await imageLabels(pool, 'pets', ids)).map(({ class: name, by }) => `${name} by ${by}`);

describe('labelling duplicates', () => {
  test('gives a group’s label to its images without one, where it has one label, and can be undone', async () => {
    const images: HashedImage[] = [
      { id: 'a1', phash: ONE, known: 1 },
      { id: 'a2', phash: ONE },
      { id: 'a3', phash: turned(ONE, 4) },
      { id: 'a4', phash: ONE },
      { id: 'b1', phash: TWO, known: 1 },
      { id: 'b2', phash: TWO, known: 2 },
      { id: 'b3', phash: TWO },
      { id: 'c1', phash: THREE },
      { id: 'c2', phash: THREE },
    ];
    await using db = await petsWith(images);
    // A person said that it is not known what this shows.
    await db.pool.query(
      "update pets set known_label = 0 where id = 'a3'; update pets set known_label = null where id = 'a3'",
    );
    const report = await find(db.pool);
    expect(report.contradictions).toBe(1);
    expect(report.groups[0]).toMatchObject({
      classes: [
        { class: 'dog', images: 1 },
        { class: 'bird', images: 1 },
      ],
    });
    // Somebody is faster.
    await db.pool.query("update pets set known_label = 2 where id = 'a4'");
    const context = { pool: db.pool, stores, by: 'ada' };
    const done = await labelGroups(context, 'pets', report.groups);
    expect(done).toMatchObject({ changed: 1, changedMeanwhile: 1, contradictions: 1 });
    const ids = images.map(({ id }) => id);
    const [a1, a2, a3, a4, ...others] = await labelsOf(db.pool, ids);
    expect([a1, a2, a3, a4?.split(' ')[0]]).toEqual([
      'dog by null',
      'dog by ada',
      expect.stringMatching(/^null by/),
      'bird',
    ]);
    expect(others).toEqual(['dog by null', 'bird by null', 'null by null', 'null by null', 'null by null']);
    await undoRelabel(db.pool, 'pets', done.operation!, { by: 'eve', detail: '' });
    expect(await labelsOf(db.pool, ['a2'])).toEqual(['null by null']);
  });
});

describe('deleting duplicates', () => {
  const pictures = (count: number): HashedImage[] =>
    Array.from({ length: count }, (_, n) => ({ id: `a${n}`, phash: ONE, side: 64 - n }));

  test('keeps the one that stays, remembers who did it, and no replay brings them back', async () => {
    await using db = await petsWith([...pictures(3), { id: 'b', phash: TWO }]);
    await db.pool.query('create table saved as select * from pets');
    const { groups } = await find(db.pool);
    const seen: number[] = [];
    const onProgress = (done: number, total: number) => seen.push(done, total);
    const done = await deleteFromGroups({ pool: db.pool, stores, by: 'ada', onProgress }, 'pets', groups);
    expect(done).toEqual({ deleted: 2, changedMeanwhile: 0, keptChanged: 0, missing: 0 });
    expect(seen).toEqual([2, 2]);
    expect(await idsIn(db.pool)).toEqual(['a0', 'b']);
    const { rows } = await db.pool.query(
      'select id, deleted_by, source_offset from imagehub.deleted_images order by id',
    );
    expect(rows).toEqual([
      { id: 'a1', deleted_by: 'ada', source_offset: 2 },
      { id: 'a2', deleted_by: 'ada', source_offset: 3 },
    ]);
    await db.pool.query(
      `begin; set local imagehub.writer = 'ingest'; insert into pets select * from saved where id like 'a_' and id <> 'a0'; commit`,
    );
    expect(await idsIn(db.pool)).toEqual(['a0', 'b']);
    expect((await find(db.pool)).groups).toEqual([]);
  });

  test('leaves alone what was changed since it was found, or whose counterpart was', async () => {
    await using db = await petsWith([
      ...pictures(5),
      { id: 'b0', phash: TWO, side: 64 },
      { id: 'b1', phash: TWO },
      { id: 'c0', phash: THREE, side: 64 },
      { id: 'c1', phash: THREE },
    ]);
    const { groups } = await find(db.pool);
    await db.pool.query(`
      update pets set sha256 = sha256('new') where id in ('a1', 'b0');
      update pets set known_label = 1 where id = 'a2';
      update pets set prediction = 1, confidence = 1 where id = 'a3';
      delete from pets where id in ('a4', 'c0')`);
    const done = await deleteFromGroups({ pool: db.pool, stores, by: 'ada' }, 'pets', groups);
    expect(done).toEqual({ deleted: 1, changedMeanwhile: 2, keptChanged: 2, missing: 1 });
    expect(await idsIn(db.pool)).toEqual(['a0', 'a1', 'a2', 'b0', 'b1', 'c1']);
  });

  test('by two at once that keep different images leaves one', async () => {
    await using db = await petsWith(pictures(2));
    const [group] = (await find(db.pool)).groups as [DuplicateGroup];
    const [other] = group.members;
    const swapped: DuplicateGroup = {
      ...group,
      group: other!.id,
      kept: other!,
      members: [{ ...other!, ...group.kept }],
    };
    for (let round = 0; round < 10; round++) {
      const context = { pool: db.pool, stores, by: 'ada' };
      const done = await Promise.all([
        deleteFromGroups(context, 'pets', [group]),
        deleteFromGroups(context, 'pets', [swapped]),
      ]);
      expect(done.map(({ deleted }) => deleted).sort()).toEqual([0, 1]);
      expect(await idsIn(db.pool)).toHaveLength(1);
      await db.pool.query('delete from pets; delete from imagehub.deleted_images');
      await insertHashed(db.pool, 'pets', pictures(2));
    }
  });

  test('that is interrupted deletes nothing', async () => {
    await using db = await petsWith(pictures(3));
    const { groups } = await find(db.pool);
    const context = { pool: db.pool, stores, by: 'ada', signal: AbortSignal.abort() };
    await expect(deleteFromGroups(context, 'pets', groups)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await idsIn(db.pool)).toHaveLength(3);
    await expect(
      findDuplicates({ pool: db.pool, stores, signal: AbortSignal.abort() }, 'pets'),
    ).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
  });
});

test('ignored duplicates are not found again, until an image has other bytes, a new copy comes, or it is taken back', async () => {
  await using db = await petsWith([
    { id: 'a0', phash: ONE, side: 64 },
    { id: 'a1', phash: ONE },
    { id: 'b0', phash: TWO, side: 64 },
    { id: 'b1', phash: TWO },
  ]);
  const context = { pool: db.pool, stores, by: 'ada' };
  const report = await find(db.pool);
  await ignoreAll(context, report, report.groups);
  expect((await find(db.pool)).groups).toEqual([]);
  expect(await listIgnored(db.pool, 'pets')).toMatchObject([
    { group: 'a0', ids: ['a0', 'a1'], by: 'ada' },
    { group: 'b0', ids: ['b0', 'b1'], by: 'ada' },
  ]);
  await insertHashed(db.pool, 'pets', [{ id: 'a2', phash: ONE }]);
  await db.pool.query("update pets set sha256 = sha256('new') where id = 'b1'");
  expect(shape(await find(db.pool))).toEqual([
    ['a0', 'a2'],
    ['b0', 'b1'],
  ]);
  expect(await unignoreGroups(db.pool, 'pets', ['a1', 'z'])).toEqual({ groups: 1, unknown: ['z'] });
  expect(shape(await find(db.pool))[0]).toEqual(['a0', 'a1', 'a2']);
  expect(await unignoreGroups(db.pool, 'pets', null)).toEqual({ groups: 1, unknown: [] });
  await ignoreAll(context, report, report.groups);
  await dropDataset(db.pool, 'pets');
  expect(await listIgnored(db.pool, 'pets')).toEqual([]);
});
