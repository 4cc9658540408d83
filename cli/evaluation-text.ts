import type { Comparison, Difference } from '../classifier/evaluate/compare.ts';
import type { Evaluation } from '../classifier/evaluate/evaluate-model.ts';
import { denseConfusion } from '../classifier/evaluate/figures.ts';
import type { EvaluationRun } from '../sql/evaluations.ts';
import { describeSelection } from '../sql/selection.ts';
import { className, count, fraction, MATRIX_CLASSES, table } from './report.ts';

const LISTED_CONFUSIONS = 10;
/** Beyond that a difference is not likely to be chance. */
const SIGNIFICANT = 0.05;

/** An evaluation for people. */
export function evaluationText(evaluation: Evaluation): string {
  const parts = [
    headText(evaluation),
    `Classes\n${classTable(evaluation)}`,
    ...(evaluation.classes.length > MATRIX_CLASSES
      ? []
      : [`Confusion matrix (rows: known, columns: predicted)\n${matrixTable(evaluation)}`]),
    ...confusionTable(evaluation),
    `Calibration: accuracy by confidence\n${calibrationTable(evaluation)}`,
  ];
  return parts.join('\n\n');
}

function headText(evaluation: Evaluation): string {
  const { run, model, dataset, images, correct, trained, failed, unlabelled, calibration } = evaluation;
  const lines = [
    `Model ${model} on ${count(images)} images of ${dataset}${selectionText(evaluation)} (run ${run})`,
    `  accuracy           ${fraction(evaluation.accuracy)} (${count(correct)} of ${count(images)})`,
    `  macro means        precision ${fraction(evaluation.macro.precision)}, recall ${fraction(evaluation.macro.recall)}, F1 ${fraction(evaluation.macro.f1)}`,
    `  weighted means     precision ${fraction(evaluation.weighted.precision)}, recall ${fraction(evaluation.weighted.recall)}, F1 ${fraction(evaluation.weighted.f1)}`,
    `  log loss           ${fraction(evaluation.logLoss)} nats`,
    `  calibration error  ${fraction(calibration.error)} in ${calibration.bins.length} bins, at most ${fraction(calibration.maxError)}`,
    `  speed              ${speedText(evaluation)}`,
    `  trained on         ${trainedText(trained)}`,
  ];
  if (unlabelled > 0) lines.push(`  without a label    ${count(unlabelled)}: not judged`);
  if (failed.images > 0) {
    const [first] = failed.examples;
    lines.push(
      `  failed             ${count(failed.images)}, ${failed.included ? 'counted as wrong' : 'not in the figures'}; ${first!.id}: ${first!.reason}`,
    );
  }
  return lines.join('\n');
}

function selectionText({ selection: { where, since, until } }: Pick<Evaluation, 'selection'>): string {
  const text = describeSelection({
    where,
    since: since === null ? null : new Date(since),
    until: until === null ? null : new Date(until),
  });
  return text && ` (${text})`;
}

function speedText({ imagesPerSecond, reused }: Evaluation): string {
  const speed = imagesPerSecond === null ? 'not measured' : `${count(Math.round(imagesPerSecond))} images/s`;
  return reused > 0 ? `${speed}; ${count(reused)} stored predictions were taken` : speed;
}

function trainedText({ known, images, included, correct }: Evaluation['trained']): string {
  if (!known) return 'not known for this model, so none were left out';
  if (!included) return `${count(images)} of the selected images: left out`;
  if (images === 0) return 'none of these images';
  return `${count(images)} of these images (${count(correct ?? 0)} right): the figures say too much good of it`;
}

function classTable({ classes }: Evaluation): string {
  return table(
    ['class', 'precision', 'recall', 'F1', 'known', 'predicted'],
    classes.map((each) => [
      className(each),
      fraction(each.precision),
      fraction(each.recall),
      fraction(each.f1),
      count(each.support),
      count(each.predicted),
    ]),
  );
}

function matrixTable(evaluation: Evaluation): string {
  const { classes } = evaluation;
  return table(
    ['', ...classes.map((each) => each.name)],
    denseConfusion(evaluation).map((row, known) => [
      className(classes[known]!),
      ...row.map((images) => (images === 0 ? '·' : count(images))),
    ]),
  );
}

