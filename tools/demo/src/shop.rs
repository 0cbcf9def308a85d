//! What the demo's backend stores: orders, chat lines and who is online. Plain data with bounds.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::users::User;

/// Orders kept; the oldest one gives way.
pub(crate) const ORDERS_MAX: usize = 100;

/// Chat lines kept; the oldest one gives way.
pub(crate) const CHAT_MAX: usize = 50;

/// Longest text of a chat line and longest customer, in characters.
pub(crate) const TEXT_MAX: usize = 200;

/// The life of an order.
pub(crate) const STATES: [&str; 4] = ["new", "packed", "sent", "delivered"];

/// What is sold here, in turn.
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
    /// Grows with every change, so that a reader can tell news from history.
    pub(crate) version: u64,
}

/// A chat line, as the API shows and publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) from: &'static str,
    pub(crate) text: String,
}

/// The database of the demo, in memory.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    orders: VecDeque<Order>,
    orders_made: u64,
    chat: VecDeque<Line>,
    lines_made: u64,
    online: Online,
}

/// Who is online, and with how many connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Online {
    #[serde(rename = "online")]
    people: BTreeMap<&'static str, u64>,
    /// Grows with every change, as an order's does.
    version: u64,
}

impl Shop {
    /// A shop with a few orders in it, so that the page is not empty.
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
        self.orders_made += 1;
        let item = usize::try_from(self.orders_made).map_or(0, |made| (made - 1) % ITEMS.len());
        let order = Order {
            id: 1000 + self.orders_made,
            customer: customer.to_owned(),
            item: ITEMS[item],
            status: STATES[0],
            version: 1,
        };
        push(&mut self.orders, order.clone(), ORDERS_MAX);
        order
    }

    /// Moves an order to its next state. None if there is no such order; a delivered order
    /// stays as it is.
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
        let seen = self
            .orders
            .iter()
            .filter(|order| user.may_see(&order.customer));
        seen.cloned().collect()
    }

    /// Saves a chat line.
    pub(crate) fn say(&mut self, from: &'static str, text: &str) -> Line {
        self.lines_made += 1;
        let line = Line {
            id: self.lines_made,
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

    /// A connection of a user came.
    pub(crate) fn came(&mut self, name: &'static str) {
        let count = self.connections(name);
        self.set_connections(name, count + 1);
    }

    /// A connection of a user is still there: a sign of life counts even if its coming was
    /// missed.
    pub(crate) fn is_there(&mut self, name: &'static str) {
        let count = self.connections(name);
        self.set_connections(name, count.max(1));
    }

    /// A connection of a user went.
    pub(crate) fn went(&mut self, name: &'static str) {
        let count = self.connections(name);
        self.set_connections(name, count.saturating_sub(1));
    }

    /// Who is online.
    pub(crate) fn online(&self) -> &Online {
        &self.online
    }

    fn connections(&self, name: &str) -> u64 {
        self.online.people.get(name).copied().unwrap_or(0)
    }

    fn set_connections(&mut self, name: &'static str, count: u64) {
        if count == self.connections(name) {
            return;
        }
        self.online.version += 1;
        if count == 0 {
            self.online.people.remove(name);
        } else {
            self.online.people.insert(name, count);
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
    fn an_order_goes_through_its_states_and_stops() {
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
            shop.say("Alice", "hello");
        }
        assert_eq!(shop.orders.len(), ORDERS_MAX);
        assert_eq!(shop.chat().len(), CHAT_MAX);
        assert_eq!(shop.order(1001), None);
    }

    #[test]
    fn online_counts_connections_by_hooks() {
        let mut shop = Shop::default();
        shop.came("Bob");
        shop.came("Bob");
        shop.is_there("Bob");
        shop.went("Bob");
        assert_eq!((shop.connections("Bob"), shop.online().version), (1, 3));
        shop.went("Bob");
        shop.went("Bob");
        assert!(shop.online().people.is_empty());
        shop.is_there("Alice");
        assert_eq!((shop.connections("Alice"), shop.online().version), (1, 5));
    }
}
