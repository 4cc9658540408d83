import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { deleteFromGroups, ignoreAll, labelGroups } from '../../duplicates/act.ts';
import {
  type DuplicateGroup,
  type DuplicatesOptions,
  type DuplicatesReport,
  findDuplicates,
} from '../../duplicates/find-duplicates.ts';
import { listIgnored, unignoreGroups } from '../../sql/ignored-duplicates.ts';
import { twoDigits } from '../support/two-digits.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub, type StoreDataset, type StoreMessage } from './support/store-hub.ts';
import { REFUSED_CONDITIONS } from '../support/refused-conditions.ts';

/** A picture as it comes: with the same bytes whoever sends it, in other bytes, and smaller. */
interface Picture {
  png: Buffer;
  jpeg: Buffer;
  small: Buffer;
}
let pictures: Picture[];
beforeAll(async () => {
  pictures = await Promise.all(
    [1, 2, 3].map(async (n) => {
      const png = await twoDigits(n);
      const [jpeg, small] = await Promise.all([
        sharp(png).jpeg({ quality: 50 }).toBuffer(),
        sharp(png).resize(96).png().toBuffer(),
      ]);
      return { png, jpeg, small };
    }),
  );
});

/** A message that brings picture 0, 1 or 2. */
const image = (key: string, n: number, how: keyof Picture, label?: number): StoreMessage => ({
  key,
  value: pictures[n]![how],
  ...(label === undefined ? {} : { label }),
});

/** Of the first two pictures three copies each, of the third one, and no image of any other. */
const copies = (): StoreMessage[] => [
  image('a/png', 0, 'png', 1),
  image('a/same', 0, 'png'),
  image('a/small', 0, 'small'),
  image('b/png', 1, 'png', 1),
  image('b/jpeg', 1, 'jpeg', 2),
  image('b/small', 1, 'small'),
  image('c/png', 2, 'png'),
];

const shape = ({ groups }: Pick<DuplicatesReport, 'groups'>) =>
  groups.map(({ group, members }) => [group, ...members.map(({ id }) => id)]);

