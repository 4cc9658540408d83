import { InvalidArgumentError, Option } from 'commander';
import { HubError } from '../errors.ts';
import { COLUMN_NAMES, DEFAULT_COLUMNS } from '../export/columns.ts';
import { EXPORT_FORMATS, type ExportFormat, exportImages, type ExportResult } from '../export/export.ts';
import { getDataset } from '../sql/datasets.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { note, report } from './output.ts';
import { createProgress } from './progress.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

interface ExportCommandOptions extends SelectionOptions {
  format: ExportFormat;
  output?: string;
  columns?: string[];
  limit?: number;
  name?: string;
  partRows?: number;
  json?: boolean;
}

const HELP = `
Formats:
  arrow     part-00000.arrow …: Arrow's IPC files; pyarrow, polars and others map them into memory
  parquet   part-00000.parquet …: DuckDB, pandas, Spark; images as they are, all else compressed by zstd
  folder    a folder per class with the original bytes, as torchvision's ImageFolder takes them, and labels.csv
            (file, label, id): imagehub send and imagehub relabel --from read it
  idx       NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte: grey pixels of images of one size, all labelled

Columns of arrow and parquet (default: ${DEFAULT_COLUMNS.join(',')}; all: every one):
  ${wrapped(COLUMN_NAMES)}
image is the bytes as received, scores a list in class order, known_class and predicted_class are names.

An interrupted export goes on where it stopped when the same command is given again; _export.json in the folder says how far
it got. Arrow and Parquet go on behind the last complete part, the others behind the last images written.

Without files, for training in this process: import { images } from 'imagehub' (docs/export.md).`;

function wrapped(names: readonly string[]): string {
  const lines = [''];
  for (const name of names) {
    if (lines.at(-1)!.length + name.length > 100) lines.push('');
    lines.push(`${lines.pop()}${name} `);
  }
  return lines.join('\n  ');
}

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('A whole number above 0 is wanted.');
  return value;
};

const list = (text: string): string[] => text.split(',').map((name) => name.trim());

/** IDX files are named after it. */
const plainName = (text: string): string => {
  if (!/^[\w.-]{1,100}$/.test(text)) throw new InvalidArgumentError('Letters, digits, - and _ are wanted.');
  return text;
};

export const exportCommand: RegisterCommand = (program) => {
  const command = program
    .command('export <dataset>')
    .description('write images and what is known of them into files, for training elsewhere')
    .addOption(new Option('--format <format>', 'see below').choices(EXPORT_FORMATS).makeOptionMandatory())
    .option('--output <folder>', 'where to (default: DATASET-FORMAT)')
    .option('--columns <names>', 'for arrow and parquet: names, comma-separated, or all', list);
  addSelectionOptions(command)
    .option('--limit <n>', 'at most so many images, in the order of their ids', count)
    .option('--name <name>', 'how IDX files begin, e.g. train (default: the dataset’s name)', plainName)
    .option('--part-rows <n>', 'images per part of arrow and parquet (100,000)', count)
    .option('--json', 'one JSON document on standard output')
    .addHelpText('after', HELP)
    .action(async (name: string, options: ExportCommandOptions) => {
      const selection = parseSelection(options);
      await using hub = await openHub(commandContext());
      const dataset = await getDataset(hub.pool, name);
      const { where = null, since = null, until = null } = options;
      const progress = createProgress({ label: 'exporting', estimated: true });
      const result = await exportImages(hub, dataset, {
        ...options,
        output: options.output ?? `${name}-${options.format}`,
        selection,
        given: { where, since, until, ...(selection.sample && { sample: selection.sample }) },
        signal: interruptSignal(),
        onProgress: (images, total) => progress.update(images, '', total),
      })
        .catch((error: unknown) => {
          if (error instanceof HubError && (error.code === 'INTERRUPTED' || error.retryable)) {
            note('The same command goes on where this stopped.');
          }
          throw error;
        })
        .finally(() => progress.stop());
      report(options, result, describe);
    });
};

function describe({ dataset, output, images, imagesBefore, files, seconds }: ExportResult): string {
  const here = images - imagesBefore;
  const before = imagesBefore > 0 ? ` (${imagesBefore} of them before)` : '';
  const rate = seconds > 0 ? `, ${Math.round(here / seconds).toLocaleString('en')}/s` : '';
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return `Exported ${images} images of ${dataset}${before} to ${output} in ${seconds.toFixed(1)} s${rate}: ${files.length === 1 ? files[0]!.file : `${files.length} files`}, ${(bytes / 1e6).toFixed(1)} MB.`;
}
