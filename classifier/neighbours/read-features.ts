import { HubError } from '../../errors.ts';
import type { StoredBackbone } from '../../sql/backbones.ts';
import { computeHint } from '../features/backbone.ts';
import type { Pool } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { describeSelection, type Selection } from '../../sql/selection.ts';
import {
  backbonesUsed,
  countFeatures,
  FEATURE_COLUMNS,
  type FeatureCounts,
  type FeatureRow,
  readFeatureRows,
} from '../../sql/stored-features.ts';

export interface NeighbourContext {
  pool: Pool;
  stores: ImageStores;
  signal?: AbortSignal | undefined;
  /** Images read so far. */
  onRead?: ((images: number) => void) | undefined;
}

export interface SelectedFeatures {
  dataset: Pick<Dataset, 'name' | 'store'>;
  backbone: StoredBackbone;
  selection: Selection;
  /** Called before the first row, where somebody wants to know. */
  onCounts?: ((counts: FeatureCounts[]) => void) | undefined;
}

/**
 * The selected images with their features, as a stream from one snapshot in no order.
 * @throws HubError USAGE when the selection's condition cannot be used; INTERRUPTED
 */
export async function* selectedFeatures(
  { pool, stores, signal, onRead }: NeighbourContext,
  { dataset: { name, store }, backbone, selection, onCounts }: SelectedFeatures,
): AsyncGenerator<FeatureRow[]> {
  const asked = { dataset: name, selection, columns: FEATURE_COLUMNS };
  let read = 0;
  yield* stores[store].images.stream(pool, asked, async function* (client, images) {
    const request = { images, backbone: backbone.id, selection };
    onCounts?.(await countFeatures(client, request));
    for await (const rows of readFeatureRows(client, request)) {
      if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while features were read.');
      yield rows;
      read += rows.length;
      onRead?.(read);
    }
  });
}

/** Why nothing can be compared where no selected image has features. */
export async function noFeatures(
  pool: Pool,
  { dataset: { name: dataset }, backbone, selection }: SelectedFeatures,
  { images, failed }: { images: number; failed: number },
): Promise<HubError> {
  const shown = describeSelection(selection);
  const which = shown ? ` (${shown})` : '';
  if (images === 0) {
    return new HubError('USAGE', `There are no images in ${dataset}${which}.`, {
      hint: shown ? 'Choose others.' : `Send some: imagehub send ${dataset} …`,
    });
  }
  if (failed === images) {
    return new HubError(
      'USAGE',
      `Backbone ${backbone.name} failed on all ${images} images in ${dataset}${which}.`,
      {
        hint: `See why: select id, error from imagehub.features where dataset = '${dataset}'`,
      },
    );
  }
  const others = (await backbonesUsed(pool, dataset)).filter((name) => name !== backbone.name);
  return new HubError(
    'USAGE',
    `None of the ${images} images in ${dataset}${which} has features by ${backbone.name}.`,
    {
      hint:
        `Compute them first: ${computeHint(dataset, backbone)}` +
        (others.length > 0 ? `; or take those that are there: --backbone ${others.join(', ')}.` : ''),
    },
  );
}
