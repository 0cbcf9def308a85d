// @vitest-environment jsdom
// The hooks, in jsdom, against a gateway in memory.

import { act, StrictMode, useEffect, useState } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { HighTemplar } from "../src/index.js";
import { HighTemplarProvider, useConnection, useLive, useRoom } from "../src/react.js";
import type { FakeGateway } from "../src/testing.js";
import { connect, settled } from "./support/fake.js";

declare global {
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}

const room = (customer: unknown) => ({ target: "order", customer }) as { target: string };

let client: HighTemplar;
let gateway: FakeGateway;
let root: Root;
let box: HTMLElement;
const faults = vi.fn();

beforeEach(() => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
  faults.mockClear();
  vi.spyOn(console, "warn").mockImplementation(() => {});
  box = document.body.appendChild(document.createElement("div"));
  root = createRoot(box, { onUncaughtError: faults, onRecoverableError: faults });
});
afterEach(async () => {
  await act(() => root.unmount());
  client.close();
  box.remove();
  expect(faults).not.toHaveBeenCalled();
});

async function show(page: React.ReactNode): Promise<void> {
  await act(async () => {
    root.render(
      <StrictMode>
        <HighTemplarProvider client={client}>{page}</HighTemplarProvider>
      </StrictMode>,
    );
    await settled();
  });
}

async function open(grants?: object[]): Promise<void> {
  ({ client, gateway } = connect({}, grants));
  await client.ready();
}

const publish = (customer: unknown, data: unknown) =>
  act(async () => {
    gateway.publish(room(customer), data);
    await settled();
  });

async function again(): Promise<void> {
  await act(async () => {
    gateway.close(1012, "gap 0");
    await client.ready();
    await settled();
  });
}

describe("useRoom", () => {
  test("its state belongs to the room of this render", async () => {
    await open();
    const renders: string[] = [];
    const fetched: string[] = [];
    function Orders({ customer }: { customer: string }) {
      const { state, heard } = useRoom(room(customer));
      renders.push(`${customer}:${state}:${heard}`);
      useEffect(() => {
        if (heard) fetched.push(`${customer}${heard}`);
      }, [customer, heard]);
      return <p>{state}</p>;
    }
    await show(<Orders customer="a" />);
    const before = renders.length;
    await show(<Orders customer="b" />);
    expect(renders.slice(before)[0]).toBe("b:pending:0");
    expect(renders.at(-1)).toBe("b:subscribed:1");
    expect(fetched).toEqual(["a1", "b1"]);
    await again();
    expect(fetched).toEqual(["a1", "b1", "b2"]);
    expect(box.textContent).toBe("subscribed");
  });

  test("no room: null, undefined, false, and what && leaves behind", async () => {
    await open();
    const states: string[] = [];
    function Orders({ of }: { of: null | undefined | false | "" | 0 }) {
      states.push(useRoom(of && room(7), () => {}).state);
      return null;
    }
    for (const nothing of [null, undefined, false, "", 0] as const) {
      await show(<Orders of={nothing} />);
    }
    expect(new Set(states)).toEqual(new Set(["ended"]));
    expect(gateway.received).toEqual([]);
  });

  test("a room that JSON cannot express is refused, and the page stays", async () => {
    await open();
    const onError = vi.fn();
    function Orders({ customer }: { customer: unknown }) {
      const { state, error } = useRoom(room(customer), null, { onError });
      return <p>{error ? `${state} ${error.code}` : state}</p>;
    }
    for (const customer of [undefined, 1n, Number.NaN, 2 ** 60]) {
      await show(<Orders customer={customer} />);
      expect(box.textContent).toBe("refused invalid-room");
      expect(onError.mock.lastCall?.[0].message).toMatch(/customer|BigInt/);
    }
    await show(<Orders customer={7} />);
    expect(box.textContent).toBe("subscribed");
  });

  test("a refusal goes to the handler of this render, or is a warning", async () => {
    await open([]);
    const [first, second] = [vi.fn(), vi.fn()];
    function Orders({ customer, onError }: { customer: number; onError?: () => void }) {
      return <p>{useRoom(room(customer), null, { onError }).error?.code}</p>;
    }
    // The answer comes after the second render.
    await act(async () => {
      for (const onError of [first, second]) {
        root.render(
          <HighTemplarProvider client={client}>
            <Orders customer={1} onError={onError} />
          </HighTemplarProvider>,
        );
      }
      await settled();
    });
    expect([first.mock.calls.length, second.mock.calls.length]).toEqual([0, 1]);
    expect(console.warn).not.toHaveBeenCalled();
    await show(<Orders customer={2} />);
    expect(box.textContent).toBe("room-not-found");
    expect(console.warn).toHaveBeenCalledOnce();
  });

  test("components with the same room share one on the wire, and each hears", async () => {
    await open();
    const heard = vi.fn();
    const Orders = () => <p>{useRoom(room(7), heard).state}</p>;
    await show([1, 2, 3].map((key) => <Orders key={key} />));
    expect(gateway.subscriptions).toEqual([room(7)]);
    await publish(7, 1);
    expect(heard).toHaveBeenCalledTimes(3);
    await show(<Orders key={2} />);
    expect(gateway.subscriptions).toEqual([room(7)]);
    await show(null);
    expect(gateway.subscriptions).toEqual([]);
  });

  test("a publication meets the handler of the render on the screen", async () => {
    await open();
    const heard: number[] = [];
    function Orders({ number }: { number: number }) {
      useRoom(room(7), () => heard.push(number));
      // A layout effect runs before passive ones: a publication may come in between.
      return <p ref={() => void (number && gateway.publish(room(7), 0))}>{number}</p>;
    }
    await show(<Orders number={0} />);
    heard.length = 0;
    await show(<Orders number={1} />);
    expect(new Set(heard)).toEqual(new Set([1]));
    expect(heard.length).toBeGreaterThan(0);
  });

  test("the old option goes on: onReconnect after a loss", async () => {
    await open();
    const [onReconnect, onSubscribed] = [vi.fn(), vi.fn()];
    const Orders = () => <p>{useRoom(room(7), null, { onReconnect, onSubscribed }).state}</p>;
    await show(<Orders />);
    onSubscribed.mockClear();
    await again();
    expect(onReconnect).toHaveBeenCalledOnce();
    expect(onSubscribed).toHaveBeenCalledExactlyOnceWith({ again: true });
  });
});

