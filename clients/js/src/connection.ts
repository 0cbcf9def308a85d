/**
 * One connection: opens a socket, detects when it is dead, and reconnects as permitted.
 *
 * @module
 */

import { listen, type PageEvent } from "./environment.js";
import { asError, called } from "./guard.js";
import {
  CLOSED,
  type ConnectionDisplay,
  type ConnectionOptions,
  type ConnectionStatus,
  isUp,
  makeStatus,
  SHOWN,
  spansOf,
  type Times,
  timesOf,
  type WebSocketClass,
  type WebSocketLike,
} from "./options.js";
import type { Owner } from "./owner.js";
import { PING, Recovery } from "./recovery.js";
import { timer } from "./validate.js";
import { type Judgement, judge, type Spans, wait } from "./verdict.js";
import { type GatewayMessage, type JsonObject, offer, socketUrl } from "./wire.js";

type Timer = ReturnType<typeof setTimeout> | undefined;
type Change = Partial<Omit<ConnectionStatus, "display" | "grants">>;

/** An admitted connection that lasted as long as this (milliseconds) resets the back-off. */
const STABLE = 10_000;

/** Consecutive failed handshakes before an error is reported. */
const UNREACHABLE_MAX = 3;

const FRESH = { code: null, reason: "", cause: null };

export class Connection {
  status: ConnectionStatus = CLOSED;
  readonly recovery = new Recovery();

  readonly #owner: Owner;
  readonly #options: ConnectionOptions;
  /** Milliseconds; `Infinity` for a zero that means none. */
  readonly #times: Times;
  readonly #backoff: Spans;
  #socket: WebSocketLike | null = null;
  /** The only timer: of the attempt, the next ping, its pong, or the wait. */
  #timer: Timer;
  /** Runs while the displayed state is older than the state. */
  #grace: Timer | null = null;
  /** Incremented by every change of plan, which invalidates earlier callbacks. */
  #plan = 0;
  /** Consecutive failures. */
  #attempt = 0;
  /** Consecutive failed handshakes. */
  #unreachable = 0;
  #admittedAt = 0;
  #denied = false;
  /** `authenticate` was called and has not returned. */
  #isSigningIn = false;
  /** Something was received since the last ping. */
  #isActive = true;
  /** When the first ping without a pong was sent. */
  #pingedAt = 0;
  /** The timer of a ping fired much too late once, and the ping was repeated. */
  #overslept = false;
  /** The wait is the client's own backoff, so the network's return may end it. */
  #impatient = false;

  /** @throws RangeError if a duration is invalid */
  constructor(owner: Owner, options: ConnectionOptions) {
    this.#owner = owner;
    this.#options = options;
    this.#times = timesOf(options);
    this.#backoff = spansOf(options);
  }

  /** The current socket; a new one after every loss. */
  get socket(): WebSocketLike | null {
    return this.#socket;
  }

