import Table from 'cli-table3';
import type { Provenance } from '../classifier/register/add-model.ts';
import type { StoredModel } from '../sql/models.ts';
import type { Promotion } from '../sql/promotions.ts';

const PLAIN = { head: [], border: [], compact: true };

type Listed = Omit<StoredModel, 'manifest'>;

/** `imagehub model list` */
export function listText({ dataset, models }: { dataset: string; models: Listed[] }): string {
  if (models.length === 0) return `${dataset} has no models yet. Make one with: imagehub train ${dataset}`;
  const table = new Table({
    head: ['model', '', 'validation', 'source', 'by', 'made'],
    colAligns: ['right', 'left', 'right'],
    style: PLAIN,
  });
  for (const model of models) {
    const { source, createdBy, createdAt } = model;
    table.push([
      model.model,
      roles(model).join(', '),
      accuracyText(model),
      source,
      createdBy,
      createdAt.toISOString(),
    ]);
  }
  return table.toString();
}

/** `imagehub model show` */
export function showText(model: StoredModel & { promotions: Promotion[] }): string {
  const table = new Table({ style: PLAIN });
  const { deletedAt, deletedBy } = model;
  table.push(
    ['model', [`${model.model} of ${model.dataset}`, ...roles(model)].join(', ')],
    [
      'made',
      `${model.source}, by ${model.createdBy}, ${model.createdAt.toISOString()}${model.run === null ? '' : `, run ${model.run}`}`,
    ],
    ...(deletedAt ? [['deleted', `by ${deletedBy}, ${deletedAt.toISOString()}`]] : []),
    ['ONNX', `${deletedAt ? '' : `${model.bytes} bytes, `}SHA-256 ${model.sha256}`],
    ...provenanceRows(model.provenance as Partial<Provenance> | null),
    ['validation', accuracyText(model)],
    ...model.promotions.map(({ promotionNo, promotedAt, promotedBy, reason }) => [
      `promotion ${promotionNo}`,
      `${promotedAt.toISOString()} by ${promotedBy}${reason ? `: ${reason}` : ''}`,
    ]),
  );
  return `${table.toString()}\n${JSON.stringify(model.manifest, null, 2)}`;
}

function roles({ live, previous, shadow, deletedAt }: Listed): string[] {
  return [
    ...(live ? ['live'] : []),
    ...(previous && !live ? ['previous'] : []),
    ...(shadow ? ['shadow'] : []),
    ...(deletedAt ? ['deleted'] : []),
  ];
}

function provenanceRows(provenance: Partial<Provenance> | null): string[][] {
  const { onnx, file } = provenance ?? {};
  const rows: string[][] = [];
  if (onnx) {
    const opsets = Object.entries(onnx.opsets).map(
      ([domain, version]) => `${domain || 'ai.onnx'} ${version}`,
    );
    rows.push([
      'made with',
      `${onnx.producer || 'unknown'}, IR version ${onnx.irVersion}, operator sets ${opsets.join(', ')}`,
    ]);
  }
  if (file) {
    const changes = file.changes.map((change) => `; ${change}`).join('');
    rows.push([
      'from file',
      `${file.host}:${file.path}, ${file.bytes} bytes of ${String(file.modifiedAt)}, SHA-256 ${file.sha256}${changes}`,
    ]);
  }
  return rows;
}

/** Shares that training recorded; a model from outside has none. */
function accuracyText({ metrics }: Pick<StoredModel, 'metrics'>): string {
  const accuracy = metrics?.validationAccuracy;
  return typeof accuracy === 'number' ? accuracy.toFixed(4) : '–';
}
