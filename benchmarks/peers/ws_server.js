// `ws` on node, with the loop over clients from its documentation. All clients share one Buffer.
const { WebSocketServer } = require('ws');

const channels = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false, backlog: 4096 });

server.on('connection', (client, request) => {
  if (request.url === '/echo') {
    client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }));
    return;
  }
  const joined = new Set();
  client.on('message', (data) => {
    const message = JSON.parse(data);
    const name = message.channel;
    if (!channels.has(name)) channels.set(name, new Set());
    const members = channels.get(name);
    if (message.action === 'subscribe') {
      members.add(client);
      joined.add(name);
      client.send(JSON.stringify({ type: 'subscription_succeeded', channel: name }));
      return;
    }
    const text = Buffer.from(JSON.stringify({ channel: name, event: message.event, data: message.data, from: 'publisher' }));
    for (const member of members) if (member.readyState === 1) member.send(text, { binary: false });
    client.send(JSON.stringify({ type: 'send_success', channel: name, sent: members.size, failed: 0 }));
  });
  client.on('close', () => { for (const name of joined) channels.get(name).delete(client); });
  client.on('error', () => client.terminate());
});
