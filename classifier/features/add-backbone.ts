import { basename } from 'node:path';
import { HubError } from '../../errors.ts';
import { insertBackbone, type Precision, type StoredBackbone } from '../../sql/backbones.ts';
import type { Pool } from '../../sql/database.ts';
import type { ModelDescription } from '../onnx/describe.ts';
import { onnxFacts } from '../onnx/facts.ts';
import { asWritten, type DraftContext, type Missing } from '../register/draft.ts';
import { draftInput } from '../register/draft-input.ts';
import {
  type GivenManifest,
  givenByOptions,
  type ManifestOptions,
  mergeGiven,
  parseGiven,
} from '../register/given.ts';
import { incomplete } from '../register/inspect.ts';
import { type ModelFile, readModelFile } from '../register/model-file.ts';
import { tryModel } from '../register/try-model.ts';
import { type BackboneManifest, parseBackbone } from './backbone.ts';
import { FeatureExtractor } from './extractor.ts';

export interface AddBackboneRequest {
  name: string;
  /** Path of the ONNX file. */
  file: string;
  /** Parsed JSON that may be incomplete. */
  manifest?: unknown;
  options?: ManifestOptions | undefined;
  /** Default: float16. */
  precision?: Precision | undefined;
  by?: string | undefined;
}

export interface AddedBackbone {
  backbone: StoredBackbone;
  /** What was assumed. */
  notes: string[];
}

/** Grey behind transparent pixels, where nobody says: a backbone belongs to no dataset. */
const BACKGROUND = 255;

/** What there is to know of a network that could be added. @throws HubError as `addBackbone` */
export async function inspectBackbone(
  request: Pick<AddBackboneRequest, 'file' | 'manifest' | 'options'>,
): Promise<{ file: ModelFile; draft: object; missing: Missing[]; notes: string[] }> {
  const given = mergeGiven(parseGiven(request.manifest), givenByOptions(request.options ?? {}));
  const file = await readModelFile(request.file);
  const facts = { classes: [], background: BACKGROUND, size: null };
  const context: DraftContext = { given, facts, missing: [], notes: [] };
  const input = draftInput(file.description, context);
  const output = { name: outputOf(file.description, given, context.missing) };
  return { file, draft: { input, output }, missing: context.missing, notes: context.notes };
}

/**
 * Adds a network whose output is kept as features: its manifest is completed as far as the file tells it, and it is loaded
 * and run, in a process of its own first.
 * @throws HubError ALREADY_EXISTS, BAD_FILE, USAGE, BAD_MODEL with what is wrong or missing; nothing is stored then
 */
export async function addBackbone(pool: Pool, request: AddBackboneRequest): Promise<AddedBackbone> {
  const { name, precision = 'float16', by } = request;
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
    throw new HubError('USAGE', `“${name}” is no name for a backbone.`, {
      hint: 'It takes lower case letters, digits, “.”, “_” and “-”, at most 63: efficientnet-lite0',
    });
  }
  const { file, draft, missing, notes } = await inspectBackbone(request);
  if (missing.length > 0) throw incomplete(request.file, draft, missing);
  const manifest = parseBackbone(draft);
  await tryModel({ onnx: file.onnx, run: { input: manifest.input, output: manifest.output.name } });
  const features = await countFeatures(file.onnx, manifest);
  const provenance = { onnx: onnxFacts(file.description), file: file.origin };
  const source = `file ${basename(request.file)}`;
  const stored = { name, onnx: file.onnx, manifest, features, precision, source, provenance };
  return { backbone: await insertBackbone(pool, stored, by), notes };
}

/** The output that is named, the only one, or one called features or embedding(s). @throws HubError BAD_MODEL */
function outputOf({ outputs }: ModelDescription, given: GivenManifest, missing: Missing[]): string | null {
  const asked = given.output?.name;
  const all = outputs.map(asWritten).join(', ');
  if (asked) {
    if (outputs.some(({ name }) => name === asked)) return asked;
    throw new HubError('BAD_MODEL', `The network has no output “${asked}”; it has ${all}.`);
  }
  const named = outputs.filter(({ name }) => /^(features|embeddings?)$/i.test(name));
  const [only] = named.length > 0 ? named : outputs;
  if (only && (named.length === 1 || outputs.length === 1)) return only.name;
  missing.push({
    field: 'output.name',
    why: `it has several outputs: ${all}`,
    option: '--output NAME, the one behind the global pooling',
  });
  return null;
}

async function countFeatures(onnx: Uint8Array, manifest: BackboneManifest): Promise<number> {
  const extractor = await FeatureExtractor.load(onnx, manifest);
  await extractor.release();
  return extractor.features;
}
