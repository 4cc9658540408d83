import Table from 'cli-table3';
import { HubError } from '../errors.ts';
import { resolveLabel } from '../ingest/labels.ts';
import { type LabelLine, readLabelLines, some } from '../ingest/senders/labels-file.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import { LABEL_COLUMNS, type Relabelling, type RelabelResult, relabelSelection } from '../sql/relabel.ts';
import { type Selection, selectionSql } from '../sql/selection.ts';
import { actingUser, collect } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { confirm } from './confirm.ts';
import { type Hub, openHub } from './hub.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { registerRelabelHistory } from './relabel-history.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

interface RelabelCommandOptions extends SelectionOptions {
  id?: string[];
  from?: string;
  class?: string;
  clear?: boolean;
  by?: string;
  dryRun?: boolean;
  yes?: boolean;
  json?: boolean;
}

const HELP = `
Say which images: --id (again and again), a condition (--where, --since, --until), or a file that holds ids and classes.
A class is named by its name or, where no class has that name, by its index.

All images get their label in one transaction: all of them, or none. Every run is an operation with a number:
  imagehub relabel history mnist        what was relabelled, by whom, when
  imagehub relabel undo mnist 17        take operation 17 back

From then on no message changes the label, new or replayed, also where it was the producer's already; --clear says that
the class is not known, and no message changes that either. A condition is evaluated first, in a transaction that cannot
write; images whose label or bytes change between that and the writing are left alone and counted.

(A dataset named history or undo: imagehub relabel set history …)`;

export const relabelCommand: RegisterCommand = (program) => {
  const command = program.command('relabel').description('say what images show; see it, and take it back');
  const set = command
    .command('set <dataset>', { isDefault: true })
    .description('give images a known label (the default: imagehub relabel <dataset> …)')
    .option('--id <id>', 'this image; may be given again', collect);
  addSelectionOptions(set)
    .option('--from <file>', 'a CSV of id and class, with or without a header line; also .gz')
    .option('--class <class>', 'the class they show')
    .option('--clear', 'they show none that is known')
    .option('--by <name>', 'who says so (default: the user of this computer)')
    .option('--dry-run', 'say what would be changed, and change nothing')
    .option('--yes', 'do not ask')
    .option('--json', 'one JSON document on standard output')
    .addHelpText('after', HELP)
    .action(async (name: string, options: RelabelCommandOptions) => {
      await using hub = await openHub(commandContext());
      const dataset = await getDataset(hub.pool, name);
      report(options, await relabel(hub, dataset, options), (result) => describe(dataset, result));
    });
  registerRelabelHistory(command);
};

interface Chosen extends Relabelling {
  /** The lines of the file that name them, by id. */
  lines?: Map<string, LabelLine>;
  detail: string;
}

export interface RelabelReport extends RelabelResult {
  dataset: string;
  by: string;
  dryRun: boolean;
  /** What the images are said to be now, in a dry run; null: no label. */
  before?: { class: string | null; images: number }[];
}

async function relabel(hub: Hub, dataset: Dataset, options: RelabelCommandOptions): Promise<RelabelReport> {
  const by = actingUser(options.by);
  const { lines, detail, ...relabelling } = await choose(hub, dataset, options);
  const all = { dataset: dataset.name, by };
  if (options.dryRun) return { ...all, dryRun: true, ...(await dryRun(hub, dataset, relabelling, lines)) };
  if (relabelling.states) {
    const to = options.clear ? 'no known label' : `class ${options.class}`;
    await confirm(`${relabelling.ids.length} images of ${dataset.name} get ${to}. Go on?`, options);
  }
  const progress = createProgress({ label: 'relabelling', total: relabelling.ids.length });
  const signal = interruptSignal();
  try {
    const result = await hub.stores[dataset.store].labels.relabel(
      hub.pool,
      dataset,
      relabelling,
      { by, detail, signal, onProgress: (done, total) => progress.update(done, '', total) },
      ({ missing }) => {
        if (!relabelling.states) refuseMissing(dataset, missing, options, lines);
      },
    );
    return { ...all, dryRun: false, ...result };
  } finally {
    progress.stop();
  }
}

async function choose(hub: Hub, dataset: Dataset, options: RelabelCommandOptions): Promise<Chosen> {
  const selection = parseSelection(options);
  const selects = Object.values(selection).some((part) => part !== null && part !== undefined);
  if ([options.id !== undefined, selects, options.from !== undefined].filter(Boolean).length !== 1) {
    throw new HubError('USAGE', 'Say which images, in one way: --id, a condition, or --from FILE.', {
      hint: `All of them: imagehub relabel ${dataset.name} --where true --class …`,
    });
  }
  if (options.from !== undefined) {
    if (options.class !== undefined || options.clear) {
      throw new HubError('USAGE', 'The file says the class of each image: leave --class and --clear out.');
    }
    return chooseFromFile(dataset, options.from);
  }
  const label = labelOf(dataset, options);
  const to = label === null ? '--clear' : `--class ${dataset.classes[label]}`;
  if (options.id) {
    const detail = options.id.length === 1 ? `--id ${options.id[0]} ${to}` : `${options.id.length} ids ${to}`;
    return { ids: options.id, labels: options.id.map(() => label), detail };
  }
  const { ids, states } = await select(hub, dataset, selection);
  return { ids, states, labels: ids.map(() => label), detail: `${selectionText(selection)} ${to}` };
}

