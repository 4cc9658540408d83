import { expect, test } from '@jest/globals';
import { listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { imagehub } from '../support/imagehub.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const some = (count: number, name: string) =>
  Array.from({ length: count }, (_, i) => ({ key: `${name}-${i}.png`, value: digitPng(i % 10, i) }));

const resume = (pipeline: TestPipeline, ...args: string[]) =>
  imagehub(['resume', 'digits', ...args], { env: { IMAGEHUB_POSTGRES_URL: pipeline.postgres } });

const halted = (pipeline: TestPipeline) =>
  until(
    async () => ((await listPartitions(pipeline.pool, 'digits'))[0]?.haltedReason ?? null) !== null,
    'the partition is stopped',
  );

test('a gap is accepted only when that is said, and the running ingest goes on behind it', async () => {
  await using pipeline = await testPipeline();
  await pipeline.produce(some(3, 'a'));
  const first = await pipeline.startIngest();
  await pipeline.drained();
  await first.stop();
  expect((await resume(pipeline)).stdout).toBe('No partition of digits is stopped.\n');

  await pipeline.produce(some(6, 'b'));
  await pipeline.deleteMessagesBelow(7);
  await pipeline.startIngest();
  await halted(pipeline);

  const plain = await resume(pipeline);
  expect(plain.status).toBe(1);
  expect(plain.stderr).toMatch(/Messages 3 to 6 are gone.*--accept-gap/s);
  const both = await resume(pipeline, '--accept-gap', '--accept-new-topic');
  expect(both.status).toBe(1);
  const accepted = await resume(pipeline, '--accept-gap', '--json');
  expect(accepted.status).toBe(0);
  expect(JSON.parse(accepted.stdout)).toEqual({
    dataset: 'digits',
    resumed: [{ topic: pipeline.topic, partition: 0, nextOffset: 7 }],
  });
  await pipeline.drained();
  expect(await pipeline.reconcile()).toMatchObject({
    consistent: true,
    complete: true,
    rows: 5,
    messages: { gaps: 4 },
  });
});

test('a topic made anew is taken from its start when that is said', async () => {
  await using pipeline = await testPipeline();
  await pipeline.produce(some(5, 'old'));
  const first = await pipeline.startIngest();
  await pipeline.drained();
  await first.stop();
  await pipeline.remakeTopic();
  await pipeline.produce(some(2, 'new'));
  await pipeline.startIngest();
  await halted(pipeline);
  const { status, stdout } = await resume(pipeline, '--accept-new-topic');
  expect({ status, stdout }).toEqual({ status: 0, stdout: `${pipeline.topic}/0 goes on at offset 0.\n` });
  await pipeline.drained();
  expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 7 });
});

test('without a dataset of that name, resume says which there are', async () => {
  await using pipeline = await testPipeline();
  const { status, stderr } = await imagehub(['resume', 'nothing'], {
    env: { IMAGEHUB_POSTGRES_URL: pipeline.postgres },
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/no dataset nothing \(there is: digits\)/);
});
