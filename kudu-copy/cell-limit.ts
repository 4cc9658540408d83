import type { RowError } from '../kudu/index.ts';

/**
 * Whether a row was refused because a cell of it is over the server's limit (RowOperationsPBDecoder in
 * common/row_operations.cc); nothing else of the row's is at fault with this code.
 */
export const isCellTooLarge = ({ code, message }: Pick<RowError, 'code' | 'message'>): boolean =>
  code === 'INVALID_ARGUMENT' && /too large for column/.test(message);
