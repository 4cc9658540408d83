/** Primaries of Adobe RGB (1998), adapted to D50, as its profile has them. */
export const ADOBE_RGB = [
  [0.60974, 0.31111, 0.01947],
  [0.20528, 0.62567, 0.06087],
  [0.14919, 0.06322, 0.74457],
];
/** Those of sRGB (IEC 61966-2-1). */
export const SRGB = [
  [0.43607, 0.22249, 0.01392],
  [0.38515, 0.71687, 0.09708],
  [0.14307, 0.06061, 0.7141],
];
const D50 = [0.9642, 1, 0.8249];

export interface IccToWrite {
  name: string;
  /** XYZ of red, green and blue; none: a grey profile. */
  primaries?: number[][];
  /** A gamma, or the parameters g a b c d of ICC's function type 3. */
  curve: number | [number, number, number, number, number];
  /** Bytes of a tag that nobody knows, to make it long. */
  padding?: number;
}

/** sRGB's curve. */
export const SRGB_CURVE: IccToWrite['curve'] = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045];

/** An ICC profile of version 4 (ICC.1:2022) with a curve for all channels. */
export function writeIcc({ name, primaries, curve, padding = 0 }: IccToWrite): Buffer {
  const curveTag = Array.isArray(curve) ? formula(3, curve) : formula(0, [curve]);
  const tags: [string, Buffer][] = [
    ['desc', text(name)],
    ['cprt', text('none')],
    ['wtpt', xyz(D50)],
    ...(primaries
      ? primaries.flatMap((colour, i): [string, Buffer][] => [
          [`${'rgb'[i]!}XYZ`, xyz(colour)],
          [`${'rgb'[i]!}TRC`, curveTag],
        ])
      : [['kTRC', curveTag] satisfies [string, Buffer]]),
    ['pad ', tag('data', Buffer.alloc(padding))],
  ];
  const header = Buffer.alloc(128);
  header.writeUInt32BE(0x04400000, 8);
  header.write('mntr', 12, 'latin1');
  header.write(primaries ? 'RGB ' : 'GRAY', 16, 'latin1');
  header.write('XYZ ', 20, 'latin1');
  header.write('acsp', 36, 'latin1');
  D50.forEach((value, i) => header.writeInt32BE(Math.round(value * 65536), 68 + 4 * i));
  const table = Buffer.alloc(4 + 12 * tags.length);
  table.writeUInt32BE(tags.length, 0);
  let offset = header.length + table.length;
  tags.forEach(([signature, body], i) => {
    table.write(signature, 4 + 12 * i, 'latin1');
    table.writeUInt32BE(offset, 8 + 12 * i);
    table.writeUInt32BE(body.length, 12 + 12 * i);
    offset += body.length;
  });
  header.writeUInt32BE(offset, 0);
  return Buffer.concat([header, table, ...tags.map(([, body]) => body)]);
}

/** Type, four zeros, body; padded to whole words. */
function tag(type: string, body: Buffer): Buffer {
  const padding = Buffer.alloc((4 - (body.length % 4)) % 4);
  return Buffer.concat([Buffer.from(`${type}\0\0\0\0`, 'latin1'), body, padding]);
}

function fixed(values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeInt32BE(Math.round(value * 65536), 4 * i));
  return bytes;
}

const xyz = (values: number[]): Buffer => tag('XYZ ', fixed(values));
const formula = (kind: number, parameters: number[]): Buffer =>
  tag('para', Buffer.concat([Buffer.from([0, kind, 0, 0]), fixed(parameters)]));

function text(string: string): Buffer {
  const record = Buffer.from('\0\0\0\x01\0\0\0\x0cenUS\0\0\0\0\0\0\0\x1c', 'latin1');
  record.writeUInt32BE(2 * string.length, 12);
  return tag('mluc', Buffer.concat([record, Buffer.from(string, 'utf16le').swap16()]));
}
