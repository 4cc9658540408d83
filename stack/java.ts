import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import { runTool } from './processes.ts';

const execute = promisify(execFile);

/** Kafka 4.1 and Elasticsearch 8.19 need this Java or newer. */
const OLDEST_JAVA = 17;

/** A program of the JDK. */
export const tool = (name: string) =>
  process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin', name) : name;

export const java = (): string => tool('java');

/** Why the servers written in Java cannot be started on this machine; null when they can. */
export async function javaMissing(): Promise<string | null> {
  let major: number;
  try {
    const { stderr } = await execute(java(), ['-version']);
    major = Number(/version "(?:1\.)?(\d+)/.exec(stderr)?.[1] ?? 0);
  } catch {
    return `Java is not installed (JDK ${OLDEST_JAVA} or newer is needed)`;
  }
  if (major < OLDEST_JAVA) return `Java ${major} is too old (JDK ${OLDEST_JAVA} or newer is needed)`;
  try {
    await execute(tool('javac'), ['-version']);
  } catch {
    return 'Java is there but not its compiler: install the JDK, not only the runtime';
  }
  return null;
}

/** Whether `mvn` can be run. */
export async function hasMaven(): Promise<boolean> {
  try {
    await execute('mvn', ['--version']);
    return true;
  } catch {
    return false;
  }
}

/** Downloaded artefacts, shared by all hubs of this user; only ever added to, each folder by one atomic rename. */
export function cacheFolder(config: Pick<Config, 'cache'>): string {
  return resolve(config.cache ?? join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'imagehub'));
}

/** What a Maven download leaves in the cache; a new version is a new folder. */
export const KAFKA_VERSION = '4.1.0';
export const ELASTICSEARCH_VERSION = '8.19.0';
export const KAFKA_FOLDER = `kafka-${KAFKA_VERSION}`;
export const ELASTICSEARCH_FOLDER = `elasticsearch-${ELASTICSEARCH_VERSION}`;

export const KUDU_VERSION = '1.18.0';
export const KUDU_FOLDER = `kudu-${KUDU_VERSION}`;

/** Whether everything was downloaded before, so that Maven is not needed. */
export const artefactsCached = (
  config: Pick<Config, 'cache'>,
  folders = [KAFKA_FOLDER, ELASTICSEARCH_FOLDER],
): boolean => folders.every((folder) => existsSync(join(cacheFolder(config), folder)));

export const classPath = (...entries: string[]): string => entries.join(delimiter);

/** Compiles `stack/java/<name>.java` against a class path into `folder`, which appears complete or not at all. */
export async function compileJava(
  name: string,
  jars: string,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const draft = `${folder}.${process.pid}`;
  await mkdir(draft, { recursive: true });
  try {
    const source = fileURLToPath(new URL(`./java/${name}.java`, import.meta.url));
    await runTool(tool('javac'), ['-cp', jars, '-d', draft, source], { signal });
    await rename(draft, folder).catch((error: NodeJS.ErrnoException) => {
      // Another hub compiled the same at the same time.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } catch (cause) {
    if (cause instanceof HubError && cause.code === 'INTERRUPTED') throw cause;
    throw new HubError('STACK_FAILED', `Cannot compile ${basename(name)}.java.`, {
      hint: 'Check that javac and java are of the same JDK (JAVA_HOME).',
      cause,
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}
