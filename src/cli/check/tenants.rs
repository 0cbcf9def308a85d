//! The tenants: what is written about each, and what its API answers.

use futures_util::StreamExt as _;

use super::{backend, report};
use crate::cli::finding::Finding::{self, Fix, Note, Works};
use crate::cli::{broker, print};
use crate::config::{Config, Survey, Surveyed, TenantSource};
use crate::tenants::{default_is_missing, survey_of_registry};

/// APIs of tenants that are called at once.
const AT_ONCE: usize = 16;

/// Tenants of which each line is printed; of more only what is to be fixed.
const SHOWN: usize = 20;

/// Checks the tenants of a configuration, those of a registry as it lists them now. Returns whether
/// there is nothing to fix.
pub(super) async fn all(config: &Config) -> anyhow::Result<bool> {
    let written = match &config.tenancy.source {
        TenantSource::None => return Ok(true),
        TenantSource::File { .. } => config.survey.clone(),
        TenantSource::Http { url, .. } => match survey_of_registry(&config.tenancy).await? {
            Ok(survey) => survey,
            Err(cause) => return report("tenants", &Fix(format!("registry {url}: {cause}"))),
        },
    };
    let mut all_work = survey(&written, config.tenancy.trigger_bytes).await?;
    let tenants = written.tenants.iter().filter_map(|it| it.config().cloned());
    if let Some(name) = default_is_missing(config, &tenants.collect::<Vec<_>>()) {
        let what = format!(
            "tenants.default is {name}, which is none of them: clients that name no tenant get 404. \
             Add this tenant, or name another one"
        );
        all_work &= report("tenants", &Fix(what))?;
    }
    Ok(all_work)
}

/// Checks these tenants and calls their APIs, several at once, and tries the logs of their own, to which a
/// trigger may bring so many bytes. Reports what to fix at each, and how many work. Returns whether
/// there is nothing to fix.
pub(crate) async fn survey(survey: &Survey, trigger_bytes: usize) -> anyhow::Result<bool> {
    let mut all_work = survey.mistakes.is_empty();
    for line in survey.mistakes.lines() {
        print(&format!("FIX  {line}"))?;
    }
    let tenants = &survey.tenants;
    if tenants.is_empty() && all_work {
        report("tenants", &Note("no tenants".to_owned()))?;
    }
    let mut calls = futures_util::stream::iter(tenants.iter().map(findings)).buffered(AT_ONCE);
    let (mut called, mut working) = (0_usize, 0_usize);
    while let Some((one, findings)) = calls.next().await {
        let name = format!("tenant {}", one.document.name());
        for line in one.mistakes.lines() {
            print(&format!("FIX  {line}"))?;
        }
        let is_shown = |finding: &&Finding| tenants.len() <= SHOWN || !matches!(finding, Works(_));
        for finding in findings.iter().filter(is_shown) {
            report(&name, finding)?;
        }
        let works = !findings.iter().any(|it| matches!(it, Fix(_)));
        if is_called(one) {
            called += 1;
            working += usize::from(works);
            if let Some(log) = one.config().and_then(|config| config.log.as_ref()) {
                let found = broker::probe(Some(&log.engine), trigger_bytes).await;
                all_work &= report(&format!("{name}, log"), &found)?;
            }
        }
        all_work &= works && one.mistakes.is_empty();
    }
    if tenants.len() > SHOWN {
        let text = format!("{working} of {called} APIs that were called work");
        report("tenants", &Works(text))?;
    }
    Ok(all_work)
}

/// Whether its API can be called: nothing that is sent to it is missing.
fn is_called(one: &Surveyed) -> bool {
    let is_served = one.config().is_some_and(|config| !config.is_suspended);
    is_served && one.missing.is_empty()
}

/// What is found out about a tenant whose settings are read.
async fn findings(one: &Surveyed) -> (&Surveyed, Vec<Finding>) {
    let missing = one.missing.iter().map(|it| {
        let line = it.mistake.to_string();
        Fix(format!(
            "{line}. If the service has it, run this with its environment and as its user: set -a; . \
             /etc/high-templar/environment; set +a. The API of this tenant was not called"
        ))
    });
    let mut findings: Vec<_> = missing.collect();
    match one.config() {
        Some(config) if config.is_suspended => findings.push(Note("suspended".to_owned())),
        Some(config) if is_called(one) => findings.extend(backend(config.backend.clone()).await),
        Some(_) | None => {}
    }
    (one, findings)
}
