import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { tableFromIPC } from 'apache-arrow';
import { createDataset } from '../../sql/datasets.ts';
import { imagehub, startImagehub } from '../support/imagehub.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { temporaryFolder, type TemporaryFolder } from '../support/temporary-folder.ts';

const ROWS = 24_000;

let db: TestDatabase;
let folder: TemporaryFolder;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  db = await freshDatabase();
  folder = await temporaryFolder();
  env = { IMAGEHUB_POSTGRES_URL: db.url };
  await createDataset(db.pool, { name: 'digits', classes: [...'0123456789'] });
  await db.pool.query(
    `begin; set local imagehub.writer = 'ingest'; set local imagehub.settles = 'on';
     insert into digits (id, image_base64, image_pgm, known_label, format)
     select lpad(n::text, 6, '0'), 'AAEC', '', n % 10, 'png' from generate_series(0, ${ROWS - 1}) n; commit`,
  );
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

test('imagehub export writes files and says so; again, it does not write over them', async () => {
  const args = [
    'export',
    'digits',
    '--format',
    'arrow',
    '--columns',
    'id, known_class',
    '--limit',
    '10',
    '--json',
  ];
  const { status, stdout } = await imagehub([...args, '--where', 'known_label < 2'], {
    env,
    cwd: folder.path,
  });
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ dataset: 'digits', output: 'digits-arrow', images: 10 });
  const table = tableFromIPC(await readFile(folder.at('digits-arrow/part-00000.arrow')));
  expect(
    table
      .toArray()
      .map((row) => ({ ...row }))
      .slice(0, 3),
  ).toEqual([
    { id: '000000', known_class: '0' },
    { id: '000001', known_class: '1' },
    { id: '000010', known_class: '0' },
  ]);
  const again = await imagehub([...args, '--where', 'known_label < 2'], { env, cwd: folder.path });
  expect(again).toMatchObject({ status: 1, stderr: expect.stringContaining('holds this export already') });
  const bad = await imagehub(['export', 'digits', '--format', 'csv'], { env });
  expect(bad).toMatchObject({ status: 1, stderr: expect.stringContaining('arrow, parquet, folder, idx') });
});

test.each(['interrupt', 'kill'] as const)('an export goes on after an %s', async (how) => {
  const args = ['export', 'digits', '--format', 'folder', '--output', folder.at(how)];
  const first = startImagehub(args, { env });
  const state = () =>
    readFile(folder.at(`${how}/_export.json`), 'utf8').then(
      (text) => (JSON.parse(text) as { images: number }).images,
      () => 0,
    );
  let ended = false;
  void first.ended.then(() => (ended = true));
  while (!ended && (await state()) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  first[how]();
  const { status, stderr } = await first.ended;
  if (how === 'interrupt') {
    expect(status).toBe(130);
    expect(stderr).toMatch(/The same command goes on/);
  }
  const second = await imagehub([...args, '--json'], { env });
  const result = JSON.parse(second.stdout) as { images: number; imagesBefore: number };
  expect(result.images).toBe(ROWS);
  expect(result.imagesBefore).toBeGreaterThan(0);
  expect(result.imagesBefore).toBeLessThan(ROWS);
  const lines = (await readFile(folder.at(`${how}/labels.csv`), 'utf8')).trimEnd().split('\n');
  expect(lines).toHaveLength(ROWS + 1);
  expect(new Set(lines).size).toBe(ROWS + 1);
});

test('another program imports images() from imagehub', async () => {
  const script = `import { images } from 'imagehub';
    let rows = 0;
    for await (const batch of images('digits', { columns: ['known_label'], where: 'known_label = 3' })) rows += batch.numRows;
    console.log(rows);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ...env },
  });
  expect(stdout).toBe(`${ROWS / 10}\n`);
});
