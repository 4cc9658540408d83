import { pino, type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from './config.ts';

export type { Logger };

/** Logs go to standard error, so that standard output is free for what a command reports. */
export function createLogger(config: Pick<Config, 'logLevel' | 'logFormat'>): Logger {
  const readable = config.logFormat === 'pretty' || (config.logFormat === 'auto' && process.stderr.isTTY);
  const options = { level: config.logLevel, base: null };
  return readable
    ? pino(
        options,
        pretty({ destination: 2, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' }),
      )
    : pino(options, pino.destination({ dest: 2, sync: true }));
}
