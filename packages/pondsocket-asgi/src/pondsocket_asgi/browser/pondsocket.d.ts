/** How the client reaches the server. */
export type Transport = "websocket" | "sse";

/**
 * What an application sends and hears, by channel; a type of its own makes everything checked:
 *
 *     interface Chat {
 *       channels: {
 *         "/chat/:room": {
 *           params: {nick: string};
 *           response: {topic: string};
 *           calls: {say: [payload: {text: string}, answer: {id: number}]};
 *           events: {said: {id: number; text: string}};
 *           presence: {nick: string};
 *         };
 *       };
 *       calls: {now: [payload: {}, answer: {time: string}]};
 *       events: {notice: {text: string}};
 *     }
 *     const pond = connect<Chat>("/ws/socket");
 */
export interface Api {
  /** The channels, by pattern: `/chat/:room`. */
  channels?: object;
  /** Events that the endpoint handles: `[payload, answer]` by name. */
  calls?: object;
  /** Events that the endpoint sends: the payload by name. */
  events?: object;
}

/** One channel of an `Api`; what is left out is not checked. */
export interface ChannelApi {
  params?: object;
  response?: unknown;
  calls?: object;
  events?: object;
  presence?: object;
}

/** Where nothing is said about the application. */
export interface AnyChannel {
  params: Record<string, any>;
  response: any;
  calls: Record<string, [payload: Record<string, any>, answer: any]>;
  events: Record<string, any>;
  presence: any;
}

/** Where nothing is said about the application. */
export interface AnyApi {
  channels: Record<string, AnyChannel>;
  calls: AnyChannel["calls"];
  events: AnyChannel["events"];
}

type Part<T, Name extends PropertyKey, Otherwise> = T extends {[N in Name]: infer Value} ? Value : Otherwise;
/** `/chat/:room/:topic` as the names that it stands for. */
type Filled<Pattern extends string> = Pattern extends `${infer Head}/:${string}/${infer Tail}`
  ? `${Head}/${string}/${Filled<Tail>}`
  : Pattern extends `${infer Head}/:${string}`
    ? `${Head}/${string}`
    : Pattern;
type Channels<A> = Part<A, "channels", AnyApi["channels"]>;
/** The channel names of an `Api`. */
export type ChannelName<A> = {[Pattern in keyof Channels<A> & string]: Filled<Pattern>}[keyof Channels<A> & string];
/** What an `Api` says about the channel of this name. */
export type ChannelOf<A, Name extends string> = {
  [Pattern in keyof Channels<A> & string]: Name extends Filled<Pattern> ? Channels<A>[Pattern] : never;
}[keyof Channels<A> & string];
type Calls<T> = Part<T, "calls", AnyChannel["calls"]>;
type Events<T> = Part<T, "events", AnyChannel["events"]>;
type Payload<C> = C extends [infer Value, ...unknown[]] ? Value : never;
type Answer<C> = C extends [unknown, infer Value] ? Value : unknown;
/** The payload may be left out where `{}` fits. */
type Arguments<P, Options> = {} extends P ? [payload?: P, options?: Options] : [payload: P, options?: Options];

export interface WaitOptions {
  /** Milliseconds; 10,000 by default (`once`: none). Then it rejects with a `TimeoutError`. */
  timeout?: number;
  /** Ends it; then it rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface SendOptions {
  /** False: do not keep it until the channel is joined. True by default; 64 messages, for 30 s at most. */
  queue?: boolean;
}

export interface CallOptions extends WaitOptions, SendOptions {}

type Transports = [Transport] | ["websocket", "sse"];
type MaybePromise<T> = T | Promise<T>;
type Query = Record<string, string | number | boolean | null | undefined>;

/** The constructor of a WebSocket: a browser's, Node's, or that of the package `ws`. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => {
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code?: number): void;
};

export interface ConnectOptions {
  /** The query of the URL; a function is asked anew for every attempt. */
  params?: Query | (() => MaybePromise<Query>);
  /**
   * The bearer token. A function is asked for the first attempt, and once more whenever the server says
   * that the token is no longer good. It travels in headers, never in the URL.
   */
  token?: string | null | ((why: {reason: "first" | "expired"}) => MaybePromise<string | null>);
  /** Those to use; the second where the first fails. `["websocket", "sse"]` by default. */
  transports?: Transports | (() => Transports);
  /** Instead of the global one: before Node 22 that of the package `ws`. */
  WebSocket?: WebSocketConstructor;
  /** Instead of the global one. */
  fetch?: typeof fetch;
  /** Sees every message. */
  trace?(direction: "in" | "out", message: Message): void;
}

/** A message of the protocol. A ping has an `action` alone. */
export interface Message {
  action: string;
  event: string;
  channelName: string;
  requestId: string;
  payload: Record<string, any>;
  epoch?: string;
  offset?: number;
  since?: Position;
  presence?: "diff";
  confirm?: boolean;
}

/** A place in a channel's history. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Where the connection is. */
export interface Status {
  /**
   * `stopped` before the first join, after `close()`, and when the server does not want the client back.
   * `leaving`: the server restarts, and closes the connection at `until`. `waiting` until the next attempt.
   */
  state: "connecting" | "open" | "leaving" | "waiting" | "stopped";
  transport?: Transport;
  /** By `Date.now()`. */
  until?: number;
  /** For a person. */
  reason?: string;
  /** A close code, or the status of a refusal. */
  code?: number;
  /** Of an event of the endpoint that wanted no answer. */
  error?: PondError;
}

