import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import { HubError } from '../errors.ts';
import { locate } from '../ingest/claims/read-file.ts';
import { type Compression, COMPRESSIONS } from '../ingest/kafka.ts';
import { checkpointFile, openCheckpoint } from '../ingest/senders/checkpoint.ts';
import { fileVersion } from '../ingest/senders/file.ts';
import type { ImageSink, ImageSource, SourceImage } from '../ingest/senders/image.ts';
import { openKafkaSink } from '../ingest/senders/kafka-sink.ts';
import { readLabelFile } from '../ingest/senders/labels-file.ts';
import { collectOmissions, type OmissionCount } from '../ingest/senders/omissions.ts';
import { nameOnly } from '../ingest/senders/read-files.ts';
import { openSources, withLabels } from '../ingest/senders/open.ts';
import { sendImages } from '../ingest/senders/send.ts';
import { countUnknownLabels, type UnknownLabel } from '../ingest/senders/unknown-labels.ts';
import { openJournal, watchFolder } from '../ingest/senders/watch.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { type LabelRuleOption, parseLabelRule } from './label-rule.ts';
import { note, report } from './output.ts';
import { createProgress } from './progress.ts';
import { interruptSignal } from './shutdown.ts';

/** Images of MNIST's size come 2,000 to a batch, photos by the megabyte: Kafka's default limit for a record batch. */
const BATCH_IMAGES = 2000;
const BATCH_BYTES = 1_000_000;

interface SendCommandOptions {
  labels?: string;
  labelFrom?: LabelRuleOption;
  watch?: string;
  limit?: number;
  restart?: boolean;
  byReference?: boolean;
  compression: Compression;
  json?: boolean;
}

export interface SendReport {
  dataset: string;
  /** The topic, or null: straight into the table, as there is no Kafka. */
  topic: string | null;
  sent: number;
  /** Sent by earlier, interrupted runs of the same command. */
  sentBefore: number;
  /** No images, by reason. */
  skipped: OmissionCount[];
  /** Could not be sent, by reason. */
  refused: OmissionCount[];
  /** Labels that name no class; the images were sent and count as unlabelled. */
  unknownLabels: UnknownLabel[];
  seconds: number;
  imagesPerSecond: number;
  interrupted: boolean;
}

const HELP = `
What can be sent:
  a folder        all images in it and below; the id of an image is its path inside that folder
  an IDX file     (…-images-idx3-ubyte, .gz or not) digits become PNGs; ids are <file name>/<index>, without .gz;
                  the label file is found beside it under its usual name
  a tar           (.gz or not) ids are the paths inside it
  image files     ids are the paths as written
  -               paths on standard input, one a line; ids are the paths as written
An id has at most 400 bytes. Sending an id again replaces its image; folders and files that hold the same ids are refused
when they are given together. For the folders train and test, give the one that holds both: ids are train/… and test/… then.

The label of an image, the first that is known: --labels, the IDX label file, --label-from, the dataset's rule.

--by-reference leaves the images where they are: each message names its file by a file: URL, and imagehub run reads it
there when the message is taken. It must see the file under the same path, below a folder of its setting
IMAGEHUB_IMAGE_URL_FOLDERS; a file that is changed or removed before that is stored as it is then, or a dead letter.

An interrupted send goes on where it stopped when the same command is given again (--restart: from the start).
Its checkpoint lies in IMAGEHUB_HOME and is written after Kafka has acknowledged the images; the last batch may be
sent twice, which is harmless. --watch keeps a journal of the files it has sent, and sends each version once.

Exit status: 0 when all that was asked for was sent, 130 when interrupted, 1 otherwise.`;

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('A whole number above 0 is wanted.');
  return value;
};

