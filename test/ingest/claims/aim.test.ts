import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../../config.ts';
import { aim, Refused } from '../../../ingest/claims/aim.ts';

const settings = loadConfig({
  IMAGEHUB_IMAGE_URL_HOSTS:
    'images.example.com, cdn.example.com:8443, *.store.example.com, [::1]:8080, 10.0.0.7',
});

/** The host that is asked, the path of the file, or the reason of the refusal. */
function outcome(url: string, base?: string): string {
  try {
    const target = aim(url, settings, base === undefined ? undefined : new URL(base));
    return target.kind === 'file' ? target.path : target.url.href;
  } catch (error) {
    if (error instanceof Refused) return error.reason;
    throw error;
  }
}

describe('a URL that a message names', () => {
  test.each([
    ['http://images.example.com/a.png?w=1#top', 'http://images.example.com/a.png?w=1'],
    ['HTTPS://Images.Example.COM:443/a.png', 'https://images.example.com/a.png'],
    ['https://cdn.example.com:8443/a.png', 'https://cdn.example.com:8443/a.png'],
    ['https://a.store.example.com/x', 'https://a.store.example.com/x'],
    ['https://a.b.store.example.com/x', 'https://a.b.store.example.com/x'],
    ['http://[0:0::1]:8080/x', 'http://[::1]:8080/x'],
    // 10.0.0.7 written as one number is the same address.
    ['http://167772167/x', 'http://10.0.0.7/x'],
    ['file:///data/K%C3%A4fer%20%231%3F.png', '/data/Käfer #1?.png'],
    ['file://localhost/data/a.png', '/data/a.png'],
    // Its folder is judged when links have been followed.
    ['file:///data/%2e%2e/etc/passwd', '/etc/passwd'],
  ])('%s is fetched from where the settings allow', (url, target) => expect(outcome(url)).toBe(target));

  test.each([
    ['', 'url-malformed'],
    ['a.png', 'url-malformed'],
    ['http://', 'url-malformed'],
    ['http://ann:geheim@images.example.com/a.png', 'url-malformed'],
    ['http://ann@images.example.com/a.png', 'url-malformed'],
    ['file://elsewhere/data/a.png', 'url-malformed'],
    ['file:///data/..%2f..%2fetc/passwd', 'url-malformed'],
    ['file:///data/a.png%00.jpg', 'url-malformed'],
    ['file:///data/a.png?w=1', 'url-malformed'],
    ['file:///data/a#1.png', 'url-malformed'],
    ['data:image/png;base64,AAAA', 'url-not-allowed'],
    ['ftp://images.example.com/a.png', 'url-not-allowed'],
    ['javascript:0', 'url-not-allowed'],
    ['http://images.example.com:8080/a.png', 'url-not-allowed'],
    ['http://cdn.example.com/a.png', 'url-not-allowed'],
    ['https://images.example.com:80/a.png', 'url-not-allowed'],
    ['http://example.com/a.png', 'url-not-allowed'],
    ['http://images.example.com.evil.org/a.png', 'url-not-allowed'],
    ['http://evil.org/images.example.com', 'url-not-allowed'],
    ['http://images.example.com./a.png', 'url-not-allowed'],
    ['https://store.example.com/x', 'url-not-allowed'],
    ['https://evilstore.example.com/x', 'url-not-allowed'],
    ['http://169.254.169.254/latest/meta-data', 'url-not-allowed'],
    ['http://[::ffff:10.0.0.7]/x', 'url-not-allowed'],
    ['http://localhost/x', 'url-not-allowed'],
  ])('%s is refused: %s', (url, reason) => expect(outcome(url)).toBe(reason));

  test('a redirect is judged as a URL is, and never leads to a file', () => {
    const base = 'https://images.example.com/folder/a.png';
    expect(outcome('b.png', base)).toBe('https://images.example.com/folder/b.png');
    expect(outcome('//a.store.example.com/b.png', base)).toBe('https://a.store.example.com/b.png');
    expect(outcome('http://127.0.0.1:5432/', base)).toBe('url-not-allowed');
    expect(outcome('//evil.org/b.png', base)).toBe('url-not-allowed');
    expect(outcome('https://ann:geheim@images.example.com/', base)).toBe('url-malformed');
    expect(outcome('file:///data/a.png', base)).toBe('url-not-allowed');
    expect(outcome('http://[', base)).toBe('url-malformed');
  });

  test('is shown without what may let a reader in', () => {
    const refusal = (url: string) => {
      try {
        aim(url, settings);
      } catch (error) {
        return (error as Error).message;
      }
      return '';
    };
    const long = `http://evil.org/${'x'.repeat(1000)}`;
    for (const url of ['http://ann:geheim@evil.org/a', 'http://evil.org/a?key=geheim', 'geheim@b', long]) {
      expect(refusal(url)).not.toBe('');
      expect(refusal(url).length).toBeLessThan(400);
    }
    expect(refusal('http://ann:geheim@evil.org/a')).toMatch(/^http:\/\/evil\.org\/a holds/);
    expect(refusal('http://evil.org/a?key=geheim')).toMatch(
      /^http:\/\/evil\.org\/a is.*IMAGEHUB_IMAGE_URL_HOSTS/,
    );
  });
});

describe('the settings', () => {
  test.each([
    ['IMAGEHUB_IMAGE_URL_HOSTS', '*'],
    ['IMAGEHUB_IMAGE_URL_HOSTS', 'http://images.example.com'],
    ['IMAGEHUB_IMAGE_URL_HOSTS', 'images.example.com/photos'],
    ['IMAGEHUB_IMAGE_URL_HOSTS', 'ann@images.example.com'],
    ['IMAGEHUB_IMAGE_URL_HOSTS', 'images.example.com:99999'],
    ['IMAGEHUB_IMAGE_URL_HOSTS', 'a.example.com,,b.example.com'],
    ['IMAGEHUB_IMAGE_URL_FOLDERS', 'photos'],
    ['IMAGEHUB_IMAGE_URL_FOLDERS', '/data,'],
  ])('%s=%s is refused at the start', (name, value) => {
    expect(() => loadConfig({ [name]: value })).toThrow(name);
  });

  test('allow nothing by themselves', () => {
    expect(loadConfig({})).toMatchObject({ imageUrlHosts: [], imageUrlFolders: [] });
    expect(() => aim('http://localhost/a.png', loadConfig({}))).toThrow('IMAGEHUB_IMAGE_URL_HOSTS');
  });
});
