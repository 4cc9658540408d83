import type { Config } from '../../config.ts';
import { aim, Refused } from './aim.ts';
import { collect } from './collect.ts';
import { shownUrl } from '../message.ts';

type Limits = Pick<Config, 'imageUrlHosts' | 'imageUrlRedirects' | 'imageUrlBytes'>;

/** The host was reached and could not serve this image now; others it may. */
export class NotNow extends Error {}

const REDIRECTS = [301, 302, 303, 307, 308];
/** Too early, too slow, too often, and all that is the server's own fault (5xx): it may pass. */
const MAY_PASS = [408, 425, 429];

/** @throws Refused; NotNow; anything else: no answer, or not all of it */
export async function download(first: URL, limits: Limits, signal: AbortSignal): Promise<Buffer> {
  let url = first;
  for (let redirects = 0; ; redirects++) {
    const response = await fetch(url, {
      redirect: 'manual',
      signal,
      // Images are compressed already. What a server packs all the same is unpacked, and the limit is for what comes out.
      headers: { accept: 'image/*, */*;q=0.1', 'accept-encoding': 'identity', 'user-agent': 'imagehub' },
    });
    const location = response.headers.get('location');
    try {
      if (response.status === 200) {
        const packed = response.headers.has('content-encoding');
        const announced = packed ? 0 : Number(response.headers.get('content-length') ?? 0);
        return await collect(response.body ?? [], announced, limits.imageUrlBytes);
      }
    } finally {
      // What was not read is not wanted, and the connection is not kept waiting for it.
      await response.body?.cancel().catch(() => undefined);
    }
    if (!REDIRECTS.includes(response.status) || location === null) throw statusError(response.status, url);
    if (redirects >= limits.imageUrlRedirects) {
      throw new Refused(
        'fetch-refused',
        `${shownUrl(first.href)} redirects more than ${limits.imageUrlRedirects} times (IMAGEHUB_IMAGE_URL_REDIRECTS).`,
      );
    }
    const target = aim(location, limits, url);
    if (target.kind === 'http') url = target.url;
  }
}

function statusError(status: number, url: URL): Error {
  const answered = `${shownUrl(url.href)} is answered with status ${status}`;
  if (status === 404 || status === 410) return new Refused('not-found', `${answered}.`);
  if (status >= 500 || MAY_PASS.includes(status)) return new NotNow(answered);
  return new Refused('fetch-refused', `${answered}.`);
}
