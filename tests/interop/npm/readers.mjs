// Reads one event stream with a reader published on npm, through a restart and a cut, and exits
// with 0 once it has read every message; each block must be a message, as JSON.
//
//   node readers.mjs <URL of the endpoint> <run> <reader>

import assert from "node:assert/strict";

const [, , endpoint, run, reader] = process.argv;
const url = `${endpoint}?run=${run}&sse=unnamed`;
const channelName = `/room/${run}`;
const MESSAGES = 6;

const connected = [];
const numbers = [];
let goodbyes = 0;
let top = 0;

async function post(connectionId, messages) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", "x-connection-id": connectionId },
    body: JSON.stringify(messages.map((message) => ({ channelName, requestId: "1", payload: {}, ...message }))),
  });
  assert.equal(answer.status, 204);
}

function take(data) {
  const message = JSON.parse(data);
  if (message.event === "GOODBYE") goodbyes += 1;
  if (message.event === "CONNECTION") {
    connected.push(message.payload);
    if (connected.length === 1) {
      post(message.payload.connectionId, [
        { action: "JOIN_CHANNEL", event: "join" },
        { action: "BROADCAST", event: "start" },
      ]).catch(fail);
    }
  }
  if (message.action !== "BROADCAST" || message.offset <= top) return;
  top = message.offset;
  assert.equal(message.payload.text, "a\u2028b\u2029c\u0085d\u00a0e");
  numbers.push(message.payload.n);
  if (message.payload.n === MESSAGES) finish();
}

function finish() {
  assert.deepEqual(numbers, [1, 2, 3, 4, 5, 6]);
  assert.equal(goodbyes, 1);
  assert.deepEqual(connected.map(({ resumed }) => resumed), [undefined, [channelName]]);
  console.log(JSON.stringify({ step: "passed" }));
  process.exit(0);
}

function fail(error) {
  console.log(JSON.stringify({ failed: String(error), connected, numbers, goodbyes }));
  process.exit(1);
}

process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);

if (reader === "fetch-event-source") {
  // It is made for pages, and looks at their visibility.
  globalThis.window = globalThis;
  globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
  const { fetchEventSource } = await import("@microsoft/fetch-event-source");
  await fetchEventSource(url, {
    fetch,
    onmessage: ({ data }) => {
      try { take(data); } catch (error) { fail(error); }
    },
    // By itself it does not come back to a stream that has ended in order.
    onclose() { throw new Error("ended"); },
    onerror() {},
  });
} else {
  const module = await import(reader);
  const EventSource = module.EventSource ?? module.default;
  const source = new EventSource(url);
  source.onmessage = ({ data }) => take(data);
  // Only for what has no data: the server's events never run it.
  source.onerror = (event) => assert.equal(event.data, undefined);
}