describe("useLive", () => {
  interface Order {
    id: number;
  }
  const answers: ((orders: Order[]) => void)[] = [];
  beforeEach(() => void (answers.length = 0));
  const load = () => new Promise<Order[]>((answer) => answers.push(answer));
  const reduce = (all: Order[], order: Order) => [
    ...all.filter(({ id }) => id !== order.id),
    order,
  ];
  const ids = (orders: Order[] | undefined) => orders?.map(({ id }) => id).join(" ") ?? "nothing";
  const give = (...orders: Order[]) =>
    act(async () => {
      answers.at(-1)?.(orders);
      await settled();
    });

  function Orders({ customer, initial }: { customer: number; initial?: Order[] }) {
    const { data, state, reload } = useLive(room(customer), { load, reduce, initial });
    return <button type="button" onClick={reload}>{`${ids(data)} ${state}`}</button>;
  }

  test("shows while the gateway is down, merges, and loads again when it is back", async () => {
    ({ client, gateway } = connect());
    gateway.down();
    await show(<Orders customer={7} />);
    await give({ id: 1 });
    expect(box.textContent).toBe("1 pending");
    gateway.up();
    await act(async () => {
      client.connect();
      await client.ready();
      await settled();
    });
    await publish(7, { id: 2 });
    expect(box.textContent).toBe("1 2 subscribed");
    await give({ id: 1 }, { id: 3 });
    expect(box.textContent).toBe("1 3 2 subscribed");
    const before = answers.length;
    await again();
    expect(answers).toHaveLength(before + 1);
  });

  test("a load that fails is shown until one succeeds, and the data remains", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      await open();
      const fails: ((error: Error) => void)[] = [];
      const errors: Error[] = [];
      function Failing({ customer }: { customer: number }) {
        const { data, loadError, reload } = useLive(room(customer), {
          load: () =>
            new Promise<Order[]>((answer, fail) => {
              answers.push(answer);
              fails.push(fail);
            }),
          reduce,
          onLoadError: (error) => errors.push(error),
        });
        return (
          <button type="button" onClick={reload}>{`${ids(data)} ${loadError?.message}`}</button>
        );
      }
      const fail = (reason: string) =>
        act(async () => {
          for (const each of fails.splice(0)) each(new Error(reason));
          await settled();
        });
      const click = () =>
        act(async () => {
          box.querySelector("button")?.click();
          await settled();
        });

      await show(<Failing customer={7} />);
      expect(box.textContent).toBe("nothing undefined");
      await fail("500");
      expect(box.textContent).toBe("nothing 500");
      expect(errors.at(-1)?.message).toBe("500");
      // It is retried by itself.
      const before = answers.length;
      await act(async () => {
        await vi.advanceTimersByTimeAsync(1_000);
      });
      expect(answers).toHaveLength(before + 1);
      await give({ id: 1 });
      expect(box.textContent).toBe("1 undefined");
      await click();
      await fail("503");
      expect(box.textContent).toBe("1 503");
      // A publication is no load.
      await publish(7, { id: 2 });
      expect(box.textContent).toBe("1 2 503");
      // The failure is that of its room.
      await show(<Failing customer={8} />);
      expect(box.textContent).toBe("nothing undefined");
      await give({ id: 9 });
      expect(box.textContent).toBe("9 undefined");
    } finally {
      vi.useRealTimers();
    }
  });

  test("data belongs to the room of this render", async () => {
    await open();
    await show(<Orders customer={7} />);
    await give({ id: 1 });
    await show(<Orders customer={8} />);
    expect(box.textContent).toBe("nothing subscribed");
    await give({ id: 9 });
    expect(box.textContent).toBe("9 subscribed");
  });

  test("begins with what the server rendered, and loads when asked", async () => {
    await open();
    await show(<Orders customer={7} initial={[{ id: 5 }]} />);
    expect(box.textContent).toBe("5 subscribed");
    await give({ id: 6 });
    expect(box.textContent).toBe("6 subscribed");
    const before = answers.length;
    await act(async () => {
      box.querySelector("button")?.click();
      await settled();
    });
    expect(answers).toHaveLength(before + 1);
  });
});

