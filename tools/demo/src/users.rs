//! The users of the embedded backend, their credentials and their grants.

use http::{HeaderMap, HeaderValue, header};

/// The cookie that the demo's login sets. The name is unique, because all ports of a host share their
/// cookies, and a developer's machine has other sites.
pub(crate) const COOKIE: &str = "templar_demo";

/// A user of the backend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The id in the backend's responses.
    pub(crate) id: u32,
    /// The name to log in with.
    pub(crate) login: &'static str,
    /// The name to show.
    pub(crate) name: &'static str,
    /// The credential, as cookie or token. It is public: this is a demo.
    pub(crate) key: &'static str,
    /// The only customer whose orders the user may see; none means all customers.
    pub(crate) customer: Option<&'static str>,
    /// JSON text of `allowed_rooms`.
    pub(crate) rooms: &'static str,
    /// The page's own connection, which shows the journal and is not recorded in it.
    pub(crate) is_viewer: bool,
}

/// All users. Others are refused.
pub(crate) const USERS: [User; 3] = [
    User {
        id: 1,
        login: "alice",
        name: "Alice",
        key: "alice-demo-key",
        customer: None,
        rooms: r#"[{"target":"order","customer":"*"},{"target":"chat","room":"lobby"},{"target":"online"}]"#,
        is_viewer: false,
    },
    User {
        id: 7,
        login: "bob",
        name: "Bob",
        key: "bob-demo-key",
        customer: Some("7"),
        rooms: r#"[{"target":"order","customer":"7"},{"target":"chat","room":"lobby"},{"target":"online"}]"#,
        is_viewer: false,
    },
    User {
        id: 99,
        login: "viewer",
        name: "Log viewer",
        key: "viewer-demo-key",
        customer: None,
        rooms: r#"[{"target":"backend-log"}]"#,
        is_viewer: true,
    },
];

impl User {
    /// Whether the user may see and change the orders of a customer.
    pub(crate) fn may_see(&self, customer: &str) -> bool {
        !self.is_viewer && self.customer.is_none_or(|own| own == customer)
    }
}

/// The user with this login name.
pub(crate) fn by_login(login: &str) -> Option<&'static User> {
    USERS.iter().find(|user| user.login == login)
}

/// Authenticates a request by its token, or else by its cookie.
pub(crate) fn authenticate(headers: &HeaderMap) -> Option<&'static User> {
    let key = match headers.get(header::AUTHORIZATION) {
        Some(value) => value.to_str().ok()?.strip_prefix("Token ")?,
        None => cookies(headers).find(|(name, _)| *name == COOKIE)?.1,
    };
    USERS.iter().find(|user| user.key == key)
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// The headers that the page shows, in a fixed order. Values that are not the demo's own are hidden: the
/// browser also sends cookies of other sites on this machine.
pub(crate) fn shown(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    let plain = |name: header::HeaderName| headers.get(name).map(|value| text(value).to_owned());
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = text(value);
        let known = value.strip_prefix("Token ").is_some_and(is_public);
        let value = if known { value } else { "Token •••" };
        shown.push(("Authorization", value.to_owned()));
    }
    let cookies: Vec<_> = cookies(headers)
        .map(|(name, value)| match (name, is_public(value)) {
            (COOKIE, true) => format!("{name}={value}"),
            _ => format!("{name}=•••"),
        })
        .collect();
    if !cookies.is_empty() {
        shown.push(("Cookie", cookies.join("; ")));
    }
    if let Some(value) = plain(header::USER_AGENT) {
        shown.push(("User-Agent", value));
    }
    if let Some(value) = plain(header::CONTENT_TYPE) {
        shown.push(("Content-Type", value));
    }
    shown
}

/// Whether a key can be shown: those of the demo, and the unknown one that its page sends.
fn is_public(key: &str) -> bool {
    key == "stranger" || USERS.iter().any(|user| user.key == key)
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("•••")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cross_site::tests::headers;

    #[test]
    fn a_token_takes_precedence_over_a_cookie() {
        let login = |pairs: &[_]| authenticate(&headers(pairs)).map(|user| user.login);
        assert_eq!(
            login(&[("authorization", "Token bob-demo-key")]),
            Some("bob")
        );
        assert_eq!(
            login(&[("cookie", "other=1; templar_demo=alice-demo-key")]),
            Some("alice")
        );
        let both = [
            ("cookie", "templar_demo=alice-demo-key"),
            ("authorization", "Token stranger"),
        ];
        assert_eq!(login(&both), None);
        assert_eq!(login(&[("cookie", "templar_demo=x")]), None);
        assert_eq!(login(&[]), None);
    }

    #[test]
    fn only_the_demos_own_keys_are_shown() {
        let request = headers(&[
            ("cookie", "sessionid=secret; templar_demo=bob-demo-key"),
            ("authorization", "Token mine"),
            ("x-other", "secret"),
        ]);
        assert_eq!(
            shown(&request),
            [
                ("Authorization", "Token •••".to_owned()),
                (
                    "Cookie",
                    "sessionid=•••; templar_demo=bob-demo-key".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn grants_are_a_json_list_of_objects() {
        for user in &USERS {
            let rooms: Vec<serde_json::Map<_, _>> =
                serde_json::from_str(user.rooms).expect("rooms are JSON");
            assert!(!rooms.is_empty());
        }
    }
}
