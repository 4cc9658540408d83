import { spawn } from 'node:child_process';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';

/** A terminal delivers Ctrl-C to the whole process group and the launcher passes it on: two signals, one wish. */
const SAME_INTERRUPT_MS = 300;
/** Ending takes milliseconds, on a busy machine some hundreds of them, unless a thread is in the middle of native code. */
const EXIT_WITHIN_MS = 3000;

/**
 * The first interrupt aborts the signal: finish what is in flight and stop. The second ends the process now.
 * Also aborts when the launcher (bin/imagehub.js) dies, so that no process outlives the command it belongs to.
 */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  let firstAt = 0;
  const interrupt = () => {
    if (!controller.signal.aborted) {
      firstAt = Date.now();
      controller.abort();
    } else if (Date.now() - firstAt > SAME_INTERRUPT_MS) {
      endNow(130);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
  return controller.signal;
}

/**
 * Bounds what may follow an interrupt: when the process is still there after `shutdownTimeoutMs`, it says what it waited
 * for and ends with status 1. What was in flight is not committed, and done again at the next start.
 * @param waitsFor what is not finished, for the log
 */
export function limitShutdown(
  signal: AbortSignal,
  { shutdownTimeoutMs }: Pick<Config, 'shutdownTimeoutMs'>,
  log: Logger,
  waitsFor: () => object,
): void {
  const seconds = shutdownTimeoutMs / 1000;
  const tooLong = () => {
    log.error(
      waitsFor(),
      `not finished within ${seconds} s of the interrupt (IMAGEHUB_SHUTDOWN_TIMEOUT_MS); stopping now. Nothing is lost: what is in flight is done again at the next start`,
    );
    endNow(1);
  };
  signal.addEventListener(
    'abort',
    () => {
      log.info(
        `interrupted: finishing what is in flight, for at most ${seconds} s; a second interrupt stops now`,
      );
      // Not held up by this timer when all is done.
      setTimeout(tooLong, shutdownTimeoutMs).unref();
    },
    { once: true },
  );
}

/**
 * Ends the process. `process.exit` waits for worker threads, and one that hangs in native code (a decoder, a model) would
 * keep the process for ever: then a child kills it. The child ends with the pipe between them, whichever way we go.
 */
export function endNow(status: number): never {
  const killer = `setTimeout(() => process.kill(${process.pid}, 'SIGKILL'), ${EXIT_WITHIN_MS});
    process.stdin.resume().once('close', () => process.exit());`;
  spawn(process.execPath, ['-e', killer], { detached: true, env: {}, stdio: ['pipe', 'ignore', 'ignore'] });
  process.exit(status);
}

/** Ends this process when its launcher is gone, even if that was killed with no chance to say so. */
export function dieWithLauncher(): void {
  if (!process.env.IMAGEHUB_LAUNCHER || !process.channel) return;
  delete process.env.IMAGEHUB_LAUNCHER;
  process.on('disconnect', () => process.exit(137));
  process.channel.unref();
}