  /** Sends if the socket is open; returns whether it was. */
  send(text: string, shown = text): boolean {
    if (this.#socket?.readyState !== 1) return false;
    this.#log(">", shown);
    this.#socket.send(text);
    return true;
  }

  /** Connects immediately in any state; does nothing if it is connected or connecting. */
  connect(): void {
    if (!isUp(this.status)) this.reconnect();
  }

  /** Connects immediately, replacing the connection if there is one. */
  reconnect(): void {
    listen(true, this.wake);
    // The user may be another one, or have other rights.
    this.recovery.ticket = null;
    this.#attempt = 0;
    if (this.#drop()) this.#start(FRESH);
  }

  /** Closes the connection for good, until `connect` is called. */
  close(): void {
    if (this.status.state === "closed") return;
    listen(false, this.wake);
    if (!this.#drop()) return;
    this.#set({ ...FRESH, state: "closed", code: 1000 });
  }

  /**
   * Checks the connection, or ends the wait: the network changed, or the page is shown again. Closes
   * it while the page is in the back/forward cache, which pages with a socket cannot enter.
   */
  readonly wake = ({ type, persisted }: PageEvent): void => {
    const { state } = this.status;
    if (type === "pagehide") {
      if (!persisted) return;
      if (isUp(this.status)) this.#ended(1001, type);
      // Not while hidden: the page may be about to be frozen.
      if (this.#impatient && this.status.state === "waiting") clearTimeout(this.#timer);
      return;
    }
    // The page is hidden; but it reconnects when the network returns.
    if (globalThis.document?.visibilityState === "hidden" && !/line$/.test(type)) return;
    if (state === "open" && this.#isActive && this.#times.pingInterval !== Infinity) this.#ping();
    if (state !== "waiting" || !this.#impatient || globalThis.navigator?.onLine === false) return;
    this.#start();
  };

  #start(change: Change = {}): void {
    const { url, token } = this.#options;
    const plan = ++this.#plan;
    this.#after(this.#times.connectTimeout, () => this.#ended(1006, "connect-timeout"));
    this.#set({ ...change, state: "connecting" });
    // A listener may have called a method.
    if (plan !== this.#plan) return;
    if (typeof url !== "function" && typeof token !== "function") {
      return this.#open(url, token || null);
    }
    let part = "url";
    const asked = async () => {
      const address = await called(url);
      part = "token";
      return [address, (await called(token)) || null] as const;
    };
    asked().then(
      ([address, secret]) => plan === this.#plan && this.#open(address, secret),
      (error) => plan === this.#plan && this.#unable(part, asError(error)),
    );
  }

  #open(url: string | URL, token: string | null): void {
    const { tokenIn = "subprotocol", legacy = false } = this.#options;
    const late = token !== null && tokenIn === "message" && !legacy;
    let address: string;
    let socket: WebSocketLike;
    try {
      const WebSocket =
        this.#options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
      if (!WebSocket) throw new Error("no WebSocket here: pass one as an option");
      address = socketUrl(url);
      const to = offer(address, token, tokenIn, legacy, late ? null : this.recovery.ticket);
      socket = new WebSocket(to.url, to.protocols);
    } catch (thrown) {
      const error = asError(thrown);
      if (typeof this.#options.url === "function") return this.#unable("url", error);
      return this.#fail(error);
    }
    this.#socket = socket;
    this.#denied = false;
    this.#admittedAt = 0;
    let isOpen = false;
    let cause: Error | null = null;
    const mine = (act: () => void) => this.#socket === socket && act();
    socket.onopen = () =>
      mine(() => {
        isOpen = true;
        this.#unreachable = 0;
        if (late) this.#authenticate(token);
        this.#owner.opened?.();
      });
    socket.onmessage = ({ data }) => mine(() => this.#received(data));
    socket.onclose = ({ code, reason }) =>
      mine(() => {
        if (isOpen || reason || code !== 1006) return this.#ended(code, reason, cause);
        cause ??= new Error("server down, wrong path (404) or origin refused (403)");
        if (++this.#unreachable === UNREACHABLE_MAX) {
          // It may be the ticket: too long for a proxy.
          this.recovery.ticket = null;
          const where = address.split("?")[0];
          this.#owner.failed(new Error(`cannot connect to ${where}: ${cause.message}`, { cause }));
        }
        this.#ended(code, "unreachable", cause);
      });
    // A close follows. Browsers give no details; packages do.
    socket.onerror = ({ error, message }: { error?: unknown; message?: unknown }) => {
      if (error || message) cause = asError(error || message);
    };
  }

  #received(data: unknown): void {
    this.#isActive = true;
    this.#log("<", data);
    if (data === "pong") return;
    let message: GatewayMessage;
    try {
      // A value that is no object has no members.
      message = Object(JSON.parse(data as string));
    } catch {
      return this.#owner.failed(new SyntaxError(`not JSON: ${String(data).slice(0, 40)}`));
    }
    if (this.recovery.received(message)) return;
    const { type, is_authorized: isAdmitted, allowed_rooms = [] } = message;
    const rooms = allowed_rooms as JsonObject[];
    const { state } = this.status;
    // The first message has no type.
    if (type === undefined) {
      if (isAdmitted === false) this.#denied = true;
      if (isAdmitted === true && state === "connecting") {
        this.#admittedAt = Date.now();
        const plan = this.#plan;
        this.#overslept = false;
        this.#after(this.#times.pingInterval, () => this.#ping());
        this.#owner.admitted?.();
        if (plan === this.#plan) this.#set({ ...FRESH, state: "open", rooms });
      }
    } else if (type === "permissions" && state === "open") this.#set({ rooms });
    else if (type === "authenticate") this.#renew();
    this.#owner.received(message);
  }

  /** The permissions expire soon: sends a new token, or else reconnects with what the page has. */
  #renew(): void {
    const plan = this.#plan;
    called(this.#options.token).then(
      (token) => plan === this.#plan && (token ? this.#authenticate(token) : this.reconnect()),
      (error) => this.#owner.failed(asError(error)),
    );
  }

  /** The first frame takes no notice of the name, which keeps a reply from being a page's. */
  #authenticate(token: string): void {
    this.send(JSON.stringify({ type: "authenticate", token, requestId: "token" }), "(token)");
  }

  /** Sends a heartbeat; any frame counts as a reply. */
  #ping(): void {
    if (this.#isActive) this.#pingedAt = Date.now();
    this.#isActive = false;
    // The reply moves the cursor of a client that receives nothing else.
    this.send(this.recovery.has("ping") ? `{"type":"ping","requestId":"${PING}"}` : "ping");
    this.#after(Math.min(this.#times.pingInterval, this.#times.pongTimeout), () => this.#look());
  }

  /** Whether anything was received since the ping. */
  #look(): void {
    if (this.#isActive) {
      this.#overslept = false;
      const left = Math.max(this.#times.pingInterval - this.#times.pongTimeout, 0);
      return this.#after(left, () => this.#ping());
    }
    const silence = Date.now() - this.#pingedAt;
    if (silence >= this.#times.pongTimeout) {
      // After sleep or a freeze, received frames may not have been read yet: it pings once more. Timers
      // of hidden pages are always late.
      if (this.#overslept || silence <= 3 * this.#times.pongTimeout)
        return this.#ended(1006, "no-pong");
      this.#overslept = true;
      this.#isActive = true;
    } else if (silence < 0) this.#isActive = true; // The clock was set back.
    this.#ping();
  }

  /** A function of the options failed; it is called again at the next attempt. */
  #unable(reason: string, error: Error): void {
    this.#owner.failed(error);
    this.#ended(1006, reason, error);
  }

  /** An attempt that would fail again. */
  #fail(error: Error): void {
    this.#drop();
    this.#set({ state: "failed", code: null, reason: error.message, cause: error });
    // The caller has not been able to add a listener yet.
    queueMicrotask(() => this.#owner.failed(error));
  }

  #ended(code: number, reason: string, cause: Error | null = null): void {
    // Without a new token in time, an admitted client reconnects with one.
    const isExpired = code === 4301 && this.#admittedAt;
    const judgement = judge(isExpired ? 1012 : code, reason, this.#denied);
    const [verdict] = judgement;
    if (this.#admittedAt && Date.now() - this.#admittedAt > STABLE) this.#attempt = 0;
    if (!this.#drop()) return;
    const ended = { code, reason, cause };
    if (verdict === "refused") return this.#refused(ended);
    if (verdict !== "never") return this.#wait(judgement, ended);
    this.#set({ ...ended, state: "failed" });
  }

  #wait(judgement: Judgement, ended: Change): void {
    const [verdict, within] = judgement;
    const part = wait(judgement, this.#attempt++, this.#backoff, Math.random());
    const ms = within === null ? this.#times.minWait + part : part;
    this.#impatient = verdict !== "later" && within === null;
    this.#after(ms, () => this.#start());
    this.#set({ ...ended, state: "waiting", retryAt: Date.now() + ms });
  }

  #refused(ended: Change): void {
    const plan = this.#plan;
    const { authenticate } = this.#options;
    this.recovery.ticket = null;
    this.#isSigningIn = !!authenticate;
    this.#set({ ...ended, state: "refused" });
    const { status } = this;
    if (!authenticate || plan !== this.#plan) return;
    const signIn = async () => (await authenticate(status)) !== false;
    signIn()
      .catch((error) => {
        if (plan === this.#plan) this.#owner.failed(asError(error));
        return false;
      })
      .then((isDone) => {
        if (plan !== this.#plan) return;
        this.#isSigningIn = false;
        if (!isDone) this.#set({});
        // A client that is refused again after the login must not overload the backend.
        else if (this.#attempt || this.#times.minWait) {
          this.#wait(["soon", null], ended);
        } else {
          this.#attempt++;
          this.#start();
        }
      });
  }

  /**
   * Drops the socket without waiting for its peer. Returns false if a listener called a method
   * meanwhile.
   */
  #drop(): boolean {
    const plan = ++this.#plan;
    this.#isSigningIn = false;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return true;
    this.#socket = null;
    if (socket.readyState < 2) socket.close(1000);
    this.#owner.lost();
    return plan === this.#plan;
  }

  #after(ms: number, act: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = timer(ms, act);
  }

  /** Changes the status. By default there are no grants and no time to retry. */
  #set(change: Change): void {
    const before = this.status;
    const { cause } = before;
    const next = { ...before, cause, retryAt: null, rooms: [], ...change };
    this.status = makeStatus(next, this.#display(next.state));
    const { state, code, reason } = next;
    if (state !== before.state) this.#log("=", `${state} ${code ?? ""} ${reason}`, next.cause);
    this.#owner.changed(before);
  }

  /** The state to display: an outage only after `outageGrace`. */
  #display(state: ConnectionStatus["state"]): ConnectionDisplay {
    const isTransient = state === "connecting" || state === "waiting" || this.#isSigningIn;
    if (!isTransient) {
      clearTimeout(this.#grace ?? undefined);
      this.#grace = null;
      return SHOWN[state] ?? (state as ConnectionDisplay);
    }
    if (this.#grace === null) {
      this.#grace = timer(this.#times.outageGrace, () => {
        const before = this.status;
        this.status = makeStatus(before, "reconnecting");
        this.#owner.changed(before);
      });
    }
    const { display } = this.status;
    return display === "live" || display === "reconnecting" ? display : "connecting";
  }

  #log(mark: string, what: unknown, detail?: unknown): void {
    const { debug } = this.#options;
    if (!debug) return;
    const say = typeof debug === "function" ? debug : console.debug;
    say(`high-templar ${mark} ${what}`.trimEnd(), ...(detail ? [detail] : []));
  }
}
