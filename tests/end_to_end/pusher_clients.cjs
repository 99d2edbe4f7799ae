// pusher-js and Laravel Echo against two servers; the application's part is the npm package `pusher`.
const assert = require("node:assert");
const Pusher = require("pusher-js");
const Backend = require("pusher");
const nacl = require("tweetnacl");

const [portA, portB, broadcastKey] = process.argv.slice(2);
const backend = new Backend({
  appId: "4711", key: "app-key", secret: "app-secret", host: "127.0.0.1", port: portA, useTLS: false,
  encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString("base64"),
});

function options(port, user) {
  return {
    wsHost: "127.0.0.1", wsPort: port, forceTLS: false, enabledTransports: ["ws"], cluster: "", disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) => {
        const member = channelName.startsWith("presence-") ? { user_id: user, user_info: { name: user } } : undefined;
        done(null, channelName.includes("forbidden") ? { auth: "app-key:00" } : backend.authorizeChannel(socketId, channelName, member));
      },
    },
    userAuthentication: {
      customHandler: ({ socketId }, done) => done(null, backend.authenticateUser(socketId, { id: user, user_info: {} })),
    },
  };
}

const once = (target, event) => new Promise((resolve) => target.bind(event, resolve));
const joined = (channel) => once(channel, "pusher:subscription_succeeded");

async function publish(channel, event, data, more = {}) {
  const answer = await fetch(`http://127.0.0.1:${portA}/broadcast`, {
    method: "POST", headers: { Authorization: `Bearer ${broadcastKey}` },
    body: JSON.stringify({ channel: `pusher:4711:${channel}`, event, data, ...more }),
  });
  assert.equal(answer.status, 200, await answer.text());
}

async function main() {
  const { default: Echo } = await import(`${process.env.NODE_PATH}/laravel-echo/dist/echo.js`);
  const ann = new Pusher("app-key", options(portA, "ann"));
  const bob = new Pusher("app-key", options(portB, "bob"));
  // public
  const orders = bob.subscribe("orders");
  await joined(orders);
  const placed = once(orders, "order-placed");
  await publish("orders", "order-placed", { n: 1 });
  assert.deepEqual(await placed, { n: 1 });
  // private, client events
  const [annsRoom, bobsRoom] = [ann.subscribe("private-room"), bob.subscribe("private-room")];
  await Promise.all([joined(annsRoom), joined(bobsRoom)]);
  const typing = once(bobsRoom, "client-typing");
  annsRoom.trigger("client-typing", { a: 1 });
  assert.deepEqual(await typing, { a: 1 });
  const refused = await once(ann.subscribe("private-forbidden"), "pusher:subscription_error");
  assert.equal(refused.status, 401);
  // encrypted
  const secret = ann.subscribe("private-encrypted-x");
  await joined(secret);
  const sharedSecret = backend.authorizeChannel("1.2", "private-encrypted-x").shared_secret;
  const nonce = nacl.randomBytes(24);
  const box = nacl.secretbox(Buffer.from('{"hidden":1}'), nonce, new Uint8Array(Buffer.from(sharedSecret, "base64")));
  const hidden = once(secret, "e");
  await publish("private-encrypted-x", "e", {
    nonce: Buffer.from(nonce).toString("base64"), ciphertext: Buffer.from(box).toString("base64"),
  });
  assert.deepEqual(await hidden, { hidden: 1 });
  // presence over two processes
  const annsTeam = ann.subscribe("presence-team");
  await joined(annsTeam);
  const added = once(annsTeam, "pusher:member_added");
  const bobsTeam = bob.subscribe("presence-team");
  await joined(bobsTeam);
  assert.deepEqual(await added, { id: "bob", info: { name: "bob" } });
  assert.equal(annsTeam.members.count, 2);
  assert.equal(bobsTeam.members.me.id, "bob");
  const removed = once(annsTeam, "pusher:member_removed");
  bob.unsubscribe("presence-team");
  assert.equal((await removed).id, "bob");
  // sign-in
  const signedIn = once(ann, "pusher:signin_success");
  ann.signin();
  const toAnn = once(ann.user, "hello");
  await new Promise((resolve) => ann.user.signinDonePromise.then(resolve));
  void signedIn;
  const reached = setInterval(() => publish("#server-to-user-ann", "hello", { n: 2 }), 100);
  assert.deepEqual(await toAnn, { n: 2 });
  clearInterval(reached);
  // Laravel Echo
  const echo = new Echo({ broadcaster: "reverb", key: "app-key", Pusher, ...options(portB, "7") });
  const shipped = new Promise((resolve) => echo.private("orders").listen(".shipped", resolve));
  const here = await new Promise((resolve) => echo.join("team").here(resolve));
  assert.deepEqual(here.map((member) => member.name).sort(), ["7", "ann"]);
  await new Promise((resolve) => echo.private("ready").subscribed(resolve));
  await publish("private-orders", "shipped", { n: 3 });
  assert.deepEqual(await shipped, { n: 3 });
  const named = new Promise((resolve) => echo.channel("orders").listen("OrderShipped", resolve));
  await new Promise((resolve) => echo.channel("orders").subscribed(resolve));
  await publish("orders", "App\\Events\\OrderShipped", { n: 4 }, { exclude: [ann.connection.socket_id] });
  assert.deepEqual(await named, { n: 4 });
  console.log("done");
  process.exit(0);
}

process.on("unhandledRejection", (error) => { console.error(error); process.exit(1); });
main();
