import { PanelBuilder as BarChart } from '@grafana/grafana-foundation-sdk/barchart';
import {
  StackingMode,
  TableCellBackgroundDisplayMode,
  TableCellDisplayMode,
  TableCellHeight,
} from '@grafana/grafana-foundation-sdk/common';
import {
  type DashboardBuilder,
  FieldColorBuilder,
  FieldColorModeId,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';
import { POSTGRES, postgres } from './data-sources.ts';
import { driftPanels, driftRow } from './drift.ts';
import {
  DATASET_SQL,
  dashboard,
  FULL,
  HALF,
  legend,
  newest,
  PANEL_HEIGHT,
  stacked,
  STAT_HEIGHT,
  tooltip,
} from './shared.ts';

/** Enough to see a pattern; each row carries its picture. */
const LISTED_MISTAKES = 50;

/** For who uses the predictions: how many, how good, and what goes wrong. */
export function predictions(): DashboardBuilder {
  const panels = dashboard(
    'imagehub-predictions',
    'predictions',
    'What the live model says about the images of a dataset, and how often it is right.',
  )
    .time({ from: 'now-24h', to: 'now' })
    .withPanel(counts())
    .withPanel(accuracy())
    .withPanel(countsByClass())
    .withPanel(predictionsOverTime())
    .withPanel(accuracyOverTime())
    .withPanel(confidenceHistogram())
    .withPanel(confusionMatrix())
    .withPanel(classMetrics())
    .withPanel(modelAccuracy())
    .withPanel(newestMistakes())
    .withPanel(impacts())
    .withPanel(impactOverTime())
    .withPanel(impactPairs())
    .withRow(driftRow());
  return driftPanels().reduce((board, panel) => board.withPanel(panel), panels);
}

const counts = () =>
  new Stat()
    .reduceOptions(newest())
    .title('Images')
    .datasource(POSTGRES)
    .height(STAT_HEIGHT)
    .span(18)
    .unit('short')
    .withTarget(
      postgres(`
    select images as "Images", classified as "Classified", unclassified as "Unclassified",
           labelled as "Labelled", labelled_by_people as "Labelled by people"
    from dataset_summary where dataset = ${DATASET_SQL}`),
    );

const accuracy = () =>
  new Stat()
    .reduceOptions(newest())
    .title('Accuracy')
    .description('Of the images with a prediction and a known label.')
    .datasource(POSTGRES)
    .height(STAT_HEIGHT)
    .span(6)
    .unit('percentunit')
    .decimals(2)
    .withTarget(postgres(`select accuracy from dataset_summary where dataset = ${DATASET_SQL}`));

const countsByClass = () =>
  new BarChart()
    .legend(legend())
    .tooltip(tooltip())
    .title('Images by class')
    .description(
      'How many images the live model puts in each class, how many of them rightly, and how many are known to be of it.',
    )
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .xField('class')
    .withTarget(
      postgres(`
    select class, predicted, correct, known
    from class_counts where dataset = ${DATASET_SQL} order by class_index`),
    );

const predictionsOverTime = () =>
  new TimeSeries()
    .legend(legend())
    .tooltip(tooltip())
    .title('Predictions over time')
    .description('Images ingested, by the class the live model says.')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .stacking(stacked())
    .fillOpacity(30)
    .withTarget(
      postgres(
        `
    select $__timeGroupAlias(ingested_at, $__interval), coalesce(predicted_class, 'unclassified') as metric, count(*) as images
    from image_predictions where dataset = ${DATASET_SQL} and $__timeFilter(ingested_at)
    group by 1, 2 order by 1, 2`,
        { format: 'time_series' },
      ),
    );

const accuracyOverTime = () =>
  new TimeSeries()
    .legend(legend())
    .tooltip(tooltip())
    .title('Accuracy over time')
    .description('By the time the images were ingested; images with a prediction and a known label.')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .unit('percentunit')
    .max(1)
    .withTarget(
      postgres(
        `
    select $__timeGroupAlias(ingested_at, $__interval), avg((prediction = known_label)::int) as accuracy
    from images where dataset = ${DATASET_SQL} and $__timeFilter(ingested_at) and prediction >= 0 and known_label is not null
    group by 1 order by 1`,
        { format: 'time_series' },
      ),
    );

const confidenceHistogram = () =>
  new BarChart()
    .legend(legend())
    .tooltip(tooltip())
    .title('Confidence')
    .description(
      'Images by the confidence of their prediction. Of a calibrated model, the share that is right rises with it.',
    )
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .xField('confidence')
    .stacking(StackingMode.Normal)
    .withTarget(
      postgres(`
    select to_char(confidence_from, 'FM0.00') as confidence,
           correct as "right", evaluated - correct as "wrong", images - evaluated as "label unknown"
    from confidence_histogram where dataset = ${DATASET_SQL} order by bin`),
    );

const confusionMatrix = () =>
  new Table()
    .title('Confusion matrix')
    .description('Rows: the known class. Columns: the class the live model says.')
    .datasource(POSTGRES)
    .height(12)
    .span(HALF)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.ContinuousBlues))
    .cellOptions({
      type: TableCellDisplayMode.ColorBackground,
      mode: TableCellBackgroundDisplayMode.Basic,
    })
    .withTarget(
      postgres(`
    select known_class as "known", predicted_class, images
    from confusion_matrix where dataset = ${DATASET_SQL} order by known_label, prediction`),
    )
    .withTransformation({
      id: 'groupingToMatrix',
      options: {
        rowField: 'known',
        columnField: 'predicted_class',
        valueField: 'images',
        emptyValue: 'zero',
      },
    });

