import { type Command, InvalidArgumentError } from 'commander';
import Table from 'cli-table3';
import { HubError } from '../errors.ts';
import { getDataset } from '../sql/datasets.ts';
import {
  type ImageLabel,
  type LabelChange,
  labelChanges,
  type LabelOperation,
  listLabelOperations,
  newestUndoable,
} from '../sql/label-history.ts';
import type { UndoResult } from '../sql/relabel.ts';
import { actingUser, collect } from './acting-user.ts';
import { commandContext } from './command.ts';
import { confirm } from './confirm.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';

const wholeNumber = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('A whole number above 0 is wanted.');
  return value;
};

/** `imagehub relabel history` and `imagehub relabel undo`. */
export function registerRelabelHistory(command: Command): void {
  command
    .command('history <dataset>')
    .description('what was relabelled, by whom, when; with --id: what was said of these images')
    .option('--id <id>', 'the whole history of this image; may be given again', collect)
    .option('--limit <n>', 'at most so many operations, newest first', wholeNumber, 20)
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: { id?: string[]; limit: number; json?: boolean }) => {
      await using hub = await openHub(commandContext());
      const { store } = await getDataset(hub.pool, dataset);
      if (!options.id) {
        const operations = await listLabelOperations(hub.pool, dataset, options);
        return report(options, { dataset, operations }, operationsText);
      }
      const images = await hub.stores[store].labels.read(hub.pool, dataset, options.id);
      const changes = await labelChanges(hub.pool, dataset, options.id);
      const known = new Set([...images, ...changes].map(({ id }) => id));
      const unknown = options.id.filter((id) => !known.has(id));
      if (unknown.length > 0) {
        throw new HubError('NOT_FOUND', `${dataset} has no image ${unknown.join(', ')}, and never had.`);
      }
      report(options, { dataset, images, changes }, changesText);
    });

  command
    .command('undo <dataset>')
    .argument('[operation]', 'its number', wholeNumber)
    .description('take an operation back (default: the newest one, after asking)')
    .option('--by <name>', 'who takes it back (default: the user of this computer)')
    .option('--yes', 'do not ask')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `
Every image gets the label that it had, by whom it had it: a producer's label is the producer's again, and messages may
change it. Images that were relabelled since are left alone and counted. Transactions of plain SQL are operations too.
An undoing is an operation itself: undo its number, and what it took back is in force again.`,
    )
    .action(async (dataset: string, asked: number | undefined, options: UndoOptions) => {
      await using hub = await openHub(commandContext());
      const { store } = await getDataset(hub.pool, dataset);
      const by = actingUser(options.by);
      const operation = asked ?? (await newestUndoable(hub.pool, dataset));
      if (operation === null) {
        throw new HubError('NOT_FOUND', `${dataset} has no relabelling that could be taken back.`, {
          hint: `imagehub relabel history ${dataset}`,
        });
      }
      if (asked === undefined) {
        const [found] = await listLabelOperations(hub.pool, dataset, { limit: 1, operation });
        await confirm(`${operationText(found!)}. Take it back?`, options);
      }
      const result = await hub.stores[store].labels.undo(hub.pool, dataset, operation, {
        by,
        detail: `undo ${operation}`,
      });
      report(options, { dataset, by, ...result }, undoText);
    });
}

interface UndoOptions {
  by?: string;
  yes?: boolean;
  json?: boolean;
}

const given = ({ classes }: LabelOperation): string =>
  classes
    .slice(0, 3)
    .map(({ name, images }) => `${name ?? '(cleared)'}: ${images}`)
    .join(', ') + (classes.length > 3 ? ', …' : '');

const operationText = (operation: LabelOperation): string =>
  `Operation ${operation.operation} by ${operation.by} at ${operation.at.toISOString()}: ${operation.images} images (${given(operation)})`;

function operationsText({ dataset, operations }: { dataset: string; operations: LabelOperation[] }): string {
  if (operations.length === 0) return `Nothing of ${dataset} was relabelled yet.`;
  const table = new Table({
    head: ['operation', 'at', 'by', 'images', 'class given', 'how', ''],
    colAligns: ['right', 'left', 'left', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const each of operations) {
    table.push([
      each.operation,
      each.at.toISOString().slice(0, 19),
      each.by,
      each.images,
      given(each),
      each.action === 'sql' ? 'SQL' : (each.detail ?? each.action),
      each.undoneBy === null ? '' : `undone by ${each.undoneBy}`,
    ]);
  }
  return table.toString();
}

function changesText({ images, changes }: { images: ImageLabel[]; changes: LabelChange[] }): string {
  const lines = images.map(
    ({ id, class: name, by, at }) =>
      `${id}: ${name ?? '(no label)'}${by === null ? (name === null ? '' : ', by the producer') : `, by ${by}, ${at?.toISOString()}`}`,
  );
  if (changes.length === 0) return lines.join('\n');
  const table = new Table({
    head: ['image', 'at', 'by', 'from', 'to', 'operation'],
    style: { head: [], border: [], compact: true },
  });
  for (const { id, at, by, from, before, to, operation, action } of changes) {
    const number = operation === null ? '' : `${operation}${action === 'undo' ? ' (undo)' : ''}`;
    const old = from === null ? '(none)' : `${from} (${before ?? 'producer'})`;
    table.push([id, at.toISOString().slice(0, 19), by, old, to ?? '(none)', number]);
  }
  return [...lines, table.toString()].join('\n');
}

function undoText({ operation, undone, restored, changedSince, deleted }: UndoResult): string {
  const rest: [number, string][] = [
    [changedSince, 'were relabelled since and are left alone'],
    [deleted, 'were deleted since'],
  ];
  return [
    `${restored} images have the label again that they had before operation ${undone} (this is operation ${operation}).`,
    ...rest.filter(([images]) => images > 0).map(([images, what]) => `  ${images} ${what}`),
  ].join('\n');
}
