import { HubError } from '../../errors.ts';
import type { StoredBackbone } from '../../sql/backbones.ts';
import type { Pool } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { describeSelection, narrowed, type Selection } from '../../sql/selection.ts';
import { countFeatures, FEATURE_COLUMNS } from '../../sql/stored-features.ts';
import { computeHint } from '../features/backbone.ts';
import { expandGrid } from './grid.ts';
import { defaultsOf, type SweepSpec } from './spec.ts';
import { trainedSelection } from './sweep-data.ts';

/**
 * Refuses a sweep over features that are not all there, before its cells fail one by one. Which images a limit draws is not
 * known before they are read: there the cells say it.
 * @throws HubError USAGE that says how many are missing, and what to run
 */
export async function checkFeatures(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  { name, store }: Dataset,
  backbone: StoredBackbone,
  spec: SweepSpec,
): Promise<void> {
  if (spec.limit !== null) return;
  for (const selection of selections(spec)) {
    const labelled = narrowed(selection, 'i.known_label is not null');
    const request = { dataset: name, selection: labelled, columns: FEATURE_COLUMNS };
    const counts = await stores[store].images.query(pool, request, (client, images) =>
      countFeatures(client, { images, backbone: backbone.id, selection: labelled }),
    );
    const missing = counts.reduce((sum, { images, present, failed }) => sum + images - present - failed, 0);
    if (missing === 0) continue;
    const shown = describeSelection(selection);
    throw new HubError(
      'USAGE',
      `${missing} of the labelled images in ${name}${shown && ` (${shown})`} have no features by ${backbone.name}.`,
      { hint: `Compute them first: ${computeHint(name, backbone)}` },
    );
  }
}

/** What a sweep reads; its conditions have been checked. */
function selections(spec: SweepSpec): Selection[] {
  const [since, until] = [spec.since, spec.until].map((time) => (time === null ? null : new Date(time)));
  const seeds = new Set(expandGrid(spec.grid, defaultsOf(spec)).map(({ seed }) => seed));
  // Without a sample all seeds draw the same.
  const drawn = spec.sample ? [...seeds] : [0];
  const trained = (spec.where.length > 0 ? spec.where : [null]).flatMap((where) =>
    drawn.map((seed) => trainedSelection(spec, { where, since: since!, until: until! }, seed)),
  );
  return [...trained, ...(spec.testWhere === null ? [] : [{ where: spec.testWhere }])];
}
