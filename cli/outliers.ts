import { DEFAULT_NEIGHBOURS, findOutliers, type OutliersReport } from '../classifier/neighbours/outliers.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { outliersText } from './neighbours-text.ts';
import { wholeNumber } from './numbers.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

type Options = SelectionOptions & {
  backbone?: string;
  withinClass?: boolean;
  neighbours: string;
  limit: string;
  json?: boolean;
};

export const outliersCommand: RegisterCommand = (program) => {
  const command = program
    .command('outliers <dataset>')
    .description('images that are unlike all others, by a backbone’s features (imagehub features)')
    .option('--within-class', 'unlike the others of their known label: mislabelled ones come first')
    .option('--backbone <name>', 'whose features (default: the only one)')
    .option('--neighbours <n>', 'how many nearest neighbours count', String(DEFAULT_NEIGHBOURS))
    .option('--limit <n>', 'how many to show', '100');
  addSelectionOptions(command)
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: Options) => {
      const limit = wholeNumber('--limit', options.limit, 0);
      const neighbours = wholeNumber('--neighbours', options.neighbours, 1);
      const { backbone, withinClass } = options;
      const selection = parseSelection(options);
      await using hub = await openHub(commandContext());
      const found = await find(hub, dataset, { backbone, withinClass, neighbours, selection });
      const shown = { ...found, found: found.compared, outliers: found.outliers.slice(0, limit) };
      report(options, shown, outliersText);
    });
};

async function find(
  { pool, stores }: Hub,
  dataset: string,
  request: Parameters<typeof findOutliers>[2],
): Promise<OutliersReport> {
  let progress = createProgress({ label: 'reading features' });
  let comparing = false;
  const context = {
    pool,
    stores,
    signal: interruptSignal(),
    onRead: (images: number) => progress.update(images),
    onCompared: (done: number, total: number) => {
      if (!comparing) {
        progress.stop();
        progress = createProgress({ label: 'comparing', unit: 'pairs', total });
        comparing = true;
      }
      progress.update(done);
    },
  };
  return findOutliers(context, dataset, request).finally(() => progress.stop());
}
