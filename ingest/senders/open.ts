import { stat } from 'node:fs/promises';
import { errorText, HubError } from '../../errors.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { ruleLabel } from '../labels.ts';
import { readStart, readUnpacked } from './file.ts';
import { openFolder } from './folder.ts';
import { findLabelFile, idxKind, labelName, openIdx, readIdxLabels, idxName } from './idx.ts';
import { type ImageSource, notAnImage, type Omissions, type SourceImage } from './image.ts';
import type { LabelFile } from './labels-file.ts';
import { openFiles, openList } from './list.ts';
import type { ReadFile } from './read-files.ts';
import { refuseSharedIds } from './shared-ids.ts';
import { openTar } from './tar.ts';

export interface OpenOptions {
  dataset: Pick<Dataset, 'name' | 'classes'>;
  labelFile: LabelFile | null;
  omissions: Omissions;
  /** Of folders and files; without it their bytes are read. Images inside of other files have no name of their own. */
  read?: ReadFile | undefined;
  /** What `-` reads. */
  input: NodeJS.ReadStream;
  /** Which label file an IDX image file found by itself, and other things worth a line. */
  note(text: string): void;
}

type PathKind = 'folder' | 'list' | 'images' | 'labels' | 'tar' | 'file';

/**
 * What the paths of `imagehub send` hold: folders, IDX image files (their label files found beside them or given
 * too), tars, single images, `-` for a list. Everything that can be checked beforehand is.
 * @throws HubError NOT_FOUND, BAD_FILE, USAGE
 */
export async function openSources(paths: string[], options: OpenOptions): Promise<ImageSource[]> {
  const { omissions, read } = options;
  const kinds = new Map<string, PathKind>();
  for (const path of paths) kinds.set(path, path === '-' ? 'list' : await kindOf(path));
  const ofKind = (kind: PathKind) => [...kinds].filter(([, k]) => k === kind).map(([path]) => path);
  const sources: ImageSource[] = [];
  for (const [path, kind] of kinds) {
    if (read && (kind === 'tar' || kind === 'images' || kind === 'labels')) {
      throw new HubError(
        'USAGE',
        `The images in ${path} are no files of their own, which a message could name.`,
        {
          hint: 'Send it without --by-reference.',
        },
      );
    }
    if (kind === 'folder') sources.push(await openFolder(path, omissions, read));
    else if (kind === 'list') sources.push(openList(options.input, omissions, read));
    else if (kind === 'tar') sources.push(await openTar(path, omissions));
    else if (kind === 'images') sources.push(await openIdxPair(path, ofKind('labels'), options));
  }
  const files = ofKind('file');
  if (files.length > 0) sources.push(openFiles(files, omissions, read));
  checkLabelFiles(ofKind('images'), ofKind('labels'), options.labelFile);
  refuseSharedIds(sources, options.dataset.name);
  return sources;
}

/** By what is in it, not by its name; only a single image goes by its extension. */
async function kindOf(path: string): Promise<PathKind> {
  let start: Buffer;
  try {
    if ((await stat(path)).isDirectory()) return 'folder';
    if (notAnImage(path) === null) return 'file';
    start = await unpackedStart(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new HubError('NOT_FOUND', `There is no ${path}.`, { cause: error });
    }
    throw new HubError('BAD_FILE', `${path} cannot be read: ${errorText(error)}`, { cause: error });
  }
  const idx = idxKind(start);
  if (idx) return idx;
  if (start.toString('latin1', TAR_MAGIC_AT, TAR_MAGIC_AT + 5) === 'ustar') return 'tar';
  // The name promises a kind: its reader says best what is wrong with the content.
  if (/idx3/i.test(path)) return 'images';
  if (/\.tar(\.gz)?$|\.tgz$/i.test(path)) return 'tar';
  throw new HubError('BAD_FILE', `${path} is no folder, image, IDX file or tar.`, {
    hint: 'imagehub send --help says what can be sent.',
  });
}

/** Offset of `ustar` in the first header of a tar. */
const TAR_MAGIC_AT = 257;

async function unpackedStart(path: string): Promise<Buffer> {
  try {
    for await (const chunk of readUnpacked(path)) return chunk;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error;
    // Damaged gzip: judged by its name, so that the right reader reports it.
  }
  return readStart(path, TAR_MAGIC_AT + 5);
}

async function openIdxPair(path: string, given: string[], options: OpenOptions): Promise<ImageSource> {
  const { labelFile, dataset } = options;
  if (labelFile?.kind === 'idx') return openIdx(path, labelFile, dataset.classes);
  const named = given.find((candidate) => idxName(candidate) === labelName(path));
  const labelPath = named ?? (given.length === 1 ? given[0]! : await findLabelFile(path));
  if (labelPath === null) {
    options.note(`${path}: no label file ${labelName(path)} beside it; the labels stay unknown.`);
    return openIdx(path, null, dataset.classes);
  }
  options.note(`${path}: labels from ${labelPath}.`);
  return openIdx(path, { path: labelPath, values: await readIdxLabels(labelPath) }, dataset.classes);
}

function checkLabelFiles(images: string[], labels: string[], labelFile: LabelFile | null): void {
  if (labels.length > 0 && images.length === 0) {
    throw new HubError('USAGE', `${labels[0]} holds labels, not images.`, {
      hint: 'Name the image file (…images-idx3-ubyte); the labels beside it are found by themselves.',
    });
  }
  if (labelFile?.kind === 'idx' && images.length !== 1) {
    throw new HubError(
      'USAGE',
      `An IDX label file belongs to one IDX image file, and ${images.length} are given.`,
      {
        hint: 'For other images, give --labels a CSV of id and label.',
      },
    );
  }
}

/** Says the label of each image: `--labels` first, then what the source knows, then the rule given for this send. */
export async function* withLabels(
  images: AsyncIterable<SourceImage>,
  labelFile: LabelFile | null,
  rule: Pick<Dataset, 'labelFrom' | 'labelPattern'> | null,
): AsyncGenerator<SourceImage> {
  const byId = labelFile?.kind === 'csv' ? labelFile.byId : null;
  for await (const image of images) {
    // '' from a source says "unknown": a rule given for this send may know better, the dataset's own may not.
    const label = byId?.get(image.id) ?? (image.label || (rule && ruleLabel(rule, image.id)));
    if (label) image.label = label;
    yield image;
  }
}
