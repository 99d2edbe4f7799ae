/** Entry point of the console: makes its parts and connects them. */

import { Connection } from "./connection.js";
import { Dashboard } from "./dashboard.js";
import { byId } from "./elements.js";
import { Log } from "./log.js";
import { People } from "./people.js";
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
const people = new People(key, connection, {
  subscribe: (channel) => subscriptions.subscribe(channel),
  write: (id) => sending.address("connection", id),
});

followers.push(
  (client, status) => subscriptions.follow(client, status),
  () => sending.follow(),
);
followers.forEach((follower) => follower(null, "disconnected"));
byId("key").addEventListener("input", () => sending.follow());
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  people.refresh();
});
startTabs(() => people.refresh());
startTheme();
new Dashboard(connection);
