import { beforeAll, describe, expect, test } from '@jest/globals';
import { deleteFromGroups } from '../../duplicates/act.ts';
import { type DuplicateGroup, findDuplicates } from '../../duplicates/find-duplicates.ts';
import { carryOut } from '../../ingest/carry-out.ts';
import { type StoreDataset, storeHub, type StoreMessage } from '../image-store/support/store-hub.ts';
import { type CommandResult, imagehub } from '../support/imagehub.ts';
import { until } from '../support/pipeline.ts';
import { twoDigits } from '../support/two-digits.ts';

const hub = storeHub('kudu');

let picture: Buffer;
/** Takes ten seconds to give up, so it begins first. */
let away: Promise<CommandResult>;
beforeAll(async () => {
  await hub.pool.query(
    `insert into imagehub.datasets (name, topic, store) values ('far', 'far', 'kudu');
     insert into imagehub.classes values ('far', 0, 'a'), ('far', 1, 'b')`,
  );
  away = imagehub(['duplicates', 'far'], { env: { ...hub.env, IMAGEHUB_KUDU_MASTERS: '127.0.0.1:1' } });
  picture = await twoDigits(1);
});

const image = (key: string): StoreMessage => ({ key, value: picture });

/** A dataset with images a0, a1, … that show the same. */
async function copies(count: number): Promise<StoreDataset> {
  const dataset = await hub.dataset();
  await dataset.deliver(Array.from({ length: count }, (_, n) => image(`a${n}`)));
  return dataset;
}

const find = async ({ name }: StoreDataset) => (await findDuplicates(hub, name)).groups;
const remove = ({ name }: StoreDataset, groups: DuplicateGroup[]) =>
  deleteFromGroups({ pool: hub.pool, stores: hub.stores, by: 'ada' }, name, groups);
const inTable = async (dataset: StoreDataset) => (await dataset.images()).map(({ id }) => id);

/** As if whoever deletes died before the rows were taken away, or Kudu does not take that. */
async function refusing(work: () => Promise<void>): Promise<void> {
  await hub.pool.query(`
    create or replace function imagehub.refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$;
    create trigger refuse before update on imagehub.deleted_images for each row
      when (old.in_kudu and not new.in_kudu and new.restored_at is null) execute function imagehub.refuse()`);
  await work().finally(() => hub.pool.query('drop trigger refuse on imagehub.deleted_images'));
}

