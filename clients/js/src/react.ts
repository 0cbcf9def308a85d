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
  useInsertionEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { HighTemplar } from "./client.js";
import type { SubscribeError } from "./errors.js";
import { UNHANDLED } from "./guard.js";
import { type Live, live } from "./live.js";
import { CLOSED, type ConnectionStatus } from "./options.js";
import type {
  Recovered,
  Subscribed,
  SubscribeOptions,
  Subscription,
  SubscriptionState,
} from "./subscription.js";
import { type JsonMembers, type JsonObject, type Room, roomKey } from "./wire.js";

const Client = createContext<HighTemplar | null>(null);

/** The props of {@link HighTemplarProvider}. */
export interface HighTemplarProviderProps {
  /** The page's one client, made outside of the components. */
  client?: HighTemplar;
  /** @deprecated Use `client`. */
  socket?: HighTemplar;
  /** The components that use the hooks. */
  children?: ReactNode;
}

/** Provides a client to all hooks below. */
export function HighTemplarProvider({
  client,
  socket,
  children,
}: HighTemplarProviderProps): FunctionComponentElement<ProviderProps<HighTemplar | null>> {
  return createElement(Client.Provider, { value: client ?? socket ?? null }, children);
}

/**
 * The client of the nearest provider.
 *
 * @throws Error if there is no provider above
 */
export function useHighTemplar(): HighTemplar {
  const client = useContext(Client);
  if (!client) throw new Error("there is no HighTemplarProvider above this component");
  return client;
}

/**
 * The status of the connection; renders again when it changes. Show `display`, which does not
 * flicker. On a server, and while hydrating, it is `closed`.
 */
export function useConnection(): ConnectionStatus {
  const client = useHighTemplar();
  const watch = useCallback(
    (changed: () => void) => {
      client.addEventListener("state", changed);
      return () => client.removeEventListener("state", changed);
    },
    [client],
  );
  return useSyncExternalStore(
    watch,
    () => client.status,
    () => CLOSED,
  );
}

/** Options of {@link useRoom}. */
export interface UseRoomOptions {
  /** Called each time publications may have been missed, first and `again`: fetch what you show. */
  onSubscribed?: ((how: Subscribed) => void) | undefined;
  /** Called in place of it when the gateway delivers what was missed: there is nothing to fetch. */
  onRecovered?: ((how: Recovered) => void) | undefined;
  /** As for `subscribe`: the position of the state that the component has when it is mounted. */
  since?: string | undefined;
  /** Called when the gateway rejects the subscription, or ends it. */
  onError?: ((error: SubscribeError) => void) | undefined;
  /** @deprecated Use `onSubscribed`, or an effect that depends on `heard`. */
  onReconnect?: (() => void) | undefined;
}

/** What {@link useRoom} returns, for the room of this render. */
export interface RoomStatus {
  /** The state of the subscription; `ended` if there is no room. */
  readonly state: SubscriptionState;
  /** Why it was refused; `null` otherwise. */
  readonly error: SubscribeError | null;
  /**
   * How many times the gateway confirmed the subscription without recovering it. An effect that depends
   * on it, if it is not 0, runs each time publications may have been missed.
   */
  readonly heard: number;
}

const NO_ROOM: RoomStatus = { state: "ended", error: null, heard: 0 };
const PENDING: RoomStatus = { state: "pending", error: null, heard: 0 };

/** No room: no subscription. */
export type NoRoom = null | undefined | false | "" | 0;

/** The key of a room, or why it has none: a render must not throw. */
function keyOf(room: object | NoRoom): { key: string | null; problem: string | null } {
  if (!room) return { key: null, problem: null };
  try {
    return { key: roomKey(room), problem: null };
  } catch (thrown) {
    return { key: null, problem: (thrown as Error).message };
  }
}

function refusal(problem: string): RoomStatus {
  const error = Object.assign(new TypeError(problem), {
    name: "SubscribeError" as const,
    code: "invalid-room",
    room: {} as JsonObject,
    reason: problem,
  });
  return { state: "refused", error, heard: 0 };
}

/** The last value that was rendered, for callbacks: set before any other effect. */
function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

interface Known {
  readonly client: HighTemplar;
  readonly key: string;
  readonly status: RoomStatus;
}

/** Subscribes for as long as the component is mounted and the room is the same. */
function useSubscription(
  room: object | NoRoom,
  subscribe: (client: HighTemplar, room: Room, options: SubscribeOptions) => Subscription,
  callbacks: UseRoomOptions,
): RoomStatus {
  const client = useHighTemplar();
  const { key, problem } = keyOf(room);
  const refused = useMemo(() => problem && refusal(problem), [problem]);
  const latest = useLatest({ subscribe, callbacks });
  const [known, setKnown] = useState<Known | null>(null);

  useEffect(() => {
    if (key === null) return;
    let heard = 0;
    let isRecovered = false;
    const { current } = latest;
    const subscription = current.subscribe(client, JSON.parse(key), {
      onSubscribed: (how) => {
        heard++;
        changed({ detail: subscription });
        latest.current.callbacks.onSubscribed?.(how);
        if (how.again) latest.current.callbacks.onReconnect?.();
      },
      onRecovered: (how) => {
        isRecovered = true;
        changed({ detail: subscription });
        latest.current.callbacks.onRecovered?.(how);
      },
      since: current.callbacks.since,
      onError: (error) => {
        const { onError } = latest.current.callbacks;
        return onError ? onError(error) : UNHANDLED;
      },
    });
    const changed = ({ detail }: { detail: Subscription }) => {
      if (detail !== subscription || subscription.state === "ended") return;
      const { state, error } = subscription;
      // Once more when it is counted.
      if (state === "subscribed" && !heard && !isRecovered) return;
      setKnown({ client, key, status: { state, error, heard } });
    };
    client.addEventListener("subscription", changed);
    return () => {
      client.removeEventListener("subscription", changed);
      subscription.unsubscribe();
    };
  }, [client, key, latest]);

  useEffect(() => {
    if (!refused) return;
    const { onError } = latest.current.callbacks;
    if (onError) onError(refused.error as SubscribeError);
    else console.warn(`high-templar: ${refused.error?.message}`);
  }, [refused, latest]);

  if (refused) return refused;
  if (key === null) return NO_ROOM;
  return known?.client === client && known.key === key ? known.status : PENDING;
}

