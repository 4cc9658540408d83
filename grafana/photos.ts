import { PanelBuilder as BarChart } from '@grafana/grafana-foundation-sdk/barchart';
import {
  FrameGeometrySourceBuilder,
  FrameGeometrySourceMode,
  MapLayerOptionsBuilder,
  TableCellDisplayMode,
  TableCellHeight,
} from '@grafana/grafana-foundation-sdk/common';
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import {
  ControlsOptionsBuilder,
  MapCenterID,
  MapViewConfigBuilder,
  PanelBuilder as Geomap,
  TooltipMode,
  TooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/geomap';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';
import { ELASTICSEARCH, POSTGRES, postgres } from './data-sources.ts';
import { byTerm, documentCount, overTime } from './elasticsearch.ts';
import {
  DATASET_SQL,
  dashboard,
  FULL,
  HALF,
  indexPrefix,
  legend,
  newest,
  PANEL_HEIGHT,
  stacked,
  STAT_HEIGHT,
  tooltip,
} from './shared.ts';

/** As many markers as a browser draws at ease. */
const MAPPED_PHOTOS = 5000;
const LISTED = 50;
const LISTED_CAMERAS = 100;
const LISTED_COLOURS = 30;

/** Images of the chosen dataset that were ingested in the chosen time. */
const CHOSEN = `dataset = ${DATASET_SQL} and $__timeFilter(ingested_at)`;

/** For who looks after the pictures: where, when and with what they were taken, and which are of no use. */
export function photos(): DashboardBuilder {
  return dashboard(
    'imagehub-photos',
    'photos',
    'Where, when and with what the pictures were taken, and how well: from EXIF and from the pixels.',
  )
    .time({ from: 'now-30d', to: 'now' })
    .withVariable(indexPrefix())
    .withPanel(counts())
    .withPanel(map())
    .withPanel(cameras())
    .withPanel(takenOverTime())
    .withPanel(isoSpeeds())
    .withPanel(apertures())
    .withPanel(exposureTimes())
    .withPanel(focalLengths())
    .withPanel(brightness())
    .withPanel(colours())
    .withPanel(colourSpaces())
    .withPanel(useless());
}

const counts = () =>
  new Stat()
    .reduceOptions(newest())
    .title('Images')
    .datasource(POSTGRES)
    .height(STAT_HEIGHT)
    .span(FULL)
    .unit('short')
    .withTarget(
      postgres(`
    select count(*) as "Images", count(latitude) as "With a place", count(captured_at) as "With a time",
           count(distinct camera) as "Cameras", count(distinct lens) as "Lenses",
           count(*) filter (where blank) as "Blank", count(*) filter (where over_exposed) as "Over-exposed"
    from images where ${CHOSEN}`),
    );

const map = () =>
  new Geomap()
    .title('Where')
    .description(`The ${MAPPED_PHOTOS} images ingested last that have a place.`)
    .datasource(POSTGRES)
    .height(16)
    .span(HALF)
    .view(new MapViewConfigBuilder().id(MapCenterID.Fit).allLayers(true))
    .controls(
      new ControlsOptionsBuilder().showZoom(true).mouseWheelZoom(true).showAttribution(true).showScale(true),
    )
    .tooltip(new TooltipOptionsBuilder().mode(TooltipMode.Details))
    .basemap(new MapLayerOptionsBuilder().type('default').name('Map'))
    .layers([
      new MapLayerOptionsBuilder()
        .type('markers')
        .name('Images')
        .tooltip(true)
        .location(
          new FrameGeometrySourceBuilder()
            .mode(FrameGeometrySourceMode.Coords)
            .latitude('latitude')
            .longitude('longitude'),
        )
        .config({
          showLegend: false,
          style: { size: { fixed: 6 }, opacity: 0.6, color: { fixed: 'dark-blue' } },
        }),
    ])
    .withTarget(
      postgres(`
    select latitude, longitude, altitude, id, predicted_class as "predicted", camera, captured_at as "taken"
    from image_predictions where ${CHOSEN} and latitude is not null
    order by ingested_at desc limit ${MAPPED_PHOTOS}`),
    );

const cameras = () =>
  new Table()
    .title('Cameras and lenses')
    .datasource(POSTGRES)
    .height(16)
    .span(HALF)
    .overrideByName('accuracy', [
      { id: 'unit', value: 'percentunit' },
      { id: 'decimals', value: 1 },
    ])
    .withTarget(
      postgres(`
    select camera, lens, count(*) as images, avg((prediction = known_label)::int) filter (where prediction >= 0) as accuracy,
           percentile_disc(0.5) within group (order by iso) as "median ISO",
           percentile_disc(0.5) within group (order by sharpness) as "median sharpness",
           min(captured_at) as "first", max(captured_at) as "last"
    from images where ${CHOSEN} and (camera is not null or lens is not null)
    group by camera, lens order by count(*) desc limit ${LISTED_CAMERAS}`),
    );

const takenOverTime = () =>
  new TimeSeries()
    .legend(legend())
    .tooltip(tooltip())
    .title('Taken over time, by camera')
    .description('By the moment that EXIF or the header says; from the search index.')
    .datasource(ELASTICSEARCH)
    .height(PANEL_HEIGHT)
    .span(FULL)
    .stacking(stacked())
    .fillOpacity(30)
    .withTarget(
      documentCount('A', '{{term camera}}', 'captured_at').bucketAggs([
        byTerm('camera'),
        overTime('captured_at'),
      ]),
    );

const bars = (title: string, field: string, sql: string, span = HALF) =>
  new BarChart()
    .legend(legend())
    .tooltip(tooltip())
    .title(title)
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(span)
    .xField(field)
    .withTarget(postgres(sql));

const isoSpeeds = () =>
  bars(
    'ISO speed',
    'iso',
    `
    select iso::text as iso, count(*) as images
    from images where ${CHOSEN} and iso is not null
    group by images.iso order by images.iso`,
  );

const apertures = () =>
  bars(
    'Aperture',
    'aperture',
    `
    select 'f/' || aperture as aperture, count(*) as images
    from images where ${CHOSEN} and aperture is not null
    group by images.aperture order by images.aperture`,
  );

const exposureTimes = () =>
  bars(
    'Exposure time',
    'exposure',
    `
    select case when exposure_time < 0.5 then '1/' || round(1 / exposure_time) else round(exposure_time::numeric, 1)::text end || ' s' as exposure,
           count(*) as images
    from images where ${CHOSEN} and exposure_time is not null
    group by 1 order by min(exposure_time)`,
  );

const focalLengths = () =>
  bars(
    'Focal length',
    'focal length',
    `
    select round(focal_length)::text || ' mm' as "focal length", count(*) as images
    from images where ${CHOSEN} and focal_length is not null
    group by round(focal_length) order by round(focal_length)`,
  );

const brightness = () =>
  bars(
    'Brightness',
    'brightness',
    `
    select to_char(least(floor(brightness * 20), 19) / 20, 'FM0.00') as brightness,
           count(*) filter (where not over_exposed) as "images", count(*) filter (where over_exposed) as "over-exposed"
    from images where ${CHOSEN} and brightness is not null
    group by 1 order by 1`,
  );

const colours = () =>
  new Table()
    .title('Colours')
    .description('The commonest colour of each image, by the upper digit of each channel.')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF / 2)
    .withTarget(
      postgres(`
    select regexp_replace(dominant_colours[1], '#(.).(.).(.).', '#\\1x\\2x\\3x') as colour, count(*) as images
    from images where ${CHOSEN} and dominant_colours is not null
    group by 1 order by count(*) desc limit ${LISTED_COLOURS}`),
    );

