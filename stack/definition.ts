import type { Config } from '../config.ts';

/** Kudu is two processes: its master, which clients are told of, and a tablet server, which they find by it. */
export type ServerName = 'postgres' | 'kafka' | 'elasticsearch' | 'kudu' | 'kudu-tserver';

/** What every step of a start gets. */
export interface StartContext {
  config: Config;
  /** The folder of this server in the hub's home, absolute; it exists. */
  folder: string;
  /** A line of progress for people. */
  log(line: string): void;
  /** Where another server of the same start is, once it answers. */
  urlOf(name: ServerName): Promise<string>;
  /** Aborts when the start is interrupted; every step ends its processes then. */
  signal: AbortSignal;
}

export interface ServerCommand {
  file: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
}

/** A server whose files are prepared and that can be started, any number of times, on a port. */
export interface PreparedServer {
  /** Writes what depends on the port and says how to run the server. */
  command(port: number): Promise<ServerCommand>;
  /** Asks the server a real question; throws until it answers. */
  probe(port: number): Promise<void>;
  /** What clients connect to. */
  url(port: number): string;
}

/** How one kind of local server is had, started and stopped. */
export interface ServerDefinition {
  name: ServerName;
  title: string;
  /** The port it usually has, from the settings. */
  usualPort(config: Config): number;
  /** Downloads and initialises what is not there yet; quick when everything is. */
  prepare(context: StartContext): Promise<PreparedServer>;
  /** Signals that end it, in order, each with some patience; SIGKILL comes last by itself. */
  stopSignals: NodeJS.Signals[];
}
