/** msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md). */

const TIMESTAMP = -1;
const DEEPEST = 500;
const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true });

/** An extension type other than the timestamp, which becomes a Date. */
export class Ext {
  constructor(type, data) {
    this.type = type;
    this.data = data;
  }
}

/** Encodes BigInt as a 64-bit integer, Uint8Array as bin, Date as a timestamp. Throws TypeError or RangeError. */
export function encode(value) {
  const out = new Writer();
  write(out, value, 0);
  return out.bytes.slice(0, out.length);
}

/** Decodes `bytes`: integers beyond 2^53 as BigInt, bin as Uint8Array, a timestamp as Date (milliseconds). */
export function decode(bytes) {
  const view = ArrayBuffer.isView(bytes)
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes);
  const reader = new Reader(view);
  const value = reader.value(0);
  if (reader.at !== view.length) throw new RangeError("there are bytes after the end of the message");
  return value;
}

class Writer {
  bytes = new Uint8Array(256);
  view = new DataView(this.bytes.buffer);
  length = 0;

  /** Reserves `size` bytes and returns their position. */
  take(size) {
    const at = this.length;
    this.length += size;
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  /** Writes a type byte, then `value` with the DataView setter `kind` in `size` bytes. */
  put(type, kind, size, value) {
    const at = this.take(1 + size);
    this.bytes[at] = type;
    if (kind) this.view[kind](at + 1, value);
  }

  raw(bytes) {
    const at = this.take(bytes.length); // first, because it may replace this.bytes
    this.bytes.set(bytes, at);
  }
}

/** Writes a length in the smallest form: `fixed | length` (up to `most`), 8, 16 or 32 bits (null: no such form). */
function writeLength(out, length, fixed, most, type8, type16, type32) {
  if (length <= most) out.put(fixed | length, null, 0);
  else if (type8 !== null && length < 0x100) out.put(type8, "setUint8", 1, length);
  else if (length < 0x10000) out.put(type16, "setUint16", 2, length);
  else out.put(type32, "setUint32", 4, length);
}

function write(out, value, depth) {
  if (depth > DEEPEST) throw new RangeError(`nested deeper than ${DEEPEST} levels`);
  if (typeof value?.toJSON === "function" && !(value instanceof Date)) value = value.toJSON();
  switch (typeof value) {
    case "string": {
      const bytes = utf8.encode(value);
      writeLength(out, bytes.length, 0xa0, 31, 0xd9, 0xda, 0xdb);
      return out.raw(bytes);
    }
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? writeInteger(out, value)
        : out.put(0xcb, "setFloat64", 8, value);
    case "bigint":
      return writeBigInt(out, value);
    case "boolean":
      return out.put(value ? 0xc3 : 0xc2, null, 0);
    case "object":
      return value === null ? out.put(0xc0, null, 0) : writeObject(out, value, depth);
    case "undefined":
      return out.put(0xc0, null, 0);
    default:
      throw new TypeError(`a ${typeof value} cannot be encoded in msgpack`);
  }
}

function writeInteger(out, value) {
  if (value >= -32 && value < 0x80) out.put(value & 0xff, null, 0);
  else if (value >= 0x100000000 || value < -0x80000000)
    out.put(value < 0 ? 0xd3 : 0xcf, "setBigInt64", 8, BigInt(value));
  else if (value >= 0x10000) out.put(0xce, "setUint32", 4, value);
  else if (value >= 0x100) out.put(0xcd, "setUint16", 2, value);
  else if (value >= 0) out.put(0xcc, "setUint8", 1, value);
  else if (value >= -0x80) out.put(0xd0, "setInt8", 1, value);
  else if (value >= -0x8000) out.put(0xd1, "setInt16", 2, value);
  else out.put(0xd2, "setInt32", 4, value);
}

function writeBigInt(out, value) {
  if (BigInt.asUintN(64, value) === value) out.put(0xcf, "setBigUint64", 8, value);
  else if (BigInt.asIntN(64, value) === value) out.put(0xd3, "setBigInt64", 8, value);
  else throw new RangeError("an integer has more than 64 bits");
}

function writeObject(out, value, depth) {
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (value instanceof Date) return writeDate(out, value);
  if (value instanceof Ext) return writeExt(out, value);
  if (value instanceof Uint8Array) {
    writeLength(out, value.length, 0, -1, 0xc4, 0xc5, 0xc6);
    return out.raw(value);
  }
  if (Array.isArray(value)) {
    writeLength(out, value.length, 0x90, 15, null, 0xdc, 0xdd);
    return value.forEach((item) => write(out, item, depth + 1));
  }
  const entries = (value instanceof Map ? [...value] : Object.entries(value)).filter(([, item]) => item !== undefined);
  writeLength(out, entries.length, 0x80, 15, null, 0xde, 0xdf);
  for (const [key, item] of entries) {
    write(out, String(key), depth + 1);
    write(out, item, depth + 1);
  }
}

function writeExt(out, { type, data }) {
  const fixed = [1, 2, 4, 8, 16].indexOf(data.length);
  if (fixed >= 0) out.put(0xd4 + fixed, null, 0);
  else writeLength(out, data.length, 0, -1, 0xc7, 0xc8, 0xc9);
  out.put(type & 0xff, null, 0);
  out.raw(data);
}

/** Uses the 96-bit form, which can represent every Date, including those before 1970. */
function writeDate(out, date) {
  const milliseconds = date.getTime();
  if (Number.isNaN(milliseconds)) throw new RangeError("an invalid Date");
  const seconds = Math.floor(milliseconds / 1000);
  const bytes = new DataView(new ArrayBuffer(12));
  bytes.setUint32(0, (milliseconds - seconds * 1000) * 1e6);
  bytes.setBigInt64(4, BigInt(seconds));
  writeExt(out, new Ext(TIMESTAMP, new Uint8Array(bytes.buffer)));
}

class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth) {
    if (depth > DEEPEST) throw new RangeError(`nested deeper than ${DEEPEST} levels`);
    const type = this.#number("getUint8", 1);
    if (type < 0x80) return type;
    if (type >= 0xe0) return type - 0x100;
    if (type < 0x90) return this.#map(type & 0x0f, depth);
    if (type < 0xa0) return this.#array(type & 0x0f, depth);
    if (type < 0xc0) return this.#text(type & 0x1f);
    return this.#typed(type, depth);
  }

  /** Reads a value by its first byte: one case for each format of the specification. */
  #typed(type, depth) {
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#length(type - 0xc4)).slice();
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#ext(this.#length(type - 0xc7));
      case 0xca:
        return this.#number("getFloat32", 4);
      case 0xcb:
        return this.#number("getFloat64", 8);
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#length(type - 0xcc);
      case 0xcf:
        return safe(this.#number("getBigUint64", 8));
      case 0xd0:
        return this.#number("getInt8", 1);
      case 0xd1:
        return this.#number("getInt16", 2);
      case 0xd2:
        return this.#number("getInt32", 4);
      case 0xd3:
        return safe(this.#number("getBigInt64", 8));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#ext(1 << (type - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#length(type - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#length(type - 0xdb), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#length(type - 0xdd), depth);
      default:
        throw new RangeError(`invalid msgpack: byte ${type}`);
    }
  }

  /** Reads a number with the DataView getter of this name. */
  #number(getter, size) {
    const at = this.at;
    this.at += size;
    return this.view[getter](at); // throws RangeError past the end
  }

  #length(kind) {
    return kind === 0
      ? this.#number("getUint8", 1)
      : kind === 1
        ? this.#number("getUint16", 2)
        : this.#number("getUint32", 4);
  }

  #take(size) {
    if (this.at + size > this.bytes.length) throw new RangeError("the message ends too early");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  #text(size) {
    return text.decode(this.#take(size));
  }

  #array(size, depth) {
    // Not `new Array(size)`: five bytes could ask for gigabytes.
    const items = [];
    for (let position = 0; position < size; position++) items.push(this.value(depth + 1));
    return items;
  }

  #map(size, depth) {
    const result = {};
    for (let position = 0; position < size; position++) {
      const key = String(this.value(depth + 1));
      const value = this.value(depth + 1);
      if (key === "__proto__")
        Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
      else result[key] = value;
    }
    return result;
  }

  #ext(size) {
    const type = this.#number("getInt8", 1);
    const data = this.#take(size).slice();
    return type === TIMESTAMP ? dateOf(data) : new Ext(type, data);
  }
}

function safe(integer) {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

function dateOf(data) {
  const view = new DataView(data.buffer);
  if (data.length === 4) return new Date(view.getUint32(0) * 1000);
  if (data.length === 12) return new Date(Number(view.getBigInt64(4)) * 1000 + Math.floor(view.getUint32(0) / 1e6));
  if (data.length !== 8) throw new RangeError("a timestamp has an unknown length");
  const both = view.getBigUint64(0);
  return new Date(Number(both & 0x3ffffffffn) * 1000 + Math.floor(Number(both >> 34n) / 1e6));
}
