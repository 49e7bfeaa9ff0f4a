// Time, the network and the page, as one test needs them.

const REAL = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  now: Date.now,
  random: Math.random,
};
const START = 1_700_000_000_000;

/** Let everything run that waits for no timer. */
export const settle = async () => {
  // Web streams hand one chunk over in several turns of the microtask queue, and no other.
  await new Promise((resolve) => setImmediate(resolve));
};

/** Time that goes on when it is told to. */
export class Clock {
  now = START;
  timers = new Map();
  #ids = 0;

  install(random) {
    globalThis.setTimeout = (act, ms = 0, ...given) => {
      const id = ++this.#ids;
      // As browsers and Node do it.
      const delay = ms < 2 ** 31 ? Math.max(0, Math.trunc(ms)) : 1;
      this.timers.set(id, {due: this.now + delay, act: () => act(...given)});
      return id;
    };
    globalThis.clearTimeout = (id) => this.timers.delete(id);
    Date.now = () => this.now;
    Math.random = random;
  }

  uninstall() {
    globalThis.setTimeout = REAL.setTimeout;
    globalThis.clearTimeout = REAL.clearTimeout;
    Date.now = REAL.now;
    Math.random = REAL.random;
  }

  async advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const next = this.#next(end);
      if (!next) break;
      await this.#run(next);
    }
    this.now = end;
  }

  /** No timer runs meanwhile; those that are due run late. */
  async sleep(ms) {
    this.now += ms;
    const end = this.now;
    for (let next; (next = this.#next(end)); ) await this.#run(next);
  }

  #next(end) {
    let first;
    for (const [id, timer] of this.timers) {
      if (timer.due <= end && (!first || timer.due < first[1].due)) first = [id, timer];
    }
    return first;
  }

  async #run([id, {due, act}]) {
    this.timers.delete(id);
    this.now = Math.max(this.now, due);
    act();
    await settle();
  }
}

const json = (status, body, headers = {}) =>
  new Response(status === 204 ? null : JSON.stringify(body), {status, headers: {"Content-Type": "application/json", ...headers}});

const refusal = ({status, message = "", retryAfter, body = {}}) =>
  json(status, {error: "REFUSED", code: status, message, ...body}, retryAfter === undefined ? {} : {"Retry-After": String(retryAfter)});

/** One attempt to connect, as the server sees it. */
export class Attempt {
  isOpen = false;
  isOver = false;
  isSwallowed = false;
  /** Whether the client has ended it. */
  letGo = false;

  constructor(number, to, url, token, peer) {
    this.number = number;
    this.to = to;
    this.url = url;
    this.query = Object.fromEntries(new URL(url).searchParams);
    this.token = token;
    this.peer = peer;
    this.id = `secret-${number}`;
  }

  open() {
    this.isOpen = true;
    this.peer.open();
  }

  message(message) {
    // Also to a client that has ended it: what was on its way still arrives.
    if (!this.isSwallowed && (!this.isOver || this.letGo)) this.peer.message(message);
  }

  comment() {
    if (!this.isSwallowed && !this.isOver) this.peer.comment();
  }

  end(code) {
    if (this.isSwallowed || this.isOver) return;
    this.isOver = true;
    this.peer.end(code);
  }

  refuse(why) {
    this.isOver = true;
    this.peer.refuse(why);
  }
}

/** The network, and the server at its other end as far as it answers by itself. */
export class Net {
  attempts = [];
  sent = [];
  posts = 204;
  /** How a GET that asks why is answered: undefined: it is an attempt as any other. */
  asked = undefined;
  /** Whether a WebSocket that did not open has a close event: with undici 6 it has none. */
  closesUnopened = true;
  /** Called with what was sent, if a server is to answer by itself. */
  onSent = (_messages, _attempt) => {};
  onAttempt = (_attempt) => {};

