// Node's `ws`, and its own HTTP server for event streams. The module is where this is started.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(`${process.cwd()}/`)('ws');

const sockets = new Map();
const streams = new Map();

function membersOf(rooms, channel) {
  let members = rooms.get(channel);
  if (members === undefined) rooms.set(channel, (members = new Set()));
  return members;
}

function answer(action, event, payload, channelName, requestId) {
  return JSON.stringify({ action, event, channelName, requestId, payload });
}

const server = createServer((request, response) => {
  const channel = request.url.slice('/sse'.length);
  const members = membersOf(streams, channel);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  members.add(response);
  response.write(`data: ${answer('SYSTEM', 'ACKNOWLEDGE', {}, channel, '0')}\n\n`);
  request.on('close', () => members.delete(response));
});

new WebSocketServer({ server }).on('connection', (socket) => {
  const joined = [];
  socket.send(answer('CONNECT', 'CONNECTION', {}, 'GATEWAY', '0'));
  socket.on('message', (data) => {
    const { action, event, channelName, requestId, payload } = JSON.parse(data);
    if (action === 'JOIN_CHANNEL') {
      const members = membersOf(sockets, channelName);
      members.add(socket);
      joined.push(members);
      socket.send(answer('SYSTEM', 'ACKNOWLEDGE', {}, channelName, requestId));
    } else if (event === 'echo') {
      socket.send(answer('SYSTEM', 'echo', payload, channelName, requestId));
    } else {
      // Encoded once: a string would be encoded again for each member.
      const heard = Buffer.from(answer('BROADCAST', event, payload, channelName, requestId));
      for (const member of membersOf(sockets, channelName)) member.send(heard, { binary: false });
      const block = Buffer.concat([Buffer.from('data: '), heard, Buffer.from('\n\n')]);
      for (const member of membersOf(streams, channelName)) member.write(block);
    }
  });
  socket.on('close', () => joined.forEach((members) => members.delete(socket)));
});

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 2048 });
