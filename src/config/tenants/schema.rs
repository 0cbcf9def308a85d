//! The settings of a tenant as documents: a JSON schema, and the reference.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::config::names::section_of;
use crate::config::settings;
use crate::config::table::Described;
use crate::config::tenants::{is_shared, log, rows};

/// Sections of a tenant, besides its own settings.
const SECTIONS: [(&str, &str); 8] = [
    ("backend", "The tenant's HTTP API."),
    (
        "hooks",
        "Calls that notify it of connects, pings and disconnects.",
    ),
    ("origins", "Pages that may open a WebSocket of the tenant."),
    (
        "limits",
        "The tenant's share of each node. 0: no limit besides those of the node.",
    ),
    ("rabbitmq", "A log of its own: RabbitMQ, with a stream."),
    ("postgres", "A log of its own: PostgreSQL."),
    ("nats", "A log of its own: NATS JetStream."),
    ("redis", "A log of its own: Redis or Valkey."),
];

/// The JSON schema of a tenant.
pub(crate) fn json_schema() -> Value {
    let mut top = Map::new();
    for (section, about) in SECTIONS {
        let members = described().filter(|setting| section_of(setting.key) == section);
        let members: Map<_, _> = members.map(|setting| property(&setting)).collect();
        let mut object = json!({
            "type": "object",
            "description": about,
            "properties": members,
            "additionalProperties": false,
        });
        if section == "backend" || log::is_of_log(section) {
            object["required"] = json!(["url"]);
        }
        top.insert(section.to_owned(), object);
    }
    let origins = top["origins"]["properties"]["allow"].clone();
    top["origins"] = json!({ "anyOf": [origins, top["origins"]] });
    let own = described().filter(|setting| section_of(setting.key).is_empty());
    top.extend(own.map(|setting| property(&setting)));
    let reference = |name: &str| {
        json!({
            "type": "object",
            "properties": { name: { "type": "string", "minLength": 1 } },
            "required": [name],
            "additionalProperties": false,
        })
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A tenant of high-templar",
        "type": "object",
        "properties": top,
        "required": ["name", "backend"],
        "additionalProperties": false,
        "$defs": {
            "secret": {
                "description": "A value that a file or a variable of the gateway holds.",
                "oneOf": [reference("env"), reference("file")],
            },
        },
    })
}

fn property(setting: &Described) -> (String, Value) {
    let name = setting.key.rsplit('.').next().unwrap_or(setting.key);
    let mut schema = setting.schema.clone();
    if log::is_of_log(section_of(setting.key)) && settings::is_secret(setting.key) {
        schema = json!({ "anyOf": [schema, { "$ref": "#/$defs/secret" }] });
    }
    schema["description"] = setting.doc.into();
    (name.to_owned(), schema)
}

fn described() -> impl Iterator<Item = Described> {
    let shared = settings::described().into_iter();
    let shared = shared.filter(|setting| is_shared(setting.key));
    rows::described().into_iter().chain(shared)
}

/// The reference of a tenant's own settings: a part of `docs/configuration.md`.
pub(crate) fn markdown() -> String {
    let mut out = include_str!("../docs/tenants.md").to_owned();
    for setting in rows::described() {
        let text = write!(
            out,
            "\n### `tenant.{key}`\n\n{doc}\n\n- Default: {default}\n- Expects: {expects}\n- Changes: with the list of tenants\n",
            key = setting.key,
            doc = setting.doc,
            default = match setting.key {
                "name" => "none: it must be given".to_owned(),
                _ => format!("`{}`", setting.default),
            },
            expects = setting.expects,
        );
        text.expect("a String takes every text");
    }
    out
}
