import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadConfig } from '../../../config.ts';
import { cacheFolder, KUDU_FOLDER } from '../../../stack/java.ts';

const execute = promisify(execFile);
const home = join(cacheFolder(loadConfig({ IMAGEHUB_CACHE: process.env.IMAGEHUB_CACHE })), KUDU_FOLDER);

/** Kudu's program, which is servers and tool in one, and what it needs. */
export const KUDU = {
  file: join(home, 'bin', 'kudu'),
  env: {
    ...process.env,
    LD_LIBRARY_PATH: join(home, 'lib'),
    SASL_PATH: join(home, 'lib', 'sasl2'),
  },
};

/** Runs `kudu …`, Kudu's own client: the judge of ours. @returns its standard output */
export async function kuduTool(...args: string[]): Promise<string> {
  const { stdout } = await execute(KUDU.file, args, { env: KUDU.env, maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/** Else a replica may answer that was away and has not caught up. */
const OF_LEADERS = '-replica_selection=LEADER';

/** The rows of a table as the tool prints them, `(string id="a", int32 n=1)`, sorted. */
export async function toolScan(masters: string[], table: string): Promise<string[]> {
  const output = await kuduTool('table', 'scan', masters.join(','), table, OF_LEADERS, '-show_values=true');
  return output
    .split('\n')
    .filter((line) => line.startsWith('('))
    .sort();
}
