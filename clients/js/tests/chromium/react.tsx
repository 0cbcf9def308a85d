// A React page in strict mode: an order board, with everything written inline as pages do.

import { HighTemplar, type Options } from "@high-templar/client";
import { HighTemplarProvider, useConnection, useRoom } from "@high-templar/client/react";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

function Board({ customer }: { customer: string }) {
  const [orders, setOrders] = useState<number[]>([]);
  const [fetched, setFetched] = useState(0);
  const again = () => setFetched((count) => count + 1);
  const { state, error } = useRoom<number>(
    { target: "order", customer },
    (order) => setOrders((all) => [...all, order]),
    { onReconnect: again, onRecovered: again },
  );
  return (
    <section>
      <p id="room">{error ? error.code : state}</p>
      <p id="orders">{orders.join(" ")}</p>
      <p id="fetched">{fetched}</p>
    </section>
  );
}

function Page() {
  const [customer, setCustomer] = useState<string | null>("anna");
  const { state } = useConnection();
  return (
    <main>
      <p id="connection">{state}</p>
      {["anna", "ben"].map((name) => (
        <button type="button" key={name} onClick={() => setCustomer(name)}>
          {name}
        </button>
      ))}
      <button type="button" onClick={() => setCustomer(null)}>
        nobody
      </button>
      {customer && <Board customer={customer} />}
    </main>
  );
}

/** Called by the test, with the options of its client. */
function start(options: Options): void {
  const socket = new HighTemplar(options);
  const root = document.body.appendChild(document.createElement("div"));
  createRoot(root).render(
    <StrictMode>
      <HighTemplarProvider socket={socket}>
        <Page />
      </HighTemplarProvider>
    </StrictMode>,
  );
  Object.assign(window, { socket });
}

Object.assign(window, { start });
