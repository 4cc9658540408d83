import type { Pool } from 'pg';
import { basename } from 'node:path';
import { transaction } from '../../sql/database.ts';
import { findModel, insertModel, type StoredModel } from '../../sql/models.ts';
import { Classifier } from '../inference.ts';
import type { Manifest } from '../manifest.ts';
import { type OnnxFacts, onnxFacts } from '../onnx/facts.ts';
import type { Draft } from './draft.ts';
import { givenByOptions, type ManifestOptions, mergeGiven, parseGiven } from './given.ts';
import { completeManifest, inspectModel, type Inspection } from './inspect.ts';
import { measureSample, type SampleAccuracy, type Trial, tryPreprocessings } from './measure-sample.ts';
import { type FileOrigin, type ModelFile, readModelFile } from './model-file.ts';

export interface AddModelContext {
  pool: Pool;
  /** The setting IMAGEHUB_MAX_PIXELS. */
  maxPixels: number;
}

export interface AddModelRequest {
  dataset: string;
  /** Path of the ONNX file. */
  file: string;
  /** As parsed from JSON; fields may be left out or null. */
  manifest?: unknown;
  /** Win over the manifest. */
  options?: ManifestOptions | undefined;
  /** How it was made, in a few words; left out: the file's name. */
  source?: string | undefined;
  /** Who adds it; left out: the database user. */
  by?: string | undefined;
}

/** What a model's row says of where it came from. */
export interface Provenance {
  onnx: OnnxFacts;
  /** Null: it was made here. */
  file: FileOrigin | null;
}

export interface AddedModel {
  /** The model's version, as `imagehub promote` takes it. */
  model: number;
  dataset: string;
  /** The same bytes with the same manifest were model `model` already; nothing was stored. */
  existed: boolean;
  source: string;
  manifest: Manifest;
  /** What was assumed, in words. */
  notes: string[];
  /** On some labelled images; null: there are too few. */
  sample: SampleAccuracy | null;
  /** Where it is often wrong: other preprocessings that do much better, best first. */
  better: Trial[];
  provenance: Provenance;
}

/** What is measured of a model that is added takes at most so long, and as long again where it looks wrong. */
const MEASURING_MS = 20_000;
/** Below, what goes in may not be what the model was trained on. */
const DOUBTFUL = 0.9;
/** So much better, and it is no accident of the sample. */
const BETTER = 0.15;

/** What there is to know of a model that could be added: for drafting its manifest. @throws HubError as `addModel` */
export async function inspectFile(
  { pool, maxPixels }: AddModelContext,
  request: AddModelRequest,
): Promise<{ file: ModelFile; inspection: Inspection }> {
  const given = mergeGiven(parseGiven(request.manifest), givenByOptions(request.options ?? {}));
  const file = await readModelFile(request.file);
  const inspection = await inspectModel(pool, request.dataset, file, given, maxPixels);
  return { file, inspection };
}

/**
 * Registers an ONNX classifier made elsewhere: its manifest is completed as far as the file and the dataset tell it, the
 * model is loaded, compared with its manifest and the dataset's classes, run, and measured on some labelled images.
 * It is not live by that.
 * @throws HubError NOT_FOUND (the dataset), BAD_FILE, USAGE, BAD_MODEL with what is wrong or missing; nothing is stored then.
 */
export async function addModel(context: AddModelContext, request: AddModelRequest): Promise<AddedModel> {
  const { pool } = context;
  const { file, inspection } = await inspectFile(context, request);
  const manifest = completeManifest(inspection, request.file);
  const { dataset } = request;
  const sample = await checkAndMeasure(file, manifest, inspection, context.maxPixels);
  const better =
    sample && sample.accuracy < DOUBTFUL
      ? await betterPreprocessings(file, manifest, inspection, sample, context.maxPixels)
      : [];
  const provenance = { onnx: onnxFacts(file.description), file: file.origin };
  const source = request.source ?? `file ${basename(request.file)}`;
  const stored = await storeOnce(pool, {
    dataset,
    onnx: file.onnx,
    manifest,
    source,
    provenance,
    createdBy: request.by,
  });
  const { notes } = inspection;
  return { ...stored, dataset, manifest, notes, sample, better, provenance };
}

async function checkAndMeasure(
  { onnx }: ModelFile,
  manifest: Manifest,
  { dataset, sample }: Inspection,
  maxPixels: number,
): Promise<SampleAccuracy | null> {
  const classifier = await Classifier.load(onnx, manifest, dataset.classes);
  try {
    const deadline = performance.now() + MEASURING_MS;
    return await measureSample(classifier, sample, { maxPixels, deadline });
  } finally {
    await classifier.release();
  }
}

async function betterPreprocessings(
  { onnx }: ModelFile,
  manifest: Manifest,
  { dataset, sample }: Inspection,
  { accuracy }: SampleAccuracy,
  maxPixels: number,
): Promise<Trial[]> {
  const open = manifest.input.elementType === 'uint8' ? {} : { scaling: null };
  const draft: Draft = {
    ...manifest,
    input: {
      ...manifest.input,
      ...open,
      colour: manifest.input.channels === 3 ? null : manifest.input.colour,
    },
  };
  const deadline = performance.now() + MEASURING_MS;
  const limits = { maxPixels, deadline };
  const trials = await tryPreprocessings(onnx, draft, [], dataset.classes, sample, limits);
  return trials.filter((trial) => trial.accuracy > accuracy + BETTER);
}

async function storeOnce(
  pool: Pool,
  model: Parameters<typeof insertModel>[1],
): Promise<{ model: number; existed: boolean; source: string }> {
  return transaction(pool, async (client) => {
    // Two may add the same file at once.
    await client.query(`select pg_advisory_xact_lock(hashtext('imagehub.models'), hashtext($1))`, [
      model.dataset,
    ]);
    const found: StoredModel | undefined = await findModel(client, model);
    if (found) return { model: found.model, existed: true, source: found.source };
    return { model: await insertModel(client, model), existed: false, source: model.source };
  });
}
