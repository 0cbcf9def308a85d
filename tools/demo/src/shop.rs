//! The data of the demo's backend: orders, chat lines and users who are online, all bounded.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::users::User;

/// Maximum orders; the oldest is dropped.
pub(crate) const ORDERS_MAX: usize = 100;

/// Maximum chat lines; the oldest is dropped.
pub(crate) const CHAT_MAX: usize = 50;

/// Maximum length of a chat line and of a customer, in characters.
pub(crate) const TEXT_MAX: usize = 200;

/// The states of an order.
pub(crate) const STATES: [&str; 4] = ["new", "packed", "sent", "delivered"];

/// The items, in turn.
const ITEMS: [&str; 8] = [
    "Field notebook",
    "Brass compass",
    "Wool blanket",
    "Enamel mug",
    "Oil lantern",
    "Canvas bag",
    "Pocket knife",
    "Star chart",
];

/// An order, as the API shows and publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) customer: String,
    pub(crate) item: &'static str,
    pub(crate) status: &'static str,
    /// Incremented by every change, so that a reader can ignore outdated data.
    pub(crate) version: u64,
}

/// A chat line, as the API shows and publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) from: &'static str,
    pub(crate) text: String,
}

/// The demo's database, in memory.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    orders: VecDeque<Order>,
    orders_created: u64,
    chat: VecDeque<Line>,
    lines_created: u64,
    online: Online,
}

/// Number of connections of each user who is online.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Online {
    #[serde(rename = "online")]
    users: BTreeMap<&'static str, u64>,
    /// Incremented by every change.
    version: u64,
}

impl Shop {
    /// A shop with a few orders.
    pub(crate) fn stocked() -> Self {
        let mut shop = Self::default();
        for (customer, steps) in [("7", 2), ("12", 1), ("7", 0)] {
            let id = shop.create(customer).id;
            for _ in 0..steps {
                shop.advance(id);
            }
        }
        shop
    }

    /// Saves a new order.
    pub(crate) fn create(&mut self, customer: &str) -> Order {
        self.orders_created += 1;
        let item = usize::try_from(self.orders_created).map_or(0, |made| (made - 1) % ITEMS.len());
        let order = Order {
            id: 1000 + self.orders_created,
            customer: customer.to_owned(),
            item: ITEMS[item],
            status: STATES[0],
            version: 1,
        };
        push(&mut self.orders, order.clone(), ORDERS_MAX);
        order
    }

    /// Moves an order to its next state. None if there is no such order; a delivered order does not
    /// change.
    pub(crate) fn advance(&mut self, id: u64) -> Option<Order> {
        let order = self.orders.iter_mut().find(|order| order.id == id)?;
        let next = STATES
            .iter()
            .skip_while(|state| **state != order.status)
            .nth(1);
        if let Some(next) = next {
            order.status = next;
            order.version += 1;
        }
        Some(order.clone())
    }

    /// The order with this id.
    pub(crate) fn order(&self, id: u64) -> Option<&Order> {
        self.orders.iter().find(|order| order.id == id)
    }

    /// The orders that a user may see, oldest first.
    pub(crate) fn orders(&self, user: &User) -> Vec<Order> {
        let visible = self
            .orders
            .iter()
            .filter(|order| user.may_see(&order.customer));
        visible.cloned().collect()
    }

    /// Saves a chat line.
    pub(crate) fn post(&mut self, from: &'static str, text: &str) -> Line {
        self.lines_created += 1;
        let line = Line {
            id: self.lines_created,
            from,
            text: text.to_owned(),
        };
        push(&mut self.chat, line.clone(), CHAT_MAX);
        line
    }

    /// The last chat lines, oldest first.
    pub(crate) fn chat(&self) -> Vec<Line> {
        self.chat.iter().cloned().collect()
    }

    /// A user has one more connection.
    pub(crate) fn connected(&mut self, name: &'static str) {
        let count = self.connections(name);
        self.set_connections(name, count + 1);
    }

    /// A user has at least one connection, even if the connect hook was lost.
    pub(crate) fn pinged(&mut self, name: &'static str) {
        let count = self.connections(name);
        self.set_connections(name, count.max(1));
    }

    /// A user has one connection less.
    pub(crate) fn disconnected(&mut self, name: &'static str) {
        let count = self.connections(name);
        self.set_connections(name, count.saturating_sub(1));
    }

    /// The users who are online.
    pub(crate) fn online(&self) -> &Online {
        &self.online
    }

    fn connections(&self, name: &str) -> u64 {
        self.online.users.get(name).copied().unwrap_or(0)
    }

    fn set_connections(&mut self, name: &'static str, count: u64) {
        if count == self.connections(name) {
            return;
        }
        self.online.version += 1;
        if count == 0 {
            self.online.users.remove(name);
        } else {
            self.online.users.insert(name, count);
        }
    }
}

fn push<T>(kept: &mut VecDeque<T>, new: T, max: usize) {
    if kept.len() >= max {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::by_login;

    #[test]
    fn bob_sees_his_own_orders_and_alice_all() {
        let shop = Shop::stocked();
        let customers = |login| -> Vec<String> {
            let user = by_login(login).expect("a demo user");
            shop.orders(user)
                .into_iter()
                .map(|order| order.customer)
                .collect()
        };
        assert_eq!(customers("alice"), ["7", "12", "7"]);
        assert_eq!(customers("bob"), ["7", "7"]);
        assert!(customers("viewer").is_empty());
    }

    #[test]
    fn an_order_advances_to_its_last_state() {
        let mut shop = Shop::default();
        let id = shop.create("7").id;
        let states: Vec<_> = (0..4)
            .filter_map(|_| shop.advance(id))
            .map(|order| (order.status, order.version))
            .collect();
        assert_eq!(
            states,
            [
                ("packed", 2),
                ("sent", 3),
                ("delivered", 4),
                ("delivered", 4)
            ]
        );
        assert_eq!(shop.advance(1), None);
    }

    #[test]
    fn stores_are_bounded() {
        let mut shop = Shop::default();
        for _ in 0..ORDERS_MAX + 5 {
            shop.create("7");
            shop.post("Alice", "hello");
        }
        assert_eq!(shop.orders.len(), ORDERS_MAX);
        assert_eq!(shop.chat().len(), CHAT_MAX);
        assert_eq!(shop.order(1001), None);
    }

    #[test]
    fn online_counts_connections_by_hooks() {
        let mut shop = Shop::default();
        shop.connected("Bob");
        shop.connected("Bob");
        shop.pinged("Bob");
        shop.disconnected("Bob");
        assert_eq!((shop.connections("Bob"), shop.online().version), (1, 3));
        shop.disconnected("Bob");
        shop.disconnected("Bob");
        assert!(shop.online().users.is_empty());
        shop.pinged("Alice");
        assert_eq!((shop.connections("Alice"), shop.online().version), (1, 5));
    }
}
