import type { Config } from '../config.ts';
import type { ErrorCode } from '../errors.ts';
import type { ServerName } from './definition.ts';
import type { StackState } from './state.ts';

/** What the process that wants the servers says to their supervisor. Ending the connection means: stop them. */
export type ToSupervisor =
  | { type: 'start'; config: Config; wanted: ServerName[]; notes: string[] }
  /** Stay when I am gone. */
  | { type: 'release' };

export type FromSupervisor =
  | { type: 'log'; line: string }
  | { type: 'running'; state: StackState }
  /** Somebody else's supervisor holds this folder. */
  | { type: 'taken' }
  | { type: 'failed'; code: ErrorCode; message: string; hint: string | undefined };
