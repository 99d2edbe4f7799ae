// fastws.js under node: subscribes and unsubscribes while it connects, and reports events as lines of JSON.
//
//     node --experimental-websocket hasty.mjs URL PATH_OF_FASTWS_JS CHANNEL CHANGES
//
// CHANGES is a sequence of s (subscribe) and u (unsubscribe), such as "sus". Events: settled, or refused
// if the last of them failed; message, notice, lost.
// It runs until its standard input ends.
import { pathToFileURL } from "node:url";

const [, , url, library, channel, changes] = process.argv;
const { connect } = await import(pathToFileURL(library).href);
const report = (event, message = {}) => process.stdout.write(`${JSON.stringify({ event, message })}\n`);

const client = connect({
  url,
  onMessage: (message) => report("message", message),
  onGap: () => report("notice"),
  onLag: () => report("notice"),
  onStatus: ({ status }) => status === "reconnecting" && report("lost"),
});
const asked = [...changes].map((change) => (change === "s" ? client.subscribe(channel) : client.unsubscribe(channel)));
const [last] = (await Promise.allSettled([client.ready, ...asked])).slice(-1);
report(last.status === "fulfilled" ? "settled" : "refused", { connection: client.connectionId });
process.stdin.resume();
process.stdin.on("end", () => {
  client.close();
  setTimeout(() => process.exit(0), 100);
});
