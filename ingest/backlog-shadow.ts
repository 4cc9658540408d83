import type { PoolClient } from 'pg';
import { failedVerdict } from '../classifier/classify-all.ts';
import type { IsolatedClassifier } from '../classifier/isolated/classify.ts';
import type { ShadowRef } from '../classifier/shadow-ref.ts';
import type { UnclassifiedImage } from '../sql/backlog.ts';
import type { Dataset } from '../sql/datasets.ts';
import { unpredictedByShadow, writeShadowVerdicts } from '../sql/shadow.ts';
import type { IngestContext } from './engine.ts';

/**
 * The shadow's predictions of stored images that are being classified: those that nobody streamed in (inserted in SQL), or
 * that came before it. The others it has predicted as they came.
 * @param client in the transaction that writes the live model's, which holds the dataset's row
 * @param all that the live model got through just now: what ends or hangs the process here is the shadow's doing
 */
export async function shadowBacklog(
  { config, workers, signal }: Pick<IngestContext, 'config' | 'workers' | 'signal'>,
  client: PoolClient,
  isolated: IsolatedClassifier,
  { dataset: { name, classes }, shadow }: { dataset: Dataset; shadow: ShadowRef },
  all: UnclassifiedImage[],
): Promise<void> {
  const images = await unpredictedByShadow(client, name, shadow.id, all);
  if (!images || images.length === 0) return;
  const { model, error } = workers.guard.admitShadow(shadow)!;
  const bytes = images.map(({ imageBase64 }) => Buffer.from(imageBase64, 'base64'));
  const { verdicts, fatal } = model
    ? await isolated.classify(
        { model, classes, maxPixels: config.maxPixels, images: bytes, atOnce: bytes.length },
        signal,
      )
    : { verdicts: [], fatal: error ?? 'It cannot be used.' };
  if (model && fatal !== null) workers.guard.accuse({ id: shadow.id, error: fatal });
  const untried = images.slice(verdicts.length).map(() => failedVerdict(fatal!));
  await writeShadowVerdicts(client, shadow.id, images, [...verdicts, ...untried]);
}
