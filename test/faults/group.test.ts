import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { untilShared } from '../support/consumer-group.ts';
import { rounds, withSeed } from '../support/fault-mode.ts';
import { type IngestProcess, runProcess } from '../support/ingest-process.ts';
import { type JudgedStream, judgedStream } from '../support/judged-stream.ts';
import { inFlight, killAmidBatch } from '../support/killing.ts';
import { testPipeline, type TestPipeline } from '../support/pipeline.ts';

const KILLS = rounds(3, 12);
const CHANGES = rounds(6, 20);
const CHANGE_EVERY_MS = rounds(2000, 10_000);
const MOST_MEMBERS = 3;
const PARTITIONS = 4;
/** Small, so that something is nearly always in the middle of a batch. */
const SETTINGS = { IMAGEHUB_BATCH_IMAGES: '40' };

/** Produces all the while: so many messages every so often. */
function produceSteadily(stream: JudgedStream, count: number, everyMs: number): { end(): Promise<void> } {
  const stop = new AbortController();
  const done = (async () => {
    while (!stop.signal.aborted) {
      await stream.send(count);
      await sleep(everyMs);
    }
  })();
  done.catch(() => undefined); // `end` tells
  return {
    end() {
      stop.abort();
      return done;
    },
  };
}

/** A member that answers signals; it may still be joining. */
async function startMember(pipeline: TestPipeline): Promise<IngestProcess> {
  const member = await runProcess(pipeline, SETTINGS);
  await member.says('imagehub runs');
  return member;
}

describe('a group of ingest processes', () => {
  test(
    `two of them, one killed −9 amid a batch, ${KILLS} times: every message is one row or one dead letter`,
    () =>
      withSeed(async (random) => {
        await using pipeline = await testPipeline({ partitions: PARTITIONS });
        const stream = await judgedStream(pipeline);
        const members = [await startMember(pipeline), await startMember(pipeline)];
        const producing = produceSteadily(stream, 20, 80);
        for (let kill = 0; kill < KILLS; kill++) {
          await untilShared(pipeline, members.length);
          const before = await inFlight(pipeline);
          await sleep(random() * 1000);
          const victim = Math.floor(random() * members.length);
          await killAmidBatch(pipeline, members[victim]!, random, { before, otherProcesses: true });
          members[victim] = await startMember(pipeline);
        }
        await producing.end();
        await pipeline.drained();
        for (const member of members) expect(await member.kill('SIGTERM')).toBe(0);
        await stream.judge();
      }),
    rounds(600_000, 1_800_000),
  );

  test(
    `members that join and leave every ${CHANGE_EVERY_MS / 1000} s: every message is one row, none a dead letter, each leaves in good order`,
    () =>
      withSeed(async (random) => {
        await using pipeline = await testPipeline({ partitions: PARTITIONS });
        const stream = await judgedStream(pipeline, { damaged: false });
        const members = [await startMember(pipeline)];
        const producing = produceSteadily(stream, 20, 180);
        for (let change = 0; change < CHANGES; change++) {
          await sleep(CHANGE_EVERY_MS);
          if (members.length === 1 || (members.length < MOST_MEMBERS && random() < 0.5)) {
            members.push(await startMember(pipeline));
          } else {
            const [leaver] = members.splice(Math.floor(random() * members.length), 1);
            expect(await leaver!.kill('SIGTERM')).toBe(0);
          }
        }
        await producing.end();
        await pipeline.drained();
        for (const member of members) expect(await member.kill('SIGTERM')).toBe(0);
        expect(await stream.judge()).toMatchObject({ deadLetters: 0 });
      }),
    rounds(600_000, 1_800_000),
  );
});
