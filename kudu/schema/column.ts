import { COLUMN_TYPES, type ColumnType, type Compression, type Encoding, isDecimal } from './types.ts';
import { KuduValueError } from './value-error.ts';
import type { KuduValue } from './values.ts';

/** A column of a table, all of its attributes filled in. */
export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  /** The server's number of the column; undefined before the table is made. */
  readonly id: number | undefined;
  readonly key: boolean;
  readonly nullable: boolean;
  /** What the server stores where a row leaves the column out; undefined: nothing, so the row must set it. */
  readonly default: KuduValue | undefined;
  readonly encoding: Encoding;
  readonly compression: Compression;
  /** Bytes of a stored block; 0: the server's choice. */
  readonly blockSize: number;
  /** Digits of a decimal (1 to 38); 0 for other types. */
  readonly precision: number;
  /** Digits after the point (0 to the precision); 0 for other types. */
  readonly scale: number;
  /** The most characters of a VARCHAR (1 to 65535); 0 for other types. */
  readonly length: number;
  readonly comment: string;
  /** Set once, by the insert; later changes are errors of their rows. */
  readonly immutable: boolean;
  /** The server fills it in. */
  readonly autoIncrementing: boolean;
}

/** Whether every row that is inserted has to set it. */
export const isRequired = ({ key, nullable, default: value, autoIncrementing }: Column): boolean =>
  !autoIncrementing && (key || (!nullable && value === undefined));

/** What the caller says of a column; `DECIMAL` becomes the narrowest type that holds the precision. */
export type ColumnSpec = { name: string; type: ColumnType | 'DECIMAL' } & Partial<
  Omit<Column, 'name' | 'type'>
>;

/** The most digits of each decimal type (DecimalUtil.java). */
export const DECIMAL_DIGITS = { DECIMAL32: 9, DECIMAL64: 18, DECIMAL128: 38 } as const;

const MAX_VARCHAR_LENGTH = 65535;

/** Fills in what the caller left out. @throws KuduValueError where the attributes do not fit the type */
export function defineColumn(spec: ColumnSpec): Column {
  const type = spec.type === 'DECIMAL' ? decimalType(spec) : spec.type;
  const column: Column = {
    name: spec.name,
    type,
    id: spec.id,
    key: spec.key ?? false,
    nullable: spec.nullable ?? false,
    default: spec.default,
    encoding: spec.encoding ?? 'AUTO',
    compression: spec.compression ?? 'DEFAULT',
    blockSize: spec.blockSize ?? 0,
    precision: spec.precision ?? 0,
    scale: spec.scale ?? 0,
    length: spec.length ?? 0,
    comment: spec.comment ?? '',
    immutable: spec.immutable ?? false,
    autoIncrementing: spec.autoIncrementing ?? false,
  };
  checkAttributes(column);
  return column;
}

function decimalType({ name, precision = 0 }: ColumnSpec): ColumnType {
  for (const [type, digits] of Object.entries(DECIMAL_DIGITS))
    if (precision <= digits) return type as ColumnType;
  throw new KuduValueError(`Column ${name}: a decimal has at most 38 digits, not ${precision}.`, name);
}

function checkAttributes(column: Column): void {
  const { name, type, precision, scale, length } = column;
  const refuse = (what: string) => {
    throw new KuduValueError(`Column ${name || '(unnamed)'} (${type}): ${what}.`, name);
  };
  if (!name) refuse('a column has a name');
  if (!(type in COLUMN_TYPES)) refuse('there is no such type');
  if (column.key && !COLUMN_TYPES[type].keyable) refuse('a key column is no float, double or boolean');
  if (column.key && column.nullable) refuse('a key column is never null');
  if (isDecimal(type)) {
    const digits = DECIMAL_DIGITS[type as keyof typeof DECIMAL_DIGITS];
    if (!inRange(precision, 1, digits)) refuse(`the precision is from 1 to ${digits}, not ${precision}`);
    if (!inRange(scale, 0, precision))
      refuse(`the scale is from 0 to the precision ${precision}, not ${scale}`);
  } else if (precision || scale) refuse('only decimals have a precision and a scale');
  if (type === 'VARCHAR') {
    if (!inRange(length, 1, MAX_VARCHAR_LENGTH))
      refuse(`the length is from 1 to ${MAX_VARCHAR_LENGTH} characters, not ${length}`);
  } else if (length) refuse('only VARCHAR has a length');
}

const inRange = (value: number, least: number, most: number) =>
  Number.isInteger(value) && value >= least && value <= most;
