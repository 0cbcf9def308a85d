//! Which variables of the Python version count, and those that are read from files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::kind::{Choose, Kind as _};
use crate::config::layers::{Layers, Variable};
use crate::config::legacy::NAMES;
use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::python::PythonVariables;
use crate::config::secret_file;
use crate::config::table::Lookup as _;

/// The variables that do not count. An `.env` file that lies nearby may be another program's, such
/// as Laravel's with its `APP_URL`: if the new settings name the API, the names of the Python
/// version count from there only if that is configured.
pub(crate) fn unused(
    layers: &Layers,
    variables: &BTreeMap<String, Variable>,
    dotenv_is_named: bool,
) -> Vec<String> {
    let speaks_for_itself = ["backend.url", "backend.socket"].iter().any(|key| {
        let first = layers.of(key).next();
        first.is_some_and(|node| node.text().is_some_and(|text| !text.trim().is_empty()))
    });
    let counts = |variable: &Variable| match asked(layers) {
        PythonVariables::Always => true,
        PythonVariables::Never => false,
        PythonVariables::Auto => {
            let is_nearby = matches!(variable.place, WrittenAt::Dotenv { .. }) && !dotenv_is_named;
            !(is_nearby && speaks_for_itself)
        }
    };
    let is_set = |name: &&&str| variables.get(**name).is_some_and(|it| !counts(it));
    let names = NAMES.iter().filter(is_set);
    names.map(|name| (*name).to_owned()).collect()
}

/// Variables that may also be read from the file that `…_FILE` names.
const SECRETS: [&str; 2] = ["RABBITMQ_USERNAME", "RABBITMQ_PASSWORD"];

/// Reads the contents of files, for variables that are not set themselves.
pub(crate) fn read_secrets(
    folder: &Path,
    variables: &mut BTreeMap<String, Variable>,
    mistakes: &mut Mistakes,
) {
    for name in SECRETS {
        let is_set = variables.get(name).is_some_and(|it| !it.text.is_empty());
        let Some(file) = variables.get(&format!("{name}_FILE")) else {
            continue;
        };
        let Some(path) = secret_file::path(&file.text).filter(|_| !is_set) else {
            continue;
        };
        match secret_file::read(folder, &path) {
            Ok(text) => {
                let named = Box::new(file.place.clone());
                let place = WrittenAt::Secret { path, named };
                variables.insert(name.to_owned(), Variable { text, place });
            }
            Err(what) => mistakes.add(&file.place, "rabbitmq.url", what),
        }
    }
}

/// The value of the setting, before the others are read; its mistakes are reported with theirs.
fn asked(layers: &Layers) -> PythonVariables {
    let node = layers.of("python_variables").next();
    let found = node.map(|node| Choose::<PythonVariables>::one().read(node));
    found.and_then(Result::ok).unwrap_or(PythonVariables::Auto)
}
