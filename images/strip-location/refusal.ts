import { badImage, type BadImage } from '../headers/header.ts';

/** The error of an image whose place cannot be taken out without harm to the rest; it goes to the dead letters. */
export const notRemovable = (where: string): BadImage =>
  badImage(`its location cannot be removed: ${where}`, {
    kind: 'location-not-removed',
    hint: 'Save the image without its location and send it again.',
  });
