import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { connect } from '../../../kudu/index.ts';
import { type DigitMessage, digitMessages } from '../../support/digit-stream.ts';
import { digitPng } from '../../support/digits.ts';
import { rounds, withSeed } from '../../support/fault-mode.ts';
import { type IngestProcess, runProcess } from '../../support/ingest-process.ts';
import { testPipeline, type TestPipeline } from '../../support/pipeline.ts';
import { imagesAt } from '../../image-store/support/stored-images.ts';

const marks = async ({ pool }: Pick<TestPipeline, 'pool'>) =>
  new Set(
    (await pool.query<{ no: number }>('select write_no as no from imagehub.kudu_writes')).rows.map(
      ({ no }) => no,
    ),
  );

/** Freezes a process at random moments until one is found at which it has begun a write to Kudu and not committed it. */
async function freezeAmidWrite(
  pipeline: TestPipeline,
  { child }: IngestProcess,
  random: () => number,
): Promise<void> {
  const before = await marks(pipeline);
  for (const end = Date.now() + 60_000; Date.now() < end;) {
    child.kill('SIGSTOP');
    if ((await marks(pipeline)).difference(before).size > 0) return;
    child.kill('SIGCONT');
    await sleep(1 + random() * 15);
  }
  throw new Error('the process never wrote to Kudu');
}

/** By key the last message's image: all of a key are in one partition. */
const expectedOf = (sent: DigitMessage[]) =>
  new Map(sent.map(({ key, value }) => [key, value.toString('base64')]));

const imagesOf = async (pipeline: TestPipeline) =>
  new Map((await imagesAt(pipeline)).map((row) => [row.id, row.image_base64]));

const KILLS = rounds(2, 20);
const PER_ROUND = 300;
/** Small, so that a round is many batches. */
const SETTINGS = { IMAGEHUB_BATCH_IMAGES: '40' };

describe('Kudu as the store of a dataset', () => {
  test(
    `kill −9 amid ${KILLS} writes to Kudu: every message is counted once, and the last of each image is its row`,
    () =>
      withSeed(async (random) => {
        await using pipeline = await testPipeline({ store: 'kudu', partitions: 3 });
        const sent: DigitMessage[] = [];
        const send = async (count: number) => {
          const messages = digitMessages(sent.length, sent.length + count, false);
          sent.push(...messages);
          await pipeline.produce(messages);
        };
        for (let kill = 0; kill < KILLS; kill++) {
          await send(PER_ROUND);
          const victim = await runProcess(pipeline, SETTINGS);
          const producing = new AbortController();
          const more = (async () => {
            // It may be faster than this round.
            for (await victim.says('joined the group'); !producing.signal.aborted; await sleep(20))
              await send(30);
          })();
          await victim.says('joined the group');
          await freezeAmidWrite(pipeline, victim, random);
          await victim.kill('SIGKILL');
          producing.abort();
          await more;
        }
        expect((await marks(pipeline)).size).toBeGreaterThan(0);
        const last = await runProcess(pipeline, SETTINGS);
        await pipeline.drained();
        expect(await last.kill('SIGTERM')).toBe(0);
        expect(await imagesOf(pipeline)).toEqual(expectedOf(sent));
        const books = await pipeline.reconcile();
        expect(books).toMatchObject({ consistent: true, complete: true, deadLetters: 0 });
        expect(books.messages.inserted).toBe(expectedOf(sent).size);
        expect(books.messages.seen).toBe(sent.length);
        expect((await marks(pipeline)).size).toBe(0);
      }),
    rounds(300_000, 1_800_000),
  );

  test(
    'a process that was frozen amid a write, and wakes when others have taken over, writes nothing older',
    () =>
      withSeed(async (random) => {
        await using pipeline = await testPipeline({ store: 'kudu', partitions: 2 });
        const keys = Array.from({ length: 200 }, (_, i) => `${i}.png`);
        const send = (version: number, partition: number) =>
          pipeline.produce(
            keys.map((key, i) => ({
              key,
              value: digitPng(version, i),
              partition,
              timestamp: String(1_000_000 * version),
            })),
          );
        await send(1, 0);
        const zombie = await runProcess(pipeline, { IMAGEHUB_BATCH_IMAGES: '100' });
        await pipeline.drained();
        // Versions 2 to 5, one after the other, of the same images.
        const sending = (async () => {
          for (const version of [2, 3, 4, 5]) await send(version, 0);
        })();
        await freezeAmidWrite(pipeline, zombie, random);
        await sending;
        // As idle_in_transaction_session_timeout does after half a minute.
        await pipeline.pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'imagehub ingest%'`,
        );
        await send(9, 1);
        const successor = await runProcess(pipeline);
        await pipeline.drained();
        zombie.child.kill('SIGCONT');
        await zombie
          .says(/does not take a batch|joined the group.*joined the group|cannot take/s)
          .catch(() => undefined);
        await sleep(1000);
        await zombie.kill('SIGTERM');
        await pipeline.drained();
        await successor.kill('SIGTERM');
        const images = await imagesOf(pipeline);
        expect(images).toEqual(new Map(keys.map((key, i) => [key, digitPng(9, i).toString('base64')])));
        expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 200, deadLetters: 0 });
      }),
    120_000,
  );

  test('what was on its way when a writer vanished is refused by Kudu once another writes', async () => {
    await using pipeline = await testPipeline({ store: 'kudu' });
    const { pool, dataset } = pipeline;
    await pipeline.produce([{ key: 'a', value: digitPng(1, 1) }]);
    await pipeline.startIngest();
    await pipeline.drained();
    using client = await connect({ masters: pipeline.kudu! });
    const asItWas = await client.openTable(dataset);
    // A writer that left its mark, and nothing else.
    await pool.query('insert into imagehub.kudu_writes (dataset, stripes) values ($1, $2)', [
      dataset,
      (1n << 32n) - 1n,
    ]);
    await pipeline.produce([{ key: 'a', value: digitPng(2, 2) }]);
    await pipeline.drained();
    const late = client.session();
    late.update(asItWas, { id: 'a', image_base64: 'older' });
    late.deleteIgnore(asItWas, { id: 'a' });
    late.insertIgnore(asItWas, { id: 'b', prediction: 0, ingested_at: 0, revision: 0 });
    const { errors } = await late.flush();
    expect(errors.map(({ operation, message }) => [operation, message])).toEqual(
      ['UPDATE', 'DELETE_IGNORE', 'INSERT_IGNORE'].map((operation) => [
        operation,
        expect.stringContaining('write_fence_1'),
      ]),
    );
    expect(await imagesAt(pipeline)).toMatchObject([
      { id: 'a', image_base64: digitPng(2, 2).toString('base64') },
    ]);
    expect((await marks(pipeline)).size).toBe(0);
    // The one that fenced goes on.
    await pipeline.produce([{ key: 'c', value: digitPng(3, 3) }]);
    await pipeline.drained();
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 2, deadLetters: 0 });
  });
});
