// The client of a PondSocket server, for browsers and Node: one module, no build step, no dependency.
//
// A *link* is one connection: a WebSocket, or an event stream with POSTs. `Connection` keeps one link
// alive: it reconnects, decides when and over what, and stops for good when the server says so. `Room`
// is one channel, over as many links as it takes. `Pond` has them all, and the answers awaited.
//
// Comments that have a line for themselves are not sent to browsers.

/** @typedef {import("./pondsocket.js").ConnectOptions} ConnectOptions */
/** @typedef {import("./pondsocket.js").CallOptions} CallOptions */
/** @typedef {import("./pondsocket.js").SendOptions} SendOptions */
/** @typedef {import("./pondsocket.js").WaitOptions} WaitOptions */
/** @typedef {import("./pondsocket.js").Message & {payload: any, epoch?: any, offset?: any}} Message */
/** @typedef {import("./pondsocket.js").Person} Person */
/** @typedef {import("./pondsocket.js").Position} Position */
/** @typedef {import("./pondsocket.js").RoomStatus} RoomStatus */
/** @typedef {import("./pondsocket.js").Status} Status */
/** @typedef {import("./pondsocket.js").Transport} Transport */
/** @typedef {Record<string, any>} Payload */
/** @typedef {ReturnType<typeof setTimeout>} Timer */

/** Why a link has ended: a close code, or the status of a refusal; neither: the network.
 * @typedef {{code?: number, status?: number, message?: string, afterMs?: number}} Why */
/** @typedef {{message(message: Message, retryMs?: number): void, alive(): void, refused(messages: Message[], why: Why): void, end(why: Why): void}} LinkEvents */
/** @typedef {{send(message: Message): void, isFull(): boolean, close(): void}} Link */
/** @typedef {{url: string, token?: string | null, options: ConnectOptions, on: LinkEvents}} Address */
/** @typedef {{resolve(value?: any): void, reject(error: any): void}} Answer */
/** @typedef {Answer & {promise: Promise<any>}} Wait */

// 27.5 s: a server says something on an idle connection after 25 s at most. Some send WebSocket pings
// instead, which no script sees: so silence is a reason to ask, and only no answer is a loss.
const SILENCE_MS = 27500;
const ANSWER_MS = 10000;
const WAKE_MS = 5000;
const OPEN_MS = 10000;
const UPGRADE_MS = 600000;
const LIMIT_MS = 10000;
// What is queued for longer would surprise: a user has given up on it.
const QUEUED_MS = 30000;
const QUEUED = 64;
// A day. A timer of more than 2^31 ms fires at once.
const LONGEST_MS = 86400000;

/** What the server, or the client itself, has refused. `code` is a number if the server did. */
export class PondError extends Error {
  /** @param {{code: number | string, message?: string, details?: any, retryAfterMs?: number}} refusal */
  constructor({code, message, details, retryAfterMs}) {
    super(message || String(code));
    this.name = "PondError";
    this.code = code;
    this.details = details;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @type {Record<string, string>} */
const WORDS = {
  lost: "The connection ended before the answer.",
  unsent: "It was not sent.",
  left: "The channel was left.",
  closed: "The client is closed.",
  slow: "It was read too slowly.",
};

/** @param {string} code */
const failure = (code) => new PondError({code, message: WORDS[code]});

/** @param {Status} status */
const stoppedBy = ({code, reason}) => (code ? new PondError({code, message: reason}) : failure("closed"));

/** A code with which a new connection would end the same way. Statuses are less 4000.
 * @param {number} code */
const isFinal = (code) =>
  code === 1000 || code === 1009 || (code >= 4400 && code < 4500 && ![4401, 4408, 4425, 4429].includes(code));

/** @param {number} failures */
const jitter = (failures) => Math.random() * Math.min(30000, 500 * 2 ** failures);

/** What is given, or what the function that is given returns.
 * @param {any} given @param {any} [why] */
const valueOf = (given, why) => (typeof given === "function" ? given(why) : given);

/** @param {string} text */
const parse = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    // Not of this protocol.
    return null;
  }
};

/** A promise with a time limit and a signal. Without a `catch` it does not end a Node process.
 * @param {WaitOptions} options
 * @param {(isAborted: boolean) => void} [over] called when the limit or the signal ends it
 * @returns {Wait} */
const wait = ({timeout = LIMIT_MS, signal}, over) => {
  /** @type {any} */
  const made = {};
  made.promise = new Promise((resolve, reject) => {
    /** @param {(value: any) => void} act @returns {(value?: any) => void} */
    const settle = (act) => (value) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      act(value);
    };
    made.resolve = settle(resolve);
    made.reject = settle(reject);
    const aborted = () => {
      over?.(true);
      made.reject(signal?.reason);
    };
    const timer = timeout < LONGEST_MS ? setTimeout(() => {
      over?.(false);
      made.reject(new DOMException("The time is over.", "TimeoutError"));
    }, timeout) : undefined;
    signal?.addEventListener("abort", aborted);
    if (signal?.aborted) queueMicrotask(aborted);
  });
  made.promise.catch(() => {});
  return made;
};

// ---- Links -------------------------------------------------------------------------------------

/** @param {string} token */
const base64url = (token) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(token)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");

