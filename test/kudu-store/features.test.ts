import { expect, test } from '@jest/globals';
import { digits } from '../image-store/support/apply-dataset.ts';
import { storeHub } from '../image-store/support/store-hub.ts';
import { featureJobs } from '../support/feature-jobs.ts';
import { imagehub } from '../support/imagehub.ts';

const hub = storeHub('kudu');

test('imagehub features, train, similar and outliers work on a dataset in Kudu from the command line', async () => {
  await using it = await hub.dataset();
  await using jobs = await featureJobs(hub, it.name);
  await jobs.backbone('lines', 1);
  await it.deliver(digits(40).map((message, n) => ({ ...message, label: n % 10 })));
  const run = async (...args: string[]) => {
    const { status, stdout, stderr } = await imagehub([...args, '--json'], { env: hub.env });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    return JSON.parse(stdout) as unknown;
  };
  const set = ['dataset', 'set', it.name, '--features', 'lines'];
  expect(await run(...set)).toMatchObject({ featuresBackbone: 'lines' });
  // What is missing is computed first.
  const train = ['train', it.name, '--backbone', 'lines', '--validation', '0'];
  expect(await run(...train)).toMatchObject({ images: 40 });
  const where = ['--backbone', 'lines', '--where', `id < 'd/2'`];
  expect(await run('features', it.name, ...where, '--again')).toMatchObject({ counts: { images: 12 } });
  expect(await run('similar', it.name, 'd/7', ...where)).toMatchObject({ compared: 12, missing: 0 });
  expect(await run('outliers', it.name, '--backbone', 'lines')).toMatchObject({ compared: 40 });
});
