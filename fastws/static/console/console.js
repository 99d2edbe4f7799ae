/** Entry point of the console: makes its parts and connects them. */

import { Channels } from "./channels.js";
import { Connection } from "./connection.js";
import { Dashboard } from "./dashboard.js";
import { byId } from "./elements.js";
import { Log } from "./log.js";
import { People } from "./people.js";
import { Requests } from "./requests.js";
import { Sending } from "./send.js";
import { Subscriptions } from "./subscriptions.js";
import { startTabs } from "./tabs.js";
import { startTheme } from "./theme.js";

// The key is only kept in its input field, never in storage or in a URL.
const key = () => byId("key").value.trim();

const log = new Log();
const followers = [];
const connection = new Connection(log, (client, status) => followers.forEach((follower) => follower(client, status)));
const subscriptions = new Subscriptions(connection, log);
const sending = new Sending(connection, log, key);
const requests = new Requests(key);
const people = new People(requests, connection, { write: (id) => sending.address("connection", id) });
const channels = new Channels(requests, connection, { subscribe: (channel) => subscriptions.subscribe(channel) });

followers.push(
  (client, status) => subscriptions.follow(client, status),
  () => sending.follow(),
);
followers.forEach((follower) => follower(null, "disconnected"));
byId("key").addEventListener("input", () => sending.follow());
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
startTabs(refresh);
startTheme();
new Dashboard(connection);

/** Reload the visible list: the key has changed, or the view was opened. */
function refresh() {
  if (!byId("panel-people").hidden) people.show();
  if (!byId("panel-channels").hidden) channels.show();
}
