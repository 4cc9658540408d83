import { badImage } from '../images/bad-image.ts';
import { stripLocation } from '../images/strip-location/strip-location.ts';
import type { BatchResult } from './batch-task.ts';
import type { BatchImage } from './read-messages.ts';

/**
 * Takes the places out of images, before anything is made of them: out of their bytes, and what headers say.
 * @param failures gets those whose place cannot be removed
 * @returns the others
 */
export function stripLocations(images: BatchImage[], failures: BatchResult['failures']): BatchImage[] {
  return images.filter(({ index, parsed }) => {
    try {
      parsed.value = stripLocation(parsed.value);
    } catch (error) {
      failures.push({ index, stage: 'decode', ...badImage(error) });
      return false;
    }
    delete parsed.metadata.latitude;
    delete parsed.metadata.longitude;
    return true;
  });
}
