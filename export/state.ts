import { readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorText, HubError } from '../errors.ts';
import type { KeptSelection } from '../sql/selection.ts';
import { claim, self } from '../stack/lock.ts';

/** Lies in the folder of an export: what it is of, and how far it got. Readers of such folders pass over names with `_`. */
export const STATE_FILE = '_export.json';
/** Lies there while an export writes. */
const LOCK_FILE = '_export.lock';

/** What must be the same for an interrupted export to go on. */
export interface ExportIdentity {
  dataset: string;
  /** When the dataset was made: another one of the same name is another export. */
  datasetCreatedAt: string;
  format: string;
  columns: readonly string[];
  /** The selection as it was given: `7d` stays what it was when the export began. */
  selection: KeptSelection;
  limit: number | null;
  name: string;
}

export interface ExportPart {
  file: string;
  images: number;
  bytes: number;
}

export interface ExportState extends ExportIdentity {
  startedAt: string;
  /** The times that ages in the selection meant when the export began. */
  since: string | null;
  until: string | null;
  /** Set: it is complete. */
  finishedAt: string | null;
  /** Images written. */
  images: number;
  /** The id of the last of them. */
  lastId: string | null;
  /** Complete files in numbered parts; for the other formats, the files that grow and how long they are so far. */
  parts: ExportPart[];
}

/**
 * Makes the folder if it is not there, and keeps other processes' exports out of it until it is disposed of; what is empty
 * then is removed.
 * @throws HubError BAD_FILE, CONFLICT when another process exports into it
 */
export async function holdFolder(folder: string): Promise<AsyncDisposable> {
  const file = join(folder, LOCK_FILE);
  const lock = await claim(file, { owner: self() }).catch((cause: unknown) => {
    throw new HubError('BAD_FILE', `${folder} cannot be made or written to: ${errorText(cause)}`, { cause });
  });
  if (!lock.claimed) {
    throw new HubError('CONFLICT', `Process ${lock.holder.owner.pid} is exporting into ${folder}.`, {
      hint: 'Wait for it, or name another folder with --output.',
    });
  }
  return {
    async [Symbol.asyncDispose]() {
      await rm(file, { force: true });
      await rmdir(folder).catch(() => undefined);
    },
  };
}

/**
 * Opens the folder of an export, which is held: an empty one, or one whose export was interrupted.
 * @throws HubError ALREADY_EXISTS when it holds anything else
 */
export async function openState(
  folder: string,
  identity: ExportIdentity,
  times: Pick<ExportState, 'since' | 'until'>,
): Promise<{ state: ExportState; resumed: boolean }> {
  const names = (await readdir(folder)).filter((name) => name !== LOCK_FILE);
  if (names.length === 0) {
    const state = {
      ...identity,
      ...times,
      startedAt: new Date().toISOString(),
      finishedAt: null,
      images: 0,
      lastId: null,
      parts: [],
    };
    await saveState(folder, state);
    return { state, resumed: false };
  }
  const hint = 'Remove the folder, or name another one with --output.';
  const state = names.includes(STATE_FILE) ? await readState(join(folder, STATE_FILE)) : null;
  if (state === null) throw new HubError('ALREADY_EXISTS', `${folder} is not empty.`, { hint });
  const other = Object.keys(identity).filter(
    (key) =>
      JSON.stringify(state[key as keyof ExportIdentity]) !==
      JSON.stringify(identity[key as keyof ExportIdentity]),
  );
  if (other.length > 0) {
    throw new HubError('ALREADY_EXISTS', `${folder} holds another export (other ${other.join(', ')}).`, {
      hint,
    });
  }
  if (state.finishedAt !== null) {
    throw new HubError(
      'ALREADY_EXISTS',
      `${folder} holds this export already: ${state.images} images, complete since ${state.finishedAt}.`,
      { hint },
    );
  }
  return { state, resumed: state.images > 0 };
}

async function readState(file: string): Promise<ExportState | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as ExportState;
  } catch {
    return null;
  }
}

/** A reader sees the old content or the new, never half of it. */
export async function saveState(folder: string, state: ExportState): Promise<void> {
  const draft = join(folder, `${STATE_FILE}.new`);
  await writeFile(draft, `${JSON.stringify(state, null, 2)}\n`);
  await rename(draft, join(folder, STATE_FILE));
}

/** An export that wrote nothing leaves nothing behind. */
export async function forgetState(folder: string): Promise<void> {
  await rm(join(folder, STATE_FILE), { force: true });
}
