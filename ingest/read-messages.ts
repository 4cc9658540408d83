import type { SourceMessage } from '../sql/dead-letters.ts';
import type { Tombstone } from '../sql/write-batch.ts';
import type { BatchResult, BatchTask, IgnoredHeader } from './batch-task.ts';
import { type ImageMessage, parseMessage } from './message.ts';

/** An image to be made a row of, and the index of its message. */
export interface BatchImage {
  index: number;
  message: SourceMessage;
  parsed: ImageMessage;
}

/** Of a message that still names its image here. Whoever could not fetch it knows better why. */
const NOT_FETCHED = { reason: 'fetch-failed', detail: 'The image that the message names was not fetched.' };

/** Reads the messages of a batch: what each one is, and what is wrong with some. */
export function readMessages(
  { dataset, source }: Pick<BatchTask, 'dataset' | 'source'>,
  messages: SourceMessage[],
): { images: BatchImage[] } & Pick<BatchResult, 'tombstones' | 'failures' | 'ignored'> {
  const images: BatchImage[] = [];
  const tombstones: Tombstone[] = [];
  const failures: BatchResult['failures'] = [];
  messages.forEach((message, index) => {
    const parsed = parseMessage(dataset, source.topic, source.partition, message);
    const { offset, timestamp } = message;
    if (parsed.kind === 'image') images.push({ index, message, parsed });
    else if (parsed.kind === 'tombstone') tombstones.push({ id: parsed.id, offset, timestamp });
    else if (parsed.kind === 'claim') failures.push({ index, stage: 'fetch', ...NOT_FETCHED });
    else failures.push({ index, stage: 'message', reason: parsed.reason, detail: parsed.detail });
  });
  return { images, tombstones, failures, ignored: ignoredHeaders(images) };
}

function ignoredHeaders(images: BatchImage[]): IgnoredHeader[] {
  return sumIgnored(
    images.flatMap(({ message: { offset }, parsed }) =>
      parsed.ignored.map(({ header, value, why }) => {
        const example = `“${value}” of image ${parsed.id} ${why}`;
        return { header, count: 1, example, offset };
      }),
    ),
  );
}

/** One of each kind of header, with the example that came first. */
export function sumIgnored(all: IgnoredHeader[]): IgnoredHeader[] {
  const kinds = new Map<string, IgnoredHeader>();
  for (const one of all) {
    const kind = kinds.get(one.header);
    if (kind) kind.count += one.count;
    else kinds.set(one.header, { ...one });
  }
  return [...kinds.values()];
}
