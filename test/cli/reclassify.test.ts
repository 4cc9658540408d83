import { expect, test } from '@jest/globals';
import { applyHub } from '../support/apply-hub.ts';
import { imagehub } from '../support/imagehub.ts';

test('reclassify and predict on the command line: what they did in words, what is wrong with what was asked', async () => {
  await using hub = await applyHub(20);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  const run = (...args: string[]) =>
    imagehub(args, { env: { IMAGEHUB_POSTGRES_URL: hub.url, IMAGEHUB_KAFKA_BROKERS: '' } });
  const early = await run('reclassify', 'digits');
  expect(early.status).toBe(1);
  expect(early.stderr).toMatch(/No model is live in digits/);
  await hub.goLive(first);
  await hub.reclassify();
  await hub.goLive(second);

  const done = await run('reclassify', 'digits', '--since', '1h', '--where', "id like 'd/1%'");
  expect(done.stdout).toMatch(
    /^Job \d+: model 2 classified 11 images of digits; 11 were written, \d+ of them with another class than before\.\n {2}11 predictions of other models are kept in imagehub\.predictions\.\n$/,
  );
  expect(done.status).toBe(0);
  expect((await run('reclassify', 'digits')).stdout).toMatch(
    /20 images of digits; 9 were written.*\n {2}11 said the same already/,
  );
  expect((await run('reclassify', 'digits', '--only-outdated')).stdout).toMatch(
    /there is no image in digits to reclassify with model 2/,
  );

  const predicted = await run('predict', 'digits', '--model', 'previous');
  expect(predicted.stdout).toMatch(
    /^Job \d+: 20 predictions of model 1 are in imagehub\.predictions; \d+ differ from what the images of digits say\.\n$/,
  );
  const live = await run('predict', 'digits', '--model', 'live');
  expect(live.status).toBe(1);
  expect(live.stderr).toMatch(/Model 2 is live in digits.*\n.*imagehub reclassify digits/);
  const writes = await run(
    'reclassify',
    'digits',
    '--where',
    "pg_advisory_lock(1) is null or nextval('imagehub.revision') > 0",
  );
  expect(writes.status).toBe(1);
  expect(writes.stderr).toMatch(/cannot be used: cannot execute nextval\(\) in a read-only transaction/);
});
