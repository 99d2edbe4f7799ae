/** What the wire carries: JSON in text frames, or msgpack in binary ones. */

/** Bytes are base64 text in JSON, as everywhere in fastws; a BigInt is its digits (as text in browsers before 2023). */
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

/** By `format`: how to get the codec. msgpack is loaded by those who speak it. */
export const CODECS = {
  json: async () => JSON_CODEC,
  msgpack: () => import("./msgpack.js"),
};
