/** `node copying.ts POSTGRES MASTERS WRITE_MS`: keeps copies in step until it is ended. */
import { loadConfig } from '../../../config.ts';
import { runCopies } from '../../../kudu-copy/run-copies.ts';
import { createLogger } from '../../../log.ts';
import { openPool } from '../../../sql/database.ts';

const [postgres, masters, writeMs] = process.argv.slice(2) as [string, string, string];
const config = { ...loadConfig({}), logFormat: 'json' as const };
await using pool = openPool(postgres);
await runCopies({
  config,
  servers: { postgres, kudu: masters.split(',') },
  pool,
  log: createLogger(config),
  signal: new AbortController().signal,
  writeMs: Number(writeMs),
});
