import { HubError } from '../../errors.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import {
  insertMonitor,
  type Monitor,
  type MonitorReference,
  type NewMonitor,
} from '../../sql/drift-monitors.ts';
import type { Sample } from '../../sql/selection.ts';
import type { DriftContext } from './drift.ts';

/**
 * Adds a drift monitor; the first check is due at once.
 * @param monitor reference null: the images until now, which stay the reference; sample: of the images of both sides a part
 * @throws HubError NOT_FOUND, USAGE
 */
export async function addMonitor(
  context: DriftContext,
  monitor: Omit<NewMonitor, 'reference'> & {
    reference: MonitorReference | null;
    sample?: Sample | null | undefined;
  },
): Promise<Monitor> {
  if (monitor.webhook !== null) checkWebhook(monitor.webhook);
  const dataset = await getDataset(context.pool, monitor.dataset);
  const { sample, ...asked } = monitor;
  const reference = monitor.reference ?? (await imagesUntilNow(context, dataset, monitor));
  return await insertMonitor(context.pool, {
    ...asked,
    reference: { ...reference, ...(sample && { sample }) },
  });
}

/** @throws HubError USAGE when there are too few: it would never say anything */
async function imagesUntilNow(
  { pool, stores }: DriftContext,
  { name: dataset, store }: Dataset,
  { by, minImages }: Pick<NewMonitor, 'by' | 'minImages'>,
): Promise<MonitorReference> {
  const now = new Date();
  const column = `${by}_at`;
  const request = { dataset, columns: [column] };
  const images = await stores[store].images.query(pool, request, async (client, { relation }) => {
    const { rows } = await client.query<{ images: number }>(
      `select count(*) as images from (select from ${relation} where ${column} < $1 limit $2) enough`,
      [now, minImages],
    );
    return rows[0]!.images;
  });
  if (images < minImages) {
    throw new HubError(
      'USAGE',
      `${dataset} has ${images} images to compare with; a reference takes ${minImages}.`,
      { hint: 'Choose the reference with --reference-since, --reference-until or --reference training.' },
    );
  }
  return { kind: 'span', since: null, until: { at: now.toISOString() } };
}

function checkWebhook(url: string): void {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed && /^https?:$/.test(parsed.protocol) && !parsed.username && !parsed.password) return;
  throw new HubError('USAGE', `The webhook ${url} cannot be called.`, {
    hint: 'Give a URL that begins with http:// or https://, without user name and password.',
  });
}
