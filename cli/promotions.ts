import Table from 'cli-table3';
import { gateLines, type GateOutcome } from '../classifier/gate/gate.ts';
import { getDataset } from '../sql/datasets.ts';
import { listPromotions, type Promotion } from '../sql/promotions.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { wholeNumber } from './numbers.ts';
import { report } from './output.ts';

export const promotionsCommand: RegisterCommand = (program) => {
  program
    .command('promotions <dataset>')
    .description(
      'which model was live when, newest first: promotions and roll-backs with reasons and what was required',
    )
    .option('--limit <n>', 'at most so many', '50')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: { limit: string; json?: boolean }) => {
      const limit = wholeNumber('--limit', options.limit, 1);
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const promotions = await listPromotions(hub.pool, dataset, limit);
      report(options, { dataset, promotions }, promotionsText);
    });
};

function promotionsText({ dataset, promotions }: { dataset: string; promotions: Promotion[] }): string {
  if (promotions.length === 0) return `No model was ever live in ${dataset}.`;
  const table = new Table({
    head: ['no', 'model', 'before', 'when', 'by', 'reason and requirements'],
    colAligns: ['right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const each of promotions) {
    const gate = each.gate ? gateLines(each.gate as GateOutcome) : [];
    table.push([
      each.promotionNo,
      each.model ?? '–',
      each.previousModel ?? '–',
      each.promotedAt.toISOString(),
      each.promotedBy,
      [...(each.reason ? [each.reason] : []), ...gate].join('\n'),
    ]);
  }
  return table.toString();
}
