import { type DigitMessage, digitMessages } from './digit-stream.ts';
import { type Judged, judge, type LiveModel } from './judge.ts';
import { LINEAR_MANIFEST, linearModel } from './linear-model.ts';
import { goLive, TEN, type TestPipeline } from './pipeline.ts';

/** Messages produced at once: few enough that making them does not hold up the test's other work. */
const PORTION = 250;

/** A stream of digits, all different, into a pipeline with live models; see digit-stream.ts and judge.ts. */
export interface JudgedStream {
  sent: DigitMessage[];
  /** Produces so many more. */
  send(count: number): Promise<void>;
  /** Proves that each is a row with its own prediction or a dead letter; when the last process has ended in good order. */
  judge(): Promise<Judged>;
}

interface StreamOptions {
  /** false: no image is, so that nothing may become a dead letter. */
  damaged?: boolean;
  /** Those that the test makes live, in that order, and adds when it does; else one is live from the beginning. */
  models?: LiveModel[];
}

export async function judgedStream(
  pipeline: TestPipeline,
  { damaged = true, models }: StreamOptions = {},
): Promise<JudgedStream> {
  const live = models ?? [await firstModel(pipeline)];
  const sent: DigitMessage[] = [];
  // Reads the digits, which takes a second in which nothing else happens here: now, not while somebody measures time.
  digitMessages(0, TEN.length);
  return {
    sent,
    async send(count) {
      const end = sent.length + count;
      while (sent.length < end) {
        const messages = digitMessages(sent.length, Math.min(sent.length + PORTION, end), damaged);
        sent.push(...messages);
        await pipeline.produce(messages);
      }
    },
    judge: () => judge(pipeline, sent, live),
  };
}

async function firstModel({ pool, dataset }: TestPipeline): Promise<LiveModel> {
  const onnx = linearModel(1);
  return { id: await goLive(pool, dataset, onnx, LINEAR_MANIFEST), onnx };
}
