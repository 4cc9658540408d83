import type { PoolClient } from 'pg';
import { failedVerdict } from '../classifier/classify-all.ts';
import { brokenShadow, type ShadowRef } from '../classifier/shadow-ref.ts';
import { ThreadsBusy } from '../classifier/threads.ts';
import { errorText } from '../errors.ts';
import type { UnclassifiedImage } from '../sql/backlog.ts';
import type { Dataset } from '../sql/datasets.ts';
import { unpredictedByShadow, writeShadowVerdicts } from '../sql/shadow.ts';
import type { IngestContext } from './engine.ts';

/**
 * The shadow's predictions of stored images that are being classified: those that nobody streamed in (inserted in SQL), or
 * that came before it. The others it has predicted as they came.
 * @param client in the transaction that writes the live model's, which holds the dataset's row
 */
export async function shadowBacklog(
  { config, workers }: Pick<IngestContext, 'config' | 'workers'>,
  client: PoolClient,
  { name, classes }: Dataset,
  shadow: ShadowRef,
  all: UnclassifiedImage[],
): Promise<void> {
  const images = await unpredictedByShadow(client, name, shadow.id, all);
  if (!images || images.length === 0) return;
  const { model, error } = workers.shadowGuard.admit(shadow)!;
  const failed = (text: string) => images.map(() => failedVerdict(text));
  const bytes = images.map(({ imageBase64 }) => Buffer.from(imageBase64, 'base64'));
  const verdicts = model
    ? await workers
        .classify({ model, classes, maxPixels: config.maxPixels, bytes })
        .catch((cause: unknown) => {
          // It hangs, or has ended its thread; its neighbours were classified a moment ago.
          if (!(cause instanceof ThreadsBusy)) {
            workers.shadowGuard.accuse(brokenShadow(shadow.id, errorText(cause)));
          }
          return failed(errorText(cause));
        })
    : failed(error ?? 'It cannot be used.');
  await writeShadowVerdicts(client, shadow.id, images, verdicts);
}
