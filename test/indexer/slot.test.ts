import { describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { followFeed, type FeedSink } from '../../indexer/feed.ts';
import { formatLsn, type Lsn, parseLsn } from '../../indexer/lsn.ts';
import { checkFeedRetention, watchFeedRetention } from '../../indexer/retention.ts';
import { fence, findSlots, slotName } from '../../indexer/slot.ts';
import type { HubPool } from '../../sql/database.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertRows, memoryLog, testIndex } from '../support/indexer.ts';
import { ownPostgres } from '../support/own-server.ts';
import { until } from '../support/pipeline.ts';

const MIB = 1024 * 1024;

/** Writes about this much log that concerns no image. */
async function writeLog(pool: HubPool, mebibytes: number): Promise<void> {
  for (let i = 0; i < mebibytes; i++) {
    await pool.query("select pg_logical_emit_message(true, 'noise', repeat('x', 1048576))");
  }
}

async function ownSlot(pool: HubPool) {
  const name = await slotName(pool);
  return (await findSlots(pool, name)).find((slot) => slot.name === name);
}

/** Log sequence numbers as Postgres writes them. */
test.each(['0/0', '0/16B3748', '16/B374D848', 'FFFFFFFF/FFFFFFFF'])(
  'the position %s survives both ways',
  (text) => {
    expect(formatLsn(parseLsn(text))).toBe(text);
  },
);

describe('the position of the feed', () => {
  test('moves on with the log of other tables while no image changes', async () => {
    await using index = await testIndex();
    const { pool } = index;
    index.start();
    await insertImage(pool, 'mnist', { id: 'a' });
    await index.inStep();
    await pool.query('create table other (x text)');
    await pool.query("insert into other select repeat('x', 1000) from generate_series(1, 5000)");
    const position = await fence(pool);
    await until(async () => ((await ownSlot(pool))?.confirmed ?? 0n) >= position, 'the slot has passed it');
  });

  test('an idle feed writes nothing to the database', async () => {
    // Autovacuum's statistics are transactions too.
    await using server = await ownPostgres(['autovacuum=off']);
    await using index = await testIndex({ database: server.database });
    const { pool } = index;
    index.start();
    await insertImage(pool, 'mnist', { id: 'a' });
    await index.inStep();
    const xid = async () =>
      (await pool.query<{ xid: string }>('select pg_snapshot_xmax(pg_current_snapshot())::text as xid'))
        .rows[0]!.xid;
    await until(async () => {
      const before = await xid();
      await sleep(5000);
      return (await xid()) === before;
    }, 'five seconds pass without a transaction');
  });

  test('a transaction whose commit follows the acknowledged one at once comes again', async () => {
    // The position acknowledged is where the next record begins: one byte more would skip it.
    await using server = await ownPostgres();
    await using index = await testIndex({ database: server.database });
    const { pool } = index;
    const slot = 'imagehub_adjacent';
    await pool.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [slot]);
    const [one, two] = [await pool.connect(), await pool.connect()];
    await one.query(
      "begin; set local synchronous_commit = off; insert into mnist (id, image_base64, image_pgm) values ('one', '', '')",
    );
    await two.query(
      "begin; set local synchronous_commit = off; insert into mnist (id, image_base64, image_pgm) values ('two', '', '')",
    );
    await Promise.all([one.query('commit'), two.query('commit')]);
    one.release();
    two.release();

    const confirmed = async () => (await findSlots(pool, slot))[0]?.confirmed ?? 0n;
    const follow = async (acknowledgeFirst: boolean): Promise<string[]> => {
      const ids: string[] = [];
      const commits: Lsn[] = [];
      // The one behind what was acknowledged; or both, and it is acknowledged.
      const isDone = async () =>
        acknowledgeFirst
          ? commits.length === 2 && (await confirmed()) >= commits[0]! - 1n
          : commits.length > 0;
      const stop = new AbortController();
      const sink: FeedSink = {
        change: (change) => void ids.push(change.id),
        classesChanged: () => undefined,
        truncated: () => undefined,
        reached: (position, committedAt) => void (committedAt && commits.push(position)),
        durable: () => (acknowledgeFirst ? (commits[0] ?? 0n) : 0n),
      };
      const following = followFeed({
        url: index.servers.postgres,
        slot,
        temporary: false,
        sink,
        log: memoryLog().log,
        signal: stop.signal,
        onStart: () => undefined,
      });
      await Promise.race([following, until(isDone, 'it came')]);
      // What should not come has its chance to come.
      await Promise.race([following, sleep(1000)]);
      stop.abort();
      await following;
      return ids;
    };
    const first = await follow(true);
    expect([...first].sort()).toEqual(['one', 'two']);
    expect(await follow(false)).toEqual([first[1]]);
  });
});

