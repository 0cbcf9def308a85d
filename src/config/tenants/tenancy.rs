//! All that is needed to read the tenants again while the gateway runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ht_node::config::{HostName, TenantConfig};

use crate::config::mistake::Mistakes;
use crate::config::node::Node;
use crate::config::settings::Values;
use crate::config::shared::main_hosts;
use crate::config::tenants::{Document, LogRules, Reader, Survey, TenantSource, Trust, files};

/// The source of tenants, and what their settings may refer to.
#[derive(Clone, Debug)]
pub struct Tenancy {
    /// The source.
    pub source: TenantSource,
    /// The tables `[[tenant]]` of the configuration file.
    pub(crate) tables: Arc<[Document]>,
    /// The variables of the process.
    pub(crate) environment: Arc<BTreeMap<String, String>>,
    /// Base folder of all paths.
    pub(crate) folder: PathBuf,
    /// The hosts of `main`.
    pub(crate) main_hosts: Arc<[HostName]>,
    /// Longest trigger in bytes: what each log must take.
    pub(crate) trigger_bytes: usize,
    /// What there may be of logs of their own.
    logs: LogRules,
}

impl Tenancy {
    /// That of a configuration.
    pub(crate) fn of(
        values: &Values,
        tables: Vec<Node>,
        environment: BTreeMap<String, String>,
        folder: &Path,
    ) -> Self {
        let tables = tables.into_iter();
        Self {
            source: TenantSource::of(values),
            tables: tables.map(Document::of).collect(),
            environment: Arc::new(environment),
            folder: folder.to_owned(),
            main_hosts: main_hosts(values).into(),
            trigger_bytes: values.limits_trigger_bytes.value,
            logs: LogRules::of(values),
        }
    }

    /// The tenants in files at this moment; none where they come from elsewhere.
    pub(crate) fn at_start(&self) -> Survey {
        match self.source {
            TenantSource::None | TenantSource::Http { .. } => Survey::default(),
            TenantSource::File { .. } => self.survey(),
        }
    }

    /// The documents of the tenants in files.
    pub(crate) fn documents(&self, mistakes: &mut Mistakes) -> Vec<Document> {
        let mut documents = self.tables.to_vec();
        if let Some(path) = self.files() {
            documents.extend(files::read(&self.folder.join(path), path, mistakes));
        }
        documents
    }

    /// What is written in files.
    pub(crate) fn survey(&self) -> Survey {
        let mut mistakes = Mistakes::default();
        let documents = self.documents(&mut mistakes);
        Survey::of(documents, mistakes, &self.reader(Trust::Operator))
    }

    /// The tenants in files.
    ///
    /// # Errors
    /// With every mistake of all of them.
    #[cfg(test)]
    pub(crate) fn of_files(&self) -> Result<Vec<TenantConfig>, Mistakes> {
        self.survey().whole()
    }

    /// The tenants of these documents, with every mistake of all of them.
    pub(crate) fn checked(
        &self,
        documents: &[Document],
        trust: Trust,
        mistakes: &mut Mistakes,
    ) -> Vec<TenantConfig> {
        let survey = self.survey_of(documents.to_vec(), trust);
        mistakes.0.extend(survey.all_mistakes().0);
        survey.good()
    }

    /// What these documents say, of which so much is trusted.
    pub(crate) fn survey_of(&self, documents: Vec<Document>, trust: Trust) -> Survey {
        Survey::of(documents, Mistakes::default(), &self.reader(trust))
    }

    /// Reads tenants of which so much is trusted.
    pub(crate) fn reader(&self, trust: Trust) -> Reader<'_> {
        Reader {
            environment: &self.environment,
            main_hosts: &self.main_hosts,
            folder: &self.folder,
            trust,
            logs: &self.logs,
        }
    }

    /// The file or folder of tenants.
    pub(crate) fn files(&self) -> Option<&Path> {
        match &self.source {
            TenantSource::File { path, .. } => path.as_deref(),
            TenantSource::None | TenantSource::Http { .. } => None,
        }
    }

    /// Where the tenants come from, to follow the word "from". Without tenants it is empty.
    pub(crate) fn shown(&self) -> String {
        match &self.source {
            TenantSource::None => String::new(),
            TenantSource::File { path: None, .. } => "the configuration file".to_owned(),
            TenantSource::File {
                path: Some(path), ..
            } if self.tables.is_empty() => path.display().to_string(),
            TenantSource::File {
                path: Some(path), ..
            } => format!("{} and the configuration file", path.display()),
            TenantSource::Http { url, .. } => format!("the registry {url}"),
        }
    }

    /// The file of the last good list.
    pub(crate) fn copy(&self) -> Option<PathBuf> {
        match &self.source {
            TenantSource::None => None,
            TenantSource::File { copy, .. } | TenantSource::Http { copy, .. } => {
                copy.as_ref().map(|path| self.folder.join(path))
            }
        }
    }

    /// What the operator may refer to.
    pub(crate) fn operator(&self) -> Trust {
        Trust::Operator
    }

    /// What tenants that the operator did not write may refer to.
    pub(crate) fn others(&self) -> Trust {
        match &self.source {
            TenantSource::None => Trust::Others(None),
            TenantSource::File { secrets, .. } | TenantSource::Http { secrets, .. } => {
                Trust::Others(secrets.clone())
            }
        }
    }
}
