import { HubError } from '../errors.ts';
import type { Pool } from '../sql/database.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import { readHashes } from '../sql/duplicates.ts';
import { readIgnoredSets } from '../sql/ignored-duplicates.ts';
import type { ImageStores } from '../sql/image-store.ts';
import type { Selection } from '../sql/selection.ts';
import { groupDuplicates, type Grouping } from './groups.ts';
import { ImageFacts } from './image-facts.ts';
import { MOST_DISTANCE } from './near-hashes.ts';
import { Pace } from './pace.ts';

export interface DuplicatesContext {
  pool: Pool;
  /** Where the images of datasets are. */
  stores: ImageStores;
  signal?: AbortSignal | undefined;
  /** Images read so far. */
  onRead?: ((images: number) => void) | undefined;
  /** How much of the comparing is done, of `images`. */
  onCompared?: ((done: number, images: number) => void) | undefined;
}

/**
 * Of the 64 bits. On photos of 32 × 32 pixels and more, recompressed, resized and brightened copies are within it, slightly
 * cropped ones mostly, and no two different photos were (docs/duplicates.md).
 */
export const DEFAULT_DISTANCE = 6;

export interface DuplicatesOptions {
  /** Bits in which the hash of a duplicate may differ from that of the image that stays; null: the same bytes only. */
  distance?: number | null;
  selection?: Selection;
  /** A condition in SQL: only images for which it holds, with their duplicates among those for which it does not. */
  across?: string | null;
}

export interface DuplicateImage {
  id: string;
  /** The known label's class; null: there is none. */
  class: string | null;
  /** A person said so, or that the class is not known. */
  byPerson: boolean;
  width: number | null;
  height: number | null;
  byteSize: number | null;
  /** In hexadecimal. */
  sha256: string;
  /** Changes with the label and the bytes: what was found is acted upon only while it is the same. */
  state: number;
}

export interface DuplicateMember extends DuplicateImage {
  /** Bits in which the hash differs from that of the image that stays; 0 where only bytes were compared. */
  distance: number;
  /** The same bytes as the image that stays. */
  exact: boolean;
  /** With `across`: whether it is on the side of the image that stays, so that it stays too. */
  stays: boolean;
}

/** Images that show the same. */
export interface DuplicateGroup {
  /** Its name: the id of the image that stays. */
  group: string;
  /** All have the same bytes, or some only look alike. */
  kind: 'exact' | 'near';
  /** The largest distance of a member from the image that stays. */
  distance: number;
  /** Classes of the members that have a known label, commonest first; more than one: labels contradict each other. */
  classes: { class: string; images: number }[];
  kept: DuplicateImage;
  /** The others, in the order in which they would stay. */
  members: DuplicateMember[];
}

export interface DuplicatesReport {
  dataset: string;
  distance: number | null;
  across: string | null;
  /** Images with hashes: among these was looked. */
  images: number;
  /** Selected images without: nothing is said about them. */
  withoutHash: number;
  /** Of the images, those whose perceptual hash says too little: compared by their bytes. */
  plain: number;
  /** Near to a member of a group, but too far from the image that stays in it: in no group. */
  beside: number;
  exactGroups: number;
  nearGroups: number;
  /** Groups whose labels contradict each other. */
  contradictions: number;
  /** Images that would go if only one of each group stays. */
  duplicates: number;
  /** Those whose labels contradict each other first, then the largest. */
  groups: DuplicateGroup[];
}

/**
 * Finds images of a dataset that show the same picture, by the hashes that the ingest stored. Groups are formed around the
 * image that stays: the one whose label is a person's, else the one with most pixels, else with most bytes, else the one
 * ingested first; all others are within the distance of it, and each image is in one group. With `across`, the images that
 * stay are those for which the condition holds, and their duplicates may be in several groups.
 * @throws HubError NOT_FOUND; USAGE: a distance or condition that cannot be used, a dataset without hashes; INTERRUPTED
 */
