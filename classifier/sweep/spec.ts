import { createHash } from 'node:crypto';
import { HubError } from '../../errors.ts';
import type { Sample } from '../../sql/selection.ts';
import { FEATURE_DEFAULTS, refusePixelSettings } from '../subject/features.ts';
import type { TrainingOptions } from '../train/defaults.ts';
import { expandGrid, type Grid } from './grid.ts';
import { sizeOf } from './sweep-data.ts';

/** The lengths of windows of time. */
export const WINDOW_LENGTHS = ['hour', 'day', 'week', 'month'] as const;
export type WindowLength = (typeof WINDOW_LENGTHS)[number];

/** What a sweep is asked to do, as it is stored; times are ISO 8601. */
export interface SweepSpec {
  grid: Grid;
  /** With scale `binarise`: pixels greater than this are ink; null: the default. */
  threshold: number | null;
  /** What images are resized to, e.g. 28x28; null: the size of the first. */
  size: string | null;
  /** At most so many images, drawn by the seed. */
  limit: number | null;
  /** A part of the images to train on, drawn by the seed; left out: all. */
  sample?: Omit<Sample, 'seed'>;
  /** The backbone whose stored features are trained on; left out: pixels. */
  backbone?: string;
  /** Conditions in SQL, each a window of its own; empty: all labelled images. */
  where: string[];
  since: string | null;
  until: string | null;
  /** Cuts the time between into windows by when images were ingested. */
  windows: WindowLength | null;
  /** Each window of time begins where the first begins. */
  cumulative: boolean;
  /** A condition for the images that are measured on, and never trained on; null: the validation share. */
  testWhere: string | null;
  /** So many of the best networks are stored; the others are trained again if they are promoted. */
  keep: number;
}

/** Networks that are kept when nobody says how many: 18 MB of the classic size. */
const KEEP = 10;

/**
 * Checks what a sweep is asked to do and fills in what is left out. With images named to measure on, all others are
 * trained on unless a validation share is asked for too.
 * @throws HubError USAGE
 */
export function sweepSpec(asked: Partial<SweepSpec>): SweepSpec {
  const spec: SweepSpec = {
    grid: {},
    threshold: null,
    size: null,
    limit: null,
    where: [],
    since: null,
    until: null,
    windows: null,
    cumulative: false,
    testWhere: null,
    keep: KEEP,
    ...asked,
  };
  if (spec.testWhere !== null && spec.grid.validationSplit === undefined) {
    spec.grid = { ...spec.grid, validationSplit: [0] };
  }
  const settings = expandGrid(spec.grid, defaultsOf(spec));
  const refuse = (message: string, hint: string): never => {
    throw new HubError('USAGE', message, { hint });
  };
  if (spec.backbone !== undefined) {
    refusePixelSettings({ options: spec.grid, size: spec.size, threshold: spec.threshold });
  }
  if (new Set(spec.where).size < spec.where.length) {
    refuse('The same --where is given twice.', 'Each is a window of its own.');
  }
  if (spec.cumulative && spec.windows === null) {
    refuse('--cumulative is about windows of time.', 'Say how long they are: --windows day');
  }
  if (spec.windows !== null && !WINDOW_LENGTHS.includes(spec.windows)) {
    refuse(`--windows ${String(spec.windows)} is no length.`, `One of: ${WINDOW_LENGTHS.join(', ')}`);
  }
  if (spec.size !== null && sizeOf(spec.size) === null) {
    refuse(`--size ${spec.size} is not a size.`, 'Write width x height: --size 28x28');
  }
  if (
    spec.backbone === undefined &&
    spec.threshold !== null &&
    settings.some(({ scale }) => scale !== 'binarise')
  ) {
    refuse('A threshold is for binarised pixels alone.', 'Leave --threshold or --scale out.');
  }
  if (spec.testWhere === null && settings.some(({ validationSplit }) => validationSplit === 0)) {
    refuse(
      'With a validation share of 0 there is nothing to measure the networks on.',
      'Name the images to measure on, e.g. --test-where "id like \'test/%\'", or leave --validation out.',
    );
  }
  return spec;
}

/** What settings are where a sweep does not say it. */
export const defaultsOf = ({ backbone }: Pick<SweepSpec, 'backbone'>): Partial<TrainingOptions> =>
  backbone === undefined ? {} : FEATURE_DEFAULTS;

/** The same value has the same text, whatever the order of its fields. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, field: unknown) =>
    field !== null && typeof field === 'object' && !Array.isArray(field)
      ? Object.fromEntries(Object.entries(field).sort(([a], [b]) => (a < b ? -1 : 1)))
      : field,
  );
}

/** SHA-256 over the canonical text. */
export const hashOf = (value: unknown): Buffer => createHash('sha256').update(canonical(value)).digest();
