import { gzipSync } from 'node:zlib';
import { type HostileImage } from './hostile-image.ts';

const NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"';
const svg = (content: string, prologue = '') =>
  `${prologue}<svg ${NAMESPACES} width="28" height="28">${content}</svg>`;
const text = (content: string) => `<text y="20">${content}</text>`;

/** Ten entities of which each is ten of the one before. */
const LAUGHS = [
  '<!ENTITY l0 "ha">',
  ...Array.from({ length: 10 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`),
].join('');

/**
 * SVG files that refer to other files and servers, or that are small only until they are read. We do not draw SVG, so
 * nothing of it may be read.
 * @param origin of an HTTP server that nobody may ask for anything
 */
export function svgs(origin: string): HostileImage[] {
  const files: [name: string, content: string | Buffer][] = [
    ['a picture from a server', svg(`<image xlink:href="${origin}/image" width="28" height="28"/>`)],
    ['a picture from a server, without xlink', svg(`<image href="${origin}/href" width="28" height="28"/>`)],
    ['a file of this machine', svg('<image xlink:href="file:///etc/passwd" width="28" height="28"/>')],
    [
      'a style sheet',
      svg(`<style>@import url("${origin}/style.css");</style><rect width="28" height="28"/>`),
    ],
    [
      'a style sheet of XML',
      svg('<rect width="9" height="9"/>', `<?xml-stylesheet href="${origin}/sheet.css"?>`),
    ],
    ['a font', svg(`<style>@font-face { font-family: f; src: url(${origin}/font) }</style>${text('a')}`)],
    ['another SVG', svg(`<use xlink:href="${origin}/other.svg#a"/>`)],
    ['a script', svg(`<script xlink:href="${origin}/script.js"/><script>fetch("${origin}/fetch")</script>`)],
    [
      'a page',
      svg(
        `<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="${origin}/page"/></foreignObject>`,
      ),
    ],
    [
      'an included file',
      svg(`<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="${origin}/include"/>`),
    ],
    ['a definition from a server', svg(text('a'), `<!DOCTYPE svg SYSTEM "${origin}/svg.dtd">`)],
    ['an entity from a server', svg(text('&a;'), `<!DOCTYPE svg [<!ENTITY a SYSTEM "${origin}/entity">]>`)],
    [
      'an entity of this machine',
      svg(text('&a;'), '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>'),
    ],
    ['a parameter entity', svg(text('a'), `<!DOCTYPE svg [<!ENTITY % a SYSTEM "${origin}/parameter"> %a;]>`)],
    ['a billion laughs', svg(text('&l10;'), `<!DOCTYPE svg [${LAUGHS}]>`)],
    [
      'one long laugh, many times',
      svg(text('&a;'.repeat(20_000)), `<!DOCTYPE svg [<!ENTITY a "${'ha'.repeat(20_000)}">]>`),
    ],
    ['100,000 groups within each other', svg(`${'<g>'.repeat(100_000)}${'</g>'.repeat(100_000)}`)],
    ['UTF-16', Buffer.from(`\ufeff${svg(`<image href="${origin}/utf16"/>`)}`, 'utf16le')],
    ['gzip', gzipSync(svg(`<image href="${origin}/gzip"/>`))],
    [
      'a declaration before it',
      svg(`<image href="${origin}/declared"/>`, '<?xml version="1.0" encoding="UTF-8"?>\n'),
    ],
  ];
  return files.map(([name, content]) => ({
    name: `SVG: ${name}`,
    bytes: Buffer.from(content),
    contentType: 'image/svg+xml',
    fates: ['not-an-image'],
    detail: /PNG, JPEG, WebP/,
  }));
}
