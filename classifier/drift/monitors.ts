import { HubError } from '../../errors.ts';
import type { Pool } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import {
  insertMonitor,
  type Monitor,
  type MonitorReference,
  type NewMonitor,
} from '../../sql/drift-monitors.ts';
import type { Sample } from '../../sql/selection.ts';

/**
 * Adds a drift monitor; the first check is due at once.
 * @param monitor reference null: the images until now, which stay the reference; sample: of the images of both sides a part
 * @throws HubError NOT_FOUND, USAGE
 */
export async function addMonitor(
  pool: Pool,
  monitor: Omit<NewMonitor, 'reference'> & {
    reference: MonitorReference | null;
    sample?: Sample | null | undefined;
  },
): Promise<Monitor> {
  if (monitor.webhook !== null) checkWebhook(monitor.webhook);
  await getDataset(pool, monitor.dataset);
  const { sample, ...asked } = monitor;
  const reference = monitor.reference ?? (await imagesUntilNow(pool, monitor));
  return await insertMonitor(pool, { ...asked, reference: { ...reference, ...(sample && { sample }) } });
}

/** @throws HubError USAGE when there are too few: it would never say anything */
async function imagesUntilNow(
  pool: Pool,
  { dataset, by, minImages }: Pick<NewMonitor, 'dataset' | 'by' | 'minImages'>,
): Promise<MonitorReference> {
  const now = new Date();
  const { rows } = await pool.query<{ images: number }>(
    `select count(*) as images from (
       select from public."${dataset}" where ${by}_at < $1 limit $2) enough`,
    [now, minImages],
  );
  if (rows[0]!.images < minImages) {
    throw new HubError(
      'USAGE',
      `${dataset} has ${rows[0]!.images} images to compare with; a reference takes ${minImages}.`,
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
