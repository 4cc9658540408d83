import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect } from '../../kudu/index.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { imagehub, type RunningCommand, startImagehub } from '../support/imagehub.ts';
import { insertRows } from '../support/indexer.ts';
import { freshDatabase, type TestDatabase, testServers, uniqueName } from '../support/servers.ts';

const table = uniqueName('cli');
let database: TestDatabase;
let env: NodeJS.ProcessEnv;
let run: RunningCommand | undefined;

beforeAll(async () => {
  database = await freshDatabase();
  await digitsDataset(database.pool);
  await insertRows(database.pool, 50);
  env = {
    IMAGEHUB_POSTGRES_URL: database.url,
    IMAGEHUB_KUDU_MASTERS: testServers().kudu.join(','),
    IMAGEHUB_OPERATIONS_PORT: '0',
  };
});

afterAll(async () => {
  run?.kill();
  await run?.ended;
  using kudu = await connect({ masters: testServers().kudu });
  if ((await kudu.listTables(table)).length > 0) await kudu.deleteTable(table);
  await database?.[Symbol.asyncDispose]();
});

test('a copy is made, filled by imagehub run copy, shown, checked and dropped', async () => {
  const none = await imagehub(['kudu-copy', 'list'], { env });
  expect(none.stdout).toMatch(/No dataset is copied/);
  const made = await imagehub(['kudu-copy', 'create', 'mnist', '--table', table, '--partitions', '2'], {
    env,
  });
  expect(made).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/Made table .*: 2 partitions/) as unknown,
  });
  const again = await imagehub(['kudu-copy', 'create', 'mnist'], { env });
  expect(again).toMatchObject({ status: 1, stderr: expect.stringMatching(/has a copy already/) as unknown });
  const early = await imagehub(['kudu-copy', 'check', 'mnist', '--wait', '0'], { env });
  expect(early).toMatchObject({ status: 1, stderr: expect.stringMatching(/still being made/) as unknown });

  run = startImagehub(['run', 'copy'], { env });
  await run.says('every image is copied');
  const check = await imagehub(['kudu-copy', 'check', 'mnist'], { env });
  expect(check).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/equals dataset mnist: 50 rows/) as unknown,
  });
  const shown = await imagehub(['kudu-copy', 'show', 'mnist', '--json'], { env });
  expect(JSON.parse(shown.stdout)).toMatchObject({
    table,
    state: 'following',
    keeper: 'kept',
    rows: 50,
    copiedRows: 50,
  });

  using kudu = await connect({ masters: testServers().kudu });
  const session = kudu.session();
  session.delete(await kudu.openTable(table), { id: 'image7' });
  await session.flush();
  const wrong = await imagehub(['kudu-copy', 'check', 'mnist'], { env });
  expect(wrong).toMatchObject({ status: 1, stdout: expect.stringMatching(/missing: image7/) as unknown });

  run.interrupt();
  expect((await run.ended).status).toBe(0);
  const waiting = await imagehub(['kudu-copy', 'show', 'mnist'], { env });
  expect(waiting.stdout).toMatch(/nobody keeps it: imagehub run copy/);
  const unsure = await imagehub(['kudu-copy', 'drop', 'mnist'], { env });
  expect(unsure).toMatchObject({ status: 1, stderr: expect.stringMatching(/--yes/) as unknown });
  const dropped = await imagehub(['kudu-copy', 'drop', 'mnist', '--yes'], { env });
  expect(dropped).toMatchObject({ status: 0, stdout: expect.stringMatching(/Dropped the copy/) as unknown });
  expect(await kudu.listTables(table)).toEqual([]);
});

test('without a Kudu, or with bad options, it says what to do', async () => {
  const none = await imagehub(['kudu-copy', 'create', 'mnist'], {
    env: { ...env, IMAGEHUB_KUDU_MASTERS: '' },
  });
  expect(none).toMatchObject({ status: 1, stderr: expect.stringMatching(/imagehub up --kudu/) as unknown });
  const run = await imagehub(['run', 'copy'], { env: { ...env, IMAGEHUB_KUDU_MASTERS: '' } });
  expect(run).toMatchObject({ status: 1, stderr: expect.stringMatching(/no Kudu to copy into/) as unknown });
  const even = await imagehub(['kudu-copy', 'create', 'mnist', '--replicas', '2'], { env });
  expect(even).toMatchObject({ status: 1, stderr: expect.stringMatching(/even/) as unknown });
});
