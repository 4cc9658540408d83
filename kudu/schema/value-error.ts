/** A value or a column definition that Kudu would refuse, found before anything is sent. Trying again never helps. */
export class KuduValueError extends TypeError {
  /** Of the column, where it is known. */
  readonly column: string | undefined;

  constructor(message: string, column?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KuduValueError';
    this.column = column;
  }
}
