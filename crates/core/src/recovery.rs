//! Results of requests for what a client missed while it was away.

use ht_proto::labels;
use ht_proto::server::NotRecovered;

labels! {
    /// Result of a request for what a client missed.
    pub enum RecoveryOutcome {
        /// It was sent.
        Recovered = "recovered",
        /// See [`NotRecovered::Epoch`].
        Epoch = "epoch",
        /// See [`NotRecovered::Age`].
        Age = "age",
        /// See [`NotRecovered::Ahead`].
        Ahead = "ahead",
        /// See [`NotRecovered::TooMuch`].
        TooMuch = "too-much",
        /// See [`NotRecovered::Permissions`].
        Permissions = "permissions",
        /// See [`NotRecovered::Off`].
        Off = "off",
    }
}

impl<T> From<Result<T, NotRecovered>> for RecoveryOutcome {
    fn from(result: Result<T, NotRecovered>) -> Self {
        match result {
            Ok(_) => Self::Recovered,
            Err(NotRecovered::Epoch) => Self::Epoch,
            Err(NotRecovered::Age | NotRecovered::Trimmed) => Self::Age,
            Err(NotRecovered::Ahead) => Self::Ahead,
            Err(NotRecovered::TooMuch) => Self::TooMuch,
            Err(NotRecovered::Permissions) => Self::Permissions,
            Err(NotRecovered::Off) => Self::Off,
        }
    }
}
