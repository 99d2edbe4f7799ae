/** The wire formats: JSON in text frames or msgpack in binary frames. */

/** Encodes bytes as base64 text and a BigInt as its digits (in a string in browsers before 2023). */
export function inJson(_, value) {
  if (typeof value === "bigint") return JSON.rawJSON ? JSON.rawJSON(String(value)) : String(value);
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (!(value instanceof Uint8Array)) return value;
  let text = "";
  for (const byte of value) text += String.fromCharCode(byte);
  return btoa(text);
}

const JSON_CODEC = {
  encode: (message) => JSON.stringify(message, inJson),
  decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)),
};

/** Loads the codec of a `format`. msgpack is a module of its own, so that JSON clients do not load it. */
export const CODECS = {
  json: async () => JSON_CODEC,
  msgpack: () => import("./msgpack.js"),
};
