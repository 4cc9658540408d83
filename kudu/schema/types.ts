/**
 * The column types of Kudu: their number on the wire (`DataType` in common.proto), the bytes of a cell (0: of any
 * length), and whether a primary key may hold one (KeyEncoder has no order for floats and booleans).
 */
export const COLUMN_TYPES = {
  INT8: { code: 1, size: 1, keyable: true },
  INT16: { code: 3, size: 2, keyable: true },
  INT32: { code: 5, size: 4, keyable: true },
  INT64: { code: 7, size: 8, keyable: true },
  STRING: { code: 8, size: 0, keyable: true },
  BOOL: { code: 9, size: 1, keyable: false },
  FLOAT: { code: 10, size: 4, keyable: false },
  DOUBLE: { code: 11, size: 8, keyable: false },
  BINARY: { code: 12, size: 0, keyable: true },
  UNIXTIME_MICROS: { code: 13, size: 8, keyable: true },
  DECIMAL32: { code: 15, size: 4, keyable: true },
  DECIMAL64: { code: 16, size: 8, keyable: true },
  DECIMAL128: { code: 17, size: 16, keyable: true },
  /** The virtual column of a diff scan; no table has one. */
  IS_DELETED: { code: 18, size: 1, keyable: false },
  VARCHAR: { code: 19, size: 0, keyable: true },
  DATE: { code: 20, size: 4, keyable: true },
} as const;

export type ColumnType = keyof typeof COLUMN_TYPES;

export const ENCODINGS = {
  AUTO: 0,
  PLAIN: 1,
  PREFIX: 2,
  RLE: 4,
  DICTIONARY: 5,
  BIT_SHUFFLE: 6,
} as const;

export type Encoding = keyof typeof ENCODINGS;

export const COMPRESSIONS = { DEFAULT: 0, NONE: 1, SNAPPY: 2, LZ4: 3, ZLIB: 4 } as const;

export type Compression = keyof typeof COMPRESSIONS;

const nameOf = <Name extends string>(numbers: [Name, number][]) =>
  new Map(numbers.map(([name, number]) => [number, name]));

const TYPE_OF_CODE = nameOf(
  Object.entries(COLUMN_TYPES).map(([name, { code }]) => [name as ColumnType, code]),
);
const ENCODING_OF_CODE = nameOf(Object.entries(ENCODINGS) as [Encoding, number][]);
const COMPRESSION_OF_CODE = nameOf(Object.entries(COMPRESSIONS) as [Compression, number][]);

/** @returns undefined for a type that this client does not know (the retired unsigned ones, nested ones) */
export const columnTypeOf = (code: number): ColumnType | undefined => TYPE_OF_CODE.get(code);

/** How a column is stored matters to the server alone, so a number we do not know reads as the default. */
export const encodingOf = (code: number): Encoding => ENCODING_OF_CODE.get(code) ?? 'AUTO';

/** See `encodingOf`. */
export const compressionOf = (code: number): Compression => COMPRESSION_OF_CODE.get(code) ?? 'DEFAULT';

export const isVariableLength = (type: ColumnType): boolean => COLUMN_TYPES[type].size === 0;

export const isDecimal = (type: ColumnType): boolean => type.startsWith('DECIMAL');
