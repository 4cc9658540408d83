// A process whose child hangs over an image: says so on standard output, and waits.
import { IsolatedProcess } from '../../classifier/isolated/process.ts';
import { numberedDigit } from './digit-stream.ts';
import { LINEAR_MANIFEST } from './linear-model.ts';
import { slowModel } from './slow-model.ts';

const child = await IsolatedProcess.start(new URL('../../classifier/isolated/child.ts', import.meta.url));
const task = {
  model: { id: 1, onnx: slowModel(), manifest: LINEAR_MANIFEST },
  classes: LINEAR_MANIFEST.classes,
  maxPixels: 1e6,
  images: [2, 5].map(numberedDigit),
  atOnce: 1,
};
await child.run(task, 2, 3_600_000, () => console.log('answered for the last image it ever will'));