/** Where a channel is. */
export interface RoomStatus {
  /** `joining` also while the connection is lost. */
  state: "left" | "joining" | "joined" | "refused" | "evicted";
  error?: PondError;
  reason?: string;
}

/** The presence of one connection; a user may have several, each with its `ref`. */
export interface Person<P = any> {
  user: string;
  ref: string;
  presence: P;
}

/** What changed, as lists. */
export interface PresenceChanges<P = any> {
  joins: Person<P>[];
  updates: Person<P>[];
  leaves: Person<P>[];
}

/** What stands beside the payload of an event. */
export interface Meta {
  requestId: string;
  epoch?: string;
  offset?: number;
}

/** What a channel hears: the events of the application, and those of the client itself. */
export type RoomEvents<C> = Events<C> & {
  joined: {response: Part<C, "response", any>};
  rejoined: {response?: Part<C, "response", any>; recovered: boolean};
  state: RoomStatus;
  presence: ReadonlyMap<string, Person<Part<C, "presence", any>>>;
};

interface Sender<Own, C> {
  /** Send an event, and wait for its answer; `{}` if the handler gives none. */
  call<E extends keyof Calls<C> & string>(event: E, ...rest: Arguments<Payload<Calls<C>[E]>, CallOptions>): Promise<Answer<Calls<C>[E]>>;
  /** Send an event. True: it was handed over, or queued. */
  send<E extends keyof Calls<C> & string>(event: E, ...rest: Arguments<Payload<Calls<C>[E]>, SendOptions>): boolean;
  /** Wait for the next such event. */
  once<E extends keyof Own & string>(event: E, options?: WaitOptions): Promise<Own[E]>;
}

/** One channel: one object a name. */
export interface Room<C = AnyChannel> extends Sender<RoomEvents<C>, C> {
  readonly name: string;
  readonly state: RoomStatus["state"];
  readonly status: RoomStatus;
  /** By ref. A new map at every change. */
  readonly presence: ReadonlyMap<string, Person<Part<C, "presence", any>>>;
  /** Of the last message that was heard; null where the channel has no history. */
  readonly position: Position | null;
  /** Join. Called again, it joins no second time; each join wants its `leave()`. */
  join(options?: WaitOptions): Promise<{response: Part<C, "response", any>}>;
  /** Leave, when nothing else of the page is joined to it. */
  leave(): Promise<void>;
  /** Call `handler` with every such event. Returns what stops it. */
  on(event: "presence", handler: (people: RoomEvents<C>["presence"], changes: PresenceChanges<Part<C, "presence", any>>) => void): () => void;
  on<E extends keyof RoomEvents<C> & string>(event: E, handler: (payload: RoomEvents<C>[E], meta: Meta) => void): () => void;
  /** Iterate over the events, and over `rejoined`; throws when more than `limit` (1,024) wait. */
  events(options?: {signal?: AbortSignal; limit?: number}): AsyncGenerator<{event: string; payload: any; offset?: number}, void>;
  /** Call `run` now and at every change of the state or the presence. Returns what stops it. */
  subscribe(run: (value: RoomStatus & {presence: ReadonlyMap<string, Person<Part<C, "presence", any>>>}) => void): () => void;
}

/** What an endpoint hears: the events of the application, and that of the client itself. */
export type PondEvents<A> = Events<A> & {status: Status};

type Params<C> = Part<C, "params", Record<string, any>>;

/** Of the channel of this name. */
export interface ChannelOptions<A, N extends string> {
  /** What the join handler is given; a function is asked anew for every join. */
  params?: Params<ChannelOf<A, N>> | (() => Params<ChannelOf<A, N>>);
}

/** A connection to an endpoint, and its channels. */
export interface Pond<A = AnyApi> extends Sender<PondEvents<A>, A> {
  /** The public id of this user, once it is connected. */
  readonly id: string | undefined;
  readonly status: Status;
  /** The channel of this name; always the same object. */
  channel<N extends ChannelName<A>>(name: N, options?: ChannelOptions<A, N>): Room<ChannelOf<A, N>>;
  /** Connect now, also after `close()`, and rejoin what was joined. */
  connect(): void;
  /** End everything, until `connect()`. */
  close(): void;
  /** Call `handler` with every such event. Returns what stops it. */
  on<E extends keyof PondEvents<A> & string>(event: E, handler: (payload: PondEvents<A>[E], meta: Meta) => void): () => void;
  /** Call `run` now and at every change of the status. Returns what stops it. */
  subscribe(run: (status: Status) => void): () => void;
}

/** What the server, or the client itself, has refused. */
export class PondError extends Error {
  constructor(refusal: {code: number | string; message?: string; details?: unknown; retryAfterMs?: number});
  /**
   * The server's number: a status, or the close code of a connection that it has ended for good
   * (1000, 1009, 4403, 4404). Or `lost` (it was sent, and may have been handled), `unsent` (it certainly
   * was not), `left`, `closed`, or `slow` (the reader of `events()`).
   */
  code: number | string;
  /** What is wrong with a payload: `[{loc, msg, type}]`. */
  details: any;
  retryAfterMs: number | undefined;
}

/** Make a client of the endpoint at `url`. It connects with the first join or call, or by `connect()`. */
export function connect<A = AnyApi>(url: string, options?: ConnectOptions): Pond<A>;
