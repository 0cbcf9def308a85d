//! The rows of the table of metrics, with the way to read each.

use std::sync::atomic::Ordering;

use ht_backend::FailureKind;
use ht_broker::Health;
use ht_core::account::Kind;
use ht_core::recheck::RecheckReason;
use ht_core::stats::STATS;
use ht_edge::rejection::HandshakeError;
use ht_proto::label::Label;

use crate::counters::{
    BootstrapOutcome, CommandName, ErrorStatus, KeyPosition, ListenerKind, ProbeFailure,
    ResumeOutcome, TenantLimit,
};
use crate::every_metric::every_metric;
use crate::gaps::GapReason;
use crate::inbox;
use crate::metrics::{LOG_LINES_DROPPED, Metric, Read, Section};

/// The values of a label.
fn words<E: Label>() -> Vec<&'static str> {
    E::ALL.iter().map(|value| value.as_str()).collect()
}

macro_rules! read_counter {
    ($name:ident) => {
        Read::Counter(|now| now.node.counters.$name.load(Ordering::Relaxed))
    };
    ($name:ident $label:literal $values:ty) => {
        Read::CounterBy($label, words::<$values>, |now| {
            now.node.counters.$name.all()
        })
    };
}

macro_rules! row {
    ($name:ident, $read:expr, $help:literal $worry:literal) => {
        Metric {
            name: stringify!($name),
            read: $read,
            help: $help,
            worry: $worry,
        }
    };
    // For a number that describes itself.
    ($name:ident, $read:expr, $worry:literal) => {
        Metric {
            name: stringify!($name),
            read: $read,
            help: "",
            worry: $worry,
        }
    };
}

macro_rules! rows {
    ($($title:literal, $about:literal {
        $(observed $seen:ident = $read:expr; $($seen_text:literal)+)*
        $(counted $name:ident $(by $label:literal $values:ty)?; $help:literal $worry:literal)*
    })*) => {
        /// Every metric, in the order of `/metrics` and of the documentation.
        pub(super) static SECTIONS: &[Section] = &[$(Section {
            title: $title,
            about: $about,
            metrics: &[
                $(row!($seen, $read, $($seen_text)+),)*
                $(row!($name, read_counter!($name $($label $values)?), $help $worry),)*
            ],
        },)*];
    };
}

every_metric!(rows);
