import { type Config, hidePassword } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import { checkElasticsearch, checkKafka, checkKudu, checkPostgres } from './check.ts';
import { isAlive } from './processes.ts';
import { hostList, localServers, type Servers } from './servers.ts';
import { readState } from './state.ts';

/**
 * running: it answered a real request just now; starting, stopped: the local
 * server is; unreachable, access denied: it should be there; not configured: no settings name one and the stack
 * here runs without it; not started: nothing here starts one.
 */
export type ServerState =
  'running' | 'starting' | 'stopped' | 'unreachable' | 'access denied' | 'not configured' | 'not started';

export interface ServerStatus {
  /** What clients connect to: brokers and masters comma-separated; null when there is none. */
  url: string | null;
  state: ServerState;
  /** Why it is not running, when we know. */
  problem?: string;
}

export type StackStatus = Record<keyof Servers, ServerStatus>;

/** Asks every server of this hub whether it is there. */
export async function stackStatus(config: Config): Promise<StackStatus> {
  // With a database named in the settings, nothing of the local stack counts (`locateServers`).
  const isLocal = config.postgresUrl === undefined;
  const state = isLocal ? await readState(config) : null;
  const local = isLocal ? await localServers(config) : null;

  const probe = async (
    name: keyof Servers,
    configured: string | undefined,
    check: (url: string) => Promise<void>,
  ): Promise<ServerStatus> => {
    if (configured !== undefined) return probeUrl(configured, hidePassword(configured), check);
    const url = local?.[name]?.toString() ?? null;
    if (url === null) return { url, state: absence(name) };
    // A local server's password is there to be used.
    const status = await probeUrl(url, url, check);
    const died = state?.processes[name]?.state === 'stopped';
    return died && status.state === 'unreachable' ? { ...status, state: 'stopped' } : status;
  };

  const absence = (name: keyof Servers): ServerState => {
    // It is started only by those who ask for it.
    if (name === 'kudu' && state?.processes.kudu === undefined) return 'not started';
    if (!isLocal || (local !== null && local[name] === null)) return 'not configured';
    return state?.phase === 'starting' && isAlive(state.owner) ? 'starting' : 'stopped';
  };

  const [postgres, kafka, elasticsearch, kudu] = await Promise.all([
    probe('postgres', config.postgresUrl, checkPostgres),
    probe('kafka', config.kafkaBrokers, (brokers) => checkKafka(config, hostList(brokers)!)),
    probe('elasticsearch', config.elasticsearchUrl, (url) => checkElasticsearch(config, url)),
    probe('kudu', config.kuduMasters, (masters) => checkKudu(hostList(masters)!)),
  ]);
  return { postgres, kafka, elasticsearch, kudu };
}

async function probeUrl(
  url: string,
  shown: string,
  check: (url: string) => Promise<void>,
): Promise<ServerStatus> {
  try {
    await check(url);
    return { url: shown, state: 'running' };
  } catch (error) {
    const state =
      error instanceof HubError && error.code === 'ACCESS_DENIED' ? 'access denied' : 'unreachable';
    return { url: shown, state, problem: errorText(error) };
  }
}