export async function findDuplicates(
  context: DuplicatesContext,
  name: string,
  { distance = DEFAULT_DISTANCE, selection = {}, across = null }: DuplicatesOptions = {},
): Promise<DuplicatesReport> {
  checkDistance(distance);
  const dataset = await getDataset(context.pool, name);
  if (dataset.columns === 'classic') {
    throw new HubError(
      'USAGE',
      `${name} has classic columns: no hashes are kept that images could be compared by.`,
      {
        hint: 'Hashes are kept in datasets that are made without --columns classic.',
      },
    );
  }
  const facts = await readFacts(context, dataset, selection, across);
  const compared = facts.compared(across !== null);
  const grouping = await groupDuplicates(compared, {
    distance,
    pace: new Pace(context.signal),
    onProgress: (done) => context.onCompared?.(Math.round(done * compared.images), compared.images),
  });
  return describe(dataset, facts, grouping, distance, across);
}

/** @throws HubError USAGE */
function checkDistance(distance: number | null): void {
  if (distance === null || (Number.isInteger(distance) && distance >= 0 && distance <= MOST_DISTANCE)) return;
  throw new HubError(
    'USAGE',
    `${distance} is no distance: it is a whole number from 0 to ${MOST_DISTANCE}.`,
    {
      hint: 'Of 64 bits, those in which the hashes of duplicates may differ.',
    },
  );
}

async function readFacts(
  { pool, stores, signal, onRead }: DuplicatesContext,
  { name, store }: Dataset,
  selection: Selection,
  across: string | null,
): Promise<ImageFacts> {
  const facts = new ImageFacts(await readIgnoredSets(pool, name));
  for await (const rows of readHashes(stores[store].images, pool, name, selection, across)) {
    if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while hashes were read.');
    for (const row of rows) facts.add(row);
    onRead?.(facts.images + facts.withoutHash);
  }
  return facts;
}

function describe(
  { name, classes }: Dataset,
  facts: ImageFacts,
  { groups: found, plain, beside }: Grouping,
  distance: number | null,
  across: string | null,
): DuplicatesReport {
  const groups = found.map(({ kept, members }): DuplicateGroup => {
    const images = [kept, ...members.map(({ image }) => image)];
    return {
      group: facts.id(kept),
      kind: members.every(({ exact }) => exact) ? 'exact' : 'near',
      distance: members.reduce((largest, member) => Math.max(largest, member.distance), 0),
      classes: classesOf(
        images.map((image) => facts.label(image)).filter((label) => label !== null),
        classes,
      ),
      kept: facts.describe(kept, classes),
      members: members.map(({ image, ...member }) => ({
        ...facts.describe(image, classes),
        ...member,
        stays: across !== null && facts.side(image),
      })),
    };
  });
  groups.sort(
    (a, b) => Number(contradicts(b)) - Number(contradicts(a)) || b.members.length - a.members.length,
  );
  const going = new Set(
    groups.flatMap(({ members }) => members.filter(({ stays }) => !stays).map(({ id }) => id)),
  );
  return {
    dataset: name,
    distance,
    across,
    images: facts.images,
    withoutHash: facts.withoutHash,
    plain,
    beside,
    exactGroups: groups.filter(({ kind }) => kind === 'exact').length,
    nearGroups: groups.filter(({ kind }) => kind === 'near').length,
    contradictions: groups.filter(contradicts).length,
    duplicates: going.size,
    groups,
  };
}

/** Whether images of a group have different known labels. */
export const contradicts = ({ classes }: Pick<DuplicateGroup, 'classes'>): boolean => classes.length > 1;

function classesOf(labels: number[], names: string[]): { class: string; images: number }[] {
  const counts = new Map<number, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts]
    .sort(([a, n], [b, m]) => m - n || a - b)
    .map(([label, images]) => ({ class: names[label]!, images }));
}
