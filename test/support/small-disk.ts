import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../errors.ts';

/** A file system of its own, in memory, that can be filled up. */
export interface SmallDisk extends Disposable {
  path: string;
  /** Writes a file that leaves so many bytes. */
  fill(leave: number): void;
  /** Removes it. */
  makeRoom(): void;
}

/** As root, or as whoever may become root without a password. */
function asRoot(...command: string[]): void {
  const [file, ...args] = process.getuid?.() === 0 ? command : ['sudo', '-n', ...command];
  execFileSync(file!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/**
 * Mounts a tmpfs. @param owner who may write to it, as numbers. @throws Error that says what it needs where mounting is
 * not allowed.
 */
export function smallDisk(bytes: number, owner: { uid: number; gid: number }): SmallDisk {
  const above = mkdtempSync(join(tmpdir(), 'imagehub-disk-'));
  chmodSync(above, 0o711);
  const path = join(above, 'disk');
  const filler = join(path, 'filler');
  const options = `size=${bytes},mode=0700,uid=${owner.uid},gid=${owner.gid}`;
  try {
    asRoot('mkdir', path);
    asRoot('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', path);
  } catch (cause) {
    rmSync(above, { recursive: true, force: true });
    throw new Error(
      `No small disk can be mounted to fill it up (${errorText(cause).trim()}). Run the tests as root or where sudo asks for no password; in a container, with the capability SYS_ADMIN.`,
      { cause },
    );
  }
  const unmount = () => {
    asRoot('umount', '--lazy', path);
    asRoot('rmdir', path);
    rmdirSync(above);
  };
  process.once('exit', unmount);
  return {
    path,
    fill(leave) {
      const { bavail, bsize } = statfsSync(path);
      writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - leave)));
    },
    makeRoom: () => rmSync(filler),
    [Symbol.dispose]() {
      process.off('exit', unmount);
      unmount();
    },
  };
}

/** Whether this user may, on this machine. */
export function canMountSmallDisk(): boolean {
  try {
    smallDisk(1 << 20, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 })[Symbol.dispose]();
    return true;
  } catch {
    return false;
  }
}