test('a keep-alive never claims a position whose changes still wait in line', async () => {
  await using index = await testIndex();
  const { pool } = index;
  const slot = `${await slotName(pool)}_slow`;
  const stop = new AbortController();
  const started = Promise.withResolvers<void>();
  const commits: Lsn[] = [];
  let highest: Lsn = 0n;
  let overtaken = 0;
  let idle = 0;
  const following = followFeed({
    url: index.servers.postgres,
    slot,
    temporary: true,
    sink: {
      change: () => sleep(15),
      classesChanged: () => undefined,
      truncated: () => undefined,
      reached(position, committedAt) {
        if (!committedAt) {
          idle++;
          highest = position > highest ? position : highest;
          return;
        }
        if (position <= highest) overtaken++;
        commits.push(position);
      },
      durable: () => 1n,
    },
    log: memoryLog().log,
    signal: stop.signal,
    onStart: () => started.resolve(),
  });
  await started.promise;
  for (let i = 0; i < 300; i++) {
    await insertImage(pool, 'mnist', { id: `a${i}` });
    await sleep(3);
  }
  await until(() => Promise.resolve(commits.length >= 300), 'everything came');
  await until(() => Promise.resolve(idle > 0), 'an idle position came');
  stop.abort();
  await following;
  expect(overtaken).toBe(0);
});

