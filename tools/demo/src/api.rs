//! The embedded backend: a small HTTP API like those of the gateway's users. It authenticates, grants
//! rooms, receives hooks, saves the page's changes, and sends a trigger for each change.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ht_trigger_client::post;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::journal::{Entry, Exchange, Journal, Kind, Publication};
use crate::reply::Reply;
use crate::shop::{Order, Shop, TEXT_MAX};
use crate::users::{self, User};

/// The state behind the API.
#[derive(Debug)]
pub(crate) struct Api {
    shop: Mutex<Shop>,
    journal: Journal,
    /// URL of the gateway's internal listener.
    internal: String,
    /// Held from saving until the trigger has a response, so that triggers have the order of changes.
    order: tokio::sync::Mutex<()>,
}

/// Result of a request.
struct Outcome {
    reply: Reply,
    /// Its kind in the journal; none if it is not recorded.
    kind: Option<Kind>,
    /// JSON text of a trigger to send, if any.
    trigger: Option<String>,
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

#[derive(Deserialize)]
struct NewOrder {
    customer: String,
}

#[derive(Deserialize)]
struct NewLine {
    text: String,
}

#[derive(Serialize)]
struct OrderRoom<'a> {
    target: &'static str,
    customer: &'a str,
}

#[derive(Serialize)]
struct OrderData<'a> {
    order: &'a Order,
}

impl Api {
    pub(crate) fn new(journal: Journal, internal: String) -> Self {
        Self {
            shop: Mutex::new(Shop::stocked()),
            journal,
            internal,
            order: tokio::sync::Mutex::new(()),
        }
    }

    /// Handles one request, whose body has been read.
    pub(crate) async fn handle(&self, head: &Parts, body: Bytes) -> Reply {
        let user = users::authenticate(&head.headers);
        let path = head.uri.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        if (&head.method, path) == (&Method::POST, "/api/trigger") {
            return self.forward_trigger(body).await;
        }
        let changes = head.method != Method::GET;
        let order = if changes {
            Some(self.order.lock().await)
        } else {
            None
        };
        let outcome = self.route(head, path, user, &body);
        if let Some(kind) = outcome
            .kind
            .filter(|_| !user.is_some_and(|user| user.is_viewer))
        {
            self.journal.record(Exchange {
                kind,
                who: user.map(|user| user.name),
                method: method(&head.method),
                target: head.uri.path().to_owned(),
                headers: users::shown(&head.headers),
                body: raw(&body),
                status: outcome.reply.status.as_u16(),
                answer: raw(&outcome.reply.body),
            });
        }
        if let Some(trigger) = outcome.trigger {
            self.publish(trigger.into(), user).await;
        }
        drop(order);
        outcome.reply
    }

    fn route(&self, head: &Parts, path: &str, user: Option<&'static User>, body: &[u8]) -> Outcome {
        match (head.method.as_str(), path) {
            ("GET", "/api/bootstrap") => bootstrap(user),
            ("POST", "/api/user/notify_online") => self.presence(user, Shop::connected),
            ("POST", "/api/user/notify_ping") => self.presence(user, Shop::pinged),
            ("POST", "/api/user/notify_offline") => self.presence(user, Shop::disconnected),
            ("GET", "/api/log") => self.log(head.uri.query()),
            ("POST", "/api/login") => login(body),
            ("POST", "/api/logout") => quiet(Reply::empty().with_cookie(users::COOKIE, None)),
            (_, rest) => match user.filter(|user| !user.is_viewer) {
                Some(user) => self.route_member(head.method.as_str(), rest, user, body),
                None => refuse("log in first"),
            },
        }
    }