function confusionTable({ classes, confusion }: Evaluation): string[] {
  const mistakes = confusion
    .filter(({ known, predicted }) => known !== predicted)
    .sort((a, b) => b.images - a.images)
    .slice(0, LISTED_CONFUSIONS);
  if (mistakes.length === 0) return [];
  const rows = mistakes.map(({ known, predicted, images, examples }) => [
    className(classes[known]!),
    className(classes[predicted]!),
    count(images),
    examples[0] ? `${examples[0].id} (${fraction(examples[0].confidence)})` : '',
  ]);
  return [
    `Commonest confusions, and the one the model was surest of\n${table(['known', 'predicted', 'images', 'surest'], rows, 2)}`,
  ];
}

function calibrationTable({ calibration }: Evaluation): string {
  return table(
    ['confidence', 'images', 'mean', 'accuracy'],
    calibration.bins
      .filter(({ images }) => images > 0)
      .map(({ from, to, images, confidence, accuracy }) => [
        `${from.toFixed(2)}–${to.toFixed(2)}`,
        count(images),
        fraction(confidence),
        fraction(accuracy),
      ]),
  );
}

export function listText({
  dataset,
  evaluations,
}: {
  dataset: string;
  evaluations: EvaluationRun[];
}): string {
  if (evaluations.length === 0) return `Nothing was evaluated yet: imagehub evaluate ${dataset}`;
  return table(
    ['run', 'model', 'images', 'accuracy', 'macro F1', 'log loss', 'state', 'images about', 'when'],
    evaluations.map(({ run, model, state, metrics, parameters, startedAt }) => {
      const found = metrics as unknown as Evaluation | null;
      return [
        String(run),
        String(model ?? '–'),
        found ? count(found.images) : '–',
        fraction(found?.accuracy ?? null),
        fraction(found?.macro.f1 ?? null),
        fraction(found?.logLoss ?? null),
        state,
        selectionText(parameters as unknown as Evaluation).slice(2, -1) || 'all',
        startedAt.toISOString(),
      ];
    }),
    0,
  );
}

/** A comparison for people. */
export function comparisonText({ a, b, metrics, classes, common }: Comparison): string {
  const rows = Object.entries(metrics).map(([name, value]) => [words(name), ...differenceCells(value)]);
  const names = [a, b].map(({ model, run }) => `model ${model} (run ${run})`) as [string, string];
  const parts = [
    [a, b]
      .map(
        (side, index) =>
          `${index === 0 ? 'a' : 'b'}: ${names[index]!} on ${count(side.images)} images of ${side.dataset}${selectionText(side)}${side.includesTrained ? ', with images that it was trained on' : ''}`,
      )
      .join('\n'),
    table(['', 'a', 'b', 'b − a'], rows),
    `F1 by class\n${table(
      ['class', 'a', 'b', 'b − a'],
      classes.map((each) => [className(each), ...differenceCells(each.f1)]),
    )}`,
    commonText(common),
  ];
  return parts.join('\n\n');
}

/** `macroPrecision` → `macro precision` */
const words = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/ f1$/, ' F1');

function differenceCells({ a, b, difference }: Difference): string[] {
  const signed =
    difference === null
      ? '–'
      : `${difference > 0 ? '+' : difference < 0 ? '−' : ''}${Math.abs(difference).toFixed(4)}`;
  return [fraction(a), fraction(b), signed];
}

function commonText({
  images,
  onlyFirst,
  onlySecond,
  bothRight,
  neither,
  accuracy,
  pValue,
}: Comparison['common']) {
  if (images === 0) return 'They have judged no image in common.';
  const verdict =
    pValue < SIGNIFICANT
      ? 'a difference so large is hardly chance'
      : 'a difference so large may well be chance';
  return [
    `On the ${count(images)} images that both judged: accuracy ${fraction(accuracy.a)} and ${fraction(accuracy.b)}.`,
    `  both right ${count(bothRight)}, only a ${count(onlyFirst)}, only b ${count(onlySecond)}, neither ${count(neither)}`,
    `  McNemar’s exact test: p = ${pValue.toPrecision(3)}, ${verdict}`,
  ].join('\n');
}
