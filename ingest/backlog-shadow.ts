import type { PoolClient } from 'pg';
import { failedVerdict, type Verdict } from '../classifier/classify-all.ts';
import type { IsolatedClassifier } from '../classifier/isolated/classify.ts';
import type { ShadowRef } from '../classifier/shadow-ref.ts';
import type { UnclassifiedImage } from '../sql/backlog.ts';
import type { Queryable } from '../sql/database.ts';
import type { Dataset } from '../sql/datasets.ts';
import { isShadow, unpredictedByShadow, writeShadowVerdicts } from '../sql/shadow.ts';
import type { IngestContext } from './engine.ts';

/** What a shadow says of some stored images. */
export interface ShadowsWord {
  model: number;
  images: UnclassifiedImage[];
  verdicts: Verdict[];
}

/**
 * The shadow's predictions of stored images that are being classified: those that nobody streamed in (inserted in SQL), or
 * that came before it. The others it has predicted as they came.
 * @param db to read by
 * @param all that the live model got through just now: what ends or hangs the process here is the shadow's doing
 * @returns null: it has nothing to say
 */
export async function judgeByShadow(
  { config, workers, signal }: Pick<IngestContext, 'config' | 'workers' | 'signal'>,
  db: Queryable,
  isolated: IsolatedClassifier,
  { dataset: { name, classes }, shadow }: { dataset: Dataset; shadow: ShadowRef },
  all: UnclassifiedImage[],
): Promise<ShadowsWord | null> {
  if (!(await isShadow(db, name, shadow.id))) return null;
  const images = await unpredictedByShadow(db, shadow.id, all);
  if (images.length === 0) return null;
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
  return { model: shadow.id, images, verdicts: [...verdicts, ...untried] };
}

/**
 * Writes it, about those of the images that get their verdicts now; if the model is still the shadow.
 * @param client in the transaction that writes the live model's, which holds the dataset's row
 */
export async function writeShadowsWord(
  client: PoolClient,
  dataset: string,
  { model, images, verdicts }: ShadowsWord,
  written: UnclassifiedImage[],
): Promise<void> {
  if (!(await isShadow(client, dataset, model))) return;
  const ids = new Set(written.map(({ id }) => id));
  const about = [...images.keys()].filter((i) => ids.has(images[i]!.id));
  if (about.length === 0) return;
  await writeShadowVerdicts(
    client,
    model,
    about.map((i) => images[i]!),
    about.map((i) => verdicts[i]!),
  );
}
