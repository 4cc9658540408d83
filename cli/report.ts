import Table from 'cli-table3';
import { type DatasetReport, datasetReport } from '../classifier/dataset-report.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';

/** A wider matrix does not fit a terminal: its commonest confusions are listed instead. */
export const MATRIX_CLASSES = 20;
const LISTED_CONFUSIONS = 20;

export const reportCommand: RegisterCommand = (program) => {
  program
    .command('report')
    .argument('<dataset>', 'the dataset’s name')
    .description('counts, accuracy, per-class precision, recall and F1, and the confusion matrix')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      report(options, await datasetReport(hub, dataset), reportText);
    });
};

/** The report for people; figures are right-aligned, a dash stands where there is nothing to divide by. */
export function reportText(value: DatasetReport): string {
  const parts = [countsTable(value)];
  if (value.deadLetters.total > 0) parts.push(`Dead letters\n${deadLetterTable(value)}`);
  if (value.evaluated === 0) {
    parts.push(
      value.classified === 0
        ? 'Nothing is classified yet: promote a model, and its predictions appear here.'
        : 'No classified image has a known label, so there is no accuracy to report.',
    );
  } else {
    parts.push(`Classes\n${classTable(value)}`);
    parts.push(
      value.classes.length > MATRIX_CLASSES
        ? `Commonest confusions\n${confusionList(value)}`
        : `Confusion matrix (rows: known, columns: predicted)\n${matrixTable(value)}`,
    );
  }
  return parts.join('\n\n');
}

export const fraction = (value: number | null) => (value === null ? '–' : value.toFixed(4));
export const count = (value: number) => value.toLocaleString('en-US');

export function table(head: string[], rows: string[][], labelColumns = 1): string {
  const lines = new Table({
    head,
    colAligns: rows[0]?.map((_, column) => (column < labelColumns ? 'left' : 'right')) ?? [],
    style: { head: [], border: [], compact: true },
  });
  lines.push(...rows);
  return lines.toString();
}

function countsTable(value: DatasetReport): string {
  const live = value.liveModel;
  return table(
    ['Dataset', value.dataset],
    [
      ['images', count(value.images)],
      ['classified', count(value.classified)],
      ['unclassified', count(value.unclassified)],
      ['labelled', count(value.labelled)],
      ['… by people', count(value.labelledByPeople)],
      ['dead letters', count(value.deadLetters.total)],
      ['live model', live ? `${live.model} (${live.source})` : 'none'],
      [
        'accuracy',
        value.accuracy === null
          ? '–'
          : `${fraction(value.accuracy)} (${count(value.correct)} of ${count(value.evaluated)})`,
      ],
    ],
  );
}

function deadLetterTable({ deadLetters }: DatasetReport): string {
  const rows = deadLetters.reasons.map((each) => [each.stage, each.reason, count(each.count)]);
  return table(['stage', 'reason', 'messages'], rows, 2);
}

function classTable({ classes }: DatasetReport): string {
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

function matrixTable({ classes, confusionMatrix }: DatasetReport): string {
  return table(
    ['', ...classes.map((each) => each.name)],
    confusionMatrix.map((row, known) => [
      className(classes[known]!),
      ...row.map((images) => (images === 0 ? '·' : count(images))),
    ]),
  );
}

function confusionList({ classes, confusionMatrix }: DatasetReport): string {
  const confusions = confusionMatrix
    .flatMap((row, known) => row.map((images, predicted) => ({ known, predicted, images })))
    .filter(({ known, predicted, images }) => known !== predicted && images > 0)
    .sort((a, b) => b.images - a.images)
    .slice(0, LISTED_CONFUSIONS);
  return table(
    ['known', 'predicted', 'images'],
    confusions.map((each) => [
      className(classes[each.known]!),
      className(classes[each.predicted]!),
      count(each.images),
    ]),
    2,
  );
}

/** `3`, or `3 airplane` where the name is not the index. */
export const className = ({ index, name }: { index: number; name: string }) =>
  name === String(index) ? name : `${index} ${name}`;
