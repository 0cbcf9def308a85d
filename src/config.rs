//! The configuration: `high-templar.toml`, variables `HT_SECTION__KEY`, and the variables of the
//! Python version. Every mistake is reported at once, each with its location.

mod brokers;
mod build;
mod docs;
mod dotenv;
mod duplicate;
mod guess;
mod kind;
mod layers;
mod legacy;
mod live;
mod log;
mod memory;
mod mistake;
mod names;
mod node;
mod nodes;
mod notes;
mod python;
mod reach;
pub(crate) mod secret_file;
mod sections;
mod service_links;
mod settings;
mod shared;
mod sizes;
mod table;
pub(crate) mod tenants;
mod unclosed;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ht_backend::config::BackendConfig;
use ht_broker::config::{NatsConfig, PostgresConfig, RabbitMqConfig, RedisConfig};
use ht_node::config::ServerConfig;

pub(crate) use kind::{first_key, period, quoted};
pub(crate) use tenants::files::{Stamp as TenantStamp, stamp as tenant_stamp};
#[cfg(test)]
pub(crate) use tenants::of_one as tenant_of_file;
pub(crate) use tenants::{
    Document as TenantDocument, Survey, Surveyed, TENANTS_MAX, json_schema as tenant_schema,
    tenant_of_json, with_paths,
};

pub use docs::{markdown, toml};
pub use ht_broker::config::Engine;
pub use live::{Changes, Written};
pub use log::{Format, Level, LogConfig};
pub use mistake::Mistakes;
pub use tenants::{Tenancy, TenantSource};

use kind::HeaderChange;
use layers::{FILE_VARIABLE, Layers, Variable};
use mistake::WrittenAt;
use notes::{dotenv_notes, environment_note};
use settings::Values;

/// The file that is read when none is named, if it exists.
const FILE: &str = "high-templar.toml";

/// The longest file that is read, in bytes: a guard against the wrong file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// All settings of the process.
#[derive(Clone)]
pub struct Config {
    /// For the gateway itself.
    pub server: ServerConfig,
    /// For the calls to the API.
    pub backend: BackendConfig,
    /// For RabbitMQ; none means that triggers arrive over HTTP only.
    pub rabbitmq: Option<RabbitMqConfig>,
    /// For PostgreSQL, as the log instead of RabbitMQ.
    pub postgres: Option<PostgresConfig>,
    /// For NATS, as the log instead of RabbitMQ.
    pub nats: Option<NatsConfig>,
    /// For Redis, as the log instead of RabbitMQ.
    pub redis: Option<RedisConfig>,
    /// Where the tenants come from.
    pub tenancy: Tenancy,
    /// What is written about tenants in files; `server` has those without mistakes.
    pub(crate) survey: Survey,
    /// For the log.
    pub log: LogConfig,
    /// The settings as they were written, to be compared when they are read again.
    pub(crate) written: Written,
    /// Sources of the configuration, for the operator. Contains no secrets.
    pub notes: Vec<String>,
}

/// All that was read, with every mistake.
struct Everything {
    values: Values,
    /// The headers from variables of the Python version.
    legacy: Vec<HeaderChange>,
    tenancy: Tenancy,
    notes: Vec<String>,
    mistakes: Mistakes,
}

/// Sources of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the command line names.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The current folder, where `high-templar.toml` and `.env` are looked for.
    pub folder: PathBuf,
}

/// How an `.env` file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dotenv {
    /// `ENV_FILE` names it.
    Named,
    /// It is in the current folder or above, where it may belong to another program.
    Nearby,
}

impl Sources {
    /// Those of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self {
            file,
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            folder: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// Reads and checks the whole configuration. Mistakes in tenants are those of their list, and
    /// an error only beside others.
    ///
    /// # Errors
    /// With every mistake that was found.
    pub fn load(&self) -> Result<Config, Mistakes> {
        let Everything {
            values,
            legacy,
            tenancy,
            notes,
            mut mistakes,
        } = self.read();
        let survey = tenancy.at_start();
        if !mistakes.is_empty() {
            mistakes.0.extend(survey.all_mistakes().0);
            return Err(mistakes);
        }
        let tenants = (tenancy, survey);
        Ok(build::config(values, legacy, tenants, notes))
    }

    /// Where the tenants come from, and the path of their WebSocket: without the settings of the
    /// service, of which whoever runs a command need not have the secrets.
    ///
    /// # Errors
    /// With the mistakes in the section `[tenants]`, and those for which nothing can be read.
    pub(crate) fn tenancy(&self) -> Result<(Tenancy, String), Mistakes> {
        let mut read = self.read();
        read.mistakes.0.retain(|mistake| {
            let is_syntax = mistake.key.is_empty() && !mistake.place.is_variable();
            is_syntax || mistake.key == "tenant" || mistake.key.starts_with("tenants.")
        });
        if read.mistakes.is_empty() {
            Ok((read.tenancy, read.values.websocket_path.value))
        } else {
            Err(read.mistakes)
        }
    }

