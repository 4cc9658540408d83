import { findSuspects, type SuspectsReport } from '../classifier/suspects/find-suspects.ts';
import { HubError } from '../errors.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { count, fraction, table } from './report.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

const SHOWN = 100;

export const suspectsCommand: RegisterCommand = (program) => {
  const command = program
    .command('suspects <dataset>')
    .description(
      'images whose known label is probably wrong, by the stored scores of a model; kept in imagehub.suspects until the next search',
    )
    .option('--model <model>', 'whose scores: number, or live, previous, shadow (default: live)')
    .option('--limit <n>', `how many to show (default: ${SHOWN})`)
    .option('--json', 'one JSON document on standard output')
    .action(
      async (
        dataset: string,
        options: SelectionOptions & { model?: string; limit?: string; json?: boolean },
      ) => {
        const selection = parseSelection(options);
        const limit = limitOf(options.limit);
        await using hub = await openHub(commandContext());
        const progress = createProgress({ label: 'reading scores' });
        const found = await findSuspects(
          {
            pool: hub.pool,
            stores: hub.stores,
            signal: interruptSignal(),
            onRead: (images) => progress.update(images),
          },
          dataset,
          options.model ?? 'live',
          selection,
        ).finally(() => progress.stop());
        const shown = { ...found, found: found.suspects.length, suspects: found.suspects.slice(0, limit) };
        report(options, shown, suspectsText);
      },
    );
  addSelectionOptions(command);
};

/** @throws HubError USAGE */
function limitOf(text: string | undefined): number {
  if (text === undefined) return SHOWN;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new HubError('USAGE', `--limit ${text} is not a whole number from 0 on.`);
}

function suspectsText(report: SuspectsReport & { found: number }): string {
  const { dataset, model, considered, withoutScores, trainedOn, noiseRate, found, suspects } = report;
  const lines = [
    `${count(found)} of ${count(considered)} labelled images of ${dataset} are suspects, by the scores of model ${model}; about ${(100 * noiseRate).toFixed(1)} % of the labels may be wrong.`,
  ];
  if (withoutScores > 0)
    lines.push(
      `${count(withoutScores)} more have no stored scores of this model: nothing is said about them.`,
    );
  if (trainedOn === null)
    lines.push(
      'What the model was trained on is not known: on such images it tends to agree with the label.',
    );
  else if (trainedOn > 0)
    lines.push(
      `The model was trained on ${count(trainedOn)} of them, where it tends to agree with the label: errors among those are missed.`,
    );
  if (suspects.length === 0) return lines.join('\n');
  const rows = suspects.map((each) => [
    each.id,
    each.knownClass,
    each.suggestedClass,
    fraction(each.confidence),
    fraction(each.margin),
    ...(trainedOn === null || trainedOn === 0 ? [] : [each.trainedOn ? 'yes' : '']),
  ]);
  const head = ['image', 'known label', 'suggested', 'confidence', 'margin'];
  const shown = table(trainedOn === null || trainedOn === 0 ? head : [...head, 'trained on'], rows, 3);
  const more =
    found > suspects.length
      ? [
          `… and ${count(found - suspects.length)} more: select * from label_suspects where dataset = '${dataset}' order by rank`,
        ]
      : [];
  return [...lines, '', shown, ...more].join('\n');
}
