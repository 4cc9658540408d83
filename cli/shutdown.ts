/** A terminal delivers Ctrl-C to the whole process group and the launcher passes it on: two signals, one wish. */
const SAME_INTERRUPT_MS = 300;

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
      process.exit(130);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
  return controller.signal;
}

/** Ends this process when its launcher is gone, even if that was killed with no chance to say so. */
export function dieWithLauncher(): void {
  if (!process.env.IMAGEHUB_LAUNCHER || !process.channel) return;
  delete process.env.IMAGEHUB_LAUNCHER;
  process.on('disconnect', () => process.exit(137));
  process.channel.unref();
}
