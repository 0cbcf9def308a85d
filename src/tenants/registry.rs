//! What a registry answers, and what it makes of the tenants: without a connection or a clock.

use std::collections::BTreeMap;

use ht_node::config::TenantName;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json};

use crate::config::{Mistakes, TENANTS_MAX, TenantDocument, tenant_of_json};

/// Longest version of a registry, in bytes.
const VERSION_BYTES_MAX: usize = 200;

/// The tenants of a registry at one of its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// As the registry calls it; none if it has none.
    pub(crate) version: Option<String>,
    /// The text of each, by its name.
    pub(crate) tenants: BTreeMap<TenantName, Box<str>>,
}

/// Why an answer of a registry changes nothing: a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Rubbish(String);

impl Held {
    /// The query that asks for what has changed since this version.
    pub(crate) fn query(&self) -> String {
        let version = self.version.as_deref();
        version.map_or_else(String::new, |version| {
            format!("after={}", utf8_percent_encode(version, NON_ALPHANUMERIC))
        })
    }

    /// What is held after this answer.
    ///
    /// # Errors
    /// If it is no answer of a registry, or contradicts itself.
    pub(crate) fn after(&self, answer: &[u8]) -> Result<Self, Rubbish> {
        let answer: Json = serde_json::from_slice(answer)
            .map_err(|error| rubbish(format!("it is not JSON ({error})")))?;
        let Json::Object(answer) = answer else {
            return Err(rubbish(
                "it is no object, such as {\"version\": 7, \"tenants\": []}",
            ));
        };
        let is_complete = flag(&answer, "complete")?;
        let version = version(&answer)?;
        let tenants = tenants(&answer)?;
        let removed = removed(&answer)?;
        if is_complete && !removed.is_empty() {
            return Err(rubbish(
                "it has both \"complete\": true and \"removed\": a complete list removes those that \
                 it lacks",
            ));
        }
        if let Some(name) = removed.iter().find(|name| tenants.contains_key(*name)) {
            return Err(rubbish(format!(
                "{name} is both in \"tenants\" and in \"removed\""
            )));
        }
        let mut held = if is_complete {
            BTreeMap::new()
        } else {
            self.tenants.clone()
        };
        for name in &removed {
            held.remove(name);
        }
        held.extend(tenants);
        if held.len() > TENANTS_MAX {
            return Err(rubbish(format!(
                "there are more than {TENANTS_MAX} tenants"
            )));
        }
        Ok(Self {
            version,
            tenants: held,
        })
    }

    /// Those of these documents, which have names.
    pub(crate) fn of<'a>(documents: impl IntoIterator<Item = &'a TenantDocument>) -> Self {
        let tenants = documents.into_iter().filter_map(|document| {
            let name = document.name().parse().ok()?;
            Some((name, document.to_json().to_string().into()))
        });
        Self {
            version: None,
            tenants: tenants.collect(),
        }
    }

    /// The tenants, to be read. `shown`: the registry, in mistakes.
    pub(crate) fn documents(&self, shown: &str) -> Vec<TenantDocument> {
        let tenants = self.tenants.values();
        let json = |text: &str| serde_json::from_str(text).unwrap_or(Json::Null);
        tenants
            .map(|text| tenant_of_json(json(text), shown))
            .collect()
    }

    /// The same with the place of each mistake.
    pub(crate) fn refused(mistakes: &Mistakes) -> Rubbish {
        let lines: Vec<_> = mistakes.lines().take(MISTAKES_SHOWN).collect();
        let more = mistakes.lines().count() - lines.len();
        let more = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Rubbish(format!("{}{more}", lines.join("; ")))
    }
}

/// Mistakes of one answer that are told.
const MISTAKES_SHOWN: usize = 20;

fn rubbish(what: impl Into<String>) -> Rubbish {
    Rubbish(what.into())
}

fn flag(answer: &Map<String, Json>, name: &str) -> Result<bool, Rubbish> {
    match answer.get(name) {
        None => Ok(false),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(_) => Err(rubbish(format!("\"{name}\" is neither true nor false"))),
    }
}