const classMetrics = () =>
  new Table()
    .title('Precision, recall and F1')
    .datasource(POSTGRES)
    .height(12)
    .span(HALF)
    .overrideByRegexp('precision|recall|F1', [
      { id: 'decimals', value: 4 },
      { id: 'custom.cellOptions', value: { type: TableCellDisplayMode.ColorText } },
      { id: 'color', value: { mode: FieldColorModeId.ContinuousRdYlGr } },
      { id: 'min', value: 0 },
      { id: 'max', value: 1 },
    ])
    .withTarget(
      postgres(`
    select class, precision, recall, f1 as "F1", support as "known", predicted
    from class_metrics where dataset = ${DATASET_SQL} order by class_index`),
    );

const modelAccuracy = () =>
  new Table()
    .title('Models')
    .description('The predictions that stand in the table, by the model that made them.')
    .datasource(POSTGRES)
    .height(5)
    .span(FULL)
    .overrideByName('accuracy', [
      { id: 'unit', value: 'percentunit' },
      { id: 'decimals', value: 2 },
    ])
    .withTarget(
      postgres(`
    select model_id as "model", live, images, evaluated, accuracy, first_predicted_at, last_predicted_at
    from model_accuracy where dataset = ${DATASET_SQL} order by last_predicted_at desc`),
    );

const newestMistakes = () =>
  new Table()
    .title('Newest mistakes')
    .description('Images whose prediction differs from the known label.')
    .datasource(POSTGRES)
    .height(14)
    .span(FULL)
    .cellHeight(TableCellHeight.Lg)
    .overrideByName('image', [{ id: 'custom.cellOptions', value: { type: TableCellDisplayMode.Image } }])
    .overrideByName('confidence', [
      { id: 'unit', value: 'percentunit' },
      { id: 'decimals', value: 1 },
    ])
    .withTarget(
      postgres(`
    select 'data:image/' || i.format || ';base64,' || i.image_base64 as image,
           m.mistaken_since as "since", m.id, m.known_class as "known", m.predicted_class as "predicted", m.confidence
    from (select * from newest_mistakes where dataset = ${DATASET_SQL} limit ${LISTED_MISTAKES}) m
    join images i on i.dataset = m.dataset and i.id = m.id
    order by m.mistaken_since desc`),
    );

/** The impact that a dataset's newest comparison found. */
const NEWEST_IMPACT = `(select max(impact) from impact_summary where dataset = ${DATASET_SQL})`;

const impacts = () =>
  new Table()
    .title('Impacts')
    .description(
      'Candidates compared with the live model on stored images (imagehub impact): what each would have fixed and broken.',
    )
    .datasource(POSTGRES)
    .height(6)
    .span(FULL)
    .overrideByRegexp('accuracy.*', [
      { id: 'unit', value: 'percentunit' },
      { id: 'decimals', value: 2 },
    ])
    .withTarget(
      postgres(`
    select impact, candidate, live as "against", selection, images, fixed, broken, still_wrong as "still wrong",
           changed, live_accuracy as "accuracy before", candidate_accuracy as "accuracy now", finished_at
    from impact_summary where dataset = ${DATASET_SQL} order by impact desc`),
    );

const impactOverTime = () =>
  new BarChart()
    .legend(legend())
    .tooltip(tooltip())
    .title('Newest impact over time')
    .description('By the hour or day (UTC) in which the images were ingested, or captured.')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .xField('time')
    .stacking(StackingMode.Normal)
    .withTarget(
      postgres(`
    select to_char(time at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as time, fixed, broken, still_wrong as "still wrong", changed
    from impact_over_time where dataset = ${DATASET_SQL} and impact = ${NEWEST_IMPACT} and time is not null
    order by impact_over_time.time`),
    );

const impactPairs = () =>
  new Table()
    .title('Newest impact by class')
    .description(
      'Images on which the candidate differs: what they are, what was said, and what would have been.',
    )
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .withTarget(
      postgres(`
    select outcome, coalesce(known_class, '?') as "known", live_class as "before", candidate_class as "now", images
    from impact_pairs where dataset = ${DATASET_SQL} and impact = ${NEWEST_IMPACT} and outcome <> 'unchanged'
    order by images desc`),
    );
