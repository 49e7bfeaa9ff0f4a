import type {AnyApi, ChannelName, ChannelOf, Meta, Person, Pond, Room, RoomStatus, Status} from "./pondsocket.js";

/** What is used of React, 18 or later. */
export interface ReactLike {
  useEffect(effect: () => void | (() => void), dependencies?: readonly unknown[]): void;
  useRef<T>(value: T): {current: T};
  useSyncExternalStore<T>(subscribe: (changed: () => void) => () => void, value: () => T, serverValue?: () => T): T;
}

type Params<A, N extends string> = Parameters<Pond<A>["channel"]> extends [any, options?: infer Options] ? Options : never;
type Presence<R> = R extends {readonly presence: infer P} ? P : never;

export interface Hooks {
  /** Be joined to a channel while the component is shown. */
  useChannel<A, N extends ChannelName<A>>(pond: Pond<A>, name: N, options?: Params<A, N>): {room: Room<ChannelOf<A, N>>} & RoomStatus;
  /** Call the latest `handler` with every such event of a room or a pond. */
  useEvent<C, E extends Parameters<Room<C>["once"]>[0]>(room: Room<C>, event: E, handler: (payload: any, meta: Meta) => void): void;
  useEvent(pond: Pond<any>, event: string, handler: (payload: any, meta: Meta) => void): void;
  /** Who is in the channel, by ref. */
  usePresence<R extends Room<any>>(room: R): Presence<R>;
  /** The state of the connection. */
  useStatus(pond: Pond<any>): Status;
}

/** Make the hooks from the application's own React: `hooks(React)`. */
export function hooks(React: ReactLike): Hooks;