/** @param {Address} address @returns {Link} */
const openSocket = ({url, token, options, on}) => {
  const Socket = options.WebSocket ?? WebSocket;
  // Every endpoint speaks `pond` and says so; a browser refuses a server that picks none.
  const protocols = token ? ["pond", `base64url.bearer.${base64url(token)}`] : ["pond"];
  /** @type {any} */
  const socket = new Socket(url.replace(/^http/, "ws"), protocols);
  /** @param {any} event */
  socket.onmessage = ({data}) => on.message(parse(data));
  /** @param {any} event */
  socket.onclose = ({code, reason}) => on.end({code, message: reason});
  // The close follows, but in Node's own of a socket that did not open. `ws` raises without this.
  socket.onerror = () => socket.protocol || on.end({});
  return {
    send: (message) => socket.send(JSON.stringify(message)),
    // A megabyte, which a network that takes nothing leaves behind.
    isFull: () => socket.bufferedAmount > 1 << 20,
    close: () => {
      // Its close event may never come, or late.
      socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
};

/** Not EventSource: it hides why it was refused, and the comments by which a stream shows that it lives.
 * @param {Address} address @returns {Link} */
const openStream = ({url, token, options, on}) => {
  const stream = new AbortController();
  /** @type {any[]} */
  const queue = [];
  /** The secret of this connection, the key of every POST.
   * @type {string | undefined} */
  let id;
  /** @type {Timer | undefined} */
  let limit;
  let isPosting = false;
  let isOver = false;

  const stop = () => {
    isOver = true;
    clearTimeout(limit);
    stream.abort();
  };
  /** @param {Why} why */
  const end = (why) => {
    if (isOver) return;
    stop();
    on.end(why);
  };
  /** @param {RequestInit} [init] */
  const ask = (init) => (options.fetch ?? fetch)(url.replace(/^ws/, "http"), {
    cache: "no-store",
    // As a WebSocket's handshake.
    credentials: "include",
    ...init,
    headers: {
      ...(token && {Authorization: `Bearer ${token}`}),
      ...(id ? {"X-Connection-ID": id, "Content-Type": "application/json"} : {Accept: "text/event-stream"}),
    },
  });

  const listen = async () => {
    const response = await ask({signal: stream.signal});
    // A page in place of a stream comes from a network that wants its visitors to log in.
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream") || !response.body) return end(await refusal(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let data = "";
    let retryMs = 0;
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return end({});
      on.alive();
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (isOver) return;
        if (line.startsWith("data:")) data += line.slice(5);
        else if (line.startsWith("retry:")) retryMs = Number(line.slice(6));
        else if (!line && data) {
          const message = parse(data);
          id ??= message?.payload.connectionId;
          on.message(message, retryMs);
          data = "";
        }
      }
    }
  };
  listen().catch(() => end({}));

  // One POST at a time keeps the order; what is written meanwhile is sent as one array.
  const post = async () => {
    if (isPosting) return;
    isPosting = true;
    while (queue.length && !isOver) {
      const batch = [];
      // 256 KiB at most, of up to three bytes a character; a message alone has 64.
      for (let size = 0; queue.length && batch.length < 64; ) {
        size += JSON.stringify(queue[0]).length;
        if (size > 65536 && batch.length) break;
        batch.push(queue.shift());
      }
      limit = setTimeout(() => end({}), 15000);
      const response = await ask({method: "POST", body: JSON.stringify(batch)}).catch(() => null);
      clearTimeout(limit);
      if (isOver) break;
      // 404: the server does not know the stream any more.
      if (!response || response.status === 404) end({});
      else if (!response.ok) {
        const why = await refusal(response);
        if (response.status === 401 || response.status >= 500) end(why);
        else if (!isOver) on.refused(batch, why);
      }
    }
    isPosting = false;
  };

  return {
    send: (message) => {
      queue.push(message);
      post();
    },
    isFull: () => queue.length >= 1024,
    close: () => {
      stop();
      if (id) ask({method: "DELETE", keepalive: true}).catch(() => {});
    },
  };
};

/** @param {Response} response @returns {Promise<Why>} */
const refusal = async (response) => {
  if (response.ok) return {};
  const {message} = await response.json().catch(() => ({}));
  return {status: response.status, message, afterMs: 1000 * Number(response.headers.get("Retry-After")) || 0};
};

// ---- The connection ----------------------------------------------------------------------------

const OPENERS = {websocket: openSocket, sse: openStream};
/** @type {any} */
const PING = {action: "ping"};

/** One attempt, and what became of it.
 * @typedef {object} Attempt
 * @property {Transport} kind
 * @property {"" | "diagnosis" | "upgrade"} role `diagnosis`: only to learn why a WebSocket did not open; `upgrade`: whether one does again
 * @property {boolean} isOver
 * @property {Message[]} early what came before it was adopted, CONNECT first
 * @property {Timer} [limit]
 * @property {Link} [link]
 * @property {{code: number, reason: string, reconnect: boolean, at: number}} [goodbye] */

