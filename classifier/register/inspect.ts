import { HubError } from '../../errors.ts';
import type { Queryable } from '../../sql/database.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import { type Manifest, type ManifestInput, parseManifest } from '../manifest.ts';
import { patterns } from '../network.ts';
import type { Pixels } from '../preprocess/preprocess.ts';
import { openSession } from '../session.ts';
import {
  draftActivation,
  draftClasses,
  type Draft,
  type DraftContext,
  draftOutputName,
  type Missing,
} from './draft.ts';
import { draftInput } from './draft-input.ts';
import type { GivenManifest } from './given.ts';
import { type Trial, tryPreprocessings } from './measure-sample.ts';
import type { ModelFile } from './model-file.ts';
import { probeModel } from './probe.ts';
import { tryModel } from './try-model.ts';
import { decodeSome, readSample, type Sample } from './sample.ts';

/** What could be found out about a model for a dataset. */
export interface Inspection {
  draft: Draft;
  /** Empty: the draft is a whole manifest. */
  missing: Missing[];
  /** What was assumed. */
  notes: string[];
  /** How the usual preprocessings would do, best first; where that is what is missing and labelled images are there. */
  trials: Trial[];
  dataset: Dataset;
  sample: Sample;
}

/** Labelled images that an accuracy is measured on. */
const SAMPLE = 200;
/** Images that are looked at for their size and run through the model to see what comes out. */
const LOOKED_AT = 8;
const TRIALS_MS = 20_000;

/**
 * Drafts a model's manifest: from its file, by running it on some of the dataset's images, and from what is given.
 * @throws HubError NOT_FOUND (the dataset), BAD_MODEL when it cannot be a classifier of images
 */
export async function inspectModel(
  db: Queryable,
  name: string,
  { onnx, description }: ModelFile,
  given: GivenManifest,
  maxPixels: number,
): Promise<Inspection> {
  const dataset = await getDataset(db, name);
  const sample = await readSample(db, name, SAMPLE);
  const images = await decodeSome(sample, LOOKED_AT, maxPixels);
  const { classes, background } = dataset;
  const context: DraftContext = {
    given,
    facts: { classes, background, size: commonSize(images) },
    missing: [],
    notes: [],
  };
  const draft: Draft = {
    input: draftInput(description, context),
    output: { name: draftOutputName(description, context), activation: given.output?.activation ?? null },
    classes: given.classes ?? null,
  };
  const runnable = runnableInput(draft);
  const { name: output } = draft.output;
  await tryModel({ onnx, run: runnable && output !== null ? { input: runnable, output } : null });
  const session = await openSession(onnx);
  try {
    if (runnable && output !== null) {
      const shown = images.length > 0 ? images : patterns(runnable);
      const probed = await probeModel(session, runnable, output, shown);
      draft.output.activation = draftActivation(description, output, probed, context);
      draft.classes = draftClasses(description, probed.columns, context);
    }
  } finally {
    await session.release();
  }
  const { missing, notes } = context;
  const trials = await trialsFor(onnx, draft, missing, dataset, sample, maxPixels);
  return { draft, missing, notes, trials, dataset, sample };
}

function trialsFor(
  onnx: Uint8Array,
  draft: Draft,
  missing: Missing[],
  { classes }: Dataset,
  sample: Sample,
  maxPixels: number,
): Promise<Trial[]> {
  if (missing.length === 0) return Promise.resolve([]);
  const deadline = performance.now() + TRIALS_MS;
  return tryPreprocessings(onnx, draft, missing, classes, sample, { maxPixels, deadline });
}

function commonSize(images: Pixels[]): DraftContext['facts']['size'] {
  const [first] = images;
  if (!first) return null;
  const { width, height } = first;
  return images.every((image) => image.width === width && image.height === height) ? { width, height } : null;
}

/** Enough of the input to run the model; scaling and colour order are of no matter to what shape comes out. */
function runnableInput({ input }: Draft): ManifestInput | null {
  const { layout, width, height } = input;
  const channels = input.channels;
  if (layout === null || width === null || height === null || channels === null) return null;
  const colour = input.colour ?? (channels === 1 ? 'grey' : 'rgb');
  const scaling = input.scaling ?? { kind: 'unit' };
  return parseManifest({
    input: { ...input, colour, scaling },
    output: { name: 'any', activation: 'softmax' },
    classes: ['any', 'other'],
  }).input;
}

/** Of a draft that lacks nothing. @throws HubError BAD_MODEL with what is missing and how to say it */
export function completeManifest({ draft, missing, trials }: Inspection, path: string): Manifest {
  if (missing.length > 0) throw incomplete(path, draft, missing, trials);
  return parseManifest(draft);
}

/** What is missing in a draft, and how to say it. */
export function incomplete(path: string, draft: object, missing: Missing[], trials: Trial[] = []): HubError {
  const asked = missing.map(({ field, why, option }) => `  ${field}: ${why}\n    ${option}`);
  const [best] = trials;
  const tried = best
    ? [
        `Tried on ${best.images} labelled images (accuracy):`,
        ...trials.slice(0, 4).map(({ options, accuracy }) => `  ${accuracy.toFixed(3)}  ${options}`),
      ]
    : [];
  return new HubError(
    'BAD_MODEL',
    [
      `What ${path} is cannot be told from the file alone; not known ${missing.length === 1 ? 'is' : 'are'}:`,
      ...asked,
      ...tried,
      'The manifest so far (null: not known):',
      JSON.stringify(draft, null, 2),
    ].join('\n'),
    {
      hint: 'Give the options named above, or complete the manifest and give it with --manifest FILE (--print-manifest > FILE writes it).',
    },
  );
}
