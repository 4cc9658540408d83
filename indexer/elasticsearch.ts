import { Client, errors } from '@elastic/elasticsearch';
import { type Config, hidePassword } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import { MAPPINGS, SETTINGS } from './mapping.ts';

export type { Client } from '@elastic/elasticsearch';

/** A bulk request of 8 MB takes a second; one without an answer after this long will not get one. */
const REQUEST_TIMEOUT_MS = 30_000;

/** Retries are ours (bulk.ts), where they can be logged and never end. User and password may be in the URL. */
export function openElasticsearch(config: Pick<Config, 'elasticsearchApiKey'>, url: string): Client {
  return new Client({
    node: url,
    maxRetries: 0,
    requestTimeout: REQUEST_TIMEOUT_MS,
    ...(config.elasticsearchApiKey ? { auth: { apiKey: config.elasticsearchApiKey } } : {}),
  });
}

/** Turns what a request failed with into an error that says what to do; other errors are returned as they are. */
export function elasticsearchError(error: unknown, url: string): unknown {
  const shown = hidePassword(url);
  const status = error instanceof errors.ResponseError ? error.statusCode : undefined;
  if (status === 401 || status === 403) {
    return new HubError('ACCESS_DENIED', `Elasticsearch at ${shown} refused us: ${shortText(error)}`, {
      hint: 'Check the user and password in IMAGEHUB_ELASTICSEARCH_URL, or IMAGEHUB_ELASTICSEARCH_API_KEY.',
      cause: error,
    });
  }
  if (isUnavailable(error)) {
    return new HubError(
      'SERVER_UNREACHABLE',
      `Elasticsearch at ${shown} cannot be reached: ${shortText(error)}`,
      {
        hint: 'Is it running? imagehub status shows the local servers, imagehub up starts them.',
        cause: error,
      },
    );
  }
  return error;
}

/** Whether waiting may help: no connection, no answer in time, too many requests, or a failing server. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof errors.ResponseError)
    return error.statusCode === 429 || (error.statusCode ?? 500) >= 500;
  return error instanceof errors.ElasticsearchClientError && !(error instanceof errors.SerializationError);
}

/** The reason without Elasticsearch's stack of causes. */
export function shortText(error: unknown): string {
  if (!(error instanceof errors.ResponseError)) return errorText(error);
  const { type, reason } =
    (error.body as { error?: { type?: string; reason?: string } } | undefined)?.error ?? {};
  return type ? `${type}: ${reason ?? ''}` : error.message;
}

/** @throws HubError SERVER_UNREACHABLE, ACCESS_DENIED */
export async function checkElasticsearch(client: Client, url: string): Promise<void> {
  try {
    await client.cluster.health({ timeout: '5s' });
  } catch (error) {
    throw elasticsearchError(error, url);
  }
}

export const aliasOf = (prefix: string, dataset: string): string => `${prefix}-${dataset}`;

/**
 * Shards and replicas are the operator's to choose: a template of higher priority than ours may say otherwise.
 * Mapping and settings that the indexer relies on are given with each index, and stand here for the reader.
 */
const TEMPLATE_PRIORITY = 200;

export async function ensureTemplate(client: Client, prefix: string): Promise<void> {
  await client.indices.putIndexTemplate({
    name: prefix,
    index_patterns: [`${prefix}-*`],
    priority: TEMPLATE_PRIORITY,
    template: {
      settings: { index: { ...SETTINGS.index, number_of_shards: 1, auto_expand_replicas: '0-1' } },
      mappings: MAPPINGS as never,
    },
  });
}

export interface ConcreteIndex {
  name: string;
  uuid: string;
  /** Whether the alias points to it. */
  serving: boolean;
}

/** The indexes `<alias>-000001`, … that exist, in order. */
export async function concreteIndexes(client: Client, alias: string): Promise<ConcreteIndex[]> {
  const found = await client.indices.get({
    index: `${alias}-*`,
    expand_wildcards: 'all',
    allow_no_indices: true,
  });
  return Object.entries(found)
    .filter(([name]) => name.startsWith(`${alias}-`) && /^\d{6}$/.test(name.slice(alias.length + 1)))
    .map(([name, { settings, aliases }]) => ({
      name,
      uuid: String(settings?.index?.uuid),
      serving: aliases !== undefined && alias in aliases,
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Makes the next index of an alias, which goes on pointing where it points. */
export async function createNextIndex(
  client: Client,
  alias: string,
): Promise<Omit<ConcreteIndex, 'serving'>> {
  const last = (await concreteIndexes(client, alias)).at(-1)?.name.slice(-6) ?? '0';
  const name = `${alias}-${String(Number(last) + 1).padStart(6, '0')}`;
  await client.indices.create({ index: name, settings: SETTINGS as never, mappings: MAPPINGS as never });
  const created = await client.indices.getSettings({ index: name });
  return { name, uuid: String(created[name]?.settings?.index?.uuid) };
}

/**
 * Adds the fields that an index of an earlier version lacks; those that it has stay, and no document is touched.
 * @param index or alias; one that is not there is no error
 * @returns false if it has one of the fields in another way: it has to be built anew
 */
export async function addFields(client: Client, index: string): Promise<boolean> {
  try {
    await client.indices.putMapping({ index, ...(MAPPINGS as object) });
    return true;
  } catch (error) {
    if (isMissingIndex(error)) return true;
    if (error instanceof errors.ResponseError && error.statusCode === 400) return false;
    throw error;
  }
}

/** Points the alias to `name` and to nothing else, in one step. */
export async function pointAlias(client: Client, alias: string, name: string): Promise<void> {
  const others = (await concreteIndexes(client, alias)).filter(
    (index) => index.serving && index.name !== name,
  );
  await client.indices.updateAliases({
    actions: [
      ...others.map((index) => ({ remove: { index: index.name, alias } })),
      { add: { index: name, alias } },
    ],
  });
}

/** Deletes indexes; those that are gone already are no error. */
export async function deleteIndexes(client: Client, names: string[]): Promise<void> {
  for (const name of names) await client.indices.delete({ index: name, ignore_unavailable: true });
}

/** Whether the index or alias asked for does not exist. */
export const isMissingIndex = (error: unknown): boolean =>
  error instanceof errors.ResponseError && error.statusCode === 404;