const colourSpaces = () =>
  new Table()
    .title('Formats and colour spaces')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF / 2)
    .withTarget(
      postgres(`
    select format, colour_space as "colour space", count(*) as images
    from images where ${CHOSEN}
    group by format, colour_space order by count(*) desc`),
    );

const useless = () =>
  new Table()
    .title('Blank, over-exposed, blurred')
    .description('The newest blank and over-exposed images, then the blurred ones.')
    .datasource(POSTGRES)
    .height(14)
    .span(FULL)
    .cellHeight(TableCellHeight.Lg)
    .overrideByName('image', [{ id: 'custom.cellOptions', value: { type: TableCellDisplayMode.Image } }])
    .withTarget(
      postgres(`
    select 'data:image/' || i.format || ';base64,' || i.image_base64 as image,
           i.id, i.blank, i.over_exposed as "over-exposed", i.sharpness, i.brightness, i.camera, i.ingested_at as "ingested"
    from (
      select dataset, id from images where ${CHOSEN}
      order by (blank or over_exposed) desc nulls last, case when blank or over_exposed then ingested_at end desc, sharpness
      limit ${LISTED}
    ) chosen join images i using (dataset, id)
    order by (i.blank or i.over_exposed) desc nulls last, i.ingested_at desc`),
    );
