/** The errors of the client. */

/** An error that the server reports, with its `code`, or one of the client: `timeout`, `connection_lost`, `closed`. */
export class FastWSError extends Error {
  constructor(code, message, channel = null) {
    super(message);
    this.name = "FastWSError";
    this.code = code;
    this.channel = channel;
  }
}

/** Converts any thrown value to a FastWSError. */
export function asError(error) {
  return error instanceof FastWSError ? error : new FastWSError("internal", error?.message ?? String(error));
}
