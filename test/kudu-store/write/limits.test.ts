import { expect, test } from '@jest/globals';
import { listDeadLetters } from '../../../sql/dead-letters.ts';
import { digitPng } from '../../support/digits.ts';
import { imagehub } from '../../support/imagehub.ts';
import { noisePng } from '../../support/noise.ts';
import { testPipeline, until } from '../../support/pipeline.ts';
import { kuduCluster } from '../../kudu/support/kudu-cluster.ts';
import { imagesAt } from '../../image-store/support/stored-images.ts';

const LARGE = noisePng(300);

test('an image with a cell over the limit is a dead letter that names limit and flag; its neighbours, and what it would have replaced, are stored', async () => {
  await using pipeline = await testPipeline({ store: 'kudu' });
  const { pool, dataset } = pipeline;
  const messages = [
    { key: 'a', value: digitPng(1, 1) },
    { key: 'b', value: digitPng(2, 2) },
    // Makes the earlier message of its image void, and is refused itself.
    { key: 'a', value: LARGE },
  ];
  const ingest = await pipeline.startIngest();
  await pipeline.produce(messages);
  await pipeline.drained();
  const stored = async () =>
    Object.fromEntries((await imagesAt(pipeline)).map((row) => [row.id, row.image_base64]));
  const small = { a: digitPng(1, 1).toString('base64'), b: digitPng(2, 2).toString('base64') };
  expect(await stored()).toEqual(small);
  const [letter] = await listDeadLetters(pool, { dataset });
  expect(letter).toMatchObject({ key: 'a', stage: 'write', reason: 'cell-too-large' });
  expect(letter!.detail).toMatch(
    /image_base64 has \d+ bytes, over IMAGEHUB_KUDU_MAX_CELL_BYTES \(65536\)\. Have a smaller rendition stored .* Raise the tablet servers’ --max_cell_size_bytes/,
  );
  await ingest.stop();

  // Of a server that takes less than the setting says, the answer says it.
  await pipeline.startIngest({ kuduMaxCellBytes: 1024 * 1024 });
  await pipeline.produce(messages);
  await pipeline.drained();
  expect(await stored()).toEqual(small);
  const letters = await listDeadLetters(pool, { dataset });
  expect(letters).toHaveLength(2);
  expect(letters[1]!.detail).toContain('too large for column');
  expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 2, deadLetters: 2 });
});

test('while Kudu is away ingest waits: nothing is lost, nothing is a dead letter; a dead letter is retried', async () => {
  await using cluster = await kuduCluster({
    flags: ['--max_cell_size_bytes=1048576', '--unlock_unsafe_flags'],
  });
  await using pipeline = await testPipeline({ store: 'kudu', partitions: 2, kudu: cluster.addresses });
  const { dataset } = pipeline;
  const digits = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => ({
      key: `${from + i}.png`,
      value: digitPng(i % 10, from + i),
    }));
  const ingest = await pipeline.startIngest({ batchImages: 50 });
  await pipeline.produce(digits(0, 100));
  await pipeline.drained();
  const servers = [...cluster.masters, ...cluster.tservers];
  await Promise.all(servers.map((server) => server.kill()));
  await pipeline.produce(digits(100, 300));
  await pipeline.produce([{ key: 'large.png', value: LARGE }]);
  await until(() => Promise.resolve(ingest.health().state === 'waiting'), 'it waits', 60_000);
  for (const server of servers) server.start();
  await pipeline.drained();
  expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 300, deadLetters: 1 });

  const env = {
    IMAGEHUB_POSTGRES_URL: pipeline.postgres,
    IMAGEHUB_KUDU_MASTERS: cluster.addresses.join(','),
    IMAGEHUB_KUDU_MAX_CELL_BYTES: '1048576',
  };
  const retried = await imagehub(['dead-letters', 'retry', dataset, '--json'], { env });
  expect(JSON.parse(retried.stdout)).toEqual({ retried: 1, outcomes: { inserted: 1 } });
  expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 301, deadLetters: 0 });
});