class Connection {
  /** @type {Attempt | undefined} */
  #open;
  /** @type {Attempt | undefined} */
  #trying;
  /** @type {Timer | undefined} */
  #again;
  /** @type {Timer | undefined} */
  #check;
  /** @type {Timer | undefined} */
  #steady;
  /** @type {Timer | undefined} */
  #upgrade;
  #failures = 0;
  // WebSockets in a row that did not open while streams worked.
  #blocked = 0;
  #fellBackAt = 0;
  // As the server said.
  #notBefore = 0;
  #heard = 0;
  #pinged = 0;
  // How often since the last sign of life.
  #pings = 0;
  /** @type {string | null | undefined} */
  #token;
  #isRefreshed = false;
  #isListening = false;
  /** @type {Status} */
  status = {state: "stopped"};

  /** @param {string} url
   * @param {ConnectOptions} options
   * @param {{open(message: Message): void, message(message: Message): void, refused(messages: Message[], why: Why): void, lost(): void, isBusy(): boolean, status(status: Status): void}} on */
  constructor(url, options, on) {
    this.url = url;
    this.options = options;
    this.on = on;
  }

  /** @returns {Transport[]} */
  get transports() {
    return valueOf(this.options.transports) ?? ["websocket", "sse"];
  }

  get isOpen() {
    return !!this.#open;
  }

  get isStopped() {
    return this.status.state === "stopped";
  }

  get isFull() {
    return this.#open?.link?.isFull() ?? true;
  }

  /** @param {Message} message @param {Attempt} [attempt] */
  send(message, attempt = this.#open) {
    this.options.trace?.("out", message);
    attempt?.link?.send(message);
  }

  /** Connect, unless it does so by itself, now or later. */
  start() {
    if (this.isStopped) this.connect();
  }

  /** Connect now, unless it is connected or about to be. */
  connect() {
    if (this.#open || this.#trying) return;
    this.#listen(true);
    clearTimeout(this.#again);
    const isBlocked = this.#fellBackAt && Date.now() - this.#fellBackAt < UPGRADE_MS;
    const transport = isBlocked ? "sse" : this.transports[0];
    this.#try(transport);
    this.#say({state: "connecting", transport});
  }

  /** End it, until `connect()`.
   * @param {string} [reason] @param {number} [code] */
  stop(reason, code) {
    this.#listen(false);
    this.#dropAll();
    this.#failures = this.#blocked = this.#fellBackAt = this.#notBefore = 0;
    this.#isRefreshed = false;
    if (code) this.#token = undefined;
    this.#say({state: "stopped", reason, code});
  }

  /** @param {Status} status */
  #say(status) {
    this.status = status;
    this.on.status(status);
  }

  /** @param {Transport} kind @param {Attempt["role"]} [role] */
  #try(kind, role = "") {
    /** @type {Attempt} */
    const attempt = {kind, role, isOver: false, early: []};
    this.#trying = attempt;
    /** @param {(...given: any[]) => void} act @returns {(...given: any[]) => void} */
    const unlessOver = (act) => (...given) => {
      if (!attempt.isOver) act(...given);
    };
    const end = unlessOver((why) => this.#end(attempt, why));
    const alive = unlessOver(() => {
      if (this.#open !== attempt) return;
      this.#heard = Date.now();
      this.#pings = 0;
    });
    const message = unlessOver((message, retryMs) => {
      alive();
      if (message) this.#take(attempt, message, retryMs);
    });
    const refused = unlessOver((messages, why) => {
      if (this.#open === attempt) this.on.refused(messages, why);
      else end(why);
    });
    attempt.limit = setTimeout(end, this.#blocked ? OPEN_MS / 2 : OPEN_MS, {});
    this.#address().then(unlessOver((address) => {
      attempt.link = OPENERS[kind]({...address, on: {message, alive, refused, end}});
    })).catch((error) => end({code: 4000, message: error?.message}));
  }

  /** @returns {Promise<Omit<Address, "on">>} */
  async #address() {
    const {options} = this;
    const url = new URL(this.url, globalThis.location?.href);
    const params = (await valueOf(options.params)) ?? {};
    for (const name in params) if (params[name] != null) url.searchParams.set(name, params[name]);
    if (this.#token === undefined) this.#token = await valueOf(options.token, {reason: this.#isRefreshed ? "expired" : "first"});
    return {url: url.href, token: this.#token, options};
  }

  /** @param {Attempt} attempt @param {Message} message @param {number} [retryMs] */
  #take(attempt, message, retryMs = 0) {
    const {action, event, payload} = message;
    this.options.trace?.("in", message);
    if (action === "SYSTEM" && event === "GOODBYE") {
      const {code, reason, reconnect, afterMs} = payload;
      // A stream that is opened while the server restarts is told by `retry:` when to come.
      const at = Date.now() + (this.#open === attempt ? afterMs : Math.max(afterMs, retryMs));
      attempt.goodbye = {code, reason, reconnect, at};
      if (this.#open === attempt && reconnect) this.#say({state: "leaving", transport: attempt.kind, until: at, reason, code});
    } else if (this.#open === attempt) {
      if (action !== "SYSTEM" || event !== "PONG") this.on.message(message);
    } else {
      attempt.early.push(message);
      if (attempt.role !== "diagnosis") {
        if (attempt.role && this.on.isBusy()) {
          // The calls under way would be lost.
          this.#drop(attempt);
          this.#tryUpgrade(ANSWER_MS);
        } else this.#adopt(attempt);
      } else if (action === "CONNECT") {
        // A POST must work, too.
        this.send(PING, attempt);
      } else if (event === "PONG") {
        this.#streamWorks(attempt);
      }
    }
  }

  /** @param {Attempt} attempt */
  #streamWorks(attempt) {
    if (++this.#blocked > 1 && this.transports.includes("sse")) {
      this.#fellBackAt = Date.now();
      this.#adopt(attempt);
    } else {
      this.#drop(attempt);
      this.#retry({message: "The WebSocket did not open."});
    }
  }

  /** @param {Attempt} attempt */
  #adopt(attempt) {
    const {kind, early: [connect, ...early]} = attempt;
    if (this.#open) this.#drop(this.#open);
    // A handler that hears of the loss may call `close()`.
    if (attempt.isOver) return;
    clearTimeout(attempt.limit);
    this.#open = attempt;
    this.#trying = undefined;
    this.#heard = Date.now();
    this.#pings = 0;
    if (kind === "websocket") this.#blocked = this.#fellBackAt = 0;
    else this.#tryUpgrade(UPGRADE_MS);
    // A server that closes what it has just opened is not asked faster and faster.
    this.#steady = setTimeout(() => {
      this.#failures = 0;
      this.#isRefreshed = false;
    }, 5000);
    this.#watch(SILENCE_MS);
    this.on.open(connect);
    if (attempt.isOver) return;
    this.#say({state: "open", transport: kind});
    for (const message of early) if (!attempt.isOver && message.event !== "PONG") this.on.message(message);
  }

