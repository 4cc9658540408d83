import { errorText } from '../errors.ts';
import type { Verdict } from '../sql/backlog.ts';
import { classifyAll, failedVerdict, verdictsOf } from './classify-all.ts';
import type { Classifier, Pixels, ReadFeatures } from './inference.ts';
import type { ModelRef } from './model-ref.ts';
import { classifierFor } from './models-in-thread.ts';
import type { ShadowRef } from './shadow-ref.ts';

/** One that cannot be loaded is tried again only so often: trying may take longer than a batch. */
const TRY_AGAIN_MS = 10_000;

const notLoaded = new Map<number, { error: string; until: number }>();

/**
 * What the live model and its shadow say about the same pixels, in the images' order. Never throws. Whatever becomes of
 * the shadow, the live model's verdicts are those that it gives alone.
 * @param live null: nothing is
 * @param readFeatures gets the live model's, see `Classifier.classifyEach`
 */
export async function classifyWithShadow(
  live: ModelRef | null,
  shadow: ShadowRef,
  classes: string[],
  images: Pixels[],
  readFeatures?: ReadFeatures,
): Promise<[live: Verdict[] | null, shadow: Verdict[]]> {
  const candidate = await shadowClassifier(shadow, classes);
  const failed = (error: string) => images.map(() => failedVerdict(error));
  if (typeof candidate === 'string') {
    return [live && (await classifyAll(live, classes, images, readFeatures)), failed(candidate)];
  }
  // One that cannot be loaded has its own verdicts, from classifyAll.
  const own = live && (await classifierFor(live, classes).catch(() => null));
  if (own) {
    const [first, second] = await own.classifyEachWith(candidate, images, readFeatures);
    return [verdictsOf(first, classes.length), verdictsOf(second, classes.length)];
  }
  return [
    live && (await classifyAll(live, classes, images)),
    verdictsOf(await candidate.classifyEach(images), classes.length),
  ];
}

/** @returns why there is none, if it cannot be loaded */
async function shadowClassifier(
  { id, model, error }: ShadowRef,
  classes: string[],
): Promise<Classifier | string> {
  if (!model) return error ?? `Model ${id} cannot be used.`;
  const before = notLoaded.get(id);
  if (before && Date.now() < before.until) return before.error;
  try {
    const classifier = await classifierFor(model, classes);
    notLoaded.delete(id);
    return classifier;
  } catch (cause) {
    const reason = errorText(cause);
    notLoaded.set(id, { error: reason, until: Date.now() + TRY_AGAIN_MS });
    return reason;
  }
}
