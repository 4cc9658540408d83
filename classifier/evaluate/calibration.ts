/** Equal widths of 0.05, as in the view `confidence_histogram`. */
export const CALIBRATION_BINS = 20;

export interface CalibrationBin {
  /** Confidences in [from, to); the last bin takes 1 too. */
  from: number;
  to: number;
  images: number;
  /** Mean confidence; null without images. */
  confidence: number | null;
  /** Share classified rightly; null without images. */
  accuracy: number | null;
}

export interface Calibration {
  /** Expected calibration error: the mean over the images of |accuracy − mean confidence| of their bin. */
  error: number;
  /** The largest of a bin. */
  maxError: number;
  bins: CalibrationBin[];
}

/**
 * How far confidence and accuracy lie apart, by bins of the predicted class's probability.
 * Guo et al., On Calibration of Modern Neural Networks, 2017, equations 2 to 5; 20 bins instead of their 15.
 */
export class CalibrationCounter {
  readonly #images = new Float64Array(CALIBRATION_BINS);
  readonly #correct = new Float64Array(CALIBRATION_BINS);
  readonly #confidence = new Float64Array(CALIBRATION_BINS);

  add(confidence: number, correct: boolean): void {
    const bin = Math.min(CALIBRATION_BINS - 1, Math.max(0, Math.floor(confidence * CALIBRATION_BINS)));
    this.#images[bin]! += 1;
    this.#confidence[bin]! += confidence;
    if (correct) this.#correct[bin]! += 1;
  }

  finish(): Calibration {
    const bins = Array.from(this.#images, (images, bin) => ({
      from: bin / CALIBRATION_BINS,
      to: (bin + 1) / CALIBRATION_BINS,
      images,
      confidence: images > 0 ? this.#confidence[bin]! / images : null,
      accuracy: images > 0 ? this.#correct[bin]! / images : null,
    }));
    const total = bins.reduce((sum, { images }) => sum + images, 0);
    const gaps = bins.map(({ accuracy, confidence }) => Math.abs((accuracy ?? 0) - (confidence ?? 0)));
    const weighted = gaps.reduce((sum, gap, bin) => sum + gap * bins[bin]!.images, 0);
    return { error: total > 0 ? weighted / total : 0, maxError: Math.max(...gaps), bins };
  }
}
