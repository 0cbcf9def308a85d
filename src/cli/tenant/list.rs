//! `high-templar tenant list`: a line for each tenant, as it is written or as a gateway serves it.

use anyhow::{Context as _, anyhow, bail};
use ht_trigger_client::get;
use http::StatusCode;
use serde_json::Value as Json;

use super::survey;
use crate::cli::key::KeyArgs;
use crate::cli::publish::refusal;
use crate::cli::{Done, Exit, print};
use crate::config::{Sources, Surveyed};

/// Of what.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List what the gateway with this internal listener serves, and what waits to be taken up; such
    /// as http://127.0.0.1:8002, or unix: followed by the path of its socket
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

pub(super) fn run(sources: &Sources, args: Args) -> Done {
    super::super::block_on(async {
        match &args.url {
            Some(url) => of_gateway(url, &args.key).await,
            None => written(sources).await,
        }
    })
}

/// Those that are written, and below them what is wrong.
async fn written(sources: &Sources) -> Done {
    let (tenancy, _) = sources.tenancy()?;
    let survey = survey(&tenancy).await?;
    for one in &survey.tenants {
        print(&of_text(one))?;
    }
    let mut lines = survey.mistakes.lines().collect::<Vec<_>>();
    for one in &survey.tenants {
        lines.extend(one.mistakes.lines());
    }
    for line in &lines {
        print(&format!("FIX  {line}"))?;
    }
    if survey.tenants.is_empty() && lines.is_empty() {
        print(&format!("no tenants in {}", tenancy.shown()))?;
    }
    Ok(Exit::Success)
}

/// The line of a tenant as it is written.
fn of_text(one: &Surveyed) -> String {
    let json = one.document.to_json();
    let path = one.config().map(|config| config.path.to_string());
    let state = if one.mistakes.is_empty() {
        state(&json)
    } else {
        "mistakes"
    };
    line(&json, state, &json["backend"]["url"], path.as_deref())
}

fn state(json: &Json) -> &'static str {
    if json["suspended"] == true {
        "suspended"
    } else {
        "active"
    }
}

/// A line: the name, what is to be known of it, the API, hosts and path.
fn line(json: &Json, state: &str, url: &Json, path: Option<&str>) -> String {
    let name = json["name"].as_str().filter(|name| !name.is_empty());
    let hosts = json["hosts"].as_array().into_iter().flatten();
    let hosts: Vec<_> = hosts.filter_map(Json::as_str).collect();
    let url = match (url.as_str(), url.is_null()) {
        (Some(url), _) => url,
        (None, true) => "",
        // It is referred to.
        (None, false) => "(elsewhere)",
    };
    let place = [&hosts.join(","), path.unwrap_or_default()].join(" ");
    let line = format!(
        "{:<20} {state:<10} {url:<40} {}",
        name.unwrap_or("(no name)"),
        place.trim()
    );
    line.trim_end().to_owned()
}

/// Those of a running gateway.
async fn of_gateway(url: &str, key: &KeyArgs) -> Done {
    let key = key.get()?;
    let answer = get(url, key.as_deref(), "/tenants/").await?;
    if answer.status == StatusCode::NOT_FOUND {
        bail!(
            "there is no /tenants/: this gateway has no tenants, or it is not its internal.listen"
        );
    }
    if answer.status != StatusCode::OK {
        return Err(refusal(&answer, key.is_some()));
    }
    let list: Json = serde_json::from_slice(&answer.body).context("the response is no JSON")?;
    let tenants = list["tenants"].as_array();
    let tenants = tenants.ok_or_else(|| anyhow!("the response is no list of tenants"))?;
    for tenant in tenants {
        print(&served(tenant))?;
    }
    let mistakes = [&list].into_iter().chain(tenants);
    for mistake in mistakes
        .filter_map(|it| it["mistakes"].as_array())
        .flatten()
    {
        print(&format!("FIX  {}", mistake.as_str().unwrap_or_default()))?;
    }
    if tenants.is_empty() {
        print("no tenants")?;
    }
    Ok(Exit::Success)
}

/// The line of a tenant of a running gateway.
fn served(tenant: &Json) -> String {
    let in_force = tenant["in_force"] == true;
    let state = if in_force { state(tenant) } else { "waiting" };
    let mut line = line(tenant, state, &tenant["url"], None);
    if let Some(waiting) = tenant["waiting"].as_str() {
        let now = if in_force {
            "served as before"
        } else {
            "not served"
        };
        line.push_str(&format!("  ({waiting}, and not taken up yet: {now})"));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_is_marked() {
        for (tenant, expected) in [
            (
                json!({"name": "a", "suspended": false, "url": "http://a/", "hosts": ["a.example"], "in_force": true}),
                "a active http://a/ a.example",
            ),
            (
                json!({"name": "a", "suspended": true, "url": {"env": "A"}, "hosts": [], "in_force": true, "waiting": "changed"}),
                "a suspended (elsewhere) (changed, and not taken up yet: served as before)",
            ),
            (
                json!({"name": "b", "suspended": false, "url": null, "hosts": [], "in_force": false, "waiting": "added", "mistakes": ["x"]}),
                "b waiting (added, and not taken up yet: not served)",
            ),
        ] {
            let line = served(&tenant);
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words.join(" "), expected);
        }
    }
}
