import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import { type Client, connect } from '../../kudu/index.ts';
import { createKuduDataset, dropKuduDataset } from '../../kudu-store/manage.ts';
import { putImages } from '../image-store/support/stored-images.ts';
import { TEN } from '../support/pipeline.ts';
import { imagehub, startImagehub } from '../support/imagehub.ts';
import { digitsDataset, insertOutcomes } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase, testServers, uniqueName } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { CLASSIC, classicRows, fillKudu } from '../query/support/tables.ts';

let db: TestDatabase;
let client: Client;
let name: string;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  [db, client] = await Promise.all([freshDatabase(), connect({ masters: testServers().kudu })]);
  name = uniqueName('mnist');
  env = { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_KUDU_MASTERS: testServers().kudu.join(',') };
  await digitsDataset(db.pool);
  await insertOutcomes(db.pool, 'mnist', [
    [7, 7, 3],
    [7, 1, 2],
  ]);
  await fillKudu(client, name, CLASSIC, classicRows(50));
});
afterAll(async () => {
  await client.deleteTable(name);
  client.close();
  await db[Symbol.asyncDispose]();
});

test('a query in Postgres: as an argument, from a file, from standard input, in every format', async () => {
  const statement = 'select prediction, count(*) from mnist group by prediction order by prediction';
  const csv = await imagehub(['sql', statement], { env });
  expect(csv).toMatchObject({ status: 0, stdout: 'prediction,count\n1,2\n7,3\n' });
  expect(csv.stderr).toMatch(/^2 rows in \d+\.\d\d s\n$/);
  await using folder = await temporaryFolder();
  await writeFile(folder.at('query.sql'), `${statement};\n`);
  const [json, table, lines] = await Promise.all([
    imagehub(['sql', '--json', '--file', folder.at('query.sql')], { env }),
    imagehub(['sql', '-', '--format', 'table'], { env, input: statement }),
    imagehub(['sql', '--file', '-', '--format', 'ndjson', '--limit', '1'], { env, input: statement }),
  ]);
  expect(JSON.parse(json.stdout)).toEqual([
    { prediction: 1, count: 2 },
    { prediction: 7, count: 3 },
  ]);
  expect(table.stdout).toContain('│ prediction │ count │');
  expect(lines.stdout).toBe('{"prediction":1,"count":2}\n');
  expect(lines.stderr).toContain('1 row in');
  expect(lines.stderr).toContain('there are more: --limit all');
});

test('what Postgres does not understand is shown in the statement, with status 1; an interrupt ends with 130', async () => {
  const running = startImagehub(['sql', 'select pg_sleep(100)'], { env });
  const [bad, slow, none] = await Promise.all([
    imagehub(['sql', 'select nope from mnist'], { env }),
    imagehub(['sql', 'select pg_sleep(100)', '--timeout', '1'], { env }),
    imagehub(['sql'], { env }),
  ]);
  expect(bad).toMatchObject({ status: 1, stdout: '' });
  expect(bad.stderr).toBe(
    'imagehub: column "nope" does not exist\nLINE 1: select nope from mnist\n               ^\n',
  );
  expect(slow).toMatchObject({ status: 1, stderr: expect.stringContaining('not done within 1 s') });
  expect(none).toMatchObject({ status: 1, stderr: expect.stringContaining('Say one query') });
  running.interrupt();
  expect(await running.ended).toMatchObject({ status: 130, stderr: 'imagehub: Interrupted.\n' });
});

test('a query on Kudu says what was read', async () => {
  const { status, stdout, stderr } = await imagehub(
    [
      'sql',
      '--kudu',
      `select id from ${name} where prediction = 3 and known_label in (3, 9) order by id limit 1`,
    ],
    { env: { ...env, IMAGEHUB_POSTGRES_URL: '' } },
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: 'id\n3/0003.png\n' });
  expect(stderr).toMatch(
    /^Read from Kudu’s \S+: \d rows of id, prediction, known_label where prediction = 3 and known_label in \(3, 9\) \(1 kB\)\n1 row in/,
  );
});

test('a query on a dataset in Kudu goes there by itself; one that mixes stores is refused with what to do', async () => {
  const far = uniqueName('far');
  const kudu = testServers().kudu;
  await createKuduDataset(db.pool, kudu, { name: far, classes: TEN }, { partitions: 2, replicas: 1 });
  await putImages({ pool: db.pool, dataset: far, kudu }, [{ id: 'a', prediction: 3 }]);
  const ask = (statement: string, ...more: string[]) => imagehub(['sql', statement, ...more], { env });
  try {
    const [both, mixed, postgres, all] = await Promise.all([
      // A table in Kudu that is no dataset, too.
      ask(`select f.id, n.id as other from ${far} f left join ${name} n on n.id = f.id`, '--max-mib', '1'),
      ask(`select * from mnist m join ${far} f on f.id = m.id`),
      ask(`select id from ${far}`, '--postgres'),
      ask('select count(*) from images'),
    ]);
    expect(both).toMatchObject({ status: 0, stdout: 'id,other\na,\n' });
    expect(mixed).toMatchObject({ status: 1, stdout: '' });
    expect(mixed.stderr).toContain(`The images of ${far} are in Kudu, and mnist is in Postgres`);
    expect(mixed.stderr).toContain('imagehub kudu-copy create mnist');
    expect(postgres).toMatchObject({ status: 1, stderr: expect.stringContaining(`"${far}" does not exist`) });
    expect(all).toMatchObject({ status: 0, stdout: 'count\n5\n' });
    expect(all.stderr).toContain(`Images in Kudu are not in images: ${far}.`);
  } finally {
    await dropKuduDataset(db.pool, kudu, far);
  }
});

test('without a Kudu it says what to do', async () => {
  const ask = (more: string[], settings: NodeJS.ProcessEnv) =>
    imagehub(['sql', 'select 1', ...more], { env: { ...env, ...settings } });
  const [none, away, wrong] = await Promise.all([
    ask(['--kudu'], { IMAGEHUB_KUDU_MASTERS: '' }),
    ask(['--kudu', '--masters', '127.0.0.1:1'], {}),
    ask(['--masters', '127.0.0.1:1'], {}),
  ]);
  expect(none).toMatchObject({ status: 1, stderr: expect.stringContaining('imagehub up --kudu') });
  expect(away).toMatchObject({ status: 1, stderr: expect.stringContaining('127.0.0.1:1 cannot be reached') });
  expect(away.stderr).toContain('--masters HOST:PORT names others');
  expect(wrong).toMatchObject({ status: 1, stderr: expect.stringContaining('--masters is for --kudu') });
});