describeEachStore('duplicates', (store) => {
  const hub = storeHub(store);
  const find = ({ name }: StoreDataset, options: DuplicatesOptions = {}) =>
    findDuplicates(hub, name, options);
  const as = (by: string) => ({ pool: hub.pool, stores: hub.stores, by });
  const idsIn = async (dataset: StoreDataset) => (await dataset.images()).map(({ id }) => id);
  const withCopies = async () => {
    const dataset = await hub.dataset();
    await dataset.deliver(copies());
    return dataset;
  };

  describe('are found', () => {
    let dataset: StoreDataset;
    beforeAll(async () => {
      dataset = await withCopies();
    });
    afterAll(async () => dataset[Symbol.asyncDispose]());

    test('exact and near, around the one that stays: a person’s label, else pixels, bytes, the first one', async () => {
      const report = await find(dataset);
      expect(report).toMatchObject({
        images: 7,
        withoutHash: 0,
        plain: 0,
        exactGroups: 0,
        nearGroups: 2,
        contradictions: 1,
        duplicates: 4,
      });
      // The one with contradicting labels is first.
      expect(shape(report)).toEqual([
        ['b/png', 'b/jpeg', 'b/small'],
        ['a/png', 'a/same', 'a/small'],
      ]);
      expect(report.groups[1]).toMatchObject({
        kind: 'near',
        classes: [{ class: '1', images: 1 }],
        kept: { class: '1', byPerson: false, width: 128, height: 64, byteSize: pictures[0]!.png.length },
        members: [
          { exact: true, distance: 0 },
          { exact: false, width: 96 },
        ],
      });
      expect(report.groups[1]!.kept.sha256).toBe((await dataset.image('a/png'))!.sha256);
      expect(shape(await find(dataset, { distance: null }))).toEqual([['a/png', 'a/same']]);
    });

    test('among selected images, and across conditions, which may be about other rows and the bytes', async () => {
      expect(shape(await find(dataset, { selection: { where: "id > 'a/s' -- not all" } }))).toHaveLength(2);
      const small = { across: "id like '%/small' -- these stay" };
      expect(shape(await find(dataset, small)).map(([kept]) => kept)).toEqual(['b/small', 'a/small']);
      const since = new Date(0);
      for (const across of [
        `id in (select id from ${dataset.name} where id like '%/small')`,
        `image_base64 = '${pictures[0]!.small.toString('base64')}' or image_base64 = '${pictures[1]!.small.toString('base64')}'`,
      ]) {
        expect(shape(await find(dataset, { across, selection: { since } }))).toEqual(
          shape(await find(dataset, small)),
        );
      }
      // Those that are not selected, too.
      const { rows } = await hub.pool.query<{ now: Date }>('select clock_timestamp() as now');
      await dataset.deliver([image('late/jpeg', 0, 'jpeg'), image('late/small', 0, 'small')]);
      const across = `id = 'late/small' and exists (select from ${dataset.name} o where o.id = 'a/png')`;
      const late = await find(dataset, { across, selection: { since: rows[0]!.now } });
      expect(late.images).toBe(2);
      expect(shape(late)).toEqual([['late/small', 'late/jpeg']]);
    });

    test.each(REFUSED_CONDITIONS)('never with %s', async (_, options, message) => {
      await expect(find(dataset, options)).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(message),
      });
    });
  });

  test('give their label to images without one, where they agree, and that can be undone', async () => {
    await using dataset = await withCopies();
    // A person said that it is not known what this shows.
    await hub.stores[store].labels.relabel(
      hub.pool,
      dataset,
      { ids: ['a/small'], labels: [null] },
      { by: 'bob', detail: '' },
    );
    const { groups } = await find(dataset);
    const done = await labelGroups(as('ada'), dataset.name, groups);
    expect(done).toMatchObject({ changed: 1, confirmed: 0, changedMeanwhile: 0, contradictions: 1 });
    const labels = async () =>
      (await dataset.images()).map(({ known_label, labelled_by }) => `${known_label} by ${labelled_by}`);
    expect(await labels()).toEqual([
      '1 by null',
      '1 by ada',
      'null by bob',
      '2 by null',
      '1 by null',
      'null by null',
      'null by null',
    ]);
    // A person's label decides who stays.
    expect((await find(dataset)).groups[1]).toMatchObject({ group: 'a/same', kept: { byPerson: true } });
    await hub.stores[store].labels.undo(hub.pool, dataset.name, done.operation!, { by: 'eve', detail: '' });
    expect((await labels())[1]).toBe('null by null');
  });

  describe('that are deleted', () => {
    test('are gone but for the one that stays, by whom is remembered, and no replay brings them back', async () => {
      await using dataset = await withCopies();
      // Was deleted before, and came back.
      await dataset.deliver([{ key: 'a/same', value: null }]);
      await dataset.deliver([image('a/same', 0, 'png')]);
      const rows = new Map((await dataset.images()).map((row) => [row.id, row]));
      const { groups } = await find(dataset);
      const seen: [number, number][] = [];
      const onProgress = (done: number, total: number) => seen.push([done, total]);
      const done = await deleteFromGroups({ ...as('ada'), onProgress }, dataset.name, groups);
      expect(done).toEqual({ deleted: 4, changedMeanwhile: 0, keptChanged: 0, missing: 0 });
      expect(seen.at(-1)).toEqual([4, 4]);
      const staying = ['a/png', 'b/png', 'c/png'];
      expect(await idsIn(dataset)).toEqual(staying);
      expect((await find(dataset)).groups).toEqual([]);

      const { rows: remembered } = await hub.pool.query<{ id: string; revision: number }>(
        `select id, deleted_by, source_offset, deletions, restored_at, in_kudu, revision from imagehub.deleted_images
         where dataset = $1 order by id collate "C"`,
        [dataset.name],
      );
      const gone = [...rows.keys()].filter((id) => !staying.includes(id));
      expect(remembered).toEqual(
        gone.map((id) => ({
          id,
          deleted_by: 'ada',
          source_offset: rows.get(id)!.source_offset,
          deletions: id === 'a/same' ? 2 : 1,
          restored_at: null,
          in_kudu: false,
          revision: expect.any(Number),
        })),
      );
      // The index and its followers go by that.
      for (const { id, revision } of remembered) expect(revision).toBeGreaterThan(rows.get(id)!.revision);
      expect(await dataset.reconcile()).toMatchObject({ consistent: true, complete: true, rows: 3 });

      await dataset.replay();
      expect(await idsIn(dataset)).toEqual(staying);
      expect(await dataset.reconcile()).toMatchObject({ rows: 3 });
      // What is sent anew is another image.
      await dataset.deliver([image('a/small', 0, 'small')]);
      expect(await idsIn(dataset)).toContain('a/small');
    });

    test('are left alone where they, or what should stay, changed since they were found', async () => {
      await using dataset = await hub.dataset();
      await dataset.deliver([
        image('a0', 0, 'png'),
        ...['a1', 'a2', 'a3', 'a4'].map((key) => image(key, 0, 'small')),
        image('b0', 1, 'png'),
        image('b1', 1, 'small'),
        image('c0', 2, 'png'),
        image('c1', 2, 'small'),
      ]);
      const { groups } = await find(dataset);
      expect(shape({ groups }).sort()).toEqual([
        ['a0', 'a1', 'a2', 'a3', 'a4'],
        ['b0', 'b1'],
        ['c0', 'c1'],
      ]);
      await dataset.deliver([image('a1', 0, 'jpeg'), image('b0', 1, 'jpeg')]);
      await dataset.labelByHand('a2', 1);
      // A prediction is no reason: the label and the picture are what was looked at.
      await dataset.change({ id: 'a3', prediction: 1 });
      await dataset.deliver([
        { key: 'a4', value: null },
        { key: 'c0', value: null },
      ]);
      const done = await deleteFromGroups(as('ada'), dataset.name, groups);
      expect(done).toEqual({ deleted: 1, changedMeanwhile: 2, keptChanged: 2, missing: 1 });
      expect(await idsIn(dataset)).toEqual(['a0', 'a1', 'a2', 'b0', 'b1', 'c1']);
      expect(await dataset.reconcile()).toMatchObject({ consistent: true });
    });

    test('by two at once, who keep different ones, leave one', async () => {
      await using dataset = await hub.dataset();
      for (let round = 0; round < 3; round++) {
        await dataset.deliver([image('a0', 0, 'png'), image('a1', 0, 'small')]);
        const [group] = (await find(dataset)).groups as [DuplicateGroup];
        const other = group.members[0]!;
        const swapped = { ...group, group: other.id, kept: other, members: [{ ...other, ...group.kept }] };
        const done = await Promise.all(
          [group, swapped].map((each) => deleteFromGroups(as('ada'), dataset.name, [each])),
        );
        expect(done.map(({ deleted }) => deleted).sort()).toEqual([0, 1]);
        expect(await idsIn(dataset)).toHaveLength(1);
      }
      expect(await dataset.reconcile()).toMatchObject({ consistent: true });
    });

    test('are all there still when it is interrupted, or the dataset has none', async () => {
      await using dataset = await withCopies();
      const { groups } = await find(dataset);
      const context = { ...as('ada'), signal: AbortSignal.abort() };
      const interrupted = { code: 'INTERRUPTED' };
      await expect(deleteFromGroups(context, dataset.name, groups)).rejects.toMatchObject(interrupted);
      await expect(
        findDuplicates({ ...hub, signal: AbortSignal.abort() }, dataset.name),
      ).rejects.toMatchObject(interrupted);
      expect(await deleteFromGroups(as('ada'), dataset.name, [])).toEqual({
        deleted: 0,
        changedMeanwhile: 0,
        keptChanged: 0,
        missing: 0,
      });
      expect(await idsIn(dataset)).toHaveLength(7);
      expect((await dataset.reconcile()).checks.every(({ ok }) => ok)).toBe(true);
    });
  });

  test('that are ignored are not found again, until one has other bytes, a new copy comes, or it is taken back', async () => {
    await using dataset = await withCopies();
    const { name } = dataset;
    const report = await find(dataset);
    await ignoreAll(as('ada'), report, report.groups);
    expect((await find(dataset)).groups).toEqual([]);
    expect(await listIgnored(hub.pool, name)).toMatchObject([
      { ids: ['b/jpeg', 'b/png', 'b/small'], by: 'ada' },
      { group: 'a/png', ids: ['a/png', 'a/same', 'a/small'], by: 'ada' },
    ]);
    await dataset.deliver([image('a/same', 0, 'jpeg'), image('c/same', 2, 'png')]);
    expect(shape(await find(dataset)).sort()).toEqual([
      ['a/png', 'a/same'],
      ['c/png', 'c/same'],
    ]);
    expect(await unignoreGroups(hub.pool, name, null)).toEqual({ groups: 2, unknown: [] });
    expect(shape(await find(dataset))).toHaveLength(3);
    await ignoreAll(as('ada'), report, report.groups);
    await dataset.drop();
    expect(await listIgnored(hub.pool, name)).toEqual([]);
  });
});
