//! All that is needed to read the tenants again while the gateway runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ht_node::config::TenantConfig;
use ht_node::directory::conflicts;

use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::node::Node;
use crate::config::settings::Values;
use crate::config::tenants::{Document, Reader, TenantSource, Trust, files};

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
            tables: tables.map(|node| Document { node, stem: None }).collect(),
            environment: Arc::new(environment),
            folder: folder.to_owned(),
        }
    }

    /// The tenants with which a gateway starts; those of a registry come later.
    pub(crate) fn at_start(&self, mistakes: &mut Mistakes) -> Vec<TenantConfig> {
        match self.source {
            TenantSource::None | TenantSource::Http { .. } => Vec::new(),
            TenantSource::File { .. } => self.of_files().unwrap_or_else(|found| {
                mistakes.0.extend(found.0);
                Vec::new()
            }),
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

    /// The tenants in files.
    ///
    /// # Errors
    /// With every mistake of all of them.
    pub(crate) fn of_files(&self) -> Result<Vec<TenantConfig>, Mistakes> {
        let mut mistakes = Mistakes::default();
        let documents = self.documents(&mut mistakes);
        let tenants = self.checked(&documents, Trust::Operator, &mut mistakes);
        if mistakes.is_empty() {
            Ok(tenants)
        } else {
            Err(mistakes)
        }
    }

    /// The tenants of these documents, with every mistake of all of them.
    pub(crate) fn checked(
        &self,
        documents: &[Document],
        trust: Trust,
        mistakes: &mut Mistakes,
    ) -> Vec<TenantConfig> {
        let tenants = self.reader(trust).read(documents, mistakes);
        for conflict in conflicts(&tenants) {
            let is_second = |document: &&Document| document.name() == &*conflict.second;
            let place = documents.iter().rfind(is_second);
            let place = place.map_or(&WrittenAt::Default, |document| &document.node.place);
            mistakes.add(place, "", conflict.to_string());
        }
        tenants
    }

    /// Reads tenants of which so much is trusted.
    pub(crate) fn reader(&self, trust: Trust) -> Reader<'_> {
        Reader {
            environment: &self.environment,
            folder: &self.folder,
            trust,
        }
    }

    /// The file or folder of tenants.
    pub(crate) fn files(&self) -> Option<&Path> {
        match &self.source {
            TenantSource::File { path, .. } => path.as_deref(),
            TenantSource::None | TenantSource::Http { .. } => None,
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
