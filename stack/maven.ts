import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pRetry from 'p-retry';
import { errorText, HubError } from '../errors.ts';
import { cacheFolder } from './java.ts';
import { withLock } from './lock.ts';
import { interrupted, runTool } from './processes.ts';
import type { StartContext } from './definition.ts';

export type DownloadContext = Pick<StartContext, 'config' | 'log' | 'signal'>;

export interface Artefacts {
  /** Folder name in the cache; changes whenever `coordinates` or the layout do. */
  folder: string;
  /** What people call it, for the progress line. */
  title: string;
  /** `group:artifact:version`, and `:classifier` where there is one, of each dependency; their run-time dependencies come with them. */
  coordinates: string[];
  /** About how much is downloaded, for the progress line. */
  megabytes: number;
  /** Rearranges the folder of jars before it is put in place. */
  arrange?(folder: string): Promise<void>;
}

/** Transfers fail now and then, and a failed one is quick to repeat: Maven keeps what it has got. */
const ATTEMPTS = 4;

/**
 * The folder with these artefacts and their dependencies, downloaded by Maven on first use. One download at a
 * time on the machine; the folder appears by a rename, so it is complete or not there.
 * @throws HubError STACK_FAILED when Maven cannot get them.
 */
export async function mavenArtefacts(artefacts: Artefacts, context: DownloadContext): Promise<string> {
  const cache = cacheFolder(context.config);
  const folder = join(cache, artefacts.folder);
  if (existsSync(folder)) return folder;
  await withLock(
    join(cache, 'download.lock'),
    async () => {
      if (!existsSync(folder)) await download(artefacts, folder, context);
    },
    {
      signal: context.signal,
      waiting: ({ pid }) => {
        if (pid !== process.pid)
          context.log(`Waiting for the download of another imagehub (process ${pid}) …`);
      },
    },
  );
  return folder;
}

async function download(artefacts: Artefacts, folder: string, context: DownloadContext): Promise<void> {
  const { title, megabytes, coordinates } = artefacts;
  context.log(`Downloading ${title} with Maven, about ${megabytes} MB, once …`);
  const draft = `${folder}.download`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true });
  try {
    const pom = join(draft, 'pom.xml');
    await writeFile(pom, pomFor(coordinates));
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${draft}`];
    await pRetry(
      () => runTool('mvn', ['--batch-mode', '-q', '-f', pom, ...goal], { signal: context.signal }),
      {
        retries: ATTEMPTS - 1,
        minTimeout: 1000,
        signal: context.signal,
        shouldRetry: () => !context.signal.aborted,
        onFailedAttempt: ({ attemptNumber, retriesLeft }) => {
          if (retriesLeft > 0) context.log(`Downloading ${title}: attempt ${attemptNumber} failed, again …`);
        },
      },
    );
    await rm(pom);
    await artefacts.arrange?.(draft);
    await rename(draft, folder);
  } catch (cause) {
    if (context.signal.aborted) throw interrupted();
    throw new HubError('STACK_FAILED', `Cannot download ${title}: ${errorText(cause)}`, {
      hint: 'Check the network and Maven’s settings (~/.m2/settings.xml) and try again, or start Postgres alone with: imagehub up --embedded',
      cause,
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

function pomFor(coordinates: string[]): string {
  const dependencies = coordinates.map((coordinate) => {
    const [group, artifact, version, classifier] = coordinate.split(':');
    return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version>${classifier ? `<classifier>${classifier}</classifier>` : ''}</dependency>`;
  });
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>imagehub</groupId><artifactId>stack</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>${dependencies.join('')}</dependencies>
</project>
`;
}