export const sendCommand: RegisterCommand = (program) => {
  program
    .command('send <dataset> [paths...]')
    .description(
      'send images: folders, IDX files, tars, image files, or - for a list of paths on standard input',
    )
    .option('--labels <file>', 'known labels: a CSV of id and label, or an IDX label file')
    .option(
      '--label-from <rule>',
      'first-character | parent-folder | none | regex:PATTERN, instead of the dataset’s',
      parseLabelRule,
    )
    .option('--watch <folder>', 'send what is in the folder and all that is put into it, until interrupted')
    .option('--limit <n>', 'send at most so many images of each path', count)
    .option(
      '--by-reference',
      'send where the files are, not what is in them: for large images on a shared disk',
    )
    .option('--restart', 'begin at the start, whatever an interrupted send has done')
    .addOption(
      new Option('--compression <codec>', 'of the messages; images are compressed already')
        .choices(Object.keys(COMPRESSIONS))
        .default('none'),
    )
    .option('--json', 'one JSON document on standard output')
    .addHelpText('after', HELP)
    .action(async (name: string, paths: string[], options: SendCommandOptions) => {
      if (paths.length === 0 && options.watch === undefined) {
        throw new HubError('USAGE', 'Nothing to send: give a path, - or --watch FOLDER.', {
          hint: 'imagehub send --help says what can be sent.',
        });
      }
      if (options.watch !== undefined && !(await isFolder(options.watch))) {
        throw new HubError('NOT_FOUND', `${options.watch} is no folder to watch.`);
      }
      await using hub = await openHub(commandContext());
      const result = await send(hub, await getDataset(hub.pool, name), paths, options, interruptSignal());
      report(options, result, describe);
      if (result.interrupted) process.exitCode = 130;
      else if (result.refused.length > 0) process.exitCode = 1;
    });
};

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );

async function send(
  hub: Hub,
  dataset: Dataset,
  paths: string[],
  options: SendCommandOptions,
  signal: AbortSignal,
): Promise<SendReport> {
  const omissions = collectOmissions(note);
  const labelFile =
    options.labels === undefined ? null : await readLabelFile(options.labels, dataset.classes);
  const input = process.stdin;
  const read = options.byReference ? nameOnly(checkReferences(hub)) : undefined;
  const sources = await openSources(paths, { dataset, labelFile, omissions, read, input, note });
  const scope = await checkpointScope(hub, dataset, options);
  const sink = await openSink(hub, dataset, options.compression);
  const file = (key: string) => checkpointFile(hub.config.home, scope, key);

  const unknownLabels = countUnknownLabels(dataset);
  const limit = options.limit ?? Infinity;
  const started = performance.now();
  let sent = 0;
  let sentBefore = 0;

  /** Sends one stream of images; `total` may be estimated on the way. */
  const run = async (
    images: AsyncIterable<SourceImage>,
    label: string,
    done: number,
    source: Pick<ImageSource, 'total' | 'fraction'>,
    save: (batch: SourceImage[], position: string) => Promise<void>,
  ) => {
    const total = source.total === undefined ? undefined : Math.min(source.total, limit);
    const progress = createProgress({ label, total, estimated: source.fraction !== undefined });
    try {
      await sendImages(withLabels(images, labelFile, options.labelFrom ?? null), sink, {
        batchImages: BATCH_IMAGES,
        batchBytes: BATCH_BYTES,
        limit: limit - done,
        signal,
        omissions,
        async acknowledged(batch, position) {
          await save(batch, position);
          batch.forEach(unknownLabels.check);
          sent += batch.length;
          done += batch.length;
          const fraction = source.fraction?.();
          progress.update(done, '', fraction ? Math.round(done / fraction) : total);
        },
      });
    } catch (error) {
      progress.stop();
      if (sent > 0) note(`${sent} images were sent before this; the same command goes on from there.`);
      throw error;
    }
    progress.stop();
    return done;
  };

  let interrupted = false;
  try {
    for (const source of sources) {
      const checkpoint = await openCheckpoint(file(source.key), source, options.restart ?? false);
      if (checkpoint.resume) note(`Going on after the ${checkpoint.sentBefore} images sent before.`);
      sentBefore += checkpoint.sentBefore;
      let done = checkpoint.sentBefore;
      await run(
        source.images(checkpoint.resume, signal),
        source.name,
        done,
        source,
        async (batch, position) => {
          done += batch.length;
          await checkpoint.save(position, done);
        },
      );
      interrupted = signal.aborted;
      if (interrupted) break;
      await checkpoint.done();
    }
    if (!interrupted && options.watch !== undefined) {
      const journal = await openJournal(file(`watch:${resolve(options.watch)}`), options.restart ?? false);
      note(`Watching ${options.watch}; interrupt to stop.`);
      const images = watchFolder(options.watch, journal, omissions, signal, read);
      await run(images, options.watch, 0, {}, (batch) => journal.add(batch));
    }
  } finally {
    await sink.close();
  }
  if (interrupted) note('Interrupted. The same command goes on from there.');
  const seconds = (performance.now() - started) / 1000;
  const result: SendReport = {
    dataset: dataset.name,
    topic: hub.servers.kafka === null ? null : dataset.topic,
    sent,
    sentBefore,
    ...omissions.report(),
    unknownLabels: unknownLabels.report(),
    seconds: Math.round(seconds * 1000) / 1000,
    imagesPerSecond: Math.round(sent / seconds),
    interrupted,
  };
  if (!interrupted && options.watch === undefined) checkNotEmpty(result, paths);
  return result;
}

