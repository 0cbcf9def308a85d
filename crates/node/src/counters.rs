//! Counters outside of the shards: the rows under `counted` of the table of metrics.

mod labels;

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use ht_backend::FailureKind;
use ht_core::recheck::RecheckReason;
use ht_edge::rejection::HandshakeError;
use ht_proto::label::Label;

pub(crate) use crate::counters::labels::{
    BootstrapOutcome, CommandName, ErrorStatus, KeyPosition, ListenerKind, ProbeFailure,
    ResumeOutcome, TenantLimit,
};

use crate::every_metric::every_metric;

/// A counter for each value of a label.
#[derive(Debug)]
pub(crate) struct Labels<E> {
    counts: Box<[AtomicU64]>,
    label: PhantomData<E>,
}

impl<E: Label> Default for Labels<E> {
    fn default() -> Self {
        Self {
            counts: E::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            label: PhantomData,
        }
    }
}

impl<E: Label> Labels<E> {
    /// Counts one event.
    pub(crate) fn add(&self, value: E) {
        self.counts[value.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// All counts, in the order of [`Label::ALL`].
    pub(crate) fn all(&self) -> Vec<u64> {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

macro_rules! counter_type {
    () => {
        AtomicU64
    };
    ($values:ty) => {
        Labels<$values>
    };
}

macro_rules! counters {
    ($($title:literal, $about:literal {
        $(observed $seen:ident = $read:expr; $($seen_text:literal)+)*
        $(counted $name:ident $(by $label:literal $values:ty)?; $help:literal $worry:literal)*
    })*) => {
        /// What is counted outside of the shards.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[doc = $help] pub(crate) $name: counter_type!($($values)?),)*)*
        }
    };
}

every_metric!(counters);
