import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { findCopy } from '../../kudu-copy/state.ts';
import { kuduCluster } from '../kudu/support/kudu-cluster.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertRows } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';
import { testCopy } from './support/copies.ts';
import { copyProcess } from './support/copy-process.ts';

const ROWS = 20_000;

test('kill −9 amid the first copy, and amid changes: the next process goes on, and nothing is lost', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertRows(pool, ROWS);
  const stateNow = async () => (await findCopy(pool, 'mnist'))!;

  await using first = copyProcess(copy);
  await until(async () => (await stateNow()).rowsCopied > 0, 'it copies');
  await first.kill();
  const left = await stateNow();
  expect(left).toMatchObject({ state: 'copying', writer: expect.any(String) as unknown });
  expect(left.rowsCopied).toBeLessThan(ROWS);
  // Of what is copied, and of what is not.
  await pool.query("update mnist set known_label = 1 where id like '%7'");
  await pool.query("delete from mnist where id like '%3'");

  await using second = copyProcess(copy);
  await until(async () => (await stateNow()).state === 'following', 'the next one has copied the rest');
  expect(second.log()).toContain(`"behind":"${left.copiedTo}"`);
  expect(second.log()).toMatch(/ended without a word/);
  const before = (await stateNow()).rowsWritten;
  await pool.query('update mnist set prediction = 5, model_id = 1');
  await until(async () => (await stateNow()).rowsWritten > before, 'it writes changes');
  await second.kill();
  await pool.query("delete from mnist where id like '%4'");

  copy.start();
  expect(await copy.inStep()).toMatchObject({ rows: ROWS * 0.8 });
  const rows = Object.values(await copy.rows('prediction'));
  expect(rows.every(({ prediction }) => prediction === 5)).toBe(true);
});

test('a process that was frozen while another one took over does not write what it had read before', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertImage(pool, 'mnist', { id: 'a', known_label: 1 });
  await using zombie = copyProcess(copy);
  await copy.inStep();

  // It reads the row as it is now, but gets no answer before it is frozen.
  await insertImage(pool, 'mnist', { id: 'gate' });
  await copy.inStep();
  const gate = await pool.connect();
  const readsRows = `select pid from pg_stat_activity where query like 'copy (select%' and wait_event_type = 'Lock'
    and datname = current_database()`;
  await gate.query("begin; update mnist set known_label = 2 where id = 'a'; commit");
  await gate.query('begin; lock table public.mnist in access exclusive mode');
  await until(async () => (await pool.query(readsRows)).rowCount === 1, 'it is about to read the row');
  const { rows } = await pool.query<{ pid: number }>(readsRows);
  zombie.signal('SIGSTOP');
  await gate.query('commit');
  gate.release();
  // The answer is on its way to the frozen process; now the row changes, and its session is lost.
  await sleep(200);
  await pool.query("update mnist set known_label = 3 where id = 'a'");
  await pool.query('select pg_terminate_backend($1)', [rows[0]!.pid]);

  const successor = copy.start();
  await copy.inStep();
  expect((await copy.rows('known_label')).a).toEqual({ known_label: 3 });
  expect(successor.lines).toContainEqual(
    expect.objectContaining({ msg: expect.stringMatching(/ended without a word/) as unknown }),
  );
  zombie.signal('SIGCONT');
  await until(async () => zombie.log().includes('cannot be kept in step'), 'it has noticed');
  expect((await copy.rows('known_label')).a).toEqual({ known_label: 3 });
});

test('of two processes one keeps the copy; the other takes over when it ends', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertRows(pool, 10);
  const first = copy.start();
  await copy.inStep();
  const second = copy.start();
  const follows = ({ msg }: { msg: string }) => msg === 'following the change feed';
  await insertRows(pool, 10, 'b');
  // Long enough for it to have looked.
  await sleep(1500);
  await copy.inStep();
  expect(second.lines.filter(follows)).toEqual([]);
  expect(second.troubles.health()).toEqual({ state: 'ok' });
  await first.stop();
  await insertRows(pool, 10, 'c');
  await copy.inStep();
  expect(second.lines.filter(follows)).toHaveLength(1);
  expect(second.lines.filter(({ msg }) => /without a word/.test(msg))).toEqual([]);
});

test('while Kudu is away it waits, says so, and loses nothing', async () => {
  await using cluster = await kuduCluster();
  await using copy = await testCopy({ masters: cluster.addresses });
  const { pool } = copy;
  const running = copy.start();
  await insertRows(pool, 100);
  await copy.inStep();

  const servers = [...cluster.masters, ...cluster.tservers];
  for (const server of servers) await server.kill();
  await insertRows(pool, 100, 'meanwhile');
  await pool.query("delete from mnist where id = 'image5'");
  await until(async () => running.troubles.health().state === 'waiting', 'it says that it waits');
  expect(running.troubles.health().detail).toMatch(/the copy of mnist in Kudu cannot be kept in step/);
  expect((await findCopy(pool, 'mnist'))!.lastError).not.toBeNull();
  for (const server of servers) server.start();
  expect(await copy.inStep()).toMatchObject({ rows: 199, copiedRows: 199 });
  await until(async () => running.troubles.health().state === 'ok', 'all is well again');
  expect((await findCopy(pool, 'mnist'))!.lastError).toBeNull();
});
