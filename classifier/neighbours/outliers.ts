import { HubError } from '../../errors.ts';
import { chooseBackbone, type StoredBackbone } from '../../sql/backbones.ts';
import { getDataset } from '../../sql/datasets.ts';
import type { Selection } from '../../sql/selection.ts';
import type { FeatureCounts, FeatureRow } from '../../sql/stored-features.ts';
import { unpackVector } from '../features/precision.ts';
import { NearestNeighbours } from './nearest.ts';
import { type NeighbourContext, noFeatures, selectedFeatures } from './read-features.ts';

/** A distance that is the mean of fewer says little, of many more it is blind to small groups. */
export const DEFAULT_NEIGHBOURS = 10;
/** Vectors are kept in memory. */
const MOST_BYTES = 2 ** 30;

export interface OutliersContext extends NeighbourContext {
  /** Pairs of images compared so far, of how many. */
  onCompared?: ((done: number, total: number) => void) | undefined;
}

export interface OutliersRequest {
  /** Left out: the only one. */
  backbone?: string | undefined;
  selection?: Selection | undefined;
  /** Only images of the same known label are neighbours; those without one are left out. */
  withinClass?: boolean | undefined;
  /** How many neighbours count. */
  neighbours?: number | undefined;
}

export interface Outlier {
  /** From 1, the farthest from its neighbours first. */
  rank: number;
  id: string;
  /** Class index and name; null: unknown. */
  knownLabel: number | null;
  knownClass: string | null;
  /** −1: not classified yet. */
  prediction: number;
  predictedClass: string | null;
  /** Mean distance to its nearest neighbours, 0 to 2. */
  distance: number;
}

export interface OutliersReport {
  dataset: string;
  backbone: string;
  withinClass: boolean;
  neighbours: number;
  /** Images compared. */
  compared: number;
  /** Images without features of their present bytes: nothing is said about them. */
  missing: number;
  /** Images that the backbone failed on. */
  failed: number;
  /** With `withinClass`: images without a known label, and classes of one image, which has no neighbours. */
  unlabelled: number;
  alone: string[];
  /** All that were compared. */
  outliers: Outlier[];
}

/**
 * Images that are unlike all others: by their mean distance 1 − cos(a, b) to their k nearest neighbours (Angiulli and Pizzuti,
 * "Fast Outlier Detection in High Dimensional Spaces", 2002; there the sum), cos as in `findSimilar`. Among the images of its
 * own known label, one that is labelled wrongly is far from its neighbours. All pairs are compared: twice the images take
 * four times as long.
 * @throws HubError NOT_FOUND: dataset, backbone; USAGE: no features (says what to run), too many images for memory, several
 * backbones, the condition; INTERRUPTED
 */
export async function findOutliers(
  context: OutliersContext,
  name: string,
  request: OutliersRequest = {},
): Promise<OutliersReport> {
  const { withinClass = false, neighbours = DEFAULT_NEIGHBOURS, selection = {} } = request;
  const { pool } = context;
  const dataset = await getDataset(pool, name);
  const { classes } = dataset;
  const backbone = await chooseBackbone(pool, request.backbone);
  const asked = { dataset, backbone, selection };
  let groups = new Groups(backbone, [], withinClass);
  const onCounts = (counts: FeatureCounts[]) => (groups = new Groups(backbone, counts, withinClass));
  for await (const rows of selectedFeatures(context, { ...asked, onCounts })) {
    for (const row of rows) groups.add(row);
  }
  const { images, present, failed, unlabelled } = groups.counts;
  if (present === 0) throw await noFeatures(pool, asked, { images, failed });
  if (groups.rows.length === 0) {
    throw new HubError('USAGE', `None of the ${present} images of ${name} with features has a known label.`, {
      hint: `Without --within-class labels are not needed; or label some: imagehub relabel ${name} --id … --class …`,
    });
  }
  const distances = await groups.distances(context, neighbours);
  const className = (index: number | null) => (index === null ? null : (classes[index] ?? null));
  const outliers = groups.rows
    .map((row, place) => ({ ...row, distance: distances[place]! }))
    .filter(({ distance }) => !Number.isNaN(distance))
    .sort((a, b) => b.distance - a.distance || (a.id < b.id ? -1 : 1))
    .map(({ id, knownLabel, prediction, distance }, index) => ({
      rank: index + 1,
      id,
      knownLabel,
      knownClass: className(knownLabel),
      prediction,
      predictedClass: className(prediction),
      distance,
    }));
  return {
    dataset: name,
    backbone: backbone.name,
    withinClass,
    neighbours,
    compared: outliers.length,
    missing: images - present - failed,
    failed,
    unlabelled,
    alone: groups.alone.map((label) => className(label) ?? 'all'),
    outliers,
  };
}

