import { type Group, type Groups, isNumbers, text } from './exif-groups.ts';

/** What the picture was taken with, and how; everything is null where EXIF says nothing, or nothing possible. */
export interface Optics {
  /** Make and model, the make once: `Canon EOS 5D`. */
  camera: string | null;
  /** Make and model, the make once: `Canon EF 24-105mm f/4L`. */
  lens: string | null;
  /** F-number: focal length / diameter of the opening. */
  aperture: number | null;
  /** Seconds. */
  exposureTime: number | null;
  /** ISO speed. */
  iso: number | null;
  /** Millimetres, of the lens, not of one for 35 mm film. */
  focalLength: number | null;
}

const MAX_NAME = 100;
/** 16 bits hold no more: the speed is in another tag. */
const ISO_ELSEWHERE = 65_535;
/** Ten times what cameras offer. */
const MAX_ISO = 50_000_000;
/** What comes above is a mistake: the dimmest lens, a night of a year, a telescope of a kilometre. */
const MAX_APERTURE = 1000;
const MAX_EXPOSURE_S = 31_536_000;
const MAX_FOCAL_LENGTH_MM = 1_000_000;

export function optics({ Image, Photo }: Groups): Optics {
  return {
    camera: product(Image?.Make, Image?.Model),
    lens: product(Photo?.LensMake, Photo?.LensModel),
    aperture:
      positive(Photo?.FNumber, MAX_APERTURE) ?? positive(apex(Photo?.ApertureValue, 0.5), MAX_APERTURE),
    exposureTime:
      positive(Photo?.ExposureTime, MAX_EXPOSURE_S) ??
      positive(apex(Photo?.ShutterSpeedValue, -1), MAX_EXPOSURE_S),
    iso: iso(Photo),
    focalLength: positive(Photo?.FocalLength, MAX_FOCAL_LENGTH_MM),
  };
}

/** Some cameras write dashes where they do not know the lens. */
const NO_NAME = /^[\s-]*$/;

function product(maker: unknown, name: unknown): string | null {
  const make = text(maker);
  const model = text(name);
  if (!model || NO_NAME.test(model)) return (make && !NO_NAME.test(make) && make.slice(0, MAX_NAME)) || null;
  const brand = make?.split(' ')[0]?.toLowerCase();
  const named = !make || !brand || model.toLowerCase().startsWith(brand) ? model : `${make} ${model}`;
  return named.slice(0, MAX_NAME).toWellFormed();
}

/** Infinity and NaN, of a rational with the denominator 0, are none. */
const positive = (value: unknown, most: number): number | null =>
  typeof value === 'number' && value > 0 && value <= most ? value : null;

/** The additive system of photographic exposure (EXIF, annex C): 2 ^ (value · factor), rounded as cameras name it. */
const apex = (value: unknown, factor: number): number | null =>
  typeof value === 'number' ? Number((2 ** (value * factor)).toPrecision(3)) : null;

function iso(photo: Group | null | undefined): number | null {
  const speed = isNumbers(photo?.ISOSpeedRatings) ? photo.ISOSpeedRatings[0] : photo?.ISOSpeedRatings;
  const value =
    speed === ISO_ELSEWHERE
      ? (photo?.RecommendedExposureIndex ?? photo?.StandardOutputSensitivity ?? photo?.ISOSpeed ?? speed)
      : speed;
  const found = positive(value, MAX_ISO);
  return found !== null && Number.isInteger(found) ? found : null;
}
