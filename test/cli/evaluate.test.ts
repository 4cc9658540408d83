import { expect, test } from '@jest/globals';
import { promote } from '../../classifier/registry.ts';
import { addLinearModel } from '../support/evaluating.ts';
import { insertDigits } from '../support/digit-rows.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { imagehub } from '../support/imagehub.ts';
import { freshDatabase } from '../support/servers.ts';

/** Digits, two models of which the second is live, and the command line on them. */
async function scene() {
  const db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 300 });
  await insertDigits(db.pool, 'mnist', { folder: 'u', from: 0, count: 7, labelled: false });
  for (const seed of [1, 2]) await addLinearModel(db.pool, 'mnist', seed);
  await promote(db.pool, 'mnist', 1);
  await promote(db.pool, 'mnist', 2);
  const env = { IMAGEHUB_POSTGRES_URL: db.url };
  const run = (...args: string[]) => imagehub(args, { env });
  return {
    pool: db.pool,
    run,
    async json(...args: string[]): Promise<Record<string, unknown>> {
      const { status, stdout, stderr } = await run(...args, '--json');
      expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
      return JSON.parse(stdout) as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

test('evaluate, list, show and compare, as scripts read them', async () => {
  await using hub = await scene();
  const live = await hub.json('evaluate', 'mnist');
  expect(live).toMatchObject({ model: 2, selected: 307, unlabelled: 7, images: 300 });
  const other = await hub.json(
    'evaluate',
    'mnist',
    '--model',
    'previous',
    '--where',
    'known_label < 5',
    '--since',
    '1h',
  );
  expect(other).toMatchObject({ model: 1, images: 150, selection: { where: 'known_label < 5' } });
  const listed = await hub.json('evaluate', 'list', 'mnist');
  expect(listed).toMatchObject({ evaluations: [{ run: other.run, model: 1 }, { run: live.run }] });
  expect(await hub.json('evaluate', 'list', 'mnist', '--model', 'live')).toMatchObject({
    evaluations: [{ run: live.run, model: 2 }],
  });
  expect(await hub.json('evaluate', 'show', String(live.run))).toEqual(live);
  expect(await hub.json('evaluate', 'compare', 'mnist/1', String(live.run))).toMatchObject({
    a: { run: other.run },
    b: { run: live.run },
    common: { images: 150 },
  });
});

test('what people read has the figures, the matrix, the commonest confusions and the calibration', async () => {
  await using hub = await scene();
  const { stdout } = await hub.run('evaluate', 'mnist', '--model', '1');
  expect(stdout).toMatch(
    /^Model 1 on 300 images of mnist \(run \d+\)\n {2}accuracy {11}0\.\d{4} \(\d+ of 300\)/,
  );
  expect(stdout).toMatch(/trained on {9}not known for this model/);
  expect(stdout).toMatch(/without a label {4}7: not judged/);
  expect(stdout).toMatch(/Confusion matrix[^]*Commonest confusions[^]*d\/\d+ \(0\.\d{4}\)[^]*Calibration/);
  const again = await hub.run('evaluate', 'mnist');
  const runs = [stdout, again.stdout].map((text) => /run (\d+)/.exec(text)![1]!);
  const compared = await hub.run('evaluate', 'compare', ...runs);
  expect(compared.stdout).toMatch(/macro F1 +│ +0\.\d{4} │ +0\.\d{4} │ +[+−]?0\.\d{4}/);
  expect(compared.stdout).toMatch(/On the 300 images that both judged[^]*McNemar’s exact test: p = \d/);
  expect((await hub.run('evaluate', 'list', 'mnist')).stdout).toMatch(/done │ +all/);
});

test('what cannot be evaluated is refused in words', async () => {
  await using hub = await scene();
  for (const [args, message] of [
    [['mnist', '--model', '7'], /has no model 7/],
    [['mnist', '--model', 'shadow'], /mnist has no shadow model/],
    [['nothing'], /There is no dataset nothing/],
    [['mnist', '--where', 'known_label ='], /--where known_label = cannot be used: syntax error/],
    [['mnist', '--since', 'yesterday'], /“yesterday” is no time/],
    [['show', 'x'], /“x” is no run/],
    [['list', 'nothing'], /There is no dataset nothing/],
    [[], /Usage: imagehub evaluate/],
  ] as const) {
    const { status, stdout, stderr } = await hub.run('evaluate', ...args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(message);
  }
});

test('suspects without stored scores are refused, and with them shown', async () => {
  await using hub = await scene();
  expect((await hub.run('suspects', 'mnist')).stderr).toMatch(/No scores of model 2 are stored for the 300/);
  await hub.pool.query(
    `update mnist set model_id = 2, prediction = n, confidence = 0.91,
       scores = array(select case when k = n then 0.91 else 0.01 end from generate_series(0, 9) k)
     from (select id, (case when id = 'd/13' then 8 else known_label end) as n from mnist) r
     where mnist.id = r.id and known_label is not null`,
  );
  expect(await hub.json('suspects', 'mnist', '--limit', '5')).toMatchObject({
    model: 2,
    considered: 300,
    found: 1,
    suspects: [{ rank: 1, id: 'd/13', knownClass: '3', suggestedClass: '8' }],
  });
  const { stdout } = await hub.run('suspects', 'mnist');
  expect(stdout).toMatch(/^1 of 300 labelled images of mnist are suspects, by the scores of model 2/);
  expect(stdout).toMatch(/d\/13 +│ 3 +│ 8 +│ +0\.9100 │ +-0\.9000/);
});
