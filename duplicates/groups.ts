import { bitsSet, NearHashes } from './near-hashes.ts';
import { type ComparedImages, Nodes } from './nodes.ts';
import type { Pace } from './pace.ts';

/** Images that show the same, by their places. */
export interface Group {
  /** The one that stays: the first of them. Of the others, none is farther from it than the distance asked for. */
  kept: number;
  members: Member[];
}

export interface Member {
  image: number;
  /** Bits in which its hash differs from that of the one that stays; 0 where bytes were compared. */
  distance: number;
  /** The same bytes as the one that stays. */
  exact: boolean;
}

export interface Grouping {
  groups: Group[];
  /** Images that were compared by their bytes, as their hash says too little. */
  plain: number;
  /** Images in no group, though near to a member of one: they are too far from the one that stays. */
  beside: number;
}

export interface GroupOptions {
  /** In bits; null: the same bytes only. */
  distance: number | null;
  pace: Pace;
  /** @param done from 0 to 1 */
  onProgress?: ((done: number) => void) | undefined;
}

/** Images added, or nodes looked at, between two looks at the clock. */
const TURN = 256;

/**
 * Groups images around the ones that stay. In order, each image that is in no group yet takes all such images within the
 * distance of it. So everything in a group is near to what stays, which groups that grow from neighbour to neighbour do
 * not warrant (single linkage: of a chain of small differences only one would be left).
 *
 * With sides, each image on the side that stays has a group with all images of the other side within the distance; those may
 * be in several groups.
 */
export async function groupDuplicates(compared: ComparedImages, options: GroupOptions): Promise<Grouping> {
  const { distance, pace } = options;
  const nodes = new Nodes(compared, distance === null);
  let plain = 0;
  for (let image = 0; image < compared.images; image++) {
    nodes.add(image);
    if (nodes.isPlain(image)) plain++;
    if (image % TURN === 0) await pace.turn();
  }
  const hashed = distance === null ? [] : await nodesWithNeighbours(compared, nodes, distance, options);
  const found = compared.side
    ? await groupAcross(compared, nodes, hashed, options)
    : await groupAll(compared, nodes, hashed, options);
  options.onProgress?.(1);
  return { ...found, plain };
}

/** Of the nodes that are compared by their hash, those with another one within the distance. In most datasets: few. */
async function nodesWithNeighbours(
  compared: ComparedImages,
  nodes: Nodes,
  distance: number,
  { pace, onProgress }: GroupOptions,
): Promise<number[]> {
  const hashed: number[] = [];
  for (let node = 0; node < nodes.count; node++) {
    if (!nodes.byBytes(nodes.firstImage(node))) hashed.push(node);
  }
  const search = indexOf(compared, nodes, hashed, distance).haveNear();
  for (;;) {
    const step = search.next();
    if (step.done) return hashed.filter((_, entry) => step.value[entry] === 1);
    onProgress?.(step.value);
    await pace.turn();
  }
}

function indexOf(compared: ComparedImages, nodes: Nodes, hashed: number[], distance: number): NearHashes {
  const places = Int32Array.from(hashed, (node) => nodes.firstImage(node));
  return new NearHashes(
    places.map((image) => compared.hi[image]!),
    places.map((image) => compared.lo[image]!),
    distance,
  );
}

type Found = Omit<Grouping, 'plain'>;

async function groupAll(
  compared: ComparedImages,
  nodes: Nodes,
  hashed: number[],
  { distance, pace }: GroupOptions,
): Promise<Found> {
  const { hi, lo, ignored } = compared;
  const index = indexOf(compared, nodes, hashed, distance ?? 0);
  const grouped = new Uint8Array(nodes.count);
  const groups: Group[] = [];
  for (let node = 0, entry = 0; node < nodes.count; node++) {
    const kept = nodes.firstImage(node);
    const inIndex = hashed[entry] === node;
    if (inIndex || node % TURN === 0) await pace.turn();
    if (inIndex) {
      // The nodes before it are done with: only later ones can still be taken.
      index.forgetFirst(hi[kept]!, lo[kept]!);
      entry++;
    }
    if (grouped[node]) continue;
    const near = inIndex ? index.near(hi[kept]!, lo[kept]!).map((at) => hashed[at]!) : alike(nodes, node);
    const taken = [node];
    const sets = new Set(ignored.get(kept));
    for (const other of near.sort((a, b) => a - b)) {
      const itsSets = ignored.get(nodes.firstImage(other)) ?? [];
      if (other <= node || grouped[other] || itsSets.some((set) => sets.has(set))) continue;
      for (const set of itsSets) sets.add(set);
      grouped[other] = 1;
      taken.push(other);
    }
    const group = groupOf(compared, nodes, kept, taken);
    if (group.members.length === 0) continue;
    grouped[node] = 1;
    groups.push(group);
  }
  const beside = hashed.filter((node) => !grouped[node] && !ignored.has(nodes.firstImage(node)));
  return { groups, beside: beside.length };
}

async function groupAcross(
  compared: ComparedImages,
  nodes: Nodes,
  hashed: number[],
  { distance, pace }: GroupOptions,
): Promise<Found> {
  const { hi, lo, ignored } = compared;
  const stays = (node: number) => nodes.side(nodes.firstImage(node)) === 1;
  const others = hashed.filter((node) => !stays(node));
  const index = indexOf(compared, nodes, others, distance ?? 0);
  const groups: Group[] = [];
  for (let node = 0, entry = 0; node < nodes.count; node++) {
    const inIndex = hashed[entry] === node;
    if (inIndex) entry++;
    if (inIndex || node % TURN === 0) await pace.turn();
    if (!stays(node)) continue;
    const kept = nodes.firstImage(node);
    const near = inIndex ? index.near(hi[kept]!, lo[kept]!).map((at) => others[at]!) : alike(nodes, node);
    const sets = ignored.get(kept) ?? [];
    const apart = (other: number) =>
      ignored.get(nodes.firstImage(other))?.some((set) => sets.includes(set)) ?? false;
    const taken = near.filter((other) => !stays(other) && !apart(other)).sort((a, b) => a - b);
    if (taken.length > 0) groups.push(groupOf(compared, nodes, kept, [node, ...taken]));
  }
  return { groups, beside: 0 };
}

/** Nodes with the same bytes, where those are what is compared. */
const alike = (nodes: Nodes, node: number): number[] =>
  nodes.byBytes(nodes.firstImage(node)) ? [...nodes.alike(node)] : [];

function groupOf({ hi, lo }: ComparedImages, nodes: Nodes, kept: number, taken: number[]): Group {
  const members: Member[] = [];
  for (const node of taken) {
    for (const image of nodes.images(node)) {
      if (image === kept) continue;
      const distance = nodes.byBytes(image)
        ? 0
        : bitsSet(hi[image]! ^ hi[kept]!) + bitsSet(lo[image]! ^ lo[kept]!);
      members.push({ image, distance, exact: nodes.sameBytes(image, kept) });
    }
  }
  return { kept, members: members.sort((a, b) => a.image - b.image) };
}
