// The child process of try-model.ts: it loads and runs a model once, and answers if it is still there.
import { writeFileSync } from 'node:fs';
import { openSession } from '../session.ts';
import { patterns } from '../network.ts';
import { probeModel } from './probe.ts';
import type { ModelTrial } from './try-model.ts';

process.on('disconnect', () => process.exit());
// Where memory runs out, it is this process that the kernel ends (Linux).
try {
  writeFileSync('/proc/self/oom_score_adj', '1000');
} catch {
  // Not Linux: nothing to set.
}

process.on('message', ({ onnx, run }: ModelTrial) => {
  const done = () => process.send!('done', undefined, undefined, () => undefined);
  // Errors are no crash: the parent meets them by itself, and says them well.
  tryIt(onnx, run).then(done, done);
});

async function tryIt(onnx: Uint8Array, run: ModelTrial['run']): Promise<void> {
  const session = await openSession(onnx);
  if (run) await probeModel(session, run.input, run.output, patterns(run.input));
}