    fn route_member(&self, method: &str, path: &str, user: &'static User, body: &[u8]) -> Outcome {
        let shop = self.shop();
        match (method, path) {
            ("GET", "/api/order") => quiet(Reply::json(&json!({ "orders": shop.orders(user) }))),
            ("GET", "/api/chat") => quiet(Reply::json(&json!({ "lines": shop.chat() }))),
            ("GET", "/api/online") => quiet(Reply::json(shop.online())),
            ("POST", "/api/order") => create(shop, user, body),
            ("POST", "/api/chat") => post_line(shop, user, body),
            ("POST", path) => match order_to_advance(path) {
                Some(id) => advance(shop, user, id),
                None => quiet(Reply::error(StatusCode::NOT_FOUND, "no such path")),
            },
            _ => quiet(Reply::error(StatusCode::NOT_FOUND, "no such path")),
        }
    }

    /// Handles a hook: the list of users who are online may change. The gateway ignores the status.
    fn presence(
        &self,
        user: Option<&'static User>,
        change: fn(&mut Shop, &'static str),
    ) -> Outcome {
        let mut outcome = Outcome {
            reply: Reply::empty(),
            kind: Some(Kind::Hook),
            trigger: None,
        };
        if let Some(user) = user.filter(|user| !user.is_viewer) {
            let mut shop = self.shop();
            let before = shop.online().clone();
            change(&mut shop, user.name);
            if before != *shop.online() {
                let room = json!({ "target": "online" });
                outcome.trigger = Some(trigger(room, shop.online()));
            }
        }
        outcome
    }

    fn log(&self, query: Option<&str>) -> Outcome {
        let after = query
            .and_then(|query| query.strip_prefix("after="))
            .and_then(|id| id.parse().ok());
        let entries: Vec<Entry> = self.journal.after(after.unwrap_or(0));
        let last = self.journal.last();
        quiet(Reply::json(&Entries { last, entries }))
    }

    /// Forwards the page's own trigger unchanged, so that the gateway's errors can be shown.
    async fn forward_trigger(&self, body: Bytes) -> Reply {
        let _order = self.order.lock().await;
        match self.publish(body, None).await {
            (0, answer) => Reply::raw(StatusCode::BAD_GATEWAY, answer),
            (status, answer) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                Reply::raw(status, answer)
            }
        }
    }

    /// Sends a trigger and records it. A failure does not undo the change: pages fetch the state again
    /// when they reconnect.
    async fn publish(&self, body: Bytes, user: Option<&'static User>) -> (u16, Bytes) {
        let (status, answer) = match post(&self.internal, None, body.clone()).await {
            Ok(answer) => (answer.status.as_u16(), answer.body),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error, "a trigger was not delivered");
                (0, json!({ "error": error }).to_string().into())
            }
        };
        self.journal.record(Exchange {
            kind: Kind::Trigger,
            who: user.map(|user| user.name),
            method: "POST",
            target: format!("{}/trigger/", self.internal),
            headers: Vec::new(),
            body: raw(&body).or_else(|| text(&body)),
            status,
            answer: raw(&answer).or_else(|| text(&answer)),
        });
        (status, answer)
    }

    fn shop(&self) -> MutexGuard<'_, Shop> {
        self.shop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Entries {
    /// The last id. If it is lower than the requested one, the demo was restarted.
    last: u64,
    entries: Vec<Entry>,
}

/// The bootstrap response: the user and the allowed rooms.
fn bootstrap(user: Option<&'static User>) -> Outcome {
    #[derive(Serialize)]
    struct Who {
        id: u32,
        name: &'static str,
    }
    #[derive(Serialize)]
    struct Answer {
        user: Who,
        allowed_rooms: Box<RawValue>,
    }
    let Some(user) = user else {
        let mut outcome = refuse("unknown user");
        outcome.kind = Some(Kind::Bootstrap);
        return outcome;
    };
    let rooms = RawValue::from_string(user.rooms.to_owned());
    let answer = Answer {
        user: Who {
            id: user.id,
            name: user.name,
        },
        allowed_rooms: rooms.expect("a test checks that rooms are JSON"),
    };
    Outcome {
        reply: Reply::json(&answer),
        kind: Some(Kind::Bootstrap),
        trigger: None,
    }
}

