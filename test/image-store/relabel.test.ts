import { describe, expect, test } from '@jest/globals';
import { labelChanges, listLabelOperations, newestUndoable } from '../../sql/label-history.ts';
import { LABEL_COLUMNS, type RelabelOptions, relabelSelection } from '../../sql/relabel.ts';
import { selectionSql } from '../../sql/selection.ts';
import { digitPng } from '../support/digits.ts';
import { describeEachStore } from './support/each-store.ts';
import { type StoreHub, storeHub, type StoreDataset, type StoreMessage } from './support/store-hub.ts';

const image = (key: string, n: number, label?: number): StoreMessage => ({
  key,
  value: digitPng(n % 10, n),
  ...(label === undefined ? {} : { label }),
});
const deletion = (key: string): StoreMessage => ({ key, value: null });

/** A dataset whose labels people set. */
function labelling(hub: StoreHub, dataset: StoreDataset) {
  const { labels } = hub.stores[hub.store];
  return {
    /** `count` images a0, a1, … that the producer labelled 7. */
    async produced(count: number): Promise<string[]> {
      const ids = Array.from({ length: count }, (_, n) => `a${n}`);
      await dataset.deliver(ids.map((id, n) => image(id, n, 7)));
      return ids;
    },
    say: (ids: string[], label: number | null, by: string, options: Partial<RelabelOptions> = {}) =>
      labels.relabel(
        hub.pool,
        dataset,
        { ids, labels: ids.map(() => label) },
        { by, detail: `to ${label}`, ...options },
      ),
    undo: (operation: number | null, by = 'eve') =>
      labels.undo(hub.pool, dataset.name, operation!, { by, detail: `undo ${operation}` }),
    /** `class by person` of images, as the table has them; `7` alone is the producer's. */
    stored: async (ids: string[]) =>
      (await dataset.images(ids)).map(({ known_label, labelled_by, labelled_at }) => {
        expect(labelled_at === null).toBe(labelled_by === null);
        return labelled_by === null ? `${known_label}` : `${known_label} by ${labelled_by}`;
      }),
    operations: () => listLabelOperations(hub.pool, dataset.name, { limit: 10 }),
  };
}

