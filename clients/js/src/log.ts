/**
 * The log of the gateway in memory: positions, cursors, and what came since one.
 *
 * @module
 */

import type { JsonObject } from "./wire.js";

/** A publication, with its place. */
export interface Entry {
  readonly position: number;
  readonly check: string;
  readonly rooms: readonly JsonObject[];
  /** JSON text. */
  readonly data: string;
}

/** Where a cursor ends: at an entry, or within it. */
export interface Place {
  readonly position: number;
  /** Of that entry, only the messages up to this part. */
  readonly part: number;
}

/** Why publications cannot be delivered again. */
export type Loss = "epoch" | "age" | "ahead";

/** Every part of an entry. */
const WHOLE = 2 ** 32;

/** The check of a log without entries. */
const NONE = "AAAA";

/** `<epoch>-<position>-<check>`, and `.<part>`. */
const CURSOR = /^([a-z0-9]{6})-(\d{1,16})-([\w-]{4})(?:\.([\w-]{6}))?$/;

/** The last publications, in one order. */
export class Log {
  readonly #max: number;
  #epoch = name();
  #entries: Entry[] = [];
  #position = 0;
  #check = NONE;
  /** The last entry that was dropped. */
  #start = { position: 0, check: NONE };

  /** @param max - entries that are kept */
  constructor(max: number) {
    this.#max = max;
  }

  /** The cursor of everything so far. */
  get head(): string {
    return `${this.#epoch}-${this.#position}-${this.#check}`;
  }

  append(rooms: readonly JsonObject[], data: string): Entry {
    const position = ++this.#position;
    this.#check = base64url(hash(JSON.stringify([position, rooms, data]))).slice(0, 4);
    const entry = { position, check: this.#check, rooms, data };
    this.#entries.push(entry);
    if (this.#entries.length > this.#max) this.#start = this.#entries.shift() as Entry;
    return entry;
  }

  /** The cursor of an entry, or of its messages up to a part. */
  cursor({ position, check }: Entry, part?: number): string {
    const whole = `${this.#epoch}-${position}-${check}`;
    return part === undefined ? whole : `${whole}.${base64url(part)}`;
  }

  /** Entries were missed: no cursor before this moment recovers. */
  lose(): void {
    this.#position++;
    this.#check = NONE;
    this.#entries = [];
    this.#start = { position: this.#position, check: NONE };
  }

  /** Another life of the log. */
  restart(): void {
    this.#epoch = name();
    this.#position = 0;
    this.#check = NONE;
    this.#entries = [];
    this.#start = { position: 0, check: NONE };
  }

  /** Where a cursor ends, why that is not known, or `null` if it is not a cursor. */
  find(cursor: unknown): Place | Loss | null {
    const [, epoch, digits, check, part] = CURSOR.exec(String(cursor)) ?? [];
    if (typeof cursor !== "string" || epoch === undefined) return null;
    const position = Number(digits);
    if (epoch !== this.#epoch) return "epoch";
    if (position > this.#position) return "ahead";
    if (position < this.#start.position) return "age";
    const entry = [this.#start, ...this.#entries].find((each) => each.position === position);
    if (entry?.check !== check) return "epoch";
    return { position, part: part === undefined ? WHOLE : number(part) };
  }

  /** The entries after a position, and the one that is there. */
  from(position: number): readonly Entry[] {
    return this.#entries.filter((entry) => entry.position >= position);
  }
}

/** The part of a subscription of the messages of an entry. */
export function partOf(requestId: unknown): number {
  return hash(JSON.stringify(requestId));
}

/** Whether a message comes after a place. */
export function isAfter({ position }: Entry, part: number, place: Place): boolean {
  return position > place.position || (position === place.position && part > place.part);
}

function name(): string {
  return Math.random().toString(36).slice(2, 8).padEnd(6, "0");
}

/** FNV-1a, of 32 bits. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    state = Math.imul(state ^ byte, 0x01000193);
  }
  return state >>> 0;
}

function base64url(value: number): string {
  const bytes = [24, 16, 8, 0].map((shift) => (value >>> shift) & 255);
  const text = btoa(String.fromCharCode(...bytes)).replace(/=+$/, "");
  return text.replace(/\+/g, "-").replace(/\//g, "_");
}

function number(text: string): number {
  const bytes = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return [...bytes].reduce((value, byte) => value * 256 + byte.charCodeAt(0), 0);
}
