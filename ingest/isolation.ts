import { extname } from 'node:path';
import { IsolatedProcess } from '../classifier/isolated/process.ts';
import { unshared } from '../classifier/model-ref.ts';
import { brokenShadow } from '../classifier/shadow-ref.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import { addSome, type SomeImages } from '../sql/some-images.ts';
import { type BatchResult, type BatchTask, pack, unpack } from './batch-task.ts';
import { keepNewest } from './keep-newest.ts';
import type { Accused } from './model-guard.ts';
import { ModelSuspicion, type Suspect } from './model-suspicion.ts';
import { packMessages } from './packed-messages.ts';
import { sumIgnored } from './read-messages.ts';

/** Why an image that ended its decoder's process, or never came back from it, is a dead letter. */
export const KILLED_DECODER = 'killed-the-decoder';

/** .ts in the repository, .js in the published package: as we are. */
const CHILD = new URL(`./isolated-child${extname(import.meta.url)}`, import.meta.url);

/** A batch's result, and the models that are to blame for the end of a process. */
export interface IsolatedResult extends BatchResult {
  accused: (Accused & { suspect: Suspect })[];
}

/**
 * Does a batch one image at a time in a child process: for a batch that was in flight when the process died, or that
 * ended a worker thread. An image that kills the child twice, or takes longer than `timeoutMs`, is tried again without the
 * backbone, then without the shadow, then without any model. If it gets through, it is a row, without a prediction where
 * the live model was at fault, and the model at fault is left out of those behind it, too: they do not wait for it. Else
 * it is a failure.
 * @throws when no child comes up: that is no image's fault.
 */
export async function processIsolated(
  task: Omit<BatchTask, 'messages' | 'rowMemory' | 'hash'>,
  messages: SourceMessage[],
  timeoutMs: number,
): Promise<IsolatedResult> {
  const model = task.model && unshared(task.model);
  const given = task.shadow && { ...task.shadow, model: task.shadow.model && unshared(task.shadow.model) };
  const backbone = task.backbone && unshared(task.backbone);
  const suspects: Suspect[] = [];
  if (backbone && task.backboneError === undefined) suspects.push('backbone');
  if (given?.model) suspects.push('shadow');
  if (model) suspects.push('model');
  const suspicion = new ModelSuspicion(suspects);
  const rows: Uint8Array[] = [];
  const shadowRows: Uint8Array[] = [];
  let shadowFailed: SomeImages | null = null;
  const featureRows: Uint8Array[] = [];
  let featuresFailed: SomeImages | null = null;
  let featuresMissing: SomeImages | null = null;
  const rowMessages: number[] = [];
  const total: Omit<BatchResult, 'rows' | 'shadow' | 'features'> = {
    tombstones: [],
    failures: [],
    superseded: 0,
    ignored: [],
    classifyError: null,
    decodeSeconds: 0,
    classifySeconds: 0,
  };
  let next = 0;
  const onResult = (result: BatchResult) => {
    for (const row of unpack(result.rows)) {
      rows.push(row);
      rowMessages.push(next);
    }
    if (result.shadow) {
      shadowRows.push(...unpack(result.shadow));
      shadowFailed = addSome(shadowFailed, result.shadow.failed);
    }
    if (result.features) {
      featureRows.push(...unpack(result.features));
      featuresFailed = addSome(featuresFailed, result.features.failed);
      featuresMissing = addSome(featuresMissing, result.features.missing);
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
    suspicion.passed();
  };
  while (next < messages.length) {
    const { accused, onTrial } = suspicion;
    const shadowError = accused.get('shadow') ?? onTrial.get('shadow');
    const modelError = onTrial.get('model');
    const backboneError = task.backboneError ?? accused.get('backbone') ?? onTrial.get('backbone');
    // The reason is that of one image.
    const some = modelError === undefined ? messages.slice(next) : [messages[next]!];
    const rest: BatchTask = {
      ...task,
      model: modelError === undefined && !accused.has('model') ? model : null,
      ...(modelError !== undefined && { modelError }),
      shadow: given && shadowError !== undefined ? brokenShadow(given.id, shadowError) : given,
      backbone,
      ...(backboneError !== undefined && { backboneError }),
      messages: packMessages(some),
      rowMemory: [],
      // Rows of many processes are put into one batch.
      hash: null,
    };
    const child = await IsolatedProcess.start(CHILD);
    const end = await child.run(rest, some.length, timeoutMs, onResult);
    child.kill();
    if (end === null || suspicion.suspects(end)) continue;
    total.failures.push({ index: next++, stage: 'decode', reason: KILLED_DECODER, detail: end.why });
  }
  const packed = { ...pack(rows), messages: Uint32Array.from(rowMessages), arranged: null };
  const ignored = sumIgnored(total.ignored);
  const shadow = given && { ...pack(shadowRows), failed: shadowFailed };
  const features = backbone && {
    ...pack(featureRows),
    failed: featuresFailed,
    missing: featuresMissing,
  };
  const result = keepNewest({ ...total, ignored, shadow, features, rows: packed }, task.source, messages);
  const idOf = { backbone: backbone?.id, shadow: given?.id, model: model?.id };
  const accused = [...suspicion.accused].map(([suspect, error]) => ({ suspect, id: idOf[suspect]!, error }));
  return { ...result, accused };
}