describe("on a server", () => {
  function Page() {
    const { state, display } = useConnection();
    const orders = useRoom(room(7));
    const none = useRoom(null);
    const live = useLive(room(8), { load: async () => 1, reduce: () => 2, initial: 0 });
    return <p>{[state, display, orders.state, none.state, live.data].join(" ")}</p>;
  }
  const page = () => (
    <HighTemplarProvider client={client}>
      <Page />
    </HighTemplarProvider>
  );

  test("renders, and hydrates without a mismatch on a client that is open already", async () => {
    await open();
    const html = renderToString(page());
    expect(html).toBe("<p>closed closed pending ended 0</p>");
    expect(gateway.received).toEqual([]);
    const target = document.body.appendChild(document.createElement("div"));
    target.innerHTML = html;
    const paragraph = target.firstChild;
    const error = vi.spyOn(console, "error");
    let hydrated: Root | undefined;
    await act(async () => {
      hydrated = hydrateRoot(target, page(), { onRecoverableError: faults });
      await settled();
    });
    expect(target.firstChild).toBe(paragraph);
    expect(target.textContent).toBe("open live subscribed ended 1");
    expect(error).not.toHaveBeenCalled();
    await act(() => hydrated?.unmount());
    target.remove();
  });
});

test("another client at the provider is another connection", async () => {
  await open();
  const first = client;
  const Orders = () => <p>{`${useRoom(room(7)).state} ${useConnection().state}`}</p>;
  await show(<Orders />);
  expect(box.textContent).toBe("subscribed open");
  const other = connect({ autoConnect: false });
  client = other.client;
  await show(<Orders />);
  expect(box.textContent).toBe("pending closed");
  expect(gateway.subscriptions).toEqual([]);
  first.close();
});