  #attempt(to, url, token, peer) {
    const attempt = new Attempt(this.attempts.length + 1, to, url, token, peer);
    this.attempts.push(attempt);
    this.onAttempt(attempt);
    return attempt;
  }

  get last() {
    return this.attempts.at(-1);
  }

  #take(messages, attempt) {
    this.sent.push(...messages);
    if (!attempt.isSwallowed) this.onSent(messages, attempt);
  }

  get WebSocket() {
    const net = this;
    return class {
      onmessage = null;
      onclose = null;
      onerror = null;
      onopen = null;
      bufferedAmount = 0;
      readyState = 0;
      protocol = "";

      constructor(url, protocols) {
        if (!/^wss?:/.test(url)) throw new SyntaxError(`not the URL of a WebSocket: ${url}`);
        const offered = protocols.find((name) => name.startsWith("base64url.bearer."));
        const token = offered ? Buffer.from(offered.slice(17), "base64url").toString() : null;
        if (protocols[0] !== "pond") throw new Error("`pond` is not offered first");
        const end = (code) => {
          this.readyState = 3;
          if (code === 1006 || code === 1009) this.onerror?.({type: "error"});
          if (this.protocol || net.closesUnopened) this.onclose?.({code, reason: ""});
        };
        this.attempt = net.#attempt("websocket", url, token, {
          open: () => {
            this.readyState = 1;
            this.protocol = "pond";
            this.onopen?.({});
          },
          message: (message) => this.onmessage?.({data: JSON.stringify(message)}),
          comment: () => this.onmessage?.({data: JSON.stringify({action: "SYSTEM", event: "PONG", channelName: "GATEWAY", requestId: "beat", payload: {}})}),
          end,
          refuse: () => end(1006),
        });
      }

      send(text) {
        if (this.readyState !== 1) throw new Error("a message on a WebSocket that is not open");
        net.#take([JSON.parse(text)], this.attempt);
      }

      close() {
        if (this.readyState === 3) return;
        this.attempt.letGo = true;
        if (this.attempt.isSwallowed) return;
        this.attempt.isOver = true;
        this.readyState = 3;
        queueMicrotask(() => this.onclose?.({code: 1005, reason: ""}));
      }
    };
  }

  fetch = async (url, {method = "GET", headers, body, signal} = {}) => {
    if (signal?.aborted) throw signal.reason;
    if (method === "GET") return this.#stream(url, headers, signal);
    const attempt = this.attempts.find(({id}) => id === headers["X-Connection-ID"]);
    if (method === "DELETE") {
      if (attempt && !attempt.isOver) attempt.letGo = true;
      return json(204);
    }
    const messages = JSON.parse(body);
    if (!Array.isArray(messages) || !messages.length || messages.length > 64) throw new Error("not 1 to 64 messages");
    if (!attempt || attempt.isOver) return refusal({status: 404});
    if (this.posts === "hold") {
      this.sent.push(...messages);
      return new Promise(() => {});
    }
    if (this.posts === "fail") {
      this.sent.push(...messages);
      throw new TypeError("fetch failed");
    }
    if (attempt.isSwallowed) {
      this.sent.push(...messages);
      return new Promise(() => {});
    }
    if (this.posts === 204) this.#take(messages, attempt);
    else this.sent.push(...messages);
    return this.posts === 204 ? json(204) : refusal({status: this.posts});
  };

  #stream(url, headers, signal) {
    if (headers.Accept !== "text/event-stream") throw new Error("a GET that accepts no event stream");
    if (this.asked) {
      if (this.asked === "unreachable") throw new TypeError("fetch failed");
      return refusal(this.asked);
    }
    return new Promise((resolve, reject) => {
      let stream;
      const encoder = new TextEncoder();
      const write = (text) => {
        if (!attempt.letGo) stream.enqueue(encoder.encode(text));
      };
      const body = new ReadableStream({start: (controller) => (stream = controller)});
      const attempt = this.#attempt("sse", url, headers.Authorization?.replace("Bearer ", "") ?? null, {
        open: () => {
          resolve(new Response(body, {headers: {"Content-Type": "text/event-stream; charset=utf-8"}}));
          write(":\n");
        },
        message: (message) => {
          // In two chunks, cut anywhere.
          const text = `event: ${message.event}\n${message.event === "CONNECTION" ? "retry: 2000\n" : ""}${message.retry ? `retry: ${message.retry}\n` : ""}data: ${JSON.stringify(message)}\n\n`;
          write(text.slice(0, text.length / 3));
          write(text.slice(text.length / 3));
        },
        comment: () => write(":\n"),
        end: (code) => {
          if (!attempt.isOpen) reject(new TypeError("fetch failed"));
          else if (code === 1006) stream.error(new TypeError("the network"));
          else stream.close();
        },
        refuse: (why) => resolve(refusal(why)),
      });
      signal.addEventListener("abort", () => {
        if (attempt.isOver) return;
        attempt.letGo = true;
        if (!attempt.isSwallowed) attempt.isOver = true;
        reject(signal.reason);
        try {
          stream.error(signal.reason);
        } catch {}
      });
    });
  }
}

/** The page: its events and whether it is seen. */
export class Page {
  listeners = new Map();
  document = {hidden: false, addEventListener: (...given) => this.#add(...given), removeEventListener: (...given) => this.#remove(...given)};

  #add(name, handler) {
    this.listeners.set(name, new Set([...(this.listeners.get(name) ?? []), handler]));
  }

  #remove(name, handler) {
    this.listeners.get(name)?.delete(handler);
  }

  install() {
    globalThis.document = this.document;
    globalThis.addEventListener = (...given) => this.#add(...given);
    globalThis.removeEventListener = (...given) => this.#remove(...given);
  }

  uninstall() {
    for (const name of ["document", "addEventListener", "removeEventListener"]) delete globalThis[name];
  }

  get isListenedTo() {
    return [...this.listeners.values()].some((handlers) => handlers.size > 0);
  }

  fire(name) {
    if (name === "hidden" || name === "visible") {
      this.document.hidden = name === "hidden";
      name = "visibilitychange";
    }
    for (const handler of [...(this.listeners.get(name) ?? [])]) handler({type: name, persisted: true});
  }
}
