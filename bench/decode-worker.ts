import { type Packed, unpack } from '../ingest/batch-task.ts';
import { decodeGroups } from '../images/decode-groups.ts';
import { decode, releasePixels } from '../images/decode.ts';

/** Decodes a batch in a worker thread as the pipeline's threads do. @returns how many pixels there were. */
export default async function decodePacked(task: { packed: Packed; maxPixels: number }): Promise<number> {
  const failures: { index: number; reason: string; detail: string }[] = [];
  const groups = decodeGroups(
    unpack(task.packed),
    (bytes) => decode(bytes, task),
    ({ data }) => data.length,
    failures,
    releasePixels,
  );
  let pixels = 0;
  for await (const group of groups) {
    for (const { decoded } of group) pixels += decoded.width * decoded.height;
  }
  if (failures.length > 0) throw new Error(failures[0]!.detail);
  return pixels;
}
