import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import {
  type BatchFailure,
  type BatchResult,
  type BatchTask,
  type ModelRef,
  pack,
  unpack,
} from './batch-task.ts';

/** Why an image that ended its decoder's process, or never came back from it, is a dead letter. */
export const KILLED_DECODER = 'killed-the-decoder';

/** .ts in the repository, .js in the published package: as we are. */
const CHILD = new URL(`./isolated-child${extname(import.meta.url)}`, import.meta.url);

/**
 * Does a batch one image at a time in a child process: for a batch that was in flight when the process died, or that
 * ended a worker thread. An image that kills the child, or takes longer than `timeoutMs`, is a failure; the others
 * become rows as usual.
 */
export async function processIsolated(task: BatchTask, timeoutMs: number): Promise<BatchResult> {
  // Shared memory cannot cross processes.
  const model = task.model && {
    ...task.model,
    onnx: new Uint8Array(task.model.onnx) as unknown as ModelRef['onnx'],
  };
  const images = unpack(task.packed);
  const rows: Uint8Array[] = [];
  const failures: BatchFailure[] = [];
  const total: BatchResult = {
    rows: pack([]),
    failures,
    classifyError: null,
    decodeSeconds: 0,
    classifySeconds: 0,
  };
  let child: ChildProcess | null = null;
  try {
    for (let index = 0; index < images.length; index++) {
      if (!child) {
        child = fork(CHILD, { serialization: 'advanced' });
        child.send({ model });
      }
      const one = { ...task, model: null, images: [task.images[index]!], packed: pack([images[index]!]) };
      const answer = await ask(child, one, timeoutMs);
      if ('died' in answer) {
        child = null;
        failures.push({ index, reason: KILLED_DECODER, detail: answer.died });
        continue;
      }
      const { result } = answer;
      rows.push(...unpack(result.rows));
      failures.push(...result.failures.map((failure) => ({ ...failure, index })));
      if (result.classifyError) {
        total.classifyError = {
          text: result.classifyError.text,
          count: (total.classifyError?.count ?? 0) + 1,
        };
      }
      total.decodeSeconds += result.decodeSeconds;
      total.classifySeconds += result.classifySeconds;
    }
  } finally {
    child?.kill('SIGKILL');
  }
  return { ...total, rows: pack(rows) };
}

/** One image to the child and back; the child is dead after an answer `died`. */
function ask(
  child: ChildProcess,
  task: BatchTask,
  timeoutMs: number,
): Promise<{ result: BatchResult } | { died: string }> {
  return new Promise((resolve) => {
    const done = (answer: { result: BatchResult } | { died: string }) => {
      clearTimeout(timer);
      child.removeAllListeners();
      if ('died' in answer) child.kill('SIGKILL');
      resolve(answer);
    };
    const timer = setTimeout(
      () => done({ died: `It took longer than ${timeoutMs / 1000} s (IMAGEHUB_DECODE_TIMEOUT_MS).` }),
      timeoutMs,
    );
    child.once('exit', (code, signal) =>
      done({ died: `It ended the process that decoded it (${signal ?? `exit status ${code}`}).` }),
    );
    child.once('error', (error) => done({ died: error.message }));
    child.once('message', (message: { result: BatchResult } | { error: string }) =>
      done('error' in message ? { died: message.error } : message),
    );
    child.send({ task });
  });
}
