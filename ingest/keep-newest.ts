import type { SourceMessage } from '../sql/dead-letters.ts';
import { type BatchResult, type BatchTask, type BesideResult, pack, unpack } from './batch-task.ts';
import { imageId } from './message.ts';

/**
 * Of a batch's rows and tombstones with one id only the last message's counts; the others are superseded. An image
 * that failed supersedes nothing.
 */
export function keepNewest(
  result: BatchResult,
  { topic, partition }: BatchTask['source'],
  messages: SourceMessage[],
): BatchResult {
  const { rows, tombstones } = result;
  // Put together only where each image comes once (processBatch).
  if (rows.arranged) return result;
  const newest = new Map<string, number>();
  const notice = (id: string, offset: number) => newest.set(id, Math.max(offset, newest.get(id) ?? -1));
  const rowMessages = Array.from(rows.messages, (index) => messages[index]!);
  const ids = rowMessages.map((message) => imageId(topic, partition, message));
  ids.forEach((id, row) => notice(id, rowMessages[row]!.offset));
  for (const { id, offset } of tombstones) notice(id, offset);
  const superseded = ids.length + tombstones.length - newest.size;
  if (superseded === 0) return result;

  const kept = [...ids.keys()].filter((row) => newest.get(ids[row]!) === rowMessages[row]!.offset);
  const bytes = unpack(rows);
  const ofKept = <T extends BesideResult>(beside: T | null): T | null => {
    const each = beside && unpack(beside);
    return each && { ...beside, ...pack(kept.map((row) => each[row]!)) };
  };
  return {
    ...result,
    rows: {
      ...pack(kept.map((row) => bytes[row]!)),
      messages: Uint32Array.from(kept, (row) => rows.messages[row]!),
      arranged: null,
    },
    shadow: ofKept(result.shadow),
    features: ofKept(result.features),
    tombstones: tombstones.filter(({ id, offset }) => newest.get(id) === offset),
    superseded: result.superseded + superseded,
  };
}
