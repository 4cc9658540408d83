import { createHash } from 'node:crypto';
import { HubError } from '../../errors.ts';
import type { StoredBackbone } from '../../sql/backbones.ts';
import { RowReader } from '../../sql/binary-rows.ts';
import { copyOut } from '../../sql/copy-out.ts';
import type { Pool } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { joinFeatures } from '../../sql/features.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { type Selection, selectionSql } from '../../sql/selection.ts';
import type { ImagesInSql } from '../../sql/stored-images.ts';
import { chooseLabelled, type LabelledRows } from '../labelled-rows.ts';
import { type LabelledImages, memory } from '../training-data.ts';
import { computeHint } from './backbone.ts';
import { bytesOf, unpackVector } from './precision.ts';

export interface FeatureDataOptions extends LabelledRows {
  /** Features and labels lie in shared memory, for worker threads. */
  shared?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Rows read so far, of how many. */
  onProgress?: ((read: number, total: number) => void) | undefined;
}

/** Labelled images by their features. */
export interface FeatureData extends LabelledImages {
  /** [N, features] as the backbone gave them. */
  inputs: Float32Array;
}

/** Features are kept in memory. */
const MOST_BYTES = 4 * 1024 ** 3;
const CHUNK = { rows: 2000, bytes: 8 * 1024 * 1024 };
const NAMED_SKIPPED = 5;
const SHA256_BYTES = 32;

/**
 * Reads the stored features of a dataset's labelled images, from one snapshot, in the order of their ids.
 * @throws HubError USAGE when there is nothing to learn from, features are missing, or they are too many for memory;
 * INTERRUPTED when `signal` is aborted
 */
export async function readFeatureData(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  dataset: Dataset,
  backbone: StoredBackbone,
  options: FeatureDataOptions,
): Promise<FeatureData> {
  const request = { dataset: dataset.name, selection: options, columns: ['sha256', 'image_base64'] };
  return stores[dataset.store].images.query(pool, request, async (client, images) => {
    const { selection, total } = await chooseLabelled(client, images, dataset, options);
    const collector = new Collector(backbone, dataset.classes.length, total, options);
    let read = 0;
    for await (const { bytes, rows } of copyOut(client, featuresSql(images, backbone.id, selection), CHUNK)) {
      if (options.signal?.aborted) {
        throw new HubError(
          'INTERRUPTED',
          `Training was interrupted after reading ${read} of ${total} features.`,
        );
      }
      collector.add(new RowReader(bytes));
      read += rows;
      options.onProgress?.(read, total);
    }
    return collector.finish(dataset);
  });
}

function featuresSql(images: ImagesInSql, backbone: number, selection: Selection): string {
  return `
    select i.id, i.known_label, coalesce(i.sha256, sha256(decode(i.image_base64, 'base64'))), f.vector, f.error
      from (select i.id from ${selectionSql(images, selection)}) chosen
      join ${images.relation} i on i.dataset = '${images.dataset}' and i.id = chosen.id
      ${joinFeatures(backbone)}
     order by i.id`;
}

/** Puts rows together. */
class Collector {
  readonly #backbone: StoredBackbone;
  readonly #inputs: Float32Array;
  readonly #labels: Int32Array;
  readonly #perClass: number[];
  readonly #ids: string[] = [];
  readonly #sha256: Uint8Array;
  readonly #skipped: FeatureData['skipped'] = { count: 0, examples: [] };
  #missing = 0;

  constructor(
    backbone: StoredBackbone,
    classes: number,
    total: number,
    options: Pick<FeatureDataOptions, 'shared'>,
  ) {
    const { features, name } = backbone;
    if (4 * features * total > MOST_BYTES) {
      throw new HubError(
        'USAGE',
        `${features} features by ${name} of ${total} images do not fit into the 4 GiB that training data may take.`,
        { hint: 'Train on fewer: --limit 100000' },
      );
    }
    this.#backbone = backbone;
    this.#inputs = new Float32Array(memory(4 * features * total, options));
    this.#labels = new Int32Array(memory(4 * total, options));
    this.#perClass = new Array<number>(classes).fill(0);
    this.#sha256 = new Uint8Array(SHA256_BYTES * total);
  }

  add(reader: RowReader): void {
    const { features, precision } = this.#backbone;
    while (reader.next()) {
      const id = reader.text()!;
      const label = reader.int4()!;
      const sha256 = reader.bytea()!;
      const vector = reader.bytea();
      const error = reader.text();
      if (vector === null) {
        if (error === null) this.#missing += 1;
        else this.#skip(id, error);
        continue;
      }
      const place = this.#ids.length;
      if (vector.length !== features * bytesOf(precision)) {
        throw new Error(`the features of ${id} have ${vector.length} bytes`);
      }
      unpackVector(vector, precision, this.#inputs, place * features);
      this.#labels[place] = label;
      this.#perClass[label]! += 1;
      this.#sha256.set(sha256, place * SHA256_BYTES);
      this.#ids.push(id);
    }
  }

  #skip(id: string, reason: string): void {
    this.#skipped.count += 1;
    if (this.#skipped.examples.length < NAMED_SKIPPED) this.#skipped.examples.push({ id, reason });
  }

  /** @throws HubError USAGE */
  finish({ name }: Dataset): FeatureData {
    const { features, sha256: network } = this.#backbone;
    const images = this.#ids.length;
    if (this.#missing > 0) {
      throw new HubError(
        'USAGE',
        `${this.#missing} of the labelled images in ${name} have no features by ${this.#backbone.name}.`,
        { hint: `Compute them first: ${computeHint(name, this.#backbone)}` },
      );
    }
    if (images === 0) {
      const { count, examples } = this.#skipped;
      const [first] = examples;
      throw new HubError(
        'USAGE',
        `Backbone ${this.#backbone.name} failed on all ${count} labelled images in ${name}; ${first!.id}: ${first!.reason}`,
        { hint: 'Train on others with --where, or take another backbone.' },
      );
    }
    const inputs = this.#inputs.subarray(0, images * features);
    const labels = this.#labels.subarray(0, images);
    const sha256 = createHash('sha256').update(`${network}\n`).update(labels).update(inputs).digest('hex');
    return {
      inputs,
      labels,
      ids: this.#ids,
      imageSha256: this.#sha256.subarray(0, images * SHA256_BYTES),
      perClass: this.#perClass,
      skipped: this.#skipped,
      sha256,
    };
  }
}
