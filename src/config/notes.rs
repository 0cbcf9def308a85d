//! Lines for the operator about the variables that the configuration was read from.

use std::collections::BTreeMap;

use crate::config::layers::Variable;
use crate::config::mistake::WrittenAt;

/// The settings that the environment contains, by name. `links` are variables that are no settings.
pub(super) fn environment_note(variables: &BTreeMap<String, Variable>, links: &[&str]) -> String {
    let set = variables.iter().filter_map(|(name, variable)| {
        let is_ours = name.starts_with("HT_") && !links.contains(&name.as_str());
        let is_there = matches!(variable.place, WrittenAt::Variable(_));
        (is_ours && is_there).then_some(name.as_str())
    });
    let set = set.collect::<Vec<_>>();
    if set.is_empty() {
        return "environment: no variable HT_… is set".to_owned();
    }
    format!("environment: {}", set.join(", "))
}

/// One line for the variables of an `.env` file that are used, and one for those that are not.
pub(super) fn dotenv_notes(
    variables: &BTreeMap<String, Variable>,
    unused: &[String],
) -> Vec<String> {
    let mut lines: Vec<_> = variables
        .iter()
        .filter_map(|(name, variable)| match &variable.place {
            WrittenAt::Dotenv { path, line, .. } => Some((*line, path, name)),
            WrittenAt::Default
            | WrittenAt::File { .. }
            | WrittenAt::Variable(_)
            | WrittenAt::Secret { .. } => None,
        })
        .collect();
    lines.sort_unstable();
    let Some((_, path, _)) = lines.first() else {
        return Vec::new();
    };
    let path = path.display();
    let names = |is_unused: bool| {
        let names = lines.iter().map(|(_, _, name)| name.as_str());
        let names = names.filter(|name| unused.iter().any(|other| other == name) == is_unused);
        names.collect::<Vec<_>>().join(", ")
    };
    let (used, unused) = (names(false), names(true));
    let mut notes = Vec::new();
    if !used.is_empty() {
        notes.push(format!("read from {path}: {used}"));
    }
    if !unused.is_empty() {
        notes.push(format!(
            "names of the Python version are not used, because backend.url is set without them or \
             python_variables is never: {unused} in {path}. If they are the gateway's, name the \
             file in ENV_FILE or set HT_PYTHON_VARIABLES=always"
        ));
    }
    notes
}
