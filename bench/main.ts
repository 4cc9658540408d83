// npm run bench -- NAME [--json]: ours and peers side by side on the same servers, and the ratio.
import { Command } from 'commander';
import type { RegisterCommand } from '../cli/command.ts';
import { runCli } from '../cli/run-cli.ts';
import { countCommand } from './count.ts';
import { decodeCommand } from './decode.ts';
import { duplicatesBenchCommand } from './duplicates.ts';
import { exportBenchCommand } from './export.ts';
import { indexCommand } from './index.ts';
import { kuduCommand } from './kudu.ts';
import { latencyCommand } from './latency.ts';
import { limitsCommand } from './limits.ts';
import { photosCommand } from './photos.ts';
import { reclassifyCommand } from './reclassify.ts';
import { soakCommand } from './soak.ts';
import { streamCommand } from './stream.ts';

/** Each benchmark is a file with options of its own. */
const BENCHMARKS: RegisterCommand[] = [
  streamCommand,
  latencyCommand,
  indexCommand,
  decodeCommand,
  photosCommand,
  exportBenchCommand,
  limitsCommand,
  soakCommand,
  reclassifyCommand,
  duplicatesBenchCommand,
  countCommand,
  kuduCommand,
];

const program = new Command('npm run bench --').description('Benchmarks: ours beside peers, in one run.');
for (const register of BENCHMARKS) register(program);
await runCli(program);