test("rights that change: the room is refused and comes back, and the grants are those of now", async () => {
  await open([room(7)]);
  const onError = vi.fn();
  const load = vi.fn(async () => [] as number[]);
  function Orders() {
    const { state, error, heard } = useRoom(room(7), null, { onError });
    const { data } = useLive(room(7), { load, reduce: (all, one: number) => [...all, one] });
    const { grants } = useConnection();
    return <p>{[state, error?.reason, heard, data, grants.length].join(" ")}</p>;
  }
  await show(<Orders />);
  await publish(7, 1);
  expect(box.textContent).toBe("subscribed  1 1 1");
  const permit = (grants: object[]) =>
    act(async () => {
      gateway.permit(grants);
      await settled();
    });
  await permit([]);
  expect(box.textContent).toBe("refused permissions 1 1 0");
  expect(onError).toHaveBeenCalledOnce();
  const loads = load.mock.calls.length;
  await permit([room("*"), room(8)]);
  expect(box.textContent).toBe("subscribed  2  2");
  expect(load).toHaveBeenCalledTimes(loads + 1);
  expect(onError).toHaveBeenCalledOnce();
});

test("the provider's old prop goes on", async () => {
  await open();
  const Orders = () => <p>{useRoom(room(7)).state}</p>;
  await act(async () => {
    root.render(
      <HighTemplarProvider socket={client}>
        <Orders />
      </HighTemplarProvider>,
    );
    await settled();
  });
  expect(box.textContent).toBe("subscribed");
});

test("a component that is rendered often asks once", async () => {
  await open();
  let press: (count: number) => void = () => {};
  function Orders() {
    const [count, setCount] = useState(0);
    press = setCount;
    useRoom({ customer: 7, target: "order" }, () => {}, { onError: () => {} });
    return <p>{count}</p>;
  }
  await show(<Orders />);
  // Strict mode mounts twice.
  const before = gateway.received.length;
  for (const count of [1, 2, 3]) await act(() => press(count));
  expect(gateway.received).toHaveLength(before);
});

describe("with a gateway that recovers", () => {
  async function recovering(): Promise<void> {
    ({ client, gateway } = connect({}, undefined, ["since", "resume", "ping"]));
    await client.ready();
  }

  test("nothing is loaded again that the gateway delivers", async () => {
    await recovering();
    const load = vi.fn(async () => [] as unknown[]);
    const calls: unknown[] = [];
    const renders: string[] = [];
    function Orders() {
      const { data = [], state } = useLive(room("a"), {
        load,
        reduce: (all, one) => [...all, one],
        onRecovered: (how) => calls.push(how),
      });
      const { heard } = useRoom(room("a"), null, { onRecovered: (how) => calls.push(how) });
      renders.push(`${data}:${state}:${heard}`);
      return null;
    }
    await show(<Orders />);
    const loads = load.mock.calls.length;
    await act(async () => gateway.down());
    await publish("a", 1);
    await act(async () => {
      gateway.up();
      client.connect();
      await client.ready();
      await settled();
    });
    await publish("a", 2);
    expect(renders.at(-1)).toBe("1,2:subscribed:1");
    expect(load).toHaveBeenCalledTimes(loads);
    expect(calls).toEqual([{ replayed: 1 }, { replayed: 1 }]);
    await act(async () => {
      gateway.restart();
      await client.ready();
      await settled();
    });
    expect(load).toHaveBeenCalledTimes(loads + 1);
    expect(renders.at(-1)).toBe(":subscribed:2");
  });

  test("a page that the server rendered loads nothing", async () => {
    await recovering();
    const since = gateway.position;
    gateway.publish(room("a"), 1);
    const load = vi.fn(async () => [] as unknown[]);
    const renders: string[] = [];
    function Orders() {
      const { data, state, heard } = useLive(room("a"), {
        load,
        initial: [0] as unknown[],
        since,
        reduce: (all, one) => [...all, one],
      });
      const own = useRoom(room("a"), null, { since });
      renders.push(`${data}:${state}:${heard}:${own.state}:${own.heard}`);
      return null;
    }
    await show(<Orders />);
    expect(renders[0]).toBe("0:pending:0:pending:0");
    expect(renders.at(-1)).toBe("0,1:subscribed:0:subscribed:0");
    expect(load).not.toHaveBeenCalled();
  });
});
