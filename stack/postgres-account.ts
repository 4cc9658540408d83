import { execFile } from 'node:child_process';
import { chmod, chown, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { HubError } from '../errors.ts';
import type { ServerCommand } from './definition.ts';

const execute = promisify(execFile);

/** Whom Postgres runs as, and who owns its data. */
export interface Account {
  run(file: string, args: string[]): ServerCommand;
  give(path: string): Promise<void>;
}

export const ownAccount: Account = {
  run: (file, args) => ({ file, args }),
  give: () => Promise.resolve(),
};

/** Others may pass through a folder, not list it. */
const MAY_PASS = 0o011;

/**
 * Postgres refuses to run as root: started by root, its processes and its data belong to the system user
 * `postgres`, which is created where it is missing. Where that user cannot get at the data or at the program
 * (anything below /root), it is lent the one capability to do so, with util-linux's `setpriv`.
 * @throws HubError STACK_FAILED
 */
export async function accountForRoot(folder: string, program: string): Promise<Account> {
  const { uid, gid } = await postgresUser();
  const home = dirname(folder);
  await chmod(home, (await stat(home)).mode | MAY_PASS);
  await chown(folder, uid, gid);
  const give = (path: string) => chown(path, uid, gid);
  const plain: Account = { run: (file, args) => ({ file, args, uid, gid }), give };
  const lent: Account = {
    run: (file, args) => ({ file: 'setpriv', args: [...asUser(uid, gid), file, ...args] }),
    give,
  };
  for (const account of [plain, lent]) if (await canRun(account, folder, program)) return account;
  throw new HubError(
    'STACK_FAILED',
    `Started by root, Postgres runs as the user "postgres", who cannot get at ${folder} or ${program}.`,
    {
      hint: 'Choose folders that others may enter (not below /root; IMAGEHUB_HOME names the data’s), run as another user, or set IMAGEHUB_POSTGRES_URL.',
    },
  );
}

const asUser = (uid: number, gid: number): string[] => [
  `--reuid=${uid}`,
  `--regid=${gid}`,
  '--clear-groups',
  '--inh-caps=+dac_override',
  '--ambient-caps=+dac_override',
];

async function canRun(account: Account, folder: string, program: string): Promise<boolean> {
  const script = 'cd "$1" && exec "$2" --version';
  const { file, args, uid, gid } = account.run('/bin/sh', ['-c', script, 'sh', folder, program]);
  try {
    await execute(file, args, { cwd: '/', ...(uid === undefined ? {} : { uid, gid }) });
    return true;
  } catch {
    return false;
  }
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const read = async () => {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((option) => execute('id', [option, 'postgres'])));
    return { uid: Number(uid!.stdout), gid: Number(gid!.stdout) };
  };
  try {
    return await read();
  } catch {
    try {
      await execute('groupadd', ['--force', '--system', 'postgres']);
      await execute('useradd', ['--system', '--gid', 'postgres', '--shell', '/usr/sbin/nologin', 'postgres']);
      return await read();
    } catch (cause) {
      const message = 'Postgres does not run as root, and the user "postgres" cannot be created.';
      throw new HubError('STACK_FAILED', message, {
        hint: 'Create it (useradd postgres), run as another user, or set IMAGEHUB_POSTGRES_URL.',
        cause,
      });
    }
  }
}
