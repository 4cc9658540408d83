import { fileURLToPath } from 'node:url';
import type { Config } from '../../config.ts';
import { HubError } from '../../errors.ts';
import { shownUrl } from '../message.ts';

/** Why an image is not fetched, and will not be however often it is tried while things are as they are. */
export type RefusalReason =
  'url-malformed' | 'url-not-allowed' | 'not-found' | 'fetch-refused' | 'too-many-bytes' | 'empty-image';

export class Refused extends HubError {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string) {
    super('BAD_MESSAGE', message);
    this.reason = reason;
  }
}

/** Where an image lies, as far as its URL tells. */
export type Target = { kind: 'file'; path: string } | { kind: 'http'; url: URL };

/**
 * Reads a URL that a message names, and holds it against what the settings allow. Of a file only the form is judged here:
 * what folder it is in shows when links are followed.
 * @param base of a redirect: what its target is relative to; from there no way leads to files.
 * @throws Refused
 */
export function aim(text: string, { imageUrlHosts }: Pick<Config, 'imageUrlHosts'>, base?: URL): Target {
  const url = URL.parse(text, base?.href);
  const shown = shownUrl(url?.href ?? text);
  if (!url) throw new Refused('url-malformed', `“${shown}” is no URL.`);
  if (url.username !== '' || url.password !== '') {
    throw new Refused(
      'url-malformed',
      `${shown} holds a user name or a password, which no URL of an image may.`,
    );
  }
  if (url.protocol === 'file:' && !base) return { kind: 'file', path: filePath(url, shown) };
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    const allowed = base
      ? 'a redirect leads to http: or https:'
      : 'images are named by file:, http: or https:';
    throw new Refused('url-not-allowed', `${shown} is not fetched: ${allowed}.`);
  }
  if (!imageUrlHosts.some((host) => covers(host, url))) {
    throw new Refused(
      'url-not-allowed',
      `${shown} is not fetched: ${url.host} is not among the hosts of IMAGEHUB_IMAGE_URL_HOSTS.`,
    );
  }
  url.hash = '';
  return { kind: 'http', url };
}

function filePath(url: URL, shown: string): string {
  // Part of a name that was not encoded, most likely; cut off it would name another file.
  if (url.search !== '' || url.hash !== '') {
    throw new Refused(
      'url-malformed',
      `${shown} goes on after its path: in a file: URL ? is %3F and # is %23.`,
    );
  }
  try {
    const path = fileURLToPath(url);
    if (!path.includes('\0')) return path;
  } catch {
    // A host, or a slash that was encoded.
  }
  throw new Refused('url-malformed', `${shown} is no file: URL of a path on this machine.`);
}

/** @param allowed host, host:port or *.example.com, as in the settings; without a port the usual one of the URL's scheme */
function covers(allowed: string, url: URL): boolean {
  const wildcard = allowed.startsWith('*.');
  const [, host = '', port] = /^(.*?)(?::(\d+))?$/.exec(allowed.slice(wildcard ? 2 : 0)) ?? [];
  const usual = url.protocol === 'https:' ? '443' : '80';
  if ((url.port || usual) !== (port ?? usual)) return false;
  // Names and addresses have several spellings; a URL has one.
  const { hostname } = new URL(`http://${host}`);
  return wildcard ? url.hostname.endsWith(`.${hostname}`) : url.hostname === hostname;
}
