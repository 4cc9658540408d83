import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { listPartitions } from '../../sql/offsets.ts';
import { damagedAmong } from '../support/digit-stream.ts';
import { rounds, withSeed } from '../support/fault-mode.ts';
import { runProcess } from '../support/ingest-process.ts';
import { judgedStream } from '../support/judged-stream.ts';
import { inFlight, killAmidBatch } from '../support/killing.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const KILLS = rounds(4, 25);
const MESSAGES = rounds(4000, 20_000);
const PER_ROUND = MESSAGES / KILLS;
/** About a batch. */
const FEW = 30;
/** Small, so that a round's messages are many batches. */
const SETTINGS = { IMAGEHUB_BATCH_IMAGES: '40' };
/** So long after its first batch a process is killed at the latest. */
const LIVES_MS = 150;
/** One process in so many is killed before, while it starts or joins the group. */
const STILLBORN_EVERY = rounds(4, 8);
const STARTS_WITHIN_MS = 2500;

const taken = async ({ pool, dataset }: TestPipeline) =>
  (await listPartitions(pool, dataset)).reduce((sum, { nextOffset }) => sum + nextOffset, 0);

describe('kill −9', () => {
  test(
    `${KILLS} times in the middle of a stream of ${MESSAGES}: every message is one row with its own prediction, or one dead letter`,
    () =>
      withSeed(async (random) => {
        await using pipeline = await testPipeline({ partitions: 3 });
        const { sent, send, judge } = await judgedStream(pipeline);

        for (let kill = 0; kill < KILLS; kill++) {
          await send(PER_ROUND / 2);
          if (kill % STILLBORN_EVERY === STILLBORN_EVERY - 1) {
            const stillborn = await runProcess(pipeline, SETTINGS);
            await sleep(random() * STARTS_WITHIN_MS);
            await stillborn.kill('SIGKILL');
          }
          const [before, takenBefore] = [await inFlight(pipeline), await taken(pipeline)];
          const victim = await runProcess(pipeline, SETTINGS);
          await until(async () => (await taken(pipeline)) > takenBefore, 'it works', 120_000, 5);
          // More messages come while it works, until it is killed: it may be faster than this round's.
          let killed = false;
          const producing = (async () => {
            while (!killed) {
              const isEnough = sent.length >= (kill + 1) * PER_ROUND;
              await send(isEnough ? FEW : PER_ROUND / 20);
              await sleep(random() * 20);
            }
          })();
          try {
            await sleep(random() * LIVES_MS);
            await killAmidBatch(pipeline, victim, random, { before, otherProcesses: false });
          } finally {
            killed = true;
            await producing;
          }
          await send(Math.max(FEW, (kill + 1) * PER_ROUND - sent.length));
        }
        expect(sent.length).toBeGreaterThanOrEqual(MESSAGES);
        expect(await taken(pipeline)).toBeLessThan(sent.length);

        const last = await runProcess(pipeline, SETTINGS);
        await pipeline.drained();
        expect(await last.kill('SIGTERM')).toBe(0);
        const { deadLetters } = await judge();
        expect(deadLetters).toBe(damagedAmong(sent.length));
      }),
    rounds(600_000, 1_800_000),
  );
});
