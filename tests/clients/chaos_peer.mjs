// A process of clients that note what they hear, while some of them cut their own connections.
//
// `node chaos_peer.mjs URL FIRST COUNT SEED WILD SPEAKS LAST`: clients FIRST to FIRST + COUNT, by turns
// over WebSocket and over an event stream. WILD ones cut their own connections now and then; if SPEAKS,
// each calls `say` now and then, too. It prints `joined`; after the line `calm` it ends cuts and calls,
// and prints `calm`; after `report` it waits until all have heard LAST in every channel, or were told of
// a gap, and prints one JSON object.

import {createInterface} from "node:readline";

import WebSocket from "ws";

import {connect} from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/pondsocket.js";
import {seeded} from "./model_server.mjs";

const CHANNELS = Array.from({length: 8}, (_, number) => `/room/${number}`);
// A connection that holds for 5 s is a good one, after which the client does not wait for longer.
const CUT_SECONDS = 3;
const HOLD_MS = 5000;
const SPEECH_SECONDS = 1;
const QUIET_MS = 1000;

const [url, ...numbers] = process.argv.slice(2);
const [first, count, seed, isWild, speaks, last] = numbers.map(Number);
const random = seeded(seed);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const exponential = (seconds) => -Math.log(1 - random()) * seconds * 1000;

let heardAt = Date.now();
let isCalm = false;

class Client {
  tally = {};
  calls = {};
  heard = Object.fromEntries(CHANNELS.map((channel) => [channel, []]));
  told = Object.fromEntries(CHANNELS.map((channel) => [channel, 0]));
  ended = new Set();
  #cuts = new Set();
  #ids;

  constructor(number) {
    this.transport = number % 2 ? "sse" : "websocket";
    this.#ids = (number + 1) * 1_000_000;
    const client = this;
    this.pond = connect(url, {
      params: {user: `u${number}`},
      transports: [this.transport],
      WebSocket: class extends WebSocket {
        constructor(...given) {
          super(...given);
          const cut = () => this.terminate();
          client.#cuts.add(cut);
          this.addEventListener("close", () => client.#cuts.delete(cut));
        }
      },
      fetch: (address, init = {}) => {
        const own = new AbortController();
        const cut = () => own.abort(new TypeError("cut"));
        if (!init.method) {
          client.#cuts.clear();
          client.#cuts.add(cut);
        }
        return fetch(address, {...init, signal: AbortSignal.any([own.signal, ...(init.signal ? [init.signal] : [])])});
      },
    });
    this.pond.on("status", ({state}) => this.count(state));
    this.rooms = CHANNELS.map((channel) => this.pond.channel(channel));
    for (const room of this.rooms) {
      room.on("said", ({n, id}) => {
        this.heard[room.name].push(n ?? id);
        if ((n ?? id) === last) this.ended.add(room.name);
        heardAt = Date.now();
      });
      room.on("rejoined", ({recovered}) => {
        this.count(recovered ? "recovered" : "not recovered");
        if (!recovered) this.told[room.name]++;
      });
      room.on("state", ({state, error}) => {
        if (error) this.count(`${state} ${error.code} ${error.message}`);
      });
      room.join({timeout: 60_000}).catch((error) => this.count(`join ${error.message}`));
    }
  }

  get isWhole() {
    return this.isJoined && CHANNELS.every((channel) => this.told[channel] || this.ended.has(channel));
  }

  get isJoined() {
    return this.rooms.every(({state}) => state === "joined");
  }

  count(what) {
    this.tally[what] = (this.tally[what] ?? 0) + 1;
  }

  async cutNowAndThen() {
    while (!isCalm) {
      await sleep(HOLD_MS + exponential(CUT_SECONDS));
      if (isCalm || !this.#cuts.size) continue;
      this.count("cuts");
      for (const cut of this.#cuts) cut();
    }
  }

  async speakNowAndThen() {
    while (!isCalm) {
      await sleep(exponential(SPEECH_SECONDS));
      const id = this.#ids++;
      const room = this.rooms[Math.floor(random() * this.rooms.length)];
      this.calls[id] = [room.name, "open"];
      room.call("say", {id}).then(
        () => (this.calls[id][1] = "ok"),
        (error) => (this.calls[id][1] = error.name === "TimeoutError" ? "timeout" : String(error.code)),
      );
    }
  }
}

const clients = Array.from({length: count}, (_, place) => new Client(first + place));
while (!clients.every(({isJoined}) => isJoined)) await sleep(50);
console.log("joined");
const busy = [];
if (isWild) busy.push(...clients.map((client) => client.cutNowAndThen()));
if (speaks) busy.push(...clients.map((client) => client.speakNowAndThen()));

const lines = createInterface({input: process.stdin})[Symbol.asyncIterator]();
await lines.next();
isCalm = true;
await Promise.all(busy);
while (clients.some(({calls}) => Object.values(calls).some(([, fate]) => fate === "open"))) await sleep(50);
console.log("calm");
await lines.next();
const ends = Date.now() + 60_000;
while (Date.now() < ends && !(clients.every(({isWhole}) => isWhole) && Date.now() - heardAt > QUIET_MS)) await sleep(100);
await sleep(500);
console.log(JSON.stringify(clients.map(({transport, tally, heard, told, calls, isJoined}) => ({transport, tally, heard, told, calls, isJoined}))));
for (const {pond} of clients) pond.close();
// Nothing of a client keeps the process alive; `ws` waits for the closes, a pool of connections for its limit.
setTimeout(() => process.exit(3), 40_000).unref();
lines.return();
process.stdin.destroy();