describeEachStore('people’s labels', (store) => {
  const hub = storeHub(store);

  describe('relabelling', () => {
    test('is one operation with its images, its person and its time; and the rows’ revisions rise', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, stored, operations } = labelling(hub, dataset);
      const ids = await produced(3);
      const before = await dataset.images();
      const result = await say(['a2', 'a0', 'a2'], 3, 'ada');
      expect(result).toMatchObject({ images: 2, changed: 2, confirmed: 0, unchanged: 0, missing: [] });
      expect(await stored(ids)).toEqual(['3 by ada', '7', '3 by ada']);
      const after = await dataset.images();
      const others = ({
        known_label: _l,
        labelled_by: _b,
        labelled_at: _a,
        revision: _r,
        ...row
      }: (typeof after)[0]) => row;
      expect(after.map(others)).toEqual(before.map(others));
      expect(after.map(({ revision }, i) => Math.sign(revision - before[i]!.revision))).toEqual([1, 0, 1]);
      const [operation] = await operations();
      expect(operation).toMatchObject({
        operation: result.operation,
        action: 'relabel',
        by: 'ada',
        detail: 'to 3',
        images: 2,
        undoneBy: null,
        classes: [{ name: '3', images: 2 }],
      });
      expect(after[0]!.labelled_at).toEqual(operation!.at);
      expect(await labelChanges(hub.pool, dataset.name, ['a2'])).toEqual([
        expect.objectContaining({ from: '7', before: null, to: '3', by: 'ada', operation: result.operation }),
      ]);
    });

    test('to what the producer said confirms it; to what a person said changes nothing', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, stored, operations } = labelling(hub, dataset);
      const ids = await produced(1);
      expect(await say(ids, 7, 'ada')).toMatchObject({ changed: 0, confirmed: 1 });
      expect(await stored(ids)).toEqual(['7 by ada']);
      const again = await say(ids, 7, 'bob');
      expect(again).toMatchObject({ changed: 0, confirmed: 0, unchanged: 1, operation: null });
      expect(await stored(ids)).toEqual(['7 by ada']);
      // What changed nothing is no operation.
      expect(await operations()).toHaveLength(1);
    });

    test('is all or nothing: whatever the caller refuses, or the database, nothing has happened', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, stored, operations } = labelling(hub, dataset);
      const ids = await produced(2);
      const { labels } = hub.stores[store];
      const refused = labels.relabel(
        hub.pool,
        dataset,
        { ids: [...ids, 'nowhere'], labels: [1, 2, 3] },
        { by: 'ada', detail: '' },
        ({ missing }) => {
          expect(missing).toEqual(['nowhere']);
          throw new Error('not these');
        },
      );
      await expect(refused).rejects.toThrow('not these');
      await expect(
        labels.relabel(hub.pool, dataset, { ids, labels: [1, 10] }, { by: 'ada', detail: '' }),
      ).rejects.toMatchObject({ code: '23503' });
      await expect(say(ids, 1, 'ada', { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: 'INTERRUPTED',
      });
      expect(await stored(ids)).toEqual(['7', '7']);
      expect(await operations()).toEqual([]);
      // Without a caller that refuses, those that are there get their label.
      expect(await say(['a0', 'nowhere'], 1, 'ada')).toMatchObject({ changed: 1, missing: ['nowhere'] });
    });

    test('of a selection leaves alone what changed since it was looked at: its label, or its bytes', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, stored } = labelling(hub, dataset);
      await produced(4);
      await say(['a3'], 7, 'cleo');
      const { images, labels } = hub.stores[store];
      const { ids, states } = await images.query(
        hub.pool,
        {
          dataset: dataset.name,
          selection: { where: "known_label = 7 and id <> 'a4'" },
          columns: LABEL_COLUMNS,
        },
        (client, found) =>
          relabelSelection(client, selectionSql(found, { where: "known_label = 7 and id <> 'a4'" })),
      );
      expect(ids).toEqual(['a0', 'a1', 'a2', 'a3']);
      await say(['a0'], 5, 'bob');
      await dataset.deliver([image('a1', 99, 7)]);
      // A prediction is no reason: the label and the picture are what a person looked at.
      await dataset.change({ id: 'a2', prediction: 4 });
      const result = await labels.relabel(
        hub.pool,
        dataset,
        { ids, states, labels: ids.map(() => 3) },
        { by: 'ada', detail: '' },
      );
      expect(result).toMatchObject({ changed: 2, changedMeanwhile: 2, missing: [] });
      expect(await stored(ids)).toEqual(['5 by bob', '7', '3 by ada', '3 by ada']);
    });

    test('of more images than one statement takes goes chunk by chunk, with progress, in one operation, and so does undoing', async () => {
      await using dataset = await hub.dataset();
      const { undo } = labelling(hub, dataset);
      const ids = Array.from({ length: 6000 }, (_, n) => `b${n}`);
      if (hub.kudu) await dataset.put(ids.map((id) => ({ id })));
      else {
        await hub.pool.query(
          `insert into public.${dataset.name} (id, image_base64, image_pgm) select id, '', '' from unnest($1::text[]) as t (id)`,
          [ids],
        );
      }
      const seen: number[] = [];
      const result = await hub.stores[store].labels.relabel(
        hub.pool,
        dataset,
        { ids, labels: ids.map((_, n) => (n % 10 === 0 ? null : n % 10)) },
        { by: 'ada', detail: '', onProgress: (done, total) => seen.push(total === 6000 ? done : -1) },
      );
      expect(seen.length).toBeGreaterThanOrEqual(2);
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
      expect(seen.at(-1)).toBe(6000);
      expect(result).toMatchObject({ images: 6000, changed: 5400, confirmed: 600 });
      const labelled = await dataset.images();
      expect(labelled.filter(({ labelled_by }) => labelled_by === 'ada')).toHaveLength(6000);
      expect(labelled.filter(({ known_label }) => known_label === 3)).toHaveLength(600);
      expect(await undo(result.operation)).toMatchObject({ restored: 6000, changedSince: 0, deleted: 0 });
      expect(
        (await dataset.images()).every((row) => row.known_label === null && row.labelled_by === null),
      ).toBe(true);
    });
  });

  describe('undoing a relabelling', () => {
    test('gives the label back, and to the producer what was the producer’s', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, undo, stored } = labelling(hub, dataset);
      const ids = await produced(3);
      const first = await say(['a0', 'a1'], 3, 'ada');
      const second = await say(['a1'], 5, 'bob');
      const confirmed = await say(['a2'], 7, 'cleo');
      expect(await undo(second.operation)).toMatchObject({ undone: second.operation, restored: 1 });
      expect(await stored(ids)).toEqual(['3 by ada', '3 by ada', '7 by cleo']);
      // As if the second had never been: the first can be taken back whole.
      expect(await undo(first.operation)).toMatchObject({ restored: 2, changedSince: 0, deleted: 0 });
      expect(await undo(confirmed.operation)).toMatchObject({ restored: 1 });
      expect(await stored(ids)).toEqual(['7', '7', '7']);
      // The producer's, so messages may change it.
      await dataset.deliver([image('a0', 50, 4)]);
      expect(await stored(['a0'])).toEqual(['4']);
    });

    test('leaves alone and counts what was relabelled since, also to the same class, and what was deleted', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, undo, stored } = labelling(hub, dataset);
      const ids = await produced(5);
      const { operation } = await say(ids, 3, 'ada');
      await say(['a1'], 5, 'bob');
      await say(['a2'], 5, 'bob');
      await say(['a2'], 3, 'bob');
      await dataset.deliver([deletion('a3'), deletion('a4')]);
      await dataset.deliver([image('a4', 4, 3)]);
      expect(await undo(operation)).toMatchObject({ restored: 1, changedSince: 3, deleted: 1 });
      expect(await stored(ids)).toEqual(['7', '5 by bob', '3 by bob', '3']);
    });

    test('can be undone: what was taken back is in force again', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, undo, stored, operations } = labelling(hub, dataset);
      const ids = await produced(1);
      const { operation } = await say(ids, 3, 'ada');
      const undone = await undo(operation);
      expect(await operations()).toMatchObject([
        { operation: undone.operation, action: 'undo', undoes: operation, by: 'eve' },
        { operation, undoneBy: undone.operation },
      ]);
      expect(await newestUndoable(hub.pool, dataset.name)).toBeNull();
      expect(await undo(undone.operation)).toMatchObject({ restored: 1 });
      expect(await stored(ids)).toEqual(['3 by ada']);
    });

    test('of an operation that the dataset does not have says so', async () => {
      await using dataset = await hub.dataset();
      await using elsewhere = await hub.dataset();
      const { produced, say, undo, stored } = labelling(hub, dataset);
      const ids = await produced(1);
      const { operation } = await say(ids, 3, 'ada');
      await expect(undo(999_999)).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(labelling(hub, elsewhere).undo(operation)).rejects.toMatchObject({ code: 'NOT_FOUND' });
      expect(await stored(ids)).toEqual(['3 by ada']);
    });
  });

  describe('a label that a person gave', () => {
    test('stays whatever messages say, new or replayed, and goes with the image', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, stored } = labelling(hub, dataset);
      await produced(3);
      await say(['a0'], 3, 'ada');
      await say(['a1'], null, 'ada');
      await say(['a2'], 7, 'ada');
      const people = ['3 by ada', 'null by ada', '7 by ada'];
      await dataset.deliver([image('a0', 60, 4), image('a1', 61, 5), image('a2', 62, 6)]);
      expect(await stored(['a0', 'a1', 'a2'])).toEqual(people);
      await dataset.replay();
      expect(await stored(['a0', 'a1', 'a2'])).toEqual(people);
      await dataset.deliver([deletion('a0')]);
      expect(await say(['a0'], 8, 'bob')).toMatchObject({ operation: null, missing: ['a0'] });
      await dataset.deliver([image('a0', 63, 9)]);
      expect(await stored(['a0'])).toEqual(['9']);
      // What was said of it before is history.
      expect(await labelChanges(hub.pool, dataset.name, ['a0'])).toMatchObject([{ to: '3', by: 'ada' }]);
      expect(await say(['a0'], 8, 'bob')).toMatchObject({ changed: 1 });
    });

    test('stands beside one that somebody set in the table itself, which can be relabelled and comes back', async () => {
      await using dataset = await hub.dataset();
      const { produced, say, undo } = labelling(hub, dataset);
      await produced(1);
      await dataset.labelByHand('a0', 2);
      const before = await dataset.images();
      const { operation } = await say(['a0'], 3, 'ada');
      expect(await dataset.image('a0')).toMatchObject({ known_label: 3, labelled_by: 'ada' });
      expect(await undo(operation)).toMatchObject({ restored: 1 });
      expect(await dataset.image('a0')).toEqual({ ...before[0], revision: expect.any(Number) });
    });
  });
});
