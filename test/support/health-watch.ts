import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach } from '@jest/globals';
import { errorText } from '../../errors.ts';
import type { Health } from '../../console/operations-server.ts';
import { rounds } from './fault-mode.ts';
import { until } from './pipeline.ts';

const ASK_EVERY_MS = 200;
/**
 * Nothing that the pipeline waits for may hold up the answer. In the short form other tests compete for the processor, and
 * what a wait would hold up lasts longer than this.
 */
const ANSWERS_WITHIN_MS = rounds(8000, 1000);
/** When this test itself stood still for so long, the answer may have waited here. */
const STOOD_STILL_MS = 300;

interface Answer {
  state: Health['state'];
  parts: Partial<Record<'ingest' | 'index', Health>>;
}

/** Asks /healthz all the time; `stop` fails if an answer was late, missing, or not status 200. */
export interface HealthWatch {
  /** Resolves once that part says that it waits for this reason. @returns what it said. */
  waits(part: 'ingest' | 'index', reason: RegExp, timeoutMs?: number): Promise<string>;
  /** The newest answer. */
  now(): Answer | undefined;
  /** Resolves once every part is well. */
  isWell(timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}

const watches = new Set<{ stopped: boolean }>();
afterEach(() => {
  for (const watch of watches) watch.stopped = true;
  watches.clear();
});

/** Ends with the test at the latest. @param operationsUrl of a process that has started */
export function watchHealth(operationsUrl: string): HealthWatch {
  const problems: string[] = [];
  let last: Answer | undefined;
  const watch = { stopped: false };
  watches.add(watch);
  const ownDelay = monitorEventLoopDelay();
  ownDelay.enable();
  const ask = async () => {
    ownDelay.reset();
    const began = performance.now();
    try {
      const answer = await fetch(`${operationsUrl}/healthz`, {
        signal: AbortSignal.timeout(ANSWERS_WITHIN_MS),
      });
      last = (await answer.json()) as Answer;
      if (answer.status !== 200) problems.push(`status ${answer.status}: ${JSON.stringify(last)}`);
    } catch (error) {
      if (ownDelay.max / 1e6 > STOOD_STILL_MS) return;
      problems.push(`no answer after ${Math.round(performance.now() - began)} ms: ${errorText(error)}`);
    }
  };
  const asking = (async () => {
    while (!watch.stopped) {
      await ask();
      await sleep(ASK_EVERY_MS);
    }
    ownDelay.disable();
  })();
  return {
    async waits(part, reason, timeoutMs = 90_000) {
      const detail = () => last?.parts[part]?.detail ?? '';
      await until(
        () => Promise.resolve(last?.state === 'waiting' && reason.test(detail())),
        `the ${part} waits because of ${reason}`,
        timeoutMs,
      ).catch((error: Error) => {
        throw new Error(`${error.message}; /healthz says ${JSON.stringify(last)}`, { cause: error });
      });
      return detail();
    },
    now: () => last,
    isWell: (timeoutMs = 90_000) =>
      until(() => Promise.resolve(last?.state === 'ok'), 'every part is well', timeoutMs),
    async stop() {
      watch.stopped = true;
      await asking;
      if (problems.length > 0) {
        throw new Error(`/healthz failed ${problems.length} times:\n${problems.slice(0, 5).join('\n')}`);
      }
    },
  };
}
