import { HubError } from '../errors.ts';
import type { Pool } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import type { DeleteResult, DoomedImage } from '../sql/delete-duplicates.ts';
import { ignoreGroups } from '../sql/ignored-duplicates.ts';
import type { ImageStores } from '../sql/image-store.ts';
import { inIdOrder, type RelabelResult } from '../sql/relabel.ts';
import {
  contradicts,
  type DuplicateGroup,
  type DuplicateImage,
  type DuplicateMember,
  type DuplicatesReport,
} from './find-duplicates.ts';

export interface ActContext {
  pool: Pool;
  /** Who acts. */
  by: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * The groups with these names.
 * @throws HubError NOT_FOUND
 */
export function groupsNamed({ dataset, groups }: DuplicatesReport, names: string[]): DuplicateGroup[] {
  const byName = new Map(groups.map((group) => [group.group, group]));
  return [...new Set(names)].map((name) => {
    const group = byName.get(name);
    if (group) return group;
    throw new HubError('NOT_FOUND', `No group of ${dataset} is named ${name}.`, {
      hint: 'A group is named by the image that stays: imagehub duplicates lists them, for the same distance and conditions. Nothing was changed.',
    });
  });
}

export interface LabelResult extends RelabelResult {
  /** Groups whose labels contradict each other: left alone. */
  contradictions: number;
}

/**
 * Gives the images of each group that have no label the one that the others have, as an operation that can be undone. Groups
 * whose labels contradict each other are left alone, and so are images of which a person said that their class is not known,
 * and those that changed since they were found.
 */
export async function labelGroups(
  { pool, stores, by, signal, onProgress }: ActContext & { stores: ImageStores },
  name: string,
  groups: DuplicateGroup[],
): Promise<LabelResult> {
  const dataset = await getDataset(pool, name);
  // An image may be in several groups, where they are across a condition: those may not agree.
  const labels = new Map<string, { state: number; classes: Set<string> }>();
  for (const group of groups) {
    const [agreed] = group.classes;
    if (!agreed || contradicts(group)) continue;
    for (const { id, class: known, byPerson, state } of [group.kept, ...group.members]) {
      if (known !== null || byPerson) continue;
      const entry = labels.get(id) ?? { state, classes: new Set() };
      labels.set(id, { state, classes: entry.classes.add(agreed.class) });
    }
  }
  const chosen = [...labels].filter(([, { classes }]) => classes.size === 1);
  const order = await inIdOrder(
    pool,
    chosen.map(([id]) => id),
  );
  const sorted = Array.from(order, (at) => chosen[at]!);
  const result = await stores[dataset.store].labels.relabel(
    pool,
    dataset,
    {
      ids: sorted.map(([id]) => id),
      labels: sorted.map(([, { classes }]) => dataset.classes.indexOf([...classes][0]!)),
      states: Int32Array.from(sorted, ([, { state }]) => state),
    },
    { by, detail: 'duplicates --label', signal, onProgress },
  );
  return { ...result, contradictions: groups.filter(contradicts).length };
}

/** Images that would be deleted, each with the image that stays for it. */
export function doomedImages(groups: DuplicateGroup[]): { image: DuplicateMember; group: DuplicateGroup }[] {
  const doomed = new Map<string, { image: DuplicateMember; group: DuplicateGroup }>();
  for (const group of groups) {
    for (const image of group.members) {
      if (!image.stays && !doomed.has(image.id)) doomed.set(image.id, { image, group });
    }
  }
  return [...doomed.values()];
}

/**
 * Deletes all images of each group but the one that stays. An image that was changed since it was found is left alone, and so
 * is one whose counterpart, which should stay, was changed or deleted.
 */
export async function deleteFromGroups(
  { pool, stores, by, signal, onProgress }: ActContext & { stores: ImageStores },
  dataset: string,
  groups: DuplicateGroup[],
): Promise<DeleteResult> {
  const doomed = doomedImages(groups).map(({ image, group: { kept } }): DoomedImage => ({
    id: image.id,
    state: image.state,
    sha256: Buffer.from(image.sha256, 'hex'),
    keptId: kept.id,
    keptSha256: Buffer.from(kept.sha256, 'hex'),
  }));
  const { store } = await getDataset(pool, dataset);
  return stores[store].deleteDuplicates(pool, dataset, doomed, {
    by,
    signal,
    onProgress: (done) => onProgress?.(done, doomed.length),
  });
}

/**
 * Remembers of each group that its images are no duplicates of each other, so that they are not found again; across a
 * condition: that those on one side are none of those on the other.
 */
export async function ignoreAll(
  { pool, by }: ActContext,
  { dataset, across }: Pick<DuplicatesReport, 'dataset' | 'across'>,
  groups: DuplicateGroup[],
): Promise<void> {
  const sets = groups.flatMap(({ group, kept, members }) => {
    if (across === null) return [{ group, images: [kept, ...members].map(ignoredImage) }];
    const others = members.filter(({ stays }) => !stays);
    const staying = [kept, ...members.filter(({ stays }) => stays)];
    return staying.flatMap((one) =>
      others.map((other) => ({ group, images: [one, other].map(ignoredImage) })),
    );
  });
  await ignoreGroups(pool, dataset, sets, by);
}

const ignoredImage = ({ id, sha256 }: DuplicateImage) => ({ id, sha256: Buffer.from(sha256, 'hex') });
