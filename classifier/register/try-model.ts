import { fork } from 'node:child_process';
import { extname } from 'node:path';
import { HubError } from '../../errors.ts';
import type { ManifestInput } from '../manifest.ts';

/** What is tried in the child process. */
export interface ModelTrial {
  onnx: Uint8Array;
  /** How to run it; null: it is only loaded. */
  run: { input: ManifestInput; output: string } | null;
}

/** Loading a model of 250 MiB and one run take seconds. */
const TRY_MS = 120_000;

/** .ts in the repository, .js in the published package: as we are. */
const CHILD = new URL(`./try-model-child${extname(import.meta.url)}`, import.meta.url);

/**
 * Loads and runs a model in a process of its own first: a file from anywhere may crash native code, take all memory or never
 * come back, and that must end nobody else. What it merely fails with is for the caller to meet.
 * @throws HubError BAD_MODEL when it ends the process, or does not come back in time
 */
export async function tryModel(trial: ModelTrial, timeoutMs = TRY_MS): Promise<void> {
  const child = fork(CHILD, { serialization: 'advanced' });
  let timer: NodeJS.Timeout | undefined;
  try {
    const why = await new Promise<string | null>((resolve, reject) => {
      timer = setTimeout(() => resolve(`it did not come back within ${timeoutMs / 1000} s`), timeoutMs);
      child.once('message', () => resolve(null));
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        resolve(`it ended the process (${signal ?? `exit status ${code}`})`),
      );
      // An error of sending is that of the process, which is heard of by its exit.
      child.send(trial, () => undefined);
    });
    if (why === null) return;
    throw new HubError('BAD_MODEL', `The model was tried in a process of its own, and ${why}.`, {
      hint: 'It may need more memory than there is, or be damaged; export it again.',
    });
  } finally {
    clearTimeout(timer);
    child.removeAllListeners();
    child.on('error', () => undefined);
    child.kill('SIGKILL');
  }
}
