import { FEATURE_DEFAULTS } from '../classifier/subject/features.ts';

/** How training on features differs, for `--help`. */
export const featureDefaultsText = (): string =>
  'with other defaults: ' +
  Object.entries(FEATURE_DEFAULTS)
    .map(([name, value]) => `--${name} ${String(value) || 'none'}`)
    .join(' ') +
  '.';
