import type { Manifest, Scaling } from '../manifest.ts';
import { Classifier } from '../inference.ts';
import type { Pixels } from '../preprocess/preprocess.ts';
import type { Draft, Missing } from './draft.ts';
import { decodeOrNull, type Sample } from './sample.ts';

/** How a model does on some labelled images of the dataset. */
export interface SampleAccuracy {
  /** Labelled images classified. */
  images: number;
  accuracy: number;
  /** What always saying the sample's most frequent class would reach. */
  chance: number;
  /** It cannot be told from guessing: what goes in, or the order of classes, is likely not what the model was trained with. */
  nearChance: boolean;
}

/** An accuracy of fewer images says nothing. */
const FEWEST = 20;
/** A model that guesses passes this many standard errors once in 700 times. */
const ERRORS = 3;
const AT_ONCE = 8;

/**
 * Measures a model on the labelled images of a sample, until `deadline` (of performance.now()).
 * @returns null with too few of them to say anything
 */
export async function measureSample(
  classifier: Classifier,
  sample: Sample,
  { maxPixels, deadline, most = Infinity }: { maxPixels: number; deadline: number; most?: number },
): Promise<SampleAccuracy | null> {
  const labelled = sample.images.filter(({ label }) => label !== null).slice(0, most);
  const perClass = new Map<number, number>();
  let images = 0;
  let right = 0;
  for (let from = 0; from < labelled.length && performance.now() < deadline; from += AT_ONCE) {
    const group: { pixels: Pixels; label: number }[] = [];
    for (const { bytes, label } of labelled.slice(from, from + AT_ONCE)) {
      const pixels = await decodeOrNull(bytes, maxPixels);
      if (pixels) group.push({ pixels, label: label! });
    }
    const { prediction } = await classifier.classifyEach(group.map(({ pixels }) => pixels));
    group.forEach(({ label }, place) => {
      images += 1;
      perClass.set(label, (perClass.get(label) ?? 0) + 1);
      if (prediction[place] === label) right += 1;
    });
  }
  if (images < FEWEST) return null;
  const chance = Math.max(...perClass.values()) / images;
  const accuracy = right / images;
  const nearChance = accuracy < chance + ERRORS * Math.sqrt((chance * (1 - chance)) / images);
  return { images, accuracy, chance, nearChance };
}

/** A preprocessing that was tried, as options of the command line. */
export interface Trial {
  options: string;
  images: number;
  accuracy: number;
}

const TRIAL_IMAGES = 100;

/**
 * Tries the usual ways of turning pixels into a model's numbers on labelled images: which of them it was trained with
 * stands in no file, but shows in its accuracy.
 * @param missing what of the draft is not known; anything but scaling and colour, and there is nothing to try
 * @returns best first; empty without enough labelled images
 */
export async function tryPreprocessings(
  onnx: Uint8Array,
  draft: Draft,
  missing: Missing[],
  datasetClasses: string[],
  sample: Sample,
  limits: { maxPixels: number; deadline: number },
): Promise<Trial[]> {
  const fields = missing.map(({ field }) => field);
  if (fields.some((field) => field !== 'input.scaling' && field !== 'input.colour')) return [];
  if (draft.input.colour === null && draft.input.channels !== 3) return [];
  const scalings = draft.input.scaling ? [draft.input.scaling] : usualScalings(draft.input.channels!);
  const colours = draft.input.colour ? [draft.input.colour] : (['rgb', 'bgr'] as const);
  const trials: Trial[] = [];
  for (const scaling of scalings) {
    for (const colour of colours) {
      for (const invert of draft.input.scaling ? [draft.input.invert!] : [false, true]) {
        if (performance.now() > limits.deadline) break;
        const input = { ...draft.input, scaling, colour, invert };
        const manifest = { ...draft, input } as Manifest;
        // As it is meant to be: a combination that the model refuses is none.
        const measured = await measure(onnx, manifest, datasetClasses, sample, limits).catch(() => null);
        if (!measured) continue;
        const options = [
          ...(draft.input.scaling ? [] : [scalingOptions(scaling)]),
          ...(draft.input.colour ? [] : [`--colour ${colour}`]),
          ...(invert && !draft.input.scaling ? ['--invert'] : []),
        ].join(' ');
        trials.push({ options, images: measured.images, accuracy: measured.accuracy });
      }
    }
  }
  return trials.sort((a, b) => b.accuracy - a.accuracy);
}

async function measure(
  onnx: Uint8Array,
  manifest: Manifest,
  datasetClasses: string[],
  sample: Sample,
  limits: { maxPixels: number; deadline: number },
): Promise<SampleAccuracy | null> {
  const classifier = await Classifier.load(onnx, manifest, datasetClasses);
  try {
    return await measureSample(classifier, sample, { ...limits, most: TRIAL_IMAGES });
  } finally {
    await classifier.release();
  }
}

/** Of ImageNet, as torchvision's models have them; of MNIST, as PyTorch's example has them. */
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const MNIST = { mean: [0.1307], std: [0.3081] };

function usualScalings(channels: number): Scaling[] {
  const half = Array.from({ length: channels }, () => 0.5);
  return [
    { kind: 'unit' },
    { kind: 'none' },
    { kind: 'binarise', threshold: 30 },
    // −1…1
    { kind: 'mean-std', mean: half, std: half },
    { kind: 'mean-std', ...(channels === 3 ? IMAGENET : MNIST) },
  ];
}

export function scalingOptions(scaling: Scaling): string {
  switch (scaling.kind) {
    case 'mean-std':
      return `--mean ${scaling.mean.join()} --std ${scaling.std.join()}`;
    case 'binarise':
      return `--scale binarise --threshold ${scaling.threshold}`;
    case 'unit':
    case 'none':
      return `--scale ${scaling.kind}`;
  }
}
