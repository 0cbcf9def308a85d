/**
 * Hooks for React 18 and later.
 *
 * @packageDocumentation
 */

import {
  createContext,
  createElement,
  type FunctionComponentElement,
  type ProviderProps,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { HighTemplar } from "./client.js";
import type { Status } from "./options.js";
import type { SubscribeError, Subscription, SubscriptionState } from "./subscription.js";
import { type Room, roomKey } from "./wire.js";

const Socket = createContext<HighTemplar | null>(null);

/** The props of {@link HighTemplarProvider}. */
export interface HighTemplarProviderProps {
  /** The page's one client, made outside of the components. */
  socket: HighTemplar;
  /** Where the hooks may be used. */
  children?: ReactNode;
}

/** Gives a client to all hooks below. */
export function HighTemplarProvider({
  socket,
  children,
}: HighTemplarProviderProps): FunctionComponentElement<ProviderProps<HighTemplar | null>> {
  return createElement(Socket.Provider, { value: socket }, children);
}

/**
 * The client of the nearest provider.
 *
 * @throws Error if there is no provider above
 */
export function useHighTemplar(): HighTemplar {
  const socket = useContext(Socket);
  if (!socket) throw new Error("there is no HighTemplarProvider above this component");
  return socket;
}

/** The state of the connection and what belongs to it; renders anew when it changes. */
export function useConnection(): Status {
  const socket = useHighTemplar();
  const watch = useCallback(
    (changed: () => void) => {
      socket.addEventListener("state", changed);
      return () => socket.removeEventListener("state", changed);
    },
    [socket],
  );
  const read = () => socket.status;
  return useSyncExternalStore(watch, read, read);
}

/** How {@link useRoom} hears a room. */
export interface UseRoomOptions {
  /** Called when the room is heard again after a loss: fetch anew what you show. */
  onReconnect?: () => void;
  /** Called when the visitor may not hear the room. */
  onError?: (error: SubscribeError) => void;
}

/** What {@link useRoom} gives back. */
export interface RoomStatus {
  /** Where the subscription stands; `ended` where there is no room. */
  readonly state: SubscriptionState;
  /** Why it is refused; `null` otherwise. */
  readonly error: SubscribeError | null;
}

const NO_ROOM: RoomStatus = { state: "ended", error: null };
const PENDING: RoomStatus = { state: "pending", error: null };

/**
 * Hears a room for as long as the component is mounted.
 *
 * Room and functions may be written inline: rooms are compared by content, and the functions of the
 * last render are called.
 *
 * @param room - `null` hears nothing
 * @param onPublish - called with the backend's `data`
 */
export function useRoom<T = unknown>(
  room: Room | null,
  onPublish: (data: T) => void,
  options: UseRoomOptions = {},
): RoomStatus {
  const socket = useHighTemplar();
  const key = room && roomKey(room);
  const latest = useRef({ onPublish, options });
  const [status, setStatus] = useState<RoomStatus>(PENDING);

  useEffect(() => {
    latest.current = { onPublish, options };
  });

  useEffect(() => {
    if (key === null) return setStatus(NO_ROOM);
    setStatus(PENDING);
    const subscription: Subscription<T> = socket.subscribe<T>(
      JSON.parse(key),
      (data) => latest.current.onPublish(data),
      {
        onReconnect: () => latest.current.options.onReconnect?.(),
        onError: (error) => latest.current.options.onError?.(error),
      },
    );
    const changed = ({ detail }: CustomEvent<Subscription>) => {
      if (detail !== subscription) return;
      setStatus({ state: subscription.state, error: subscription.error });
    };
    socket.addEventListener("subscription", changed);
    return () => {
      socket.removeEventListener("subscription", changed);
      subscription.unsubscribe();
    };
  }, [socket, key]);

  return status;
}
