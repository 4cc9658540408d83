import type { Command } from 'commander';
import { compareByEvaluation } from '../classifier/gate/compare-by-evaluation.ts';
import { gateLines, type GateOutcome, GateNotMet } from '../classifier/gate/gate.ts';
import { METRICS } from '../classifier/gate/metrics.ts';
import { promoteThrough } from '../classifier/gate/promote-through.ts';
import { REQUIREMENT_FORM } from '../classifier/gate/requirement.ts';
import { openStoredClassifier } from '../classifier/stored/classify-stored.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { wholeNumber } from './numbers.ts';
import { report } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import { type PromotionReport, reclassifyAfter, storedImagesText } from './reclassify-after.ts';
import { interruptSignal } from './shutdown.ts';

interface Options {
  require?: string[];
  maxBroken?: string;
  on?: string;
  reason?: string;
  by?: string;
  reclassify?: boolean;
  json?: boolean;
}

export const promoteCommand: RegisterCommand = (program) => {
  const command: Command = program
    .command('promote <dataset> <model>')
    .description(
      'make a model (a number, shadow or previous) live: it is loaded, checked and run first; running pipelines take it up by themselves',
    )
    .option(
      '--require <requirement>',
      `only if it holds: ${REQUIREMENT_FORM}; may be given several times`,
      (each: string, before: string[] | undefined) => [...(before ?? []), each],
    )
    .option(
      '--max-broken <n>',
      'only if at most so many images are wrong with it that are right with the live model',
    )
    .option(
      '--on <sql>',
      'measure on the labelled images that this condition holds for, e.g. "id like \'test/%\'" (default: all that neither model was trained on)',
    )
    .option('--reason <text>', 'why, for the record')
    .option(...BY_OPTION)
    .option('--reclassify', 'then leave it to the workers to predict stored images again')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `\nMetrics for --require, on labelled images that neither model was trained on:\n${METRICS.map(({ name, doc }) => `  ${name.padEnd(17)} ${doc}`).join('\n')}`,
    );
  command.action(promote);
};

async function promote(dataset: string, model: string, options: Options): Promise<void> {
  const maxBroken =
    options.maxBroken === undefined ? null : wholeNumber('--max-broken', options.maxBroken, 0);
  const { require, reason } = options;
  const by = actingUser(options.by);
  await using hub = await openHub(commandContext());
  await using measuring = openMeasuring(hub, dataset, options.on);
  try {
    const result = await promoteThrough(
      hub.pool,
      { dataset, model, reason, require, maxBroken, by },
      measuring.compare,
    );
    await reclassifyAfter(hub, result, options.reclassify, (all) => report(options, all, promotionText));
  } catch (error) {
    // The figures are for scripts too, although the command fails.
    if (error instanceof GateNotMet && options.json)
      report(options, { dataset, promoted: false, gate: error.outcome }, () => '');
    throw error;
  }
}

/** Threads that measure models, with their progress. They are started when something is to be measured. */
function openMeasuring({ pool, stores, config, log }: Hub, dataset: string, where: string | undefined) {
  let progress: Progress | undefined;
  let close: (() => PromiseLike<void>) | undefined;
  return {
    async compare(candidate: number, live: number | null) {
      const { workers, maxPixels, decodeTimeoutMs } = config;
      const classifier = openStoredClassifier({
        workers,
        maxPixels,
        decodeTimeoutMs,
        log,
      });
      close = () => classifier[Symbol.asyncDispose]();
      let label = '';
      const next = (model: number, role: string) => {
        progress?.stop();
        progress = undefined;
        label = `${role} model ${model}`;
      };
      const onProgress = (done: number, total: number) => {
        progress ??= createProgress({ label, total });
        progress.update(done);
      };
      const context = {
        pool,
        stores,
        classifier,
        signal: interruptSignal(),
        onProgress,
      };
      return compareByEvaluation(context, dataset, { where: where ?? null }, next)(candidate, live);
    },
    async [Symbol.asyncDispose]() {
      progress?.stop();
      await close?.();
    },
  };
}

/** What became of a promotion or roll-back, and what to do next. */
export function promotionText({
  dataset,
  model,
  previousModel,
  promotionNo,
  changed,
  gate,
  reclassification,
}: PromotionReport): string {
  if (!changed) {
    const nothing = `Model ${model} is live in ${dataset} already (promotion ${promotionNo}); nothing was changed.`;
    return reclassification ? `${nothing}\n${storedImagesText(dataset, reclassification)}` : nothing;
  }
  const measured = gate ? gateLines(gate as GateOutcome).map((line) => `  ${line}`) : [];
  const next =
    previousModel === null
      ? []
      : [
          `Before it was model ${previousModel}: imagehub rollback ${dataset} makes that live again.`,
          storedImagesText(dataset, reclassification),
        ];
  return [`Model ${model} is live in ${dataset} (promotion ${promotionNo}).`, ...measured, ...next].join(
    '\n',
  );
}
