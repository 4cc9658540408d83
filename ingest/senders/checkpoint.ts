import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ImageSource, Resume } from './image.ts';

/** How far a send got, kept in `<home>/send/` until it is done. */
interface State extends Resume {
  source: string;
  version: string;
  sent: number;
}

/**
 * Written after the images up to a position were acknowledged, so a send that ends at any moment goes on without a
 * gap; the batch that was on its way may come twice, which is harmless.
 */
export interface Checkpoint {
  /** Set when an earlier send of the same content stopped on its way. */
  resume: Resume | undefined;
  /** Images acknowledged by earlier sends. */
  sentBefore: number;
  save(position: string, sent: number): Promise<void>;
  /** The source is through: the next send begins at its start. */
  done(): Promise<void>;
}

/** The file for what one dataset gets from one source. `scope` holds all else that changes what is sent. */
export const checkpointFile = (home: string, scope: readonly string[], key: string): string =>
  join(
    home,
    'send',
    `${createHash('sha256')
      .update([...scope, key].join('\0'))
      .digest('hex')
      .slice(0, 32)}.json`,
  );

/** Opens the checkpoint of a source; one of other content, or a damaged one, counts as none. */
export async function openCheckpoint(
  file: string,
  source: ImageSource,
  restart: boolean,
): Promise<Checkpoint> {
  const earlier = restart ? null : await readState(file);
  const state = earlier?.version === source.version ? earlier : null;
  const startedAt = state?.startedAt ?? Date.now();
  return {
    resume: state ? { position: state.position, startedAt } : undefined,
    sentBefore: state?.sent ?? 0,
    async save(position, sent) {
      await writeAtomically(
        file,
        JSON.stringify({
          source: source.key,
          version: source.version,
          position,
          startedAt,
          sent,
        } satisfies State),
      );
    },
    done: () => rm(file, { force: true }),
  };
}

async function readState(file: string): Promise<State | null> {
  try {
    const state = JSON.parse(await readFile(file, 'utf8')) as State;
    return typeof state.position === 'string' ? state : null;
  } catch {
    return null;
  }
}

/** A reader sees the old content or the new, never half of it. */
async function writeAtomically(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, text);
  await rename(draft, file);
}
