import cliProgress from 'cli-progress';

export interface Progress {
  /**
   * `n`: how many are done so far; `extra`: a few words behind the figures; `total`: where it is only estimated on
   * the way.
   */
  update(n: number, extra?: string, total?: number): void;
  /** Leaves the last state on the screen. Nothing is drawn afterwards. */
  stop(): void;
}

export interface ProgressOptions {
  /** What is being done: "sending", "reading". */
  label: string;
  /** Unknown: no bar and no time left, only count and rate. */
  total?: number | undefined;
  /** The total comes with the updates. */
  estimated?: boolean;
  /** What is counted. */
  unit?: string;
}

/** Where there is no terminal: one line every so often, as a log is read by people too. */
const LINE_EVERY_MS = 5000;
/** The rate shown is that of the last seconds, not of the whole time. */
const RATE_WINDOW_MS = 5000;

/** Bar with rate and time left on a terminal's standard error, plain lines elsewhere. */
export function createProgress(
  options: ProgressOptions,
  stream: NodeJS.WriteStream = process.stderr,
): Progress {
  const rate = createRate();
  return stream.isTTY ? bar(options, stream, rate) : lines(options, stream, rate);
}

interface Rate {
  /** Units per second lately, after `n` are done. */
  at(n: number): number;
}

/** Rate over a sliding window. */
export function createRate(now: () => number = () => performance.now()): Rate {
  const samples: { time: number; n: number }[] = [{ time: now(), n: 0 }];
  return {
    at(n) {
      const time = now();
      samples.push({ time, n });
      while (samples.length > 2 && time - samples[1]!.time > RATE_WINDOW_MS) samples.shift();
      const first = samples[0]!;
      return time > first.time ? ((n - first.n) / (time - first.time)) * 1000 : 0;
    },
  };
}

const figures = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

function describe(
  { label, total, unit = 'images' }: ProgressOptions,
  n: number,
  perSecond: number,
  extra: string,
): string {
  const count = total === undefined ? figures.format(n) : `${figures.format(n)} of ${figures.format(total)}`;
  const left =
    total !== undefined && perSecond > 0 && n < total ? `, ${duration((total - n) / perSecond)} left` : '';
  return `${label}: ${count} ${unit}, ${figures.format(perSecond)}/s${left}${extra && `, ${extra}`}`;
}

/** 75 → `1 min 15 s`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function bar(options: ProgressOptions, stream: NodeJS.WriteStream, rate: Rate): Progress {
  const single = new cliProgress.SingleBar(
    {
      format: options.total === undefined && !options.estimated ? '{text}' : '{bar} {percentage}% {text}',
      stream,
      barsize: 24,
      hideCursor: null,
      fps: 10,
      // Interrupts are the command's business: it finishes its batch and says how to go on.
      gracefulExit: false,
    },
    cliProgress.Presets.shades_classic,
  );
  single.start(options.total ?? 0, 0, { text: describe(options, 0, 0, '') });
  return {
    update: (n, extra = '', total = options.total) => {
      // A source may turn out larger than it looked when it was counted.
      if (total !== undefined) single.setTotal(Math.max(n, total));
      single.update(n, { text: describe({ ...options, total }, n, rate.at(n), extra) });
    },
    stop: () => single.stop(),
  };
}

function lines(options: ProgressOptions, stream: NodeJS.WriteStream, rate: Rate): Progress {
  let shown = performance.now();
  return {
    update(n, extra = '', total = options.total) {
      const perSecond = rate.at(n);
      if (performance.now() - shown < LINE_EVERY_MS) return;
      shown = performance.now();
      stream.write(`${describe({ ...options, total }, n, perSecond, extra)}\n`);
    },
    stop: () => undefined,
  };
}