/**
 * Subscribes to a room for as long as the component is mounted.
 *
 * Room and functions may be written inline: rooms are compared by content, and the functions of the
 * last render are called. Components with the same room share one subscription on the wire.
 *
 * @param room - anything falsy for none
 * @param onPublish - called with the backend's `data`
 */
export function useRoom<T = unknown, R extends object = object>(
  room: (Room<T> & R & JsonMembers<R>) | NoRoom,
  onPublish?: ((data: T) => void) | null,
  options: UseRoomOptions = {},
): RoomStatus {
  const latest = useLatest(onPublish);
  const subscribe = useCallback(
    (client: HighTemplar, room: Room, rest: SubscribeOptions) =>
      client.subscribe<unknown>(room, (data) => latest.current?.(data as T), rest),
    [latest],
  );
  return useSubscription(room, subscribe, options);
}

/** Options of {@link useLive}. */
export interface UseLiveOptions<S, T = unknown> {
  /**
   * Fetches the data. Called immediately, even without a connection; again each time publications may
   * have been missed; and again with a back-off if it fails.
   */
  load: (signal: AbortSignal) => S | Promise<S>;
  /**
   * Returns the data after a publication, as a new value. Publications that arrived during a load are
   * applied to its result, which may contain them already: replace by id, do not add.
   */
  reduce: (data: S, publication: T) => S;
  /** The data until the first load, such as what the server rendered. */
  initial?: S | undefined;
  /**
   * The position of `initial`, as the backend sent it with the data: `load` is called only if the
   * gateway cannot deliver what was published since.
   */
  since?: string | undefined;
  /** Called when the gateway delivers what was missed: there is nothing to load. */
  onRecovered?: ((how: Recovered) => void) | undefined;
  /** Called when the gateway rejects the subscription, or ends it. */
  onError?: ((error: SubscribeError) => void) | undefined;
  /**
   * Called when `load` fails; it is retried automatically. To show the failure, use `loadError` of the
   * result.
   */
  onLoadError?: ((error: Error) => void) | undefined;
}

/** Result of the loads of one room. */
interface Loaded<S> {
  readonly key: string;
  /** Of the last load that succeeded. */
  readonly data: { readonly value: S } | null;
  /** Of the last load, if it failed. */
  readonly error: Error | null;
}

/** What {@link useLive} returns. */
export interface LiveStatus<S> extends RoomStatus {
  /** The data of the room of this render; `undefined` until it is loaded. */
  readonly data: S | undefined;
  /**
   * Why the last load failed; `null` otherwise, and again as soon as one succeeds. `load` is retried
   * meanwhile, and `data` remains that of the last success.
   */
  readonly loadError: Error | null;
  /** Loads again. */
  readonly reload: () => void;
}

/**
 * Data that stays up to date: loaded immediately, changed by publications, and loaded again whenever
 * some may have been missed. It works while the gateway is down.
 *
 * Room and functions may be written inline, as for {@link useRoom}. `load` is called again when the
 * room changes; call `reload` when anything else changes that it depends on.
 */
export function useLive<S, T = unknown, R extends object = object>(
  room: (Room<T> & R & JsonMembers<R>) | NoRoom,
  options: UseLiveOptions<S, T>,
): LiveStatus<S> {
  const latest = useLatest(options);
  const current = useRef<Live<S, T> | null>(null);
  const [loaded, setLoaded] = useState<Loaded<S> | null>(null);
  const subscribe = useCallback(
    (client: HighTemplar, room: Room, callbacks: SubscribeOptions) => {
      const key = roomKey(room);
      const { onSubscribed, onRecovered, onError, since } = callbacks;
      const mine = live<S, T>(client, room as Room<T>, {
        load: (signal) => latest.current.load(signal),
        apply: (data, publication) => latest.current.reduce(data, publication),
        onChange: (value) => setLoaded({ key, data: { value }, error: mine.loadError }),
        onLoadError: (error) => {
          setLoaded((last) => ({ key, data: last?.key === key ? last.data : null, error }));
          (latest.current.onLoadError ?? client.report).call(client, error);
        },
        initial: since ? latest.current.initial : undefined,
        since,
        onSubscribed,
        onRecovered,
        onError,
      });
      current.current = mine;
      return mine.subscription as Subscription;
    },
    [latest],
  );
  const status = useSubscription(room, subscribe, options);
  const reload = useCallback(() => current.current?.reload(), []);
  const { key } = keyOf(room);
  const own = loaded?.key === key ? loaded : null;
  const data = own?.data ? own.data.value : options.initial;
  return { ...status, data, loadError: own?.error ?? null, reload };
}