const selectionText = ({ where, since, until }: Selection): string =>
  [
    where ? `--where ${where}` : '',
    since ? `--since ${since.toISOString()}` : '',
    until ? `--until ${until.toISOString()}` : '',
  ]
    .filter((text) => text !== '')
    .join(' ');

function labelOf(dataset: Dataset, options: RelabelCommandOptions): number | null {
  if ((options.class !== undefined) === (options.clear === true)) {
    throw new HubError('USAGE', 'Say what the images show: --class CLASS, or --clear.');
  }
  if (options.class === undefined) return null;
  const label = resolveLabel(options.class, dataset.classes);
  if (label !== null) return label;
  throw new HubError('USAGE', `${dataset.name} has no class “${options.class}”.`, {
    hint: `Its classes are: ${dataset.classes.join(', ')}`,
  });
}

async function chooseFromFile(dataset: Dataset, path: string): Promise<Chosen> {
  const hint =
    'Two columns are wanted: id and class (name or index); a header names them. Nothing was changed.';
  const lines = await readLabelLines(path, dataset.classes, hint);
  return {
    ids: [...lines.keys()],
    labels: Array.from(lines.values(), ({ label }) => resolveLabel(label, dataset.classes)),
    lines,
    detail: `--from ${path}`,
  };
}

/** The ids that a condition holds for, read in a transaction that cannot write. @throws HubError USAGE, NOT_FOUND for none */
async function select({ pool, stores }: Hub, { name, store }: Dataset, selection: Selection) {
  const request = { dataset: name, selection, columns: LABEL_COLUMNS };
  const chosen = await stores[store].images.query(pool, request, (client, images) =>
    relabelSelection(client, selectionSql(images, selection)),
  );
  if (chosen.ids.length > 0) return chosen;
  throw new HubError('NOT_FOUND', `No image of ${name} fits ${selectionText(selection)}.`, {
    hint: 'Nothing was changed.',
  });
}

/** @throws HubError NOT_FOUND, BAD_FILE for a file; the transaction is rolled back */
function refuseMissing(
  { name }: Dataset,
  missing: string[],
  { from }: RelabelCommandOptions,
  lines: Map<string, LabelLine> | undefined,
): void {
  if (missing.length === 0) return;
  const hint = 'Nothing was changed.';
  if (!lines) throw new HubError('NOT_FOUND', `${name} has no image ${some(missing)}.`, { hint });
  const named = missing
    .map((id) => ({ id, line: lines.get(id)!.line }))
    .sort((a, b) => a.line - b.line)
    .map(({ id, line }) => `${id} (line ${line})`);
  throw new HubError('BAD_FILE', `Labels in ${from}: ${name} has no image ${some(named)}.`, { hint });
}

/** What relabelling would do, as far as that can be told beforehand. */
async function dryRun(
  { pool, stores }: Hub,
  dataset: Dataset,
  { ids, labels }: Relabelling,
  lines: Map<string, LabelLine> | undefined,
): Promise<RelabelResult & Required<Pick<RelabelReport, 'before'>>> {
  const to = new Map(ids.map((id, at) => [id, labels[at]!]));
  const rows = await stores[dataset.store].labels.read(pool, dataset.name, [...to.keys()]);
  const found = new Set(rows.map(({ id }) => id));
  const missing = [...to.keys()].filter((id) => !found.has(id));
  if (lines || missing.length > 0) refuseMissing(dataset, missing, { from: 'the file' }, lines);
  const classTo = (id: string) => {
    const label = to.get(id) ?? null;
    return label === null ? null : dataset.classes[label]!;
  };
  const same = rows.filter(({ id, class: name }) => name === classTo(id));
  const counts = new Map<string | null, number>();
  for (const { class: name } of rows) counts.set(name, (counts.get(name) ?? 0) + 1);
  return {
    operation: null,
    images: rows.length,
    changed: rows.length - same.length,
    confirmed: same.filter(({ by }) => by === null).length,
    unchanged: same.filter(({ by }) => by !== null).length,
    changedMeanwhile: 0,
    missing,
    before: [...counts].sort(([, a], [, b]) => b - a).map(([name, images]) => ({ class: name, images })),
  };
}

function describe(dataset: Dataset, result: RelabelReport): string {
  const { changed, confirmed, unchanged, changedMeanwhile, missing, operation } = result;
  const counts: [number, string][] = [
    [confirmed, 'had that label from the producer; now a person says so too'],
    [unchanged, 'had that label from a person before'],
    [changedMeanwhile, 'left alone: changed after they were selected'],
    [missing.length, 'deleted after they were selected'],
  ];
  const lines = counts.filter(([images]) => images > 0).map(([images, what]) => `  ${images} ${what}`);
  if (result.dryRun) {
    const table = new Table({
      head: ['class now', 'images'],
      colAligns: ['left', 'right'],
      style: { head: [], border: [], compact: true },
    });
    for (const { class: name, images } of result.before!) table.push([name ?? '(none)', images]);
    return [`${changed} images of ${dataset.name} would get another label.`, ...lines, table.toString()].join(
      '\n',
    );
  }
  const undo =
    operation === null
      ? []
      : [
          `Operation ${operation}, by ${result.by}. Take it back: imagehub relabel undo ${dataset.name} ${operation}`,
        ];
  return [`${changed} images of ${dataset.name} have another label.`, ...lines, ...undo].join('\n');
}
