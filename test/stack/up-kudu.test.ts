import { afterEach, expect, test } from '@jest/globals';
import { connect } from '../../kudu/index.ts';
import { stopStack } from '../../stack/stop.ts';
import { imagehub, processesOf, temporaryFolder } from '../support/processes.ts';

let folder: ReturnType<typeof temporaryFolder> | undefined;
const run = async (...args: string[]) => {
  const command = imagehub(args, {
    IMAGEHUB_HOME: folder!.path,
    IMAGEHUB_POSTGRES_PORT: '0',
    IMAGEHUB_KUDU_PORT: '0',
  });
  const status = await command.exit;
  return { status, stdout: command.stdout(), stderr: command.stderr() };
};

afterEach(async () => {
  if (!folder) return;
  await stopStack({ home: folder.path });
  const left = processesOf(folder.path);
  folder[Symbol.dispose]();
  folder = undefined;
  expect(left).toEqual([]);
});

test('up --kudu starts a Kudu that takes tables, status asks it, down ends it, and its tables are there after the next up', async () => {
  folder = temporaryFolder();
  const up = await run('up', '--embedded', '--kudu', '--detach', '--json');
  expect(up).toMatchObject({ status: 0 });
  const { servers } = JSON.parse(up.stdout) as { servers: { kudu: string[] } };
  {
    using client = await connect({ masters: servers.kudu });
    await client.createTable({ name: 'kept', columns: [{ name: 'id', type: 'INT32', key: true }] });
  }
  const state = async () => (JSON.parse((await run('status', '--json')).stdout) as { kudu: object }).kudu;
  expect(await state()).toEqual({ url: servers.kudu[0], state: 'running' });
  expect(await run('down')).toMatchObject({ status: 0, stdout: expect.stringContaining('kudu-tserver') });
  expect(processesOf(folder.path)).toEqual([]);

  const again = await run('up', '--embedded', '--kudu', '--detach', '--json');
  const { kudu } = (JSON.parse(again.stdout) as { servers: { kudu: string[] } }).servers;
  using client = await connect({ masters: kudu });
  expect(await client.listTables()).toMatchObject([{ name: 'kept' }]);
});

test('servers that run without Kudu are not joined by an up that wants it', async () => {
  folder = temporaryFolder();
  expect(await run('up', '--embedded', '--detach')).toMatchObject({ status: 0 });
  expect(await run('up', '--embedded', '--kudu')).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/run already, without Kudu[\s\S]*imagehub down/),
  });
  expect(await run('up', '--docker', '--kudu')).toMatchObject({ stderr: expect.stringContaining('no Kudu') });
});
