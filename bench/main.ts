// npm run bench -- NAME [--json]: ours and a peer side by side on the same servers, and the ratio.
import { Command } from 'commander';
import { commandContext } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import { runCli } from '../cli/run-cli.ts';
import { streamBench } from './stream.ts';

/** A ratio above 1 means that ours is better. */
export interface BenchResult {
  bench: string;
  ours: number;
  unit: string;
  peers: { name: string; value: number; ratio: number }[];
}

const program = new Command('npm run bench --').description('Benchmarks: ours beside a peer, in one run.');
program
  .command('stream')
  .description('60,000 MNIST PNGs waiting in a topic of 4 partitions, until they are committed rows')
  .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
  .option('--peers <folder>', 'where python_stream.py and its model lie', '../shared/peers')
  .option('--python <program>', 'a Python with the peer’s packages', 'python3')
  .option('--runs <n>', 'alternating runs of each; the median counts', '3')
  .option('--json', 'end with one line of JSON')
  .action(async (options: { data: string; peers: string; python: string; runs: string; json?: boolean }) => {
    const result = await streamBench(commandContext(), { ...options, runs: Number(options.runs) }, note);
    for (const { name, value, ratio } of result.peers) {
      note(
        `${result.bench}: imagehub ${result.ours}, ${name} ${value} ${result.unit}: ratio ${ratio.toFixed(2)}`,
      );
    }
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  });

await runCli(program);