/// A text, or a number that is kept as its text.
fn version(answer: &Map<String, Json>) -> Result<Option<String>, Rubbish> {
    let version = match answer.get("version") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Number(number)) if !number.is_f64() => number.to_string(),
        Some(_) => return Err(rubbish("\"version\" is neither a text nor a whole number")),
    };
    if version.is_empty() || version.len() > VERSION_BYTES_MAX {
        return Err(rubbish(format!(
            "\"version\" has 1 to {VERSION_BYTES_MAX} bytes"
        )));
    }
    Ok(Some(version))
}

fn tenants(answer: &Map<String, Json>) -> Result<BTreeMap<TenantName, Box<str>>, Rubbish> {
    let Some(Json::Array(items)) = answer.get("tenants") else {
        return Err(rubbish("\"tenants\" is missing, or is no list"));
    };
    let mut found = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let name = item.get("name").and_then(Json::as_str).map(str::parse);
        let Some(Ok(name)) = name else {
            return Err(rubbish(format!(
                "tenant {index} of the list has no \"name\" of 1 to 40 characters a-z, 0-9 and -"
            )));
        };
        let name: TenantName = name;
        if found
            .insert(name.clone(), item.to_string().into())
            .is_some()
        {
            return Err(rubbish(format!("{name} is in \"tenants\" twice")));
        }
    }
    Ok(found)
}