test('imagehub duplicates lists, labels, ignores and deletes them', async () => {
  await using dataset = await hub.dataset();
  const { name } = dataset;
  await dataset.deliver([{ ...image('a0'), label: 4 }, image('a1'), image('a2')]);
  const run = async (...args: string[]) => {
    const { status, stdout, stderr } = await imagehub(['duplicates', name, ...args, '--json'], {
      env: hub.env,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining('rror') });
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  expect(await run('--distance', '2')).toMatchObject({
    exactGroups: 1,
    groups: [{ group: 'a0', members: [{ id: 'a1' }, { id: 'a2' }] }],
  });
  expect(await run('--ignore')).toMatchObject({ done: { action: 'ignore', groups: 1 } });
  expect(await run('--ignored')).toMatchObject({ ignored: [{ group: 'a0' }] });
  expect(await run('--unignore')).toMatchObject({ unignored: 1 });
  expect(await run('--label', '--by', 'ada')).toMatchObject({ done: { changed: 2 } });
  // A person's label stays.
  const deleted = await run('--delete', '--yes', '--exact', '--across', "id = 'a2'");
  expect(deleted).toMatchObject({ done: { action: 'delete', deleted: 2 } });
  expect(await inTable(dataset)).toEqual(['a2']);
});

test('with Kudu away nothing is found, and the error says so', async () => {
  expect(await away).toMatchObject({ status: 1, stderr: expect.stringContaining('Kudu does not answer') });
});

describe('duplicates whose deletion is committed, and not carried out in Kudu', () => {
  test('are gone for all who ask, also by other deletions; the error says so, and a running ingest takes them away', async () => {
    await using dataset = await copies(3);
    const groups = await find(dataset);
    await refusing(async () => {
      await expect(remove(dataset, groups)).rejects.toMatchObject({
        code: 'SERVER_UNREACHABLE',
        message: '2 images are deleted, but not all of their rows are out of Kudu yet: not now',
        hint: expect.stringContaining('Do not repeat it'),
      });
      expect(await inTable(dataset)).toEqual(['a0', 'a1', 'a2']);
      expect(await find(dataset)).toEqual([]);
      expect(await remove(dataset, groups)).toMatchObject({ deleted: 0, missing: 2 });
      expect(await dataset.reconcile()).toMatchObject({ consistent: true, rows: 1 });
      // A replay brings none back, a new message does.
      await dataset.replay();
      expect(await find(dataset)).toEqual([]);
      await dataset.deliver([image('a2')]);
      expect((await find(dataset)).map(({ members }) => members.map(({ id }) => id))).toEqual([['a2']]);
    });
    const stop = new AbortController();
    const running = carryOut({ ...hub.context, signal: stop.signal });
    await until(async () => (await inTable(dataset)).length === 2, 'it is carried out');
    stop.abort();
    await running;
    expect(await inTable(dataset)).toEqual(['a0', 'a2']);
  });
});

test('what was deleted has the label that a person gave, and that was not in Kudu yet, in its history alone', async () => {
  await using dataset = await copies(2);
  await hub.pool.query(`
    create or replace function imagehub.refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$;
    create trigger refuse before delete on imagehub.pending_labels for each row execute function imagehub.refuse()`);
  await expect(
    hub.stores.kudu.labels.relabel(
      hub.pool,
      dataset,
      { ids: ['a1'], labels: [3] },
      { by: 'bob', detail: '' },
    ),
  ).rejects.toThrow('is recorded');
  await hub.pool.query('drop trigger refuse on imagehub.pending_labels');
  const groups = await find(dataset);
  // It is another image than was found by the time that its row is locked: with its label.
  expect(await remove(dataset, groups)).toMatchObject({ deleted: 0, changedMeanwhile: 1 });
  expect(await dataset.image('a1')).toMatchObject({ known_label: 3, labelled_by: 'bob' });
  const [group] = await find(dataset);
  expect(group).toMatchObject({ group: 'a1', kept: { byPerson: true, class: '3' } });
  expect(await remove(dataset, [group!])).toMatchObject({ deleted: 1 });
  expect(await dataset.reconcile()).toMatchObject({ consistent: true, pendingLabels: 0, rows: 1 });
});

describe('the books are right', () => {
  test('when the batch that brought a deleted image is not committed, and comes again', async () => {
    await using dataset = await copies(3);
    const groups = await find(dataset);
    // As after a crash between Kudu and Postgres.
    await hub.pool.query(
      `update imagehub.consumer_offsets set next_offset = start_offset, last_offset = null, last_key_hash = null,
         last_timestamp = null, seen = 0, inserted = 0 where dataset = $1`,
      [dataset.name],
    );
    expect(await remove(dataset, groups)).toMatchObject({ deleted: 2 });
    const { rows } = await hub.pool.query(
      'select deletions from imagehub.deleted_images where dataset = $1',
      [dataset.name],
    );
    expect(rows).toEqual([{ deletions: 0 }, { deletions: 0 }]);
    await dataset.replay();
    expect(await inTable(dataset)).toEqual(['a0']);
    expect(await dataset.reconcile()).toMatchObject({ consistent: true, rows: 1 });
  });

  test('when somebody put the image into the table', async () => {
    await using dataset = await copies(2);
    const { sha256, phash, byte_size } = (await dataset.image('a0'))!;
    await dataset.put([{ id: 'by hand', sha256, phash: BigInt(phash!), byte_size, width: 16, height: 16 }]);
    expect(await remove(dataset, await find(dataset))).toMatchObject({ deleted: 2 });
    expect(await inTable(dataset)).toEqual(['a0']);
    expect(await dataset.reconcile()).toMatchObject({ consistent: true, rows: 1 });
  });
});
