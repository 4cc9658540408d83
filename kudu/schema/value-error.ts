import { KuduError } from '../errors.ts';

/** A value, a column or a condition that Kudu would refuse, found before anything is sent. */
export class KuduValueError extends KuduError {
  /** Its name, where it is known. */
  readonly column: string | undefined;

  constructor(message: string, column?: string, options?: ErrorOptions) {
    super('INVALID_ARGUMENT', message, options);
    this.name = 'KuduValueError';
    this.column = column;
  }
}
