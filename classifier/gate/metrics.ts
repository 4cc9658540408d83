import { HubError } from '../../errors.ts';

/** What a requirement can be about: figures of a model on labelled images; those that it fails on are wrong. */
export interface GateFigures {
  images: number;
  accuracy: number;
  macro: { precision: number; recall: number; f1: number };
  weighted: { precision: number; recall: number; f1: number };
  /** By class index. */
  classes: { precision: number; recall: number; f1: number }[];
  /** Mean cross-entropy in nats. */
  logLoss: number | null;
  calibration: { error: number };
}

const OVERALL: Record<string, { doc: string; of: (figures: GateFigures) => number }> = {
  accuracy: { doc: 'share predicted as what they are', of: ({ accuracy }) => accuracy },
  precision: { doc: 'plain mean over the classes', of: ({ macro }) => macro.precision },
  recall: { doc: 'plain mean over the classes', of: ({ macro }) => macro.recall },
  macro_f1: { doc: 'plain mean of F1 over the classes', of: ({ macro }) => macro.f1 },
  weighted_f1: { doc: 'mean of F1 weighted by images', of: ({ weighted }) => weighted.f1 },
  log_loss: { doc: 'mean cross-entropy in nats', of: ({ logLoss }) => logLoss ?? NaN },
  ece: {
    doc: 'expected calibration error, where it did not fail',
    of: ({ calibration }) => calibration.error,
  },
  images: { doc: 'labelled images measured on', of: ({ images }) => images },
};
const PER_CLASS = ['precision', 'recall', 'f1'] as const;

/** Names of metrics with what they are, for help texts. */
export const METRICS: readonly { name: string; doc: string }[] = [
  ...Object.entries(OVERALL).map(([name, { doc }]) => ({ name, doc })),
  ...PER_CLASS.map((name) => ({ name: `${name}[CLASS]`, doc: 'of one class, by name or index' })),
];

/** Reads a metric from figures. */
export type Metric = (figures: GateFigures) => number;

/**
 * The metric of a name: `accuracy`, or of one class: `recall[3]`, `f1[airplane]`. A class is its name, else its index.
 * @param classes the dataset's names in index order
 * @throws HubError USAGE that lists those there are
 */
export function findMetric(name: string, classes: string[]): Metric {
  const overall = Object.hasOwn(OVERALL, name) ? OVERALL[name] : undefined;
  if (overall) return overall.of;
  const [, kind, className] = /^(\w+)\[(.*)\]$/.exec(name) ?? [];
  const metric = PER_CLASS.find((each) => each === kind);
  if (!metric || className === undefined) {
    throw new HubError('USAGE', `There is no metric “${name}”.`, {
      hint: `There are: ${METRICS.map((each) => each.name).join(', ')}.`,
    });
  }
  const text = className.trim();
  const byName = classes.indexOf(text);
  const index = byName >= 0 || !/^\d+$/.test(text) ? byName : Number(text);
  if (index < 0 || index >= classes.length) {
    throw new HubError('USAGE', `“${name}”: there is no class ${text}.`, {
      hint: `The dataset’s classes are ${classes.join(', ')}.`,
    });
  }
  return ({ classes: figures }) => figures[index]![metric];
}