fn removed(answer: &Map<String, Json>) -> Result<Vec<TenantName>, Rubbish> {
    let names = match answer.get("removed") {
        None => return Ok(Vec::new()),
        Some(Json::Array(names)) => names.iter(),
        Some(_) => return Err(rubbish("\"removed\" is no list")),
    };
    let name = |item: &Json| {
        let name = item.as_str().and_then(|text| text.parse().ok());
        name.ok_or_else(|| rubbish(format!("{item} in \"removed\" is no name of a tenant")))
    };
    names.map(name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tenant(name: &str, url: &str) -> Json {
        json!({ "name": name, "backend": { "url": url } })
    }

    fn held(version: Option<&str>, tenants: &[(&str, &str)]) -> Held {
        let text = |(name, url): &(&str, &str)| {
            (name.parse().unwrap(), tenant(name, url).to_string().into())
        };
        Held {
            version: version.map(str::to_owned),
            tenants: tenants.iter().map(text).collect(),
        }
    }

    #[test]
    fn an_answer_changes_what_it_names_and_removes_only_if_it_says_so() {
        let before = held(Some("7"), &[("a", "http://a/"), ("b", "http://b/")]);
        let both = [("a", "http://a/"), ("b", "http://b/")];
        for (answer, version, expected) in [
            (json!({ "version": 8, "tenants": [] }), Some("8"), &both[..]),
            (json!({ "tenants": [] }), None, &both),
            (
                json!({ "version": "x y", "tenants": [], "complete": false, "more": 1 }),
                Some("x y"),
                &both,
            ),
            // Half a list removes nobody.
            (
                json!({ "version": 8, "tenants": [tenant("a", "http://a/")] }),
                Some("8"),
                &both,
            ),
            (
                json!({ "version": 8, "tenants": [tenant("a", "http://new/"), tenant("c", "http://c/")] }),
                Some("8"),
                &[("a", "http://new/"), ("b", "http://b/"), ("c", "http://c/")],
            ),
            (
                json!({ "version": 8, "tenants": [], "removed": ["b", "unknown"] }),
                Some("8"),
                &both[..1],
            ),
            (
                json!({ "version": 8, "tenants": [tenant("a", "http://a/")], "complete": true }),
                Some("8"),
                &both[..1],
            ),
            (
                json!({ "version": 8, "tenants": [], "complete": true }),
                Some("8"),
                &[],
            ),
        ] {
            let found = before.after(answer.to_string().as_bytes());
            assert_eq!(found, Ok(held(version, expected)), "{answer}");
        }
        assert_eq!(before.query(), "after=7");
        assert_eq!(
            held(Some("a b&c=\u{e9}"), &[]).query(),
            "after=a%20b%26c%3D%C3%A9"
        );
        assert_eq!(Held::default().query(), "");
    }

    #[test]
    fn rubbish_changes_nothing_and_says_why() {
        let before = held(Some("7"), &[("a", "http://a/")]);
        let long = "v".repeat(201);
        let deep = "[".repeat(10_000);
        for (answer, part) in [
            ("", "it is not JSON"),
            ("<html>", "it is not JSON"),
            ("{\"tenants\": [", "it is not JSON"),
            ("{\"tenants\": []} {}", "it is not JSON"),
            (&deep, "it is not JSON"),
            ("[]", "it is no object"),
            ("null", "it is no object"),
            ("{}", "\"tenants\" is missing"),
            (r#"{"tenants": null}"#, "\"tenants\" is missing"),
            (r#"{"tenants": {}}"#, "\"tenants\" is missing"),
            (
                r#"{"tenants": [7]}"#,
                "tenant 0 of the list has no \"name\"",
            ),
            (
                r#"{"tenants": [{"name": "A"}]}"#,
                "tenant 0 of the list has no \"name\"",
            ),
            (
                r#"{"tenants": [{"name": "b"}, {"name": 7}]}"#,
                "tenant 1 of the list",
            ),
            (
                r#"{"tenants": [{"name": "b"}, {"name": "b"}]}"#,
                "b is in \"tenants\" twice",
            ),
            (
                r#"{"tenants": [], "complete": "true"}"#,
                "neither true nor false",
            ),
            (
                r#"{"tenants": [], "complete": null}"#,
                "neither true nor false",
            ),
            (
                r#"{"tenants": [], "version": 1.5}"#,
                "neither a text nor a whole number",
            ),
            (
                r#"{"tenants": [], "version": []}"#,
                "neither a text nor a whole number",
            ),
            (r#"{"tenants": [], "version": ""}"#, "has 1 to 200 bytes"),
            (
                &format!(r#"{{"tenants": [], "version": "{long}"}}"#),
                "has 1 to 200 bytes",
            ),
            (
                r#"{"tenants": [], "removed": "a"}"#,
                "\"removed\" is no list",
            ),
            (
                r#"{"tenants": [], "removed": [7]}"#,
                "7 in \"removed\" is no name",
            ),
            (
                r#"{"tenants": [{"name": "b"}], "removed": ["b"]}"#,
                "b is both in",
            ),
            (
                r#"{"tenants": [], "removed": ["a"], "complete": true}"#,
                "it has both",
            ),
        ] {
            let Err(Rubbish(found)) = before.after(answer.as_bytes()) else {
                panic!("{answer}");
            };
            assert!(found.contains(part), "{answer}: {found}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Held::default().after(&bytes);
        }

        #[test]
        fn changes_one_by_one_lead_to_the_complete_list(
            steps in proptest::collection::vec(
                (proptest::collection::btree_map("[a-d]", "[xyz]", 0..3), proptest::collection::vec("[a-d]", 0..2)),
                0..6,
            ),
        ) {
            let (mut held, mut model) = (Held::default(), BTreeMap::new());
            for (number, (tenants, removed)) in steps.iter().enumerate() {
                let list: Vec<_> = tenants.iter().map(|(name, url)| tenant(name, url)).collect();
                let removed: Vec<_> = removed.iter().filter(|name| !tenants.contains_key(*name)).collect();
                let answer = json!({ "version": number, "tenants": list, "removed": removed });
                held = held.after(answer.to_string().as_bytes()).unwrap();
                removed.into_iter().for_each(|name| drop(model.remove(name)));
                model.extend(tenants.clone());
            }
            let all: Vec<_> = model.iter().map(|(name, url)| tenant(name, url)).collect();
            let whole = json!({ "tenants": all, "complete": true }).to_string();
            let whole = Held::default().after(whole.as_bytes()).unwrap();
            prop_assert_eq!(held.tenants, whole.tenants);
        }
    }
}
