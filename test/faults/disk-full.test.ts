import { statSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { openPool } from '../../sql/database.ts';
import { migrate } from '../../sql/migrate.ts';
import { rounds } from '../support/fault-mode.ts';
import { watchHealth } from '../support/health-watch.ts';
import { runProcess } from '../support/ingest-process.ts';
import { judgedStream } from '../support/judged-stream.ts';
import { ownPostgres } from '../support/own-server.ts';
import { testPipeline } from '../support/pipeline.ts';
import { smallDisk } from '../support/small-disk.ts';
import { databaseUrl } from '../support/template.ts';

const MIB = 1024 * 1024;
/** Room for a database (10 MiB) with the rows of the stream (2 MiB per 1,000), old versions of them, and temporary tables. */
const DISK_BYTES = rounds(64, 256) * MIB;
/** Left when the stream begins: enough for some of it. */
const LEFT_BYTES = 3 * MIB;
const MESSAGES = rounds(4000, 40_000);

test('the database’s disk is full in the middle of a stream: the ingest waits until there is room again', async () => {
  await using server = await ownPostgres();
  const { rows } = await server.database.pool.query<{ folder: string }>(
    `select current_setting('data_directory') as folder`,
  );
  const { uid, gid } = statSync(rows[0]!.folder);
  using disk = smallDisk(DISK_BYTES, { uid, gid });
  // All of the database but the log lies there: its tables, indexes, catalogues, temporary tables.
  await server.database.pool.query(`create tablespace small location '${disk.path}'`);
  await server.database.pool.query('create database small tablespace small');
  const url = databaseUrl(server.url, 'small');
  await using pool = openPool(url);
  await migrate(pool);
  await using pipeline = await testPipeline(
    { partitions: 2 },
    { url, pool, [Symbol.asyncDispose]: () => Promise.resolve() },
  );
  const stream = await judgedStream(pipeline);

  const run = await runProcess(pipeline, { IMAGEHUB_BATCH_IMAGES: '500' });
  await run.says('"consuming"');
  const health = watchHealth(run.operationsUrl);
  disk.fill(LEFT_BYTES);
  await stream.send(MESSAGES);
  await run.says(/does not take a batch of .*No space left on device.*nothing is lost, trying again/);
  await health.waits('ingest', /No space left on device/);
  // Asked of the ingest: a new connection may want to write a file of the server's own before it answers.
  const metrics = await (await fetch(`${run.operationsUrl}/metrics`)).text();
  expect(metrics).toMatch(/^imagehub_consumer_lag\{.*\} [1-9]/m);

  disk.makeRoom();
  await pipeline.drained(240_000);
  await health.isWell();
  await health.stop();
  expect(await run.kill('SIGTERM')).toBe(0);
  await stream.judge();
  // Before its disk goes.
  await server.stop();
}, 600_000);