  // A link has ended by itself.
  /** @param {any} attempt @param {any} why */
  #end(attempt, why) {
    /** @type {Attempt} */
    const {kind, role, goodbye} = attempt;
    const wasOpen = this.#open === attempt;
    this.#drop(attempt);
    if (this.isStopped) return;
    if (role === "upgrade" && !wasOpen) {
      this.#fellBackAt = Date.now();
      this.#tryUpgrade(UPGRADE_MS);
    } else if (kind === "websocket" && !wasOpen && !goodbye && !(why.code >= 4000)) {
      // A browser does not tell a script why a WebSocket did not open, but it does for a plain request.
      this.#try("sse", "diagnosis");
    } else {
      this.#retry(why, goodbye);
    }
  }

  /** Come back, or stop, as the end says. GOODBYE decides, then the status or the close code.
   * @param {Why} why @param {Attempt["goodbye"]} [goodbye] */
  #retry({code = 1006, status, message, afterMs = 0}, goodbye) {
    this.#dropAll();
    if (status) code = 4000 + status;
    if (goodbye) {
      code = goodbye.code;
      message = goodbye.reason;
      afterMs = goodbye.at - Date.now();
    }
    let isFinalEnd = goodbye ? !goodbye.reconnect : isFinal(code);
    if (code === 4401) {
      // With a token that has just been asked for, it would end the same way; with a cookie, too.
      isFinalEnd = typeof this.options.token === "function" ? this.#isRefreshed : !goodbye;
      this.#token = undefined;
      this.#isRefreshed = true;
    }
    if (isFinalEnd) return this.stop(message, status ?? code);
    const least = Math.min(Math.max(afterMs, 0), LONGEST_MS);
    this.#notBefore = Date.now() + least;
    this.#wait(least + jitter(this.#failures++), message, status ?? code);
  }

  /** @param {number} ms @param {string} [reason] @param {number} [code] */
  #wait(ms, reason, code) {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.connect(), ms);
    this.#say({state: "waiting", until: Date.now() + ms, reason, code});
  }

  /** @param {Attempt} attempt */
  #drop(attempt) {
    attempt.isOver = true;
    clearTimeout(attempt.limit);
    attempt.link?.close();
    if (this.#trying === attempt) this.#trying = undefined;
    if (this.#open === attempt) {
      this.#open = undefined;
      clearTimeout(this.#check);
      clearTimeout(this.#steady);
      clearTimeout(this.#upgrade);
      this.on.lost();
    }
  }

  #dropAll() {
    clearTimeout(this.#again);
    if (this.#trying) this.#drop(this.#trying);
    if (this.#open) this.#drop(this.#open);
  }

  /** @param {number} ms */
  #tryUpgrade(ms) {
    clearTimeout(this.#upgrade);
    if (!this.#fellBackAt || !this.#open) return;
    this.#upgrade = setTimeout(() => {
      if (this.on.isBusy()) this.#tryUpgrade(1000);
      else if (!this.#trying) this.#try("websocket", "upgrade");
    }, ms);
  }

  // ---- Whether it lives. A lost network shows no error, and no end.

  /** @param {number} ms */
  #watch(ms) {
    clearTimeout(this.#check);
    const due = Date.now() + ms;
    this.#check = setTimeout(() => {
      const now = Date.now();
      // The timers of a hidden page are up to a minute late, those of a device that slept any time. Then
      // what came meanwhile may not be read yet: it is asked once more.
      const isLate = now - due > 2000;
      const restMs = SILENCE_MS - now + this.#heard;
      if (this.#pings > +isLate) this.#end(this.#open, {message: "The server is silent."});
      else if (this.#pings || restMs <= 0) this.#ping(isLate ? WAKE_MS : ANSWER_MS);
      else this.#watch(Math.min(SILENCE_MS, restMs));
    }, ms);
  }

  /** @param {number} ms */
  #ping(ms) {
    this.#pinged = Date.now();
    this.#pings++;
    this.send(PING);
    this.#watch(ms);
  }

  /** @param {boolean} isOn */
  #listen(isOn) {
    if (isOn === this.#isListening) return;
    this.#isListening = isOn;
    /** @type {[any, string[]][]} */
    const targets = [
      [globalThis, ["online", "pagehide", "pageshow"]],
      [globalThis.document, ["visibilitychange", "freeze", "resume"]],
    ];
    for (const [target, names] of targets) {
      for (const name of names) target?.[isOn ? "addEventListener" : "removeEventListener"]?.(name, this.#page);
    }
  }

  /** @param {any} event */
  #page = ({type, persisted}) => {
    if (type === "pagehide" || type === "freeze") {
      // Without a word to the channels: the page may come back, and then recovers what it missed.
      if (this.#open || this.#trying) {
        this.#dropAll();
        // In case it does not go after all.
        if (!this.isStopped) this.#wait(60000, "The page is hidden.");
      }
    } else if (type === "visibilitychange" ? !document.hidden : type !== "pageshow" || persisted) this.#wake(type);
  };

  /** @param {string} type */
  #wake(type) {
    const {state, until = 0, reason, code} = this.status;
    if (type === "online") {
      this.#failures = this.#blocked = 0;
      this.#tryUpgrade(0);
      if (!this.#open) this.#fellBackAt = 0;
    }
    if (state === "waiting") {
      const now = Date.now();
      if (this.#notBefore > now) this.#wait(Math.min(this.#notBefore, until) - now, reason, code);
      else this.connect();
    } else if (this.#open) {
      if (!this.#pings || Date.now() - this.#pinged > WAKE_MS) this.#ping(WAKE_MS);
    } else if (this.#trying && type !== "visibilitychange") {
      // It may hang in a network that is gone.
      this.#drop(this.#trying);
      this.connect();
    }
  }
}

// ---- What an application has -------------------------------------------------------------------

/** What a room and its pond share.
 * @typedef {object} Wire
 * @property {Connection} connection
 * @property {Map<string, Answer>} answers by the request id
 * @property {() => string} nextId
 * @property {() => PondError | undefined} refusal why nothing can be joined now */

/** An event that waits for its channel, or is on its way.
 * @typedef {{message: Message, at: number, wait?: Wait}} Entry */

/** Something that has events: a channel, or the endpoint. */
class Sender {
  /** @type {Map<string, Set<Function[]>>} */
  #handlers = new Map();
  /** @type {Entry[]} */
  #queue = [];
  /** @protected */
  wire;

  /** @param {string} name @param {Wire} wire */
  constructor(name, wire) {
    this.name = name;
    this.wire = wire;
  }

  /** @protected @returns {boolean} */
  get isReady() {
    return this.wire.connection.isOpen;
  }

  /** Call `handler` with every such event. Returns what stops it.
   * @param {string} event @param {Function} handler */
  on(event, handler) {
    const entry = [handler];
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers.add(entry));
    return () => {
      handlers.delete(entry);
    };
  }

  /** Wait for the next such event. Returns its payload.
   * @param {string} event @param {WaitOptions} [options] */
  once(event, {timeout = Infinity, signal} = {}) {
    const waited = wait({timeout, signal}, () => off());
    /** @param {any} payload */
    const take = (payload) => {
      off();
      waited.resolve(payload);
    };
    const off = this.on(event, take);
    return waited.promise;
  }

  /** @protected @param {string} event @param {any} [payload] @param {any} [meta] */
  emit(event, payload, meta) {
    const handlers = this.#handlers.get(event) ?? new Set();
    for (const entry of [...handlers]) {
      try {
        if (handlers.has(entry)) entry[0](payload, meta);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  /** @protected @param {Message} message an event of the application */
  hear({event, payload, epoch, offset, requestId}) {
    const name = OWN.has(event) ? `app:${event}` : event;
    this.emit("", {event: name, payload, offset});
    this.emit(name, payload, {epoch, offset, requestId});
  }

  /** Send an event, and wait for its answer.
   * @param {string} event @param {Payload} [payload] @param {CallOptions} [options] */
  call(event, payload = {}, {queue, ...limits} = {}) {
    const entry = this.#entry(event, payload);
    entry.message.confirm = true;
    const waited = (entry.wait = wait(limits, () => {
      this.wire.answers.delete(entry.message.requestId);
      const place = this.#queue.indexOf(entry);
      if (place >= 0) this.#queue.splice(place, 1);
    }));
    if (!limits.signal?.aborted && !this.#hand(entry, queue)) waited.reject(failure("unsent"));
    return waited.promise;
  }

  /** Send an event. Returns whether it was handed over or queued.
   * @param {string} event @param {Payload} [payload] @param {SendOptions} [options] */
  send(event, payload = {}, {queue} = {}) {
    return this.#hand(this.#entry(event, payload), queue);
  }

  /** @param {string} event @param {Payload} payload @returns {Entry} */
  #entry(event, payload) {
    const requestId = this.wire.nextId();
    // As it is now, and only if it can be sent at all.
    payload = JSON.parse(JSON.stringify(payload));
    return {message: {action: "BROADCAST", event, channelName: this.name, requestId, payload}, at: Date.now()};
  }

  /** @param {Entry} entry @param {boolean} [mayQueue] */
  #hand(entry, mayQueue = true) {
    if (this.isReady) return this.#write(entry);
    if (!mayQueue || this.wire.refusal() || !this.isComing || this.#queue.length >= QUEUED) return false;
    this.#queue.push(entry);
    this.wire.connection.start();
    return true;
  }

  /** @protected whether what is queued has a prospect */
  get isComing() {
    return true;
  }

  /** @param {Entry} entry */
  #write({message, wait: waited}) {
    const {connection, answers} = this.wire;
    if (connection.isFull) return false;
    if (waited) answers.set(message.requestId, waited);
    connection.send(message);
    return true;
  }

  /** Send what is queued, if it still can be. @protected */
  flush() {
    for (const entry of this.#queue.splice(0)) {
      if (!this.isReady || Date.now() - entry.at > QUEUED_MS || !this.#write(entry)) entry.wait?.reject(failure("unsent"));
    }
  }
}

/** One channel. `Pond.channel` makes it, one for each name. */
class Room extends Sender {
  // Joins less leaves.
  #users = 0;
  /** Of the JOIN on this connection.
   * @type {string | undefined} */
  #request;
  /** @type {Set<Wait>} */
  #joins = new Set();
  /** @type {Set<Wait>} */
  #leaves = new Set();
  /** @type {Timer | undefined} */
  #leaving;
  /** @type {Timer | undefined} */
  #again;
  #refusals = 0;
  #wasJoined = false;
  /** @type {any} */
  #response;
  /** @type {Position | null} */
  position = null;
  /** @type {Map<string, Person>} */
  presence = new Map();
  /** @type {RoomStatus} */
  status = {state: "left"};
  /** @type {Payload | (() => Payload) | undefined} */
  params;

  get state() {
    return this.status.state;
  }

  get isReady() {
    return this.state === "joined";
  }

  get isComing() {
    return this.#users > 0;
  }

  /** Join, once however often it is called. Each join wants its `leave()`.
   * @param {WaitOptions} [options] */
  join(options = {}) {
    if (options.signal?.aborted) return wait(options).promise;
    this.#users++;
    // The connection may have opened while it was about to leave.
    const wasLeaving = this.#leaving;
    this.#stay();
    if (this.isReady) return Promise.resolve({response: this.#response});
    const waited = wait(options, (isAborted) => {
      this.#joins.delete(waited);
      if (isAborted) this.leave();
    });
    const refusal = this.wire.refusal();
    if (refusal) {
      waited.reject(refusal);
    } else {
      this.#joins.add(waited);
      if (this.state !== "joining") {
        this.#say({state: "joining"});
        this.wire.connection.start();
        this.#sendJoin();
      } else if (wasLeaving) this.#sendJoin();
    }
    return waited.promise;
  }

  /** Leave, if nothing else in the page is still joined to it. */
  leave() {
    if (this.#users) this.#users--;
    if (this.#users) return Promise.resolve();
    if (this.state !== "joining" && !this.isReady) {
      // After a stop it would have been joined again by `connect()`.
      if (this.#wasJoined) this.#end({state: "left"}, failure("left"));
      return Promise.resolve();
    }
    const waited = wait({}, () => this.#leaves.delete(waited));
    this.#leaves.add(waited);
    // A task later: React's StrictMode leaves and joins again at once.
    this.#leaving ??= setTimeout(() => this.#leave(), 0);
    return waited.promise;
  }

  /** Iterate over the events, and over `rejoined`. Ends with the membership; throws if it is read too slowly.
   * @param {{signal?: AbortSignal, limit?: number}} [options]
   * @returns {AsyncGenerator<{event: string, payload: any, offset?: number}, void>} */
  events({signal, limit = 1024} = {}) {
    /** @type {any[]} */
    const items = [];
    /** @type {any} */
    let end;
    let wake = () => {};
    /** @param {any} item */
    const take = (item) => {
      if (!end && items.push(item) > limit) end = {error: failure("slow")};
      wake();
    };
    /** @param {any} payload */
    const rejoined = (payload) => take({event: "rejoined", payload});
    /** @param {RoomStatus} status */
    const ended = ({state, error}) => {
      if (state.startsWith("join")) return;
      end ??= {error: state === "refused" && error};
      wake();
    };
    const offs = [this.on("", take), this.on("rejoined", rejoined), this.on("state", ended)];
    const aborted = () => {
      end ??= {error: signal?.reason};
      wake();
    };
    /** @type {() => Promise<void>} */
    const wakeUp = () => new Promise((resolve) => (wake = resolve));
    signal?.addEventListener("abort", aborted);
    if (signal?.aborted) aborted();
    return (async function* () {
      try {
        for (;;) {
          if (end?.error) throw end.error;
          if (items.length) yield items.shift();
          else if (end) return;
          else await wakeUp();
        }
      } finally {
        for (const off of offs) off();
        signal?.removeEventListener("abort", aborted);
      }
    })();
  }

  /** Call `run` now and after every change. Returns what stops it.
   * @param {(value: RoomStatus & {presence: Map<string, Person>}) => void} run */
  subscribe = (run) => {
    const tell = () => run({...this.status, presence: this.presence});
    const offs = [this.on("state", tell), this.on("presence", tell)];
    tell();
    return () => offs.forEach((off) => off());
  };

  // ---- What the pond calls.

  /** The connection is open. */
  opened() {
    if (this.#users && !this.#leaving && this.wire.connection.isOpen) {
      if (this.state !== "joining") this.#say({state: "joining"});
      this.#sendJoin();
    }
  }

  /** The connection is lost. */
  lost() {
    this.#request = undefined;
    clearTimeout(this.#again);
    if (this.#leaving) this.#leave();
    else if (this.isReady) this.#say({state: "joining"});
  }

  /** The client is closed, or stopped by the server. @param {PondError} error */
  stopped(error) {
    this.#stay();
    clearTimeout(this.#again);
    this.flush();
    this.#fail(error);
    // It is still joined if the handler of another channel closes the client at a loss.
    if (this.state.startsWith("join")) this.#say({state: "left", error});
  }

  /** @param {Message} message */
  take(message) {
    const {action, event, payload} = message;
    if (action === "ERROR") return this.emit("state", {...this.status, error: new PondError(payload)});
    // Of a membership that has ended, here or by a JOIN under way.
    if (!this.isReady) return;
    if (action === "PRESENCE") {
      if (event === "DIFF") this.#changed(payload);
    } else if (action === "SYSTEM" && event === "EVICTED") {
      this.#end({state: "evicted", reason: payload.reason}, failure("left"));
    } else if (action === "SYSTEM" && event === "ACKNOWLEDGE") {
      // Unasked: the history has begun anew.
      this.#at(payload);
      this.emit("rejoined", {recovered: false});
    } else if (message.epoch === undefined || this.#at(message)) this.hear(message);
  }

  // ---- Its own.

  /** @param {RoomStatus} status */
  #say(status) {
    this.status = status;
    this.emit("state", status);
  }

  #stay() {
    clearTimeout(this.#leaving);
    this.#leaving = undefined;
    for (const waited of this.#leaves) waited.resolve();
    this.#leaves.clear();
  }

  #sendJoin() {
    const {connection, answers, nextId} = this.wire;
    clearTimeout(this.#again);
    if (!connection.isOpen || this.#request) return;
    const {position} = this;
    let payload;
    try {
      payload = valueOf(this.params) ?? {};
    } catch (error) {
      return this.#refused(error);
    }
    const requestId = (this.#request = nextId());
    /** @param {(value: any) => void} act @returns {(value: any) => void} */
    const ifCurrent = (act) => (value) => {
      if (this.#request === requestId) act(value);
    };
    answers.set(requestId, {
      resolve: ifCurrent((payload) => this.#joined(payload)),
      reject: ifCurrent((error) => this.#refused(error)),
    });
    connection.send({
      action: "JOIN_CHANNEL", event: "join", channelName: this.name, requestId, payload, presence: "diff",
      ...(position && {since: position}),
    });
  }

  /** @param {any} payload of the ACKNOWLEDGE */
  #joined({epoch, offset, recovered, response, presence}) {
    const isAgain = this.#wasJoined;
    this.#wasJoined = true;
    this.#refusals = 0;
    this.#response = response;
    this.#at({epoch, offset});
    this.status = {state: "joined"};
    this.flush();
    for (const waited of this.#joins) waited.resolve({response});
    this.#joins.clear();
    this.emit("state", this.status);
    if (!this.isReady) return;
    this.#synced(presence?.joins ?? []);
    if (isAgain) this.emit("rejoined", {response, recovered: recovered === true});
    else this.emit("joined", {response});
  }

  /** @param {any} error */
  #refused(error) {
    const {code, retryAfterMs = 0} = error;
    if (code === "lost") return;
    this.#request = undefined;
    if (this.#wasJoined && (code === 408 || code === 429 || Number(code) >= 500)) {
      // It was a member, and may be one again: the server is only busy.
      this.#again = setTimeout(() => this.#sendJoin(), Math.min(retryAfterMs, LONGEST_MS) + jitter(this.#refusals++));
    } else this.#end({state: "refused", error}, error);
  }

  #leave() {
    const {connection, answers, nextId} = this.wire;
    clearTimeout(this.#leaving);
    this.#leaving = undefined;
    const leaves = [...this.#leaves];
    this.#leaves.clear();
    const resolve = () => {
      for (const waited of leaves) waited.resolve();
    };
    if (connection.isOpen && this.#request) {
      const requestId = nextId();
      answers.set(requestId, {resolve, reject: resolve});
      connection.send({action: "LEAVE_CHANNEL", event: "leave", channelName: this.name, requestId, payload: {}});
    } else resolve();
    this.#end({state: "left"}, failure("left"));
  }

  /** The membership has ended. @param {RoomStatus} status @param {PondError} error */
  #end(status, error) {
    clearTimeout(this.#again);
    this.#users = 0;
    this.#request = this.#response = undefined;
    this.position = null;
    this.presence = new Map();
    this.#wasJoined = false;
    this.#refusals = 0;
    this.flush();
    this.#fail(error);
    this.#say(status);
  }

  /** @param {PondError} error */
  #fail(error) {
    for (const waited of this.#joins) waited.reject(error);
    this.#joins.clear();
  }

  /** Move the position. Returns false for a place that was passed already.
   * @param {{epoch?: any, offset?: any}} place */
  #at({epoch, offset}) {
    const {position} = this;
    if (position && position.epoch === epoch && offset <= position.offset) return false;
    this.position = epoch && Number.isSafeInteger(offset) ? {epoch, offset} : null;
    return true;
  }

  /** Take the whole state of the presence, and tell what differs. @param {Person[]} now */
  #synced(now) {
    const before = this.presence;
    const refs = new Set(now.map(({ref}) => ref));
    this.#changed({
      joins: now.filter(({ref}) => !before.has(ref)),
      updates: now.filter((person) => before.has(person.ref) && JSON.stringify(person) !== JSON.stringify(before.get(person.ref))),
      leaves: [...before.values()].filter(({ref}) => !refs.has(ref)),
    });
  }

  /** @param {{joins: Person[], updates: Person[], leaves: Person[]}} changes */
  #changed(changes) {
    const {joins, updates, leaves} = changes;
    if (!joins.length && !updates.length && !leaves.length) return;
    // A new one, by which React sees the change.
    const people = new Map(this.presence);
    for (const person of [...joins, ...updates]) people.set(person.ref, person);
    for (const {ref} of leaves) people.delete(ref);
    this.presence = people;
    this.emit("presence", people, changes);
  }
}

// The events of the client itself; an application's of these names is heard as `app:joined` and so on.
const OWN = new Set(["joined", "rejoined", "presence", "state", "status"]);

/** A connection to an endpoint, and its channels. */
class Pond extends Sender {
  /** @type {Map<string, Room>} */
  #rooms = new Map();
  #isClosed = false;
  /** The public id of this user, once it is connected.
   * @type {string | undefined} */
  id;

  /** @param {string} url @param {ConnectOptions} options */
  constructor(url, options) {
    /** @type {Map<string, Answer>} */
    const answers = new Map();
    let requests = 0;
    const connection = new Connection(url, options, {
      open: (message) => {
        this.id = message.payload.id;
        for (const room of this.#rooms.values()) room.opened();
        this.flush();
      },
      message: (message) => this.#take(message),
      refused: (messages, {status, message, afterMs}) => {
        // As if the server had answered each of them.
        for (const each of messages) this.#take({...each, action: "ERROR", payload: {code: status, message, retryAfterMs: afterMs}});
      },
      lost: () => {
        const error = failure("lost");
        for (const answer of answers.values()) answer.reject(error);
        answers.clear();
        for (const room of this.#rooms.values()) room.lost();
      },
      isBusy: () => answers.size > 0,
      status: (status) => {
        if (connection.isStopped) {
          for (const room of this.#rooms.values()) room.stopped(stoppedBy(status));
          this.flush();
        }
        this.emit("status", status);
      },
    });
    super("GATEWAY", {
      connection,
      answers,
      nextId: () => `${++requests}`,
      refusal: () => {
        const {status} = connection;
        return this.#isClosed || (connection.isStopped && status.code) ? stoppedBy(status) : undefined;
      },
    });
  }

  get status() {
    return this.wire.connection.status;
  }

  /** The channel of this name; always the same object.
   * @param {string} name @param {{params?: Payload | (() => Payload)}} [options] */
  channel(name, {params} = {}) {
    const room = this.#rooms.get(name) ?? new Room(name, this.wire);
    if (params) room.params = params;
    this.#rooms.set(name, room);
    return room;
  }

  /** Connect now, also after `close()`, and rejoin what was joined. */
  connect() {
    this.#isClosed = false;
    this.wire.connection.connect();
  }

  /** End everything, until `connect()`. */
  close() {
    this.#isClosed = true;
    this.wire.connection.stop();
  }

  /** Call `run` now and after every change. Returns what stops it.
   * @param {(status: Status) => void} run */
  subscribe = (run) => {
    run(this.status);
    return this.on("status", run);
  };

  /** @param {string} requestId */
  #answer(requestId) {
    const {answers} = this.wire;
    const answer = answers.get(requestId);
    answers.delete(requestId);
    return answer;
  }

  /** @param {Message} message */
  #take(message) {
    const {action, event, channelName, requestId, payload} = message;
    if (action === "SYSTEM" || action === "ERROR") {
      const answer = this.#answer(requestId);
      if (answer) {
        if (action === "ERROR" || event === "UNAUTHORIZED" || event === "NOT_FOUND") answer.reject(new PondError(payload));
        else answer.resolve(payload);
        return;
      }
    }
    if (channelName !== this.name) this.#rooms.get(channelName)?.take(message);
    else if (action === "ERROR") this.emit("status", {...this.status, error: new PondError(payload)});
    else this.hear(message);
  }
}

/** Make a client of the endpoint at `url`. It connects with the first join or call, or by `connect()`.
 * @param {string} url @param {ConnectOptions} [options] */
export const connect = (url, options = {}) => new Pond(url, options);
