import { describe, expect, test } from '@jest/globals';
import { hangingThreads, tooManyHang } from '../../classifier/hanging-threads.ts';
import { Threads } from '../../classifier/threads.ts';
import { createLogger } from '../../log.ts';
import { until } from '../support/pipeline.ts';
import type { Gate } from '../support/thread-tasks.ts';

/** For a task that never comes back. */
const SHORT_MS = 50;
/** For one that does. */
const LONG_MS = 200_000;

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });

/** Threads, what they do, and how often one was replaced. */
function someThreads(count: number) {
  let restarts = 0;
  const file = new URL('../support/thread-tasks.ts', import.meta.url);
  const threads = new Threads(file, count, log, () => restarts++);
  const gate: Gate = new Int32Array(new SharedArrayBuffer(4));
  return {
    threads,
    restarts: () => restarts,
    double: (n: number) => threads.run<number>('double', { n }, [], LONG_MS),
    hang: () => threads.run('hang', { gate }, [], SHORT_MS),
    async letGo() {
      Atomics.store(gate, 0, 1);
      Atomics.notify(gate, 0);
      await until(() => Promise.resolve(hangingThreads() === 0), 'they are back');
    },
  };
}

describe('a worker thread', () => {
  test('that hangs is replaced, and that is counted; back again, it is no more of use', async () => {
    const { threads, restarts, double, hang, letGo } = someThreads(1);
    await expect(hang()).rejects.toThrow('it took longer than 0.05 s');
    expect(await Promise.all([1, 2, 3].map(double))).toEqual([2, 4, 6]);
    expect(restarts()).toBe(1);
    expect(hangingThreads()).toBe(1);
    expect(tooManyHang()).toBeNull();
    await letGo();
    expect(await double(4)).toBe(8);
    await threads.close();
    expect(restarts()).toBe(1);
  });

  test('that hangs does not keep the others from being closed', async () => {
    const { threads, hang, double, letGo } = someThreads(2);
    await expect(hang()).rejects.toThrow('longer');
    const last = double(5);
    await threads.close();
    expect(await last).toBe(10);
    expect(hangingThreads()).toBe(1);
    await letGo();
  });

  test('is not replaced when too many hang; when all do nothing waits; those that come back work again', async () => {
    const { threads, restarts, double, hang, letGo } = someThreads(2);
    while (tooManyHang() === null) await expect(hang()).rejects.toThrow('longer');
    const hung = hangingThreads();
    expect(restarts()).toBe(hung - 1);
    expect(tooManyHang()).toMatch(new RegExp(`^${hung} worker threads hang`));
    expect(await double(1)).toBe(2);
    const [last, waiting] = [hang(), double(2)];
    await expect(last).rejects.toThrow('longer');
    await expect(waiting).rejects.toThrow('every worker thread hangs');
    await expect(double(3)).rejects.toThrow('every worker thread hangs');
    await letGo();
    expect(tooManyHang()).toBeNull();
    expect(await Promise.all([4, 5, 6].map(double))).toEqual([8, 10, 12]);
    await threads.close();
  });

  test('that ends by itself is replaced, and that is counted; one that is closed is not', async () => {
    const { threads, restarts, double } = someThreads(1);
    await expect(threads.run('end', {}, [], LONG_MS)).rejects.toThrow('exited with code: 1');
    expect(await double(1)).toBe(2);
    expect(restarts()).toBe(1);
    await threads.close();
    expect(restarts()).toBe(1);
  });
});
