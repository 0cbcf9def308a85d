//! What is written about tenants at one moment, each with its mistakes: those of one keep nobody from
//! looking at the others.

use std::collections::{HashMap, HashSet};

use ht_node::config::{HostName, TenantConfig};
use ht_node::directory::{Conflict, conflicts};

use crate::config::mistake::{Mistake, Mistakes, WrittenAt};
use crate::config::tenants::{Document, LogRules, Missing, Reader, TENANTS_MAX};

/// All tenants that are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Each of them.
    pub(crate) tenants: Vec<Surveyed>,
    /// Mistakes that are of no tenant: a folder that cannot be read, a file of several.
    pub(crate) mistakes: Mistakes,
}

/// What is written about one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    /// Its text.
    pub(crate) document: Document,
    /// What is wrong with it, alone or beside the others.
    pub(crate) mistakes: Mistakes,
    /// References of which this process does not know the value.
    pub(crate) missing: Vec<Missing>,
    /// Its settings, where there are no mistakes in themselves. What is missing has other values.
    config: Option<TenantConfig>,
    /// Another one claims the same.
    is_contested: bool,
}

impl Survey {
    /// Reads these tenants. `mistakes`: those met on the way to them.
    pub(crate) fn of(documents: Vec<Document>, mistakes: Mistakes, reader: &Reader<'_>) -> Self {
        let mut survey = Self {
            tenants: Vec::with_capacity(documents.len()),
            mistakes,
        };
        let mut names: HashMap<String, usize> = HashMap::new();
        for document in documents {
            let name = document.name().to_owned();
            let first = names.get(&name).filter(|_| !name.is_empty());
            let surveyed = match first.and_then(|at| survey.tenants.get_mut(*at)) {
                // Which of the two is meant cannot be told, so neither is good.
                Some(first) => {
                    first.is_contested = true;
                    Surveyed::second(document, &name, &first.document.node.place)
                }
                None => {
                    names.insert(name, survey.tenants.len());
                    reader.survey(document)
                }
            };
            survey.tenants.push(surveyed);
        }
        if survey.tenants.len() > TENANTS_MAX {
            let what = format!("there are more than {TENANTS_MAX} tenants, which is the most");
            survey.mistakes.add(&WrittenAt::Default, "", what);
        }
        survey.contest(reader.main_hosts);
        survey.check_logs(reader.logs);
        survey
    }

    /// Notes who has a log of its own that it may not have.
    fn check_logs(&mut self, rules: &LogRules) {
        let with_log = self.tenants.iter_mut().filter_map(|one| {
            let log = one.config.as_ref()?.log.clone()?;
            Some((one, log))
        });
        for (number, (one, log)) in with_log.enumerate() {
            for what in rules.mistakes(&log, number) {
                let mistake = Mistake {
                    place: one.document.node.place.clone(),
                    key: log.engine.name().to_owned(),
                    what,
                };
                one.mistakes.0.push(about(&one.document, mistake));
            }
        }
    }

    /// Notes what two of them claim: whose it is cannot be told, so neither is good.
    fn contest(&mut self, main_hosts: &[HostName]) {
        let configs = self.tenants.iter().filter_map(|it| it.config.as_ref());
        let found: Vec<Conflict> = conflicts(main_hosts, configs);
        let names = found.iter().flat_map(|it| [&*it.first, &*it.second]);
        let contested: HashSet<&str> = names.collect();
        for one in &mut self.tenants {
            one.is_contested |= contested.contains(one.document.name());
        }
        let read = self.tenants.iter_mut().filter(|one| one.config.is_some());
        let mut read: HashMap<String, &mut Surveyed> = read
            .filter(|one| one.is_contested)
            .map(|one| (one.document.name().to_owned(), one))
            .collect();
        for conflict in &found {
            if let Some(one) = read.get_mut(&*conflict.second) {
                let place = one.document.node.place.clone();
                one.mistakes.add(&place, "", conflict.to_string());
            }
        }
    }

    /// Those that can be served.
    pub(crate) fn good(&self) -> Vec<TenantConfig> {
        self.tenants
            .iter()
            .filter_map(Surveyed::good)
            .cloned()
            .collect()
    }

    /// Everything that keeps one of them from being served, in the order of the texts.
    pub(crate) fn all_mistakes(&self) -> Mistakes {
        let own = self.tenants.iter().flat_map(|one| one.all_mistakes().0);
        Mistakes(self.mistakes.0.iter().cloned().chain(own).collect())
    }

    /// All of them, if all can be served.
    ///
    /// # Errors
    /// With every mistake.
    pub(crate) fn whole(&self) -> Result<Vec<TenantConfig>, Mistakes> {
        let mistakes = self.all_mistakes();
        if mistakes.is_empty() {
            Ok(self.good())
        } else {
            Err(mistakes)
        }
    }

    /// What is written about the tenant of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Surveyed> {
        self.tenants.iter().find(|one| one.document.name() == name)
    }
}

impl Surveyed {
    /// The text of a tenant that another text is about already.
    fn second(document: Document, name: &str, first: &WrittenAt) -> Self {
        let mut mistakes = Mistakes::default();
        let what = format!("there is a tenant {name} already, in {}", first.shown());
        mistakes.add(&document.node.place, "", what);
        Self {
            document,
            mistakes,
            missing: Vec::new(),
            config: None,
            is_contested: false,
        }
    }

    /// Everything that keeps it from being served.
    pub(crate) fn all_mistakes(&self) -> Mistakes {
        let missing = self.missing.iter().map(|it| &it.mistake);
        Mistakes(self.mistakes.0.iter().chain(missing).cloned().collect())
    }

    /// Its settings, where there are no mistakes in themselves: with other values where references
    /// are missing.
    pub(crate) fn config(&self) -> Option<&TenantConfig> {
        self.config.as_ref()
    }

    /// Its settings, if it can be served.
    pub(crate) fn good(&self) -> Option<&TenantConfig> {
        let is_good = self.mistakes.is_empty() && self.missing.is_empty() && !self.is_contested;
        self.config.as_ref().filter(|_| is_good)
    }
}

impl Reader<'_> {
    /// Reads one tenant, whatever is wrong with it.
    pub(crate) fn survey(&self, document: Document) -> Surveyed {
        let mut mistakes = document.broken.clone();
        let (mut config, mut missing) = (None, Vec::new());
        if mistakes.is_empty() {
            let mut own = Mistakes::default();
            (config, missing) = self.values(&document, &mut own);
            // The text that stands for a value need not be one that the setting may have.
            own.0
                .retain(|it| !missing.iter().any(|missing| missing.caused(it)));
            let (of_process, others) = missing.into_iter().partition(|it| it.is_of_process);
            missing = of_process;
            own.0
                .extend(others.into_iter().map(|it: Missing| it.mistake));
            let about = |mistake| about(&document, mistake);
            mistakes.0.extend(own.0.into_iter().map(about));
            for it in &mut missing {
                it.mistake = about(it.mistake.clone());
            }
        }
        Surveyed {
            document,
            mistakes,
            missing,
            config,
            is_contested: false,
        }
    }
}

/// A mistake with the name of its tenant.
fn about(document: &Document, mut mistake: Mistake) -> Mistake {
    let name = match document.name() {
        "" => "a tenant",
        name => name,
    };
    mistake.key = match &*mistake.key {
        "" => format!("tenant {name}"),
        key => format!("tenant {name}: {key}"),
    };
    if mistake.place == WrittenAt::Default {
        mistake.place = document.node.place.clone();
    }
    mistake
}
