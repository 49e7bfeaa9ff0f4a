import type {ChannelName, ChannelOf, ChannelOptions, Meta, Pond, PondEvents, PresenceChanges, Room, RoomEvents, RoomStatus, Status} from "./pondsocket.js";

/** What is used of React, 18 or later. */
export interface ReactLike {
  useEffect(effect: () => void | (() => void), dependencies?: readonly unknown[]): void;
  useRef<T>(value: T): {current: T};
  useSyncExternalStore<T>(subscribe: (changed: () => void) => () => void, value: () => T, serverValue?: () => T): T;
}

type PresenceOf<C> = C extends {presence: infer P} ? P : any;
type Presence<R> = R extends {readonly presence: infer P} ? P : never;

export interface Hooks {
  /** Be joined to a channel while the component is shown. */
  useChannel<A, N extends ChannelName<A>>(pond: Pond<A>, name: N, options?: ChannelOptions<A, N>): {room: Room<ChannelOf<A, N>>} & RoomStatus;
  /** Call the latest `handler` with every such event of a room or a pond. */
  useEvent<C>(room: Room<C>, event: "presence", handler: (people: Room<C>["presence"], changes: PresenceChanges<PresenceOf<C>>) => void): void;
  useEvent<C, E extends keyof RoomEvents<C> & string>(room: Room<C>, event: E, handler: (payload: RoomEvents<C>[E], meta: Meta) => void): void;
  useEvent<A, E extends keyof PondEvents<A> & string>(pond: Pond<A>, event: E, handler: (payload: PondEvents<A>[E], meta: Meta) => void): void;
  /** Who is in the channel, by ref. */
  usePresence<R extends Room<any>>(room: R): Presence<R>;
  /** The state of the connection. */
  useStatus(pond: Pond<any>): Status;
}

/** Make the hooks from the application's own React: `hooks(React)`. */
export function hooks(React: ReactLike): Hooks;
