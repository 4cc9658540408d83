import { type ChildProcess, fork } from 'node:child_process';

/** Why a process did not answer for the next image; `died`: it was not we who gave it up. */
export interface IsolatedEnd {
  died: boolean;
  why: string;
}

/**
 * Ended so often over one image, and that is to blame: once may have been somebody else's doing (a person, a machine out of
 * memory).
 */
export const DEATHS = 2;

/** For getting ready for a task: loading models. */
const LOAD_LIMIT_MS = 60_000;

type Message = { answer: object | null } | { error: string };

/**
 * A process that works on one image after the other (see answer.ts): a crash or a hang in native code costs this process
 * alone.
 */
export class IsolatedProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** @param file calls `answerTasks` @throws when it does not come up: that is no image's fault */
  static async start(file: URL): Promise<IsolatedProcess> {
    const child = fork(file, [String(process.pid)], { serialization: 'advanced' });
    const isolated = new IsolatedProcess(child);
    try {
      await new Promise<void>((resolve, reject) => {
        child.once('message', () => resolve());
        child.once('error', reject);
        child.once('exit', (code, signal) =>
          reject(new Error(`the isolated process did not start (${signal ?? `exit status ${code}`})`)),
        );
      });
    } catch (error) {
      isolated.kill();
      throw error;
    }
    isolated.#isIdle();
    return isolated;
  }

  /** Whether it can take a task: it may have been killed while it had none. */
  get alive(): boolean {
    return this.#child.connected;
  }

  /**
   * One task at a time.
   * @param images how many answers there are to be
   * @param timeoutMs for each of them, once the models are loaded
   * @returns null when all were given; else this process is of no further use
   */
  run<T>(
    task: object,
    images: number,
    timeoutMs: number,
    onAnswer: (answer: T) => void,
  ): Promise<IsolatedEnd | null> {
    const child = this.#child;
    return new Promise((resolve) => {
      let waiting = images;
      const done = (end: IsolatedEnd | null) => {
        clearTimeout(timer);
        this.#isIdle();
        if (end) this.kill();
        resolve(end);
      };
      const late = (why: string) => done({ died: false, why });
      let timer = setTimeout(
        late,
        LOAD_LIMIT_MS,
        `Its model was not loaded within ${LOAD_LIMIT_MS / 1000} s.`,
      );
      const next = () => {
        clearTimeout(timer);
        timer = setTimeout(
          late,
          timeoutMs,
          `It took longer than ${timeoutMs / 1000} s (IMAGEHUB_DECODE_TIMEOUT_MS).`,
        );
      };
      // Not `exit`: answers may still be on their way then.
      child.once('close', (code, signal) =>
        done({ died: true, why: `It ended its process (${signal ?? `exit status ${code}`}).` }),
      );
      child.once('error', (error) => done({ died: true, why: error.message }));
      child.on('message', (message: Message) => {
        if ('error' in message) return done({ died: false, why: message.error });
        next();
        if (message.answer === null) return;
        onAnswer(message.answer as T);
        if (--waiting === 0) done(null);
      });
      child.send(task);
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #isIdle(): void {
    for (const event of ['message', 'exit', 'close', 'error']) this.#child.removeAllListeners(event);
    this.#child.on('error', () => undefined); // what was still being sent to it
  }
}
