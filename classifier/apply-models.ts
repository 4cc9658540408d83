import { errorText, HubError } from '../errors.ts';
import { classifyAll, type Verdict } from './classify-all.ts';
import { classifyWithShadow } from './classify-with-shadow.ts';
import type { BackboneRef } from './features/backbone.ts';
import { extractorFor } from './features/extractors-in-thread.ts';
import { GatheredFeatures } from './features/gathered.ts';
import type { Pixels } from './inference.ts';
import type { ModelRef } from './model-ref.ts';
import { classifierFor } from './models-in-thread.ts';
import type { ShadowRef } from './shadow-ref.ts';

/** What is applied to new images; null: none. */
export interface AppliedModels {
  model: ModelRef | null;
  shadow: ShadowRef | null;
  /** Whose features are wanted. */
  backbone: BackboneRef | null;
  /** Why that is left out. */
  backboneError?: string;
}

/** What they say, image by image. */
export interface Applied {
  /** null: there is no model. */
  verdicts: Verdict[] | null;
  /** Empty: there is no shadow. */
  shadowVerdicts: Verdict[];
  /** Why there are no features at all, if they are wanted; null: they are not. */
  features: GatheredFeatures | string | null;
}

/**
 * Applies a dataset's models to images. Never throws: whatever becomes of the shadow and the backbone, the live model's
 * verdicts are those that it gives alone. Where the model is a head of the backbone, that is run once.
 * @param classes the dataset's
 */
export async function applyModels(
  { model, shadow, backbone, backboneError }: AppliedModels,
  classes: string[],
  images: Pixels[],
): Promise<Applied> {
  const ofModel =
    backbone && backboneError === undefined && (await isHeadOf(model, classes, backbone))
      ? new GatheredFeatures(images.length, backbone.features)
      : null;
  const given = new Set<number>();
  const read =
    ofModel === null
      ? undefined
      : (...[output, places]: Parameters<GatheredFeatures['add']>) => {
          ofModel.add(output, places);
          for (const place of places) given.add(place);
        };
  const [verdicts, shadowVerdicts] = shadow
    ? await classifyWithShadow(model, shadow, classes, images, read)
    : [model && (await classifyAll(model, classes, images, read)), []];
  if (ofModel === null) {
    const features = backbone && (backboneError ?? (await extract(backbone, images)));
    return { verdicts, shadowVerdicts, features };
  }
  // It failed before it came to their features.
  verdicts!.forEach(({ error }, place) => {
    if (!given.has(place)) ofModel.fail(place, new HubError('BAD_MODEL', error!));
  });
  return { verdicts, shadowVerdicts, features: ofModel };
}

/** Whether the model computes the backbone's features on its way. */
async function isHeadOf(model: ModelRef | null, classes: string[], backbone: BackboneRef): Promise<boolean> {
  const { input, output } = backbone.manifest;
  const own = model?.manifest.backbone;
  if (own?.sha256 !== backbone.sha256 || own.output !== output.name) return false;
  // It may have been given another input than its backbone since.
  if (JSON.stringify(model!.manifest.input) !== JSON.stringify(input)) return false;
  return classifierFor(model!, classes).then(
    () => true,
    () => false,
  );
}

/** @returns why there are none, if the backbone cannot be loaded */
async function extract(backbone: BackboneRef, images: Pixels[]): Promise<GatheredFeatures | string> {
  try {
    return await (await extractorFor(backbone)).extractEach(images);
  } catch (error) {
    return `Backbone ${backbone.name} cannot be loaded: ${errorText(error)}`;
  }
}