type Row = Pick<FeatureRow, 'id' | 'knownLabel' | 'prediction'>;

/** Rows in groups, each group's vectors one after the other: classes, or all images in one. */
class Groups {
  readonly #backbone: StoredBackbone;
  readonly #withinClass: boolean;
  readonly #vectors: Float32Array;
  readonly #sizes = new Map<number | null, number>();
  /** Where the next row of a group goes. */
  readonly #next = new Map<number | null, number>();
  readonly rows: Row[];
  readonly counts = { images: 0, present: 0, failed: 0, unlabelled: 0 };

  /** @throws HubError USAGE */
  constructor(backbone: StoredBackbone, counts: FeatureCounts[], withinClass: boolean) {
    this.#backbone = backbone;
    this.#withinClass = withinClass;
    for (const { knownLabel, images, present, failed } of counts) {
      this.counts.images += images;
      this.counts.present += present;
      this.counts.failed += failed;
      if (withinClass && knownLabel === null) this.counts.unlabelled += present;
      else {
        const group = this.#groupOf(knownLabel);
        this.#sizes.set(group, (this.#sizes.get(group) ?? 0) + present);
      }
    }
    let total = 0;
    for (const [group, size] of this.#sizes) {
      this.#next.set(group, total);
      total += size;
    }
    const { features, name } = backbone;
    const most = Math.floor(MOST_BYTES / (Float32Array.BYTES_PER_ELEMENT * features));
    if (total > most) {
      const share = Math.floor((1000 * most) / total) / 1000;
      throw new HubError(
        'USAGE',
        `${features} features by ${name} of ${total} images do not fit into the 1 GiB that they may take: ${most} images do.`,
        {
          hint: `Look at a part of them: ${share > 0 ? `--sample ${share}, or ` : ''}a condition with --where.`,
        },
      );
    }
    this.#vectors = new Float32Array(total * features);
    this.rows = new Array<Row>(total);
  }

  #groupOf(label: number | null): number | null {
    return this.#withinClass ? label : null;
  }

  add({ id, knownLabel, prediction, vector }: FeatureRow): void {
    if (vector === null || (this.#withinClass && knownLabel === null)) return;
    const group = this.#groupOf(knownLabel);
    const place = this.#next.get(group)!;
    this.#next.set(group, place + 1);
    const { features, precision } = this.#backbone;
    unpackVector(vector, precision, this.#vectors, place * features);
    toUnitLength(this.#vectors.subarray(place * features, (place + 1) * features));
    this.rows[place] = { id, knownLabel, prediction };
  }

  /** Labels of groups of one. */
  get alone(): (number | null)[] {
    return [...this.#sizes].filter(([, size]) => size === 1).map(([group]) => group);
  }

  /** Of every row; NaN: it is alone. @throws HubError INTERRUPTED */
  async distances({ signal, onCompared }: OutliersContext, neighbours: number): Promise<Float32Array> {
    const { features } = this.#backbone;
    const sizes = [...this.#sizes.values()];
    const total = sizes.reduce((sum, size) => sum + size ** 2, 0);
    let done = 0;
    const onPairs = (pairs: number) => onCompared?.((done += pairs), total);
    const search = await NearestNeighbours.open({ features, neighbours, signal, onPairs });
    const distances = new Float32Array(this.rows.length);
    try {
      let from = 0;
      for (const size of sizes) {
        const vectors = this.#vectors.subarray(from * features, (from + size) * features);
        distances.set(await search.meanDistances(vectors), from);
        from += size;
      }
    } finally {
      await search.release();
    }
    return distances;
  }
}

/** In place; what is all 0 stays so, and is similar to nothing. */
function toUnitLength(vector: Float32Array): void {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (length > 0) for (let k = 0; k < vector.length; k++) vector[k]! /= length;
}