fn login(body: &[u8]) -> Outcome {
    let user = serde_json::from_slice::<Login>(body)
        .ok()
        .and_then(|login| users::by_login(&login.user));
    match user {
        Some(user) => quiet(Reply::empty().with_cookie(users::COOKIE, Some(user.key))),
        None => refuse("unknown user"),
    }
}

fn create(mut shop: MutexGuard<'_, Shop>, user: &'static User, body: &[u8]) -> Outcome {
    let Ok(NewOrder { customer }) = serde_json::from_slice(body) else {
        return mistake("send a customer, such as {\"customer\":\"7\"}");
    };
    if customer.is_empty() || customer.chars().count() > TEXT_MAX {
        return mistake("a customer has 1 to 200 characters");
    }
    if !user.may_see(&customer) {
        return refuse("these are not your orders");
    }
    let order = shop.create(&customer);
    saved(StatusCode::CREATED, &order)
}

fn advance(mut shop: MutexGuard<'_, Shop>, user: &'static User, id: u64) -> Outcome {
    let visible = shop
        .order(id)
        .is_some_and(|order| user.may_see(&order.customer));
    match visible.then(|| shop.advance(id)).flatten() {
        Some(order) => saved(StatusCode::OK, &order),
        None => quiet(Reply::error(StatusCode::NOT_FOUND, "no such order")),
    }
}

/// Responds with a saved order, and publishes it to the users who may see it.
fn saved(status: StatusCode, order: &Order) -> Outcome {
    let room = OrderRoom {
        target: "order",
        customer: &order.customer,
    };
    Outcome {
        reply: Reply::json(order).with_status(status),
        kind: Some(Kind::Api),
        trigger: Some(trigger(room, OrderData { order })),
    }
}

fn post_line(mut shop: MutexGuard<'_, Shop>, user: &'static User, body: &[u8]) -> Outcome {
    let Ok(NewLine { text }) = serde_json::from_slice(body) else {
        return mistake("send a text, such as {\"text\":\"Hello\"}");
    };
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TEXT_MAX {
        return mistake("a text has 1 to 200 characters");
    }
    let line = shop.post(user.name, text);
    let room = json!({ "target": "chat", "room": "lobby" });
    Outcome {
        reply: Reply::json(&line).with_status(StatusCode::CREATED),
        kind: Some(Kind::Api),
        trigger: Some(trigger(room, json!({ "chat": line }))),
    }
}

/// `/api/order/1001/advance` → 1001
fn order_to_advance(path: &str) -> Option<u64> {
    let id = path.strip_prefix("/api/order/")?.strip_suffix("/advance")?;
    id.parse().ok()
}

fn trigger<R: Serialize, D: Serialize>(room: R, data: D) -> String {
    let rooms = [room];
    serde_json::to_string(&Publication { rooms, data }).expect("rooms and data are plain data")
}

fn quiet(reply: Reply) -> Outcome {
    Outcome {
        reply,
        kind: None,
        trigger: None,
    }
}

fn mistake(sentence: &str) -> Outcome {
    let mut outcome = quiet(Reply::error(StatusCode::BAD_REQUEST, sentence));
    outcome.kind = Some(Kind::Api);
    outcome
}

fn refuse(sentence: &str) -> Outcome {
    let mut outcome = quiet(Reply::error(StatusCode::FORBIDDEN, sentence));
    outcome.kind = Some(Kind::Api);
    outcome
}

/// The bytes as JSON, if they are.
fn raw(bytes: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(bytes).ok()
}

/// The bytes as a JSON string.
fn text(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = Value::from(String::from_utf8_lossy(bytes));
    serde_json::value::to_raw_value(&text).ok()
}

fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_contains_the_order_id() {
        assert_eq!(order_to_advance("/api/order/1001/advance"), Some(1001));
        assert_eq!(order_to_advance("/api/order//advance"), None);
        assert_eq!(order_to_advance("/api/order/x/advance"), None);
        assert_eq!(order_to_advance("/api/order/1001"), None);
    }
}
