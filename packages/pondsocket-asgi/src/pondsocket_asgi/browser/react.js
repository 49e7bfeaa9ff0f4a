// Hooks for React 18 and later. They are made from the application's own React:
//
//     import * as React from "react";
//     import {hooks} from "./react.js";
//     const {useChannel, useEvent, usePresence, useStatus} = hooks(React);

/** @param {import("./react.js").ReactLike} React @returns {any} */
export const hooks = ({useEffect, useRef, useSyncExternalStore}) => {
  /** The state of the connection.
   * @param {import("./pondsocket.js").Pond} pond */
  const useStatus = (pond) => {
    const status = () => pond.status;
    return useSyncExternalStore(pond.subscribe, status, status);
  };

  /** Be joined to a channel while the component is shown.
   * @param {import("./pondsocket.js").Pond} pond
   * @param {string} name
   * @param {{params?: Record<string, any> | (() => Record<string, any>)}} [options] */
  const useChannel = (pond, name, options) => {
    const room = pond.channel(name, options);
    useEffect(() => {
      // How it ended is in the status.
      room.join({timeout: Infinity});
      return () => void room.leave();
    }, [room]);
    const status = () => room.status;
    return {room, ...useSyncExternalStore(room.subscribe, status, status)};
  };

  /** Call the latest `handler` with every such event.
   * @param {{on(event: string, handler: Function): () => void}} source a room or a pond
   * @param {string} event
   * @param {Function} handler */
  const useEvent = (source, event, handler) => {
    const latest = useRef(handler);
    useEffect(() => {
      latest.current = handler;
    });
    useEffect(
      () => source.on(event, (/** @type {any[]} */ ...given) => latest.current(...given)),
      [source, event],
    );
  };

  /** Who is here, by ref.
   * @param {import("./pondsocket.js").Room<any>} room */
  const usePresence = (room) => {
    const presence = () => room.presence;
    return useSyncExternalStore(room.subscribe, presence, presence);
  };

  return {useChannel, useEvent, usePresence, useStatus};
};
