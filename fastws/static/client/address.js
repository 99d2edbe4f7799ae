/** The address of the server, and the credentials. */

import { FastWSError } from "./errors.js";

/** The format that the query of `url` asks for, which goes before the option; null if there is none. */
export function formatIn(url) {
  return url === undefined ? null : new URL(url, globalThis.location?.href).searchParams.get("format");
}

/** The URL and the subprotocols. `url` is the server of this file by default; without a path it gets the dialect's. */
export function addressOf({ url, format, auth, dialect, workspaceId }, { path }, token, query = {}) {
  const base = new URL(url ?? "..", url === undefined ? import.meta.url : globalThis.location?.href);
  if (!/^(ws|http)s?:$/.test(base.protocol)) {
    throw new FastWSError("bad_request", `\`url\` must begin with ws, wss, http or https: ${base}`);
  }
  base.protocol = base.protocol.replace("http", "ws");
  const isOwnPath = url !== undefined && base.pathname !== "/";
  if (!isOwnPath) base.pathname += path;
  base.hash = "";
  // With a token, /ws serves workspaces.
  const shown = dialect === "jobs" && !isOwnPath ? null : token;
  if (workspaceId !== undefined && workspaceId !== null) base.searchParams.set("workspace_id", workspaceId);
  for (const [key, value] of Object.entries(query)) base.searchParams.set(key, value);
  if (auth === "query") {
    if (shown) base.searchParams.set("token", shown);
    if (format !== "json") base.searchParams.set("format", format);
    return [base.href, []];
  }
  return [base.href, [`fastws.${format}`, ...(shown ? [`fastws.token.${shown}`] : [])]];
}