    fn read(&self) -> Everything {
        let mut mistakes = Mistakes::default();
        let mut notes = Vec::new();
        let (mut variables, dotenv) = self.variables(&mut mistakes, &mut notes);

        let mut layers = Layers::of_process_in(&self.folder);
        let links = layers.environment(&variables, &mut mistakes);
        let environment = environment_note(&variables, &links);
        if !links.is_empty() {
            notes.push(format!(
                "not settings but service links, which Kubernetes makes for a Service whose name \
                 begins with ht (enableServiceLinks: false in the pod's spec turns them off): {}",
                links.join(", ")
            ));
        }
        let complete = self.read_file(&variables, &mut layers, &mut mistakes, &mut notes);
        notes.push(environment);
        let environment = variables.iter();
        let environment = environment
            .map(|(name, variable)| (name.clone(), variable.text.clone()))
            .collect();
        let unused = legacy::unused(&layers, &variables, dotenv == Dotenv::Named);
        notes.extend(dotenv_notes(&variables, &unused));
        variables.retain(|name, _| !unused.contains(name));
        legacy::read_secrets(&self.folder, &mut variables, &mut mistakes);
        let legacy = legacy::apply(&mut layers, &variables, &mut mistakes);

        let values = settings::read(&layers, &mut mistakes);
        // A setting in an unreadable part of the file is not missing.
        if complete {
            build::check(&values, &mut mistakes);
            tenants::check(&values, &layers.tenants, &mut mistakes);
        }
        let tenancy = Tenancy::of(&values, layers.tenants, environment, &self.folder);
        if !legacy.honoured.is_empty() {
            let names = legacy.honoured.join(", ");
            notes.push(format!("variables of the Python version in use: {names}"));
        }
        notes.extend(legacy.notes);
        Everything {
            values,
            legacy: legacy.headers,
            tenancy,
            notes,
            mistakes,
        }
    }

    /// The environment, and below it the gateway's variables of an `.env` file; and how that file was
    /// found.
    fn variables(
        &self,
        mistakes: &mut Mistakes,
        notes: &mut Vec<String>,
    ) -> (BTreeMap<String, Variable>, Dotenv) {
        let mut variables: BTreeMap<_, _> = self
            .environment
            .iter()
            .map(|(name, text)| {
                let variable = Variable {
                    text: text.clone(),
                    place: WrittenAt::Variable(name.clone()),
                };
                (name.clone(), variable)
            })
            .collect();
        let named = self
            .environment
            .get("ENV_FILE")
            .filter(|path| !path.is_empty());
        let (path, found) = match named {
            Some(path) => (self.folder.join(path), Dotenv::Named),
            None => match dotenv::find(&self.folder) {
                Some(path) => (path, Dotenv::Nearby),
                None => return (variables, Dotenv::Nearby),
            },
        };
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(cause) => {
                let what = format!("cannot read {}: {cause}", path.display());
                match found {
                    Dotenv::Named => {
                        mistakes.add(&WrittenAt::Variable("ENV_FILE".to_owned()), "", what);
                    }
                    Dotenv::Nearby => notes.push(format!("{} is ignored: {cause}", path.display())),
                }
                return (variables, found);
            }
        };
        // As in Python, the last of several lines for one name counts.
        for entry in dotenv::parse(&text, &self.environment).into_iter().rev() {
            let ours = entry.name.starts_with("HT_") || legacy::NAMES.contains(&&*entry.name);
            if !ours || variables.contains_key(&entry.name) {
                continue;
            }
            let place = WrittenAt::Dotenv {
                path: path.clone(),
                line: entry.line,
                name: entry.name.clone(),
            };
            variables.insert(
                entry.name,
                Variable {
                    text: entry.text,
                    place,
                },
            );
        }
        (variables, found)
    }

    /// Reads the configuration file, if there is one. False if it could not be understood.
    fn read_file(
        &self,
        variables: &BTreeMap<String, Variable>,
        layers: &mut Layers,
        mistakes: &mut Mistakes,
        notes: &mut Vec<String>,
    ) -> bool {
        let variable = variables
            .get(FILE_VARIABLE)
            .filter(|variable| !variable.text.is_empty());
        let (path, place) = match (&self.file, variable) {
            (Some(path), _) => (
                path.clone(),
                WrittenAt::File {
                    path: path.clone(),
                    line: 0,
                },
            ),
            (None, Some(variable)) => (PathBuf::from(variable.text.trim()), variable.place.clone()),
            (None, None) => {
                let path = PathBuf::from(FILE);
                if !self.folder.join(&path).exists() {
                    notes.push(format!(
                        "configuration file: none: there is no {FILE} in {}, and neither --config \
                         nor {FILE_VARIABLE} names one",
                        self.folder.display()
                    ));
                    return true;
                }
                (path.clone(), WrittenAt::File { path, line: 0 })
            }
        };
        match read_text(&self.folder.join(&path)) {
            Ok(text) => {
                notes.push(format!("configuration file: {}", path.display()));
                layers.file(&text, &path, mistakes)
            }
            Err(cause) => {
                mistakes.add(
                    &place,
                    "",
                    format!("cannot read the configuration file {path:?}: {cause}"),
                );
                false
            }
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    read_text_up_to(path, FILE_BYTES_MAX)
}

/// Reads a file of at most so many bytes.
fn read_text_up_to(path: &Path, bytes_max: u64) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|cause| plain(&cause))?;
    if metadata.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if metadata.len() > bytes_max {
        let most = bytes_max >> 10;
        return Err(format!(
            "it is larger than {most} KiB, so it is probably another file"
        ));
    }
    let bytes = fs::read(path).map_err(|cause| plain(&cause))?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn plain(cause: &io::Error) -> String {
    if cause.kind() == io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if cause.kind() == io::ErrorKind::PermissionDenied {
        "this user may not read it".to_owned()
    } else {
        cause.to_string()
    }
}

#[cfg(test)]
mod tests;