async function openSink(
  { servers, config, log }: Hub,
  dataset: Dataset,
  compression: Compression,
): Promise<ImageSink> {
  if (servers.kafka !== null) {
    return openKafkaSink(config, servers.kafka, dataset.topic, compression, log);
  }
  // The embedded mode brings the whole pipeline along; with Kafka it need not even be loaded.
  const { openDirectSink } = await import('../ingest/direct.ts');
  return openDirectSink(config, servers, dataset, log);
}

/**
 * Whether the pipeline may read a file: known where there is no Kafka, as this process is the pipeline. Elsewhere the settings
 * may be others, and it is only said once that by those of this process it may not.
 */
function checkReferences({ config, servers }: Hub): (path: string) => Promise<string | null> {
  const folders = config.imageUrlFolders;
  const problem = `not in a folder of IMAGEHUB_IMAGE_URL_FOLDERS (${folders.length === 0 ? 'it names none' : folders.join(', ')})`;
  let said = false;
  return async (path) => {
    const isAllowed = await locate(path, folders).then(
      () => true,
      () => false,
    );
    if (isAllowed) return null;
    if (servers.kafka === null) return problem;
    if (!said)
      note(
        `imagehub run refuses files such as ${path} unless its settings are others than here: ${problem}.`,
      );
    said = true;
    return null;
  };
}

/** A dataset made anew under the same name, other labels or another rule: another checkpoint. */
async function checkpointScope(hub: Hub, dataset: Dataset, options: SendCommandOptions): Promise<string[]> {
  const { rows } = await hub.pool.query<{ created: string }>(
    'select created_at::text as created from imagehub.datasets where name = $1',
    [dataset.name],
  );
  const labels =
    options.labels === undefined ? '' : `${resolve(options.labels)} ${await fileVersion(options.labels)}`;
  return [
    dataset.name,
    rows[0]?.created ?? '',
    dataset.topic,
    labels,
    JSON.stringify(options.labelFrom ?? null),
    ...(options.byReference ? ['by reference'] : []),
  ];
}

function checkNotEmpty(result: SendReport, paths: string[]): void {
  if (result.sent + result.sentBefore > 0 || result.refused.length > 0) return;
  const idx = result.skipped.flatMap(({ names }) => names).find((name) => /images.*idx3/i.test(name));
  throw new HubError(
    'NOT_FOUND',
    `There is no image in ${paths.join(', ')}.${listed(' Skipped', result.skipped)}`,
    {
      hint: idx
        ? `IDX files are sent by name, e.g. imagehub send ${result.dataset} ${paths[0]}/${idx}`
        : 'imagehub send --help says what can be sent.',
    },
  );
}

const listed = (what: string, counts: OmissionCount[]): string =>
  counts.length === 0
    ? ''
    : `${what}: ${counts.map(({ reason, count }) => `${count} ${reason}`).join('; ')}.`;

function describe(result: SendReport): string {
  const to = result.topic === null ? `dataset ${result.dataset}` : `topic ${result.topic}`;
  const lines = [
    `Sent ${result.sent} images to ${to} in ${result.seconds.toFixed(1)} s (${result.imagesPerSecond}/s).`,
    listed('Skipped', result.skipped),
    listed('Not sent', result.refused),
    unknownLabelsText(result.unknownLabels),
  ];
  return lines.filter((line) => line !== '').join('\n');
}

function unknownLabelsText(labels: UnknownLabel[]): string {
  if (labels.length === 0) return '';
  const shown = labels
    .slice(0, 10)
    .map(({ label, images, example }) => `“${label}” (${images}, e.g. ${example})`);
  return `Labels that name no class, so the images count as unlabelled: ${shown.join(', ')}${labels.length > shown.length ? ', …' : ''}.`;
}
