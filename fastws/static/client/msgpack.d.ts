/** The msgpack of the client: https://…/client/msgpack.js. `format: "msgpack"` loads it. */

/** A msgpack extension other than the timestamp. */
export class Ext {
  constructor(type: number, data: Uint8Array);
  readonly type: number;
  readonly data: Uint8Array;
}

/** msgpack: BigInt is a 64-bit integer, Uint8Array bin, Date a timestamp. */
export function encode(value: unknown): Uint8Array;
/** Integers past 2^53 are BigInts, bin is a Uint8Array, a timestamp a Date. */
export function decode(bytes: Uint8Array | ArrayBuffer): any;