describe('what the feed holds back on the database’s disk', () => {
  test('an abandoned feed is warned about, given up at the limit, and its index rebuilt', async () => {
    await using server = await ownPostgres(['autovacuum=off']);
    await using index = await testIndex({ database: server.database });
    const { pool } = index;
    const indexer = index.start();
    await insertRows(pool, 50);
    await index.inStep();
    await indexer.stop();
    await until(async () => (await ownSlot(pool))?.active === false, 'Postgres has noticed that it ended');
    const slot = await slotName(pool);
    const { log, lines } = memoryLog();

    expect(await checkFeedRetention(pool, 1000 * MIB, log)).toMatchObject([{ slot, outcome: 'fine' }]);
    expect(lines).toEqual([]);

    await insertImage(pool, 'mnist', { id: 'unseen' });
    await writeLog(pool, 6);
    expect(await checkFeedRetention(pool, 10 * MIB, log)).toMatchObject([{ slot, outcome: 'warned' }]);
    expect(lines).toMatchObject([
      { level: 40, followed: false, limitMiB: 10, msg: expect.stringMatching(/imagehub run index/) },
    ]);

    await writeLog(pool, 6);
    expect(await checkFeedRetention(pool, 10 * MIB, log)).toMatchObject([{ slot, outcome: 'dropped' }]);
    expect(lines.at(-1)).toMatchObject({
      level: 50,
      slot,
      msg: expect.stringMatching(/GAVE UP THE CHANGE FEED/),
    });
    expect(await ownSlot(pool)).toBeUndefined();
    expect(await checkFeedRetention(pool, 10 * MIB, log)).toEqual([]);

    await pool.query("delete from mnist where id = 'image1'");
    index.start();
    await index.inStep();
    expect(await index.document('unseen')).toBeDefined();
    expect(await index.document('image1')).toBeUndefined();
  });

  test('a feed that is followed but stands still is given up, too, and followed anew', async () => {
    await using server = await ownPostgres();
    await using index = await testIndex({ database: server.database });
    const { pool, client, config } = index;
    const indexer = index.start();
    await insertRows(pool, 50);
    await index.inStep();
    // A read-only index: the indexer waits with what it has.
    await client.indices.addBlock({ index: `${config.indexPrefix}-mnist`, block: 'write' });
    await insertRows(pool, 50, 'stuck');
    await writeLog(pool, 6);
    const stop = new AbortController();
    const { log, lines } = memoryLog();
    const watching = watchFeedRetention({
      config: { feedLimitBytes: 4 * MIB },
      pool,
      log,
      signal: stop.signal,
      everyMs: 200,
    });
    await until(() => Promise.resolve(lines.some(({ level }) => level === 50)), 'it is given up');
    stop.abort();
    await watching;
    await client.indices.putSettings({
      index: `${config.indexPrefix}-mnist`,
      settings: { 'index.blocks.write': null } as never,
    });
    await index.inStep();
    expect(await index.document('stuck49')).toBeDefined();
    expect(indexer.lines.filter(({ msg }) => /made the change feed/.test(msg))).toHaveLength(2);
  });

  test('a slot whose log Postgres removed is made anew and the index rebuilt', async () => {
    await using server = await ownPostgres([
      'max_slot_wal_keep_size=1MB',
      'min_wal_size=32MB',
      'max_wal_size=32MB',
    ]);
    await using index = await testIndex({ database: server.database });
    const { pool } = index;
    const first = index.start();
    await insertRows(pool, 50);
    await index.inStep();
    await first.stop();
    await insertImage(pool, 'mnist', { id: 'unseen' });
    await until(async () => {
      await writeLog(pool, 5);
      await pool.query('select pg_switch_wal()');
      await pool.query('checkpoint');
      return (await ownSlot(pool))?.walStatus === 'lost';
    }, 'Postgres invalidates the slot');

    const second = index.start();
    await index.inStep();
    expect(await index.document('unseen')).toBeDefined();
    expect(second.lines).toContainEqual(
      expect.objectContaining({ level: 50, msg: expect.stringMatching(/Postgres removed its log/) }),
    );
    expect((await ownSlot(pool))?.walStatus).toBe('reserved');
  });

  test('a slot that somebody dropped is made anew and the index rebuilt', async () => {
    await using index = await testIndex();
    const { pool } = index;
    const first = index.start();
    await insertRows(pool, 50);
    await index.inStep();
    await first.stop();
    await until(async () => (await ownSlot(pool))?.active === false, 'Postgres has noticed that it ended');
    await pool.query('select pg_drop_replication_slot($1)', [await slotName(pool)]);
    await insertImage(pool, 'mnist', { id: 'unseen' });
    await pool.query("delete from mnist where id = 'image1'");
    index.start();
    await index.inStep();
    expect(await index.document('unseen')).toBeDefined();
  });

  test('a new slot that waits for an open transaction says which one', async () => {
    await using server = await ownPostgres();
    await using index = await testIndex({ database: server.database });
    const { pool } = index;
    const client = await pool.connect();
    await client.query('begin; create table held (x int)');
    const indexer = index.start();
    await until(
      () => Promise.resolve(indexer.lines.some(({ msg }) => /waits for transactions/.test(msg))),
      'it says so',
    );
    const { pid } = (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!;
    expect(indexer.lines.find(({ msg }) => /waits for transactions/.test(msg))).toMatchObject({
      transactions: [expect.objectContaining({ pid })],
    });
    await client.query('rollback');
    client.release();
    await insertImage(pool, 'mnist', { id: 'a' });
    await index.inStep();
  });
});
