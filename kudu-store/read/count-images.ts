import type { Where } from '../../kudu/index.ts';
import type { ImageTally } from '../../sql/stored-images.ts';
import { scanOf, type TableSnapshot } from './read-rows.ts';

const TABLETS_AT_ONCE = 4;

/** Images that conditions hold for. @param snapshot gets its moment where it has none yet */
export async function countImages(snapshot: TableSnapshot, where: Where): Promise<number> {
  const scan = scanOf(snapshot, [], where, { parallel: TABLETS_AT_ONCE });
  let images = 0;
  for await (const batch of scan) {
    images += batch.numRows;
    const isGone = snapshot.gone.of(batch);
    for (let row = 0; isGone && row < batch.numRows; row++) if (isGone(row)) images--;
  }
  snapshot.at ??= scan.snapshot;
  return images;
}

/** Counts images by three narrow columns. */
export async function tallyImages(snapshot: TableSnapshot): Promise<ImageTally[]> {
  const columns = ['known_label', 'prediction', 'labelled_by'];
  const tallies = new Map<string, ImageTally>();
  for await (const batch of scanOf(snapshot, columns, {}, { parallel: TABLETS_AT_ONCE })) {
    const [labels, predictions, people] = columns.map((name) => batch.getChild(name)!.data[0]!);
    const isGone = snapshot.gone.of(batch);
    for (let row = 0; row < batch.numRows; row++) {
      if (isGone?.(row)) continue;
      const knownLabel = labels!.getValid(row) ? (labels!.values as Int32Array)[row]! : null;
      const prediction = (predictions!.values as Int32Array)[row]!;
      const byPerson = people!.getValid(row);
      const key = `${knownLabel} ${prediction} ${byPerson}`;
      const tally = tallies.get(key);
      if (tally) tally.images++;
      else tallies.set(key, { knownLabel, prediction, byPerson, images: 1 });
    }
  }
  return [...tallies.values()];
}
