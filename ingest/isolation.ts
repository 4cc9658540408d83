import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import type { ModelRef } from '../classifier/model-ref.ts';
import type { ShadowRef } from '../classifier/shadow-ref.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import { type BatchResult, type BatchTask, pack, type ShadowResult, unpack } from './batch-task.ts';
import { keepNewest } from './keep-newest.ts';
import { packMessages } from './packed-messages.ts';
import { sumIgnored } from './read-messages.ts';
import { ShadowSuspicion } from './shadow-suspicion.ts';

/** Why an image that ended its decoder's process, or never came back from it, is a dead letter. */
export const KILLED_DECODER = 'killed-the-decoder';

/** Ended so often, and an image is to blame: once may have been somebody else's doing (a person, a machine out of memory). */
const DEATHS = 2;

/** .ts in the repository, .js in the published package: as we are. */
const CHILD = new URL(`./isolated-child${extname(import.meta.url)}`, import.meta.url);

/** A batch's result, and the shadow that is to blame for the end of a process, with the reason as its error. */
export interface IsolatedResult extends BatchResult {
  accused: ShadowRef | null;
}

/**
 * Does a batch one image at a time in a child process: for a batch that was in flight when the process died, or that
 * ended a worker thread. An image that kills the child twice, or takes longer than `timeoutMs`, is a failure; the others
 * become rows as usual. A child that ends with a shadow in it may have ended by the shadow: the image is tried again
 * without it first, and if that goes well, so are the rest.
 * @throws when no child comes up: that is no image's fault.
 */
export async function processIsolated(
  task: Omit<BatchTask, 'messages' | 'rowMemory'>,
  messages: SourceMessage[],
  timeoutMs: number,
): Promise<IsolatedResult> {
  // Shared memory cannot cross processes.
  const model = task.model && unshared(task.model);
  const given = task.shadow && { ...task.shadow, model: task.shadow.model && unshared(task.shadow.model) };
  const suspect = new ShadowSuspicion(given);
  const rows: Uint8Array[] = [];
  const shadowRows: Uint8Array[] = [];
  let shadowFailed: ShadowResult['failed'] = null;
  const rowMessages: number[] = [];
  const total: Omit<BatchResult, 'rows' | 'shadow'> = {
    tombstones: [],
    failures: [],
    superseded: 0,
    ignored: [],
    classifyError: null,
    decodeSeconds: 0,
    classifySeconds: 0,
  };
  let next = 0;
  let deaths = 0;
  const onResult = (result: BatchResult) => {
    for (const row of unpack(result.rows)) {
      rows.push(row);
      rowMessages.push(next);
    }
    if (result.shadow) {
      shadowRows.push(...unpack(result.shadow));
      shadowFailed = addFailed(shadowFailed, result.shadow.failed);
    }
    total.tombstones.push(...result.tombstones);
    total.failures.push(...result.failures.map((failure) => ({ ...failure, index: next })));
    total.ignored.push(...result.ignored);
    if (result.classifyError) {
      total.classifyError = { text: result.classifyError.text, count: (total.classifyError?.count ?? 0) + 1 };
    }
    total.decodeSeconds += result.decodeSeconds;
    total.classifySeconds += result.classifySeconds;
    next++;
    deaths = 0;
    suspect.passed();
  };
  while (next < messages.length) {
    const { shadow } = suspect;
    const rest = { ...task, model, shadow, messages: packMessages(messages.slice(next)), rowMemory: null };
    const end = await runChild(rest, timeoutMs, onResult);
    if (end === null || suspect.suspects(end) || (end.died && ++deaths < DEATHS)) continue;
    total.failures.push({ index: next++, stage: 'decode', reason: KILLED_DECODER, detail: end.why });
    deaths = 0;
    suspect.acquit();
  }
  const packed = { ...pack(rows), messages: Uint32Array.from(rowMessages) };
  const ignored = sumIgnored(total.ignored);
  const shadow = given && { ...pack(shadowRows), failed: shadowFailed };
  const result = keepNewest({ ...total, ignored, shadow, rows: packed }, task.source, messages);
  return { ...result, accused: suspect.accused };
}

const unshared = (model: ModelRef): ModelRef => ({
  ...model,
  onnx: new Uint8Array(model.onnx) as unknown as ModelRef['onnx'],
});

const addFailed = (sum: ShadowResult['failed'], more: ShadowResult['failed']): ShadowResult['failed'] =>
  sum && more ? { text: sum.text, count: sum.count + more.count } : (sum ?? more);

/** Why a child could not answer for the next image; `died`: it was not we who gave it up. */
interface ChildEnd {
  died: boolean;
  why: string;
}

/** @returns null when every image was answered. */
async function runChild(
  task: BatchTask,
  timeoutMs: number,
  onResult: (result: BatchResult) => void,
): Promise<ChildEnd | null> {
  const child = fork(CHILD, { serialization: 'advanced' });
  try {
    await ready(child);
    return await answers(child, task, timeoutMs, onResult);
  } finally {
    child.removeAllListeners();
    child.on('error', () => undefined); // what was still being sent to it
    child.kill('SIGKILL');
  }
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('message', () => resolve());
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      reject(new Error(`the isolated process did not start (${signal ?? `exit status ${code}`})`)),
    );
  });
}

function answers(
  child: ChildProcess,
  task: BatchTask,
  timeoutMs: number,
  onResult: (result: BatchResult) => void,
): Promise<ChildEnd | null> {
  return new Promise((resolve) => {
    let waiting = task.messages.ends.length;
    const timer = setTimeout(
      () =>
        done({
          died: false,
          why: `It took longer than ${timeoutMs / 1000} s (IMAGEHUB_DECODE_TIMEOUT_MS).`,
        }),
      timeoutMs,
    );
    const done = (end: ChildEnd | null) => {
      clearTimeout(timer);
      resolve(end);
    };
    child.removeAllListeners();
    child.once('exit', (code, signal) =>
      done({
        died: true,
        why: `It ended the process that decoded it (${signal ?? `exit status ${code}`}).`,
      }),
    );
    child.once('error', (error) => done({ died: true, why: error.message }));
    child.on('message', (message: { result: BatchResult } | { error: string }) => {
      if ('error' in message) return done({ died: false, why: message.error });
      timer.refresh();
      onResult(message.result);
      if (--waiting === 0) done(null);
    });
    child.send(task);
  });
}
