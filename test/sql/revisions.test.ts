import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { PoolClient } from '../../sql/database.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase, uniqueName } from '../support/servers.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const KEYS = ['x', 'y'];
const STATEMENTS = {
  insert: `insert into mnist (id, image_base64, image_pgm, known_label) values ($1, '', '', 1) on conflict do nothing`,
  upsert: `insert into mnist (id, image_base64, image_pgm) values ($1, '', '')
           on conflict (dataset, id) do update set prediction = 1`,
  predict: 'update mnist set prediction = 2 where id = $1',
  // As a reclassification does it: a revision of its own, for a row that is still what was read.
  reclassify: `update mnist i set prediction = 3, revision = nextval('imagehub.revision')
               from (select id, revision from mnist where id = $1) read where i.id = read.id and i.revision = read.revision`,
  relabel: 'update mnist set known_label = (coalesce(known_label, 0) + 1) % 10 where id = $1',
  delete: 'delete from mnist where id = $1',
};

/** One transaction about one key; `ingest`: by the pipeline's door, deletions settled by the trigger or by itself. */
const change = fc.record({
  key: fc.constantFrom(...KEYS),
  statements: fc.array(fc.constantFrom(...(Object.keys(STATEMENTS) as (keyof typeof STATEMENTS)[])), {
    minLength: 1,
    maxLength: 3,
  }),
  ingest: fc.constantFrom('no', 'trigger', 'settles'),
  commit: fc.constantFrom(true, true, true, false),
});
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

async function run(session: PoolClient, prefix: string, changes: Change[]): Promise<void> {
  for (const { key, statements, ingest, commit } of changes) {
    await session.query(ingest === 'no' ? 'begin' : "begin; set local imagehub.writer = 'ingest'");
    if (ingest === 'settles') await session.query("set local imagehub.settles = 'on'");
    for (const statement of statements) {
      const draws = statement === 'reclassify' ? 'on' : '';
      await session.query(`set local imagehub.draws_revisions = '${draws}'`);
      await session.query(STATEMENTS[statement], [prefix + key]);
      if (ingest === 'settles')
        await session.query("select imagehub.settle_deletions('mnist', $1)", [[prefix + key]]);
    }
    await session.query(commit ? 'commit' : 'rollback');
  }
}

/** What the change feed shows of each key, commit by commit: the revision each transaction left behind. */
async function revisionsInCommitOrder(feed: PoolClient, slot: string): Promise<Map<string, number[]>> {
  const { rows } = await feed.query<{ data: string }>(
    `select data from pg_logical_slot_get_changes($1, null, null, 'include-xids', 'off')`,
    [slot],
  );
  const revisions = new Map<string, number[]>();
  let open = new Map<string, number>();
  for (const { data } of rows) {
    if (data.startsWith('BEGIN')) open = new Map();
    if (data.startsWith('COMMIT')) {
      for (const [id, revision] of open) revisions.set(id, [...(revisions.get(id) ?? []), revision]);
    }
    const stored = /^table (public\.mnist|imagehub\.deleted_images): (?:INSERT|UPDATE):/.exec(data);
    if (!stored) continue;
    const [, id] = / id\[text\]:'([^']*)'/.exec(data)!;
    const [, revision] = / revision\[bigint\]:(\d+)/.exec(data)!;
    const restored =
      stored[1] === 'imagehub.deleted_images' &&
      !data.includes(' restored_at[timestamp with time zone]:null');
    if (!restored) open.set(id!, Number(revision));
  }
  return revisions;
}

// Logical decoding hands out transactions in commit order: it is what the indexer sees.
test('the revision of a key rises with every commit, whoever inserts, updates and deletes it at the same time', async () => {
  const sessions = await Promise.all([0, 1, 2, 3].map(() => db.pool.connect()));
  const feed = await db.pool.connect();
  const slot = uniqueName('revisions');
  let round = 0;
  let compared = 0;
  try {
    await feed.query(`select pg_create_logical_replication_slot($1, 'test_decoding', temporary => true)`, [
      slot,
    ]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(change, { minLength: 10, maxLength: 25 }), { minLength: 4, maxLength: 4 }),
        async (work) => {
          const prefix = `${(round += 1)}/`;
          await Promise.all(work.map((changes, index) => run(sessions[index]!, prefix, changes)));
          for (const [id, revisions] of await revisionsInCommitOrder(feed, slot)) {
            compared += revisions.length - 1;
            expect({ id, revisions }).toEqual({ id, revisions: revisions.toSorted((a, b) => a - b) });
            expect(new Set(revisions).size).toBe(revisions.length);
            const { rows } = await feed.query<{ revision: number }>(
              `select greatest((select revision from mnist where id = $1),
                 (select revision from imagehub.deleted_images where dataset = 'mnist' and id = $1)) as revision`,
              [id],
            );
            expect(rows[0]!.revision).toBe(revisions.at(-1));
          }
        },
      ),
      { numRuns: 25, endOnFailure: true },
    );
    expect(compared).toBeGreaterThan(500);
  } finally {
    for (const session of [...sessions, feed]) session.release(true);
  }
});
