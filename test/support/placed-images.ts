import sharp, { type Sharp } from 'sharp';

/** Facts of a picture that sharp (libexif) writes. */
const EXIF = {
  IFD0: { Make: 'Canon', Model: 'EOS 5D', Artist: 'Ada' },
  IFD2: { DateTimeOriginal: '2024:05:01 12:30:45', FNumber: '56/10', LensModel: 'EF 24-105mm' },
  IFD3: {
    GPSLatitudeRef: 'N',
    GPSLatitude: '48/1 30/1 1234/100',
    GPSLongitudeRef: 'E',
    GPSLongitude: '9/1 15/1 0/1',
    GPSAltitude: '300/1',
    GPSDateStamp: '2024:05:01',
  },
};

/** An XMP packet with the place as attributes and elements, and a title. */
export const PLACED_XMP = `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" exif:GPSLatitude="48,30.2057N" exif:GPSLongitude='9,15.0E' exif:FNumber="56/10"
   drone-dji:GpsLatitude="+48.503428" drone-dji:AbsoluteAltitude="+300.0" drone-dji:GimbalPitchDegree="-90">
  <exif:GPSAltitude>300/1</exif:GPSAltitude><exif:GPSVersionID/>
  <exif:GPSTimeStamp><rdf:Seq><rdf:li>2024-05-01</rdf:li></rdf:Seq></exif:GPSTimeStamp>
  <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Grüße</rdf:li></rdf:Alt></dc:title>
 </rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>`;

/** A picture with EXIF and XMP that say where it was taken, and a colour profile. */
export function placedPicture(width = 24, height = 16): Sharp {
  const data = Buffer.from(Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256));
  return sharp(data, { raw: { width, height, channels: 3 } })
    .withExif(EXIF)
    .withXmp(PLACED_XMP)
    .withIccProfile('p3');
}

export const ENCODERS: [format: string, encode: (picture: Sharp) => Sharp][] = [
  ['JPEG', (picture) => picture.jpeg()],
  ['progressive JPEG', (picture) => picture.jpeg({ progressive: true })],
  ['PNG', (picture) => picture.png()],
  ['WebP', (picture) => picture.webp()],
  ['lossless WebP', (picture) => picture.webp({ lossless: true })],
  ['TIFF', (picture) => picture.tiff()],
  [
    'tiled TIFF',
    (picture) => picture.tiff({ tile: true, tileWidth: 16, tileHeight: 16, compression: 'deflate' }),
  ],
  ['AVIF', (picture) => picture.avif()],
];
