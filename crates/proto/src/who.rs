//! A client's identity, as the API returns it beside its rooms: user, sign-in, labels, view and
//! term.

use std::time::Duration;

use crate::number;

/// Longest name of a sign-in, in bytes.
pub const SESSION_BYTES_MAX: usize = 256;

/// Most labels of one client.
pub const LABELS_MAX: usize = 32;

/// Longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 128;

/// Longest name of a view, in bytes.
pub const VIEW_BYTES_MAX: usize = 128;

/// Longest term of permissions; a longer one counts as this one.
pub const EXPIRES_IN_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A member of a client's identity that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhoError {
    /// `session` is not a short text.
    #[error("session must be a text of 1 to {SESSION_BYTES_MAX} bytes")]
    Session,
    /// `labels` is not a short list of short texts.
    #[error("labels must be a list of at most {LABELS_MAX} texts of 1 to {LABEL_BYTES_MAX} bytes")]
    Labels,
    /// `view` is not a short text.
    #[error("view must be a text of 1 to {VIEW_BYTES_MAX} bytes")]
    View,
    /// `expires_in` is not a number of seconds.
    #[error("expires_in must be a number of seconds greater than 0")]
    ExpiresIn,
}

impl WhoError {
    /// The name of the member.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Labels => "labels",
            Self::View => "view",
            Self::ExpiresIn => "expires_in",
        }
    }
}

/// The id of a user: a string as its content, byte for byte; a number as its digits, however it is
/// written. So `7`, `7.0` and `"7"` are one user, and `"7.0"` is another. None for any other JSON
/// value.
#[must_use]
pub fn user(json: &str) -> Option<Box<str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(Into::into),
        b'-' | b'0'..=b'9' => number::text(json),
        _ => None,
    }
}

/// The name of one sign-in; none for `null`.
///
/// # Errors
/// [`WhoError::Session`].
pub fn session(json: &str) -> Result<Option<Box<str>>, WhoError> {
    optional(json, || text(json, SESSION_BYTES_MAX)).ok_or(WhoError::Session)
}

/// Labels, sorted and without repetitions, so that equal sets compare equal; none for `null`.
///
/// # Errors
/// [`WhoError::Labels`].
pub fn labels(json: &str) -> Result<Box<[Box<str>]>, WhoError> {
    let labels = optional(json, || serde_json::from_str::<Vec<Box<str>>>(json).ok());
    let mut labels = labels.ok_or(WhoError::Labels)?.unwrap_or_default();
    let mut lengths = labels.iter().map(|label| label.len());
    if labels.len() > LABELS_MAX || !lengths.all(|bytes| (1..=LABEL_BYTES_MAX).contains(&bytes)) {
        return Err(WhoError::Labels);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(labels.into())
}

/// The name of a view; none for `null`.
///
/// # Errors
/// [`WhoError::View`].
pub fn view(json: &str) -> Result<Option<Box<str>>, WhoError> {
    optional(json, || text(json, VIEW_BYTES_MAX)).ok_or(WhoError::View)
}

/// How long permissions hold, at most [`EXPIRES_IN_MAX`]; none for `null`.
///
/// # Errors
/// [`WhoError::ExpiresIn`].
pub fn expires_in(json: &str) -> Result<Option<Duration>, WhoError> {
    let seconds = || {
        let seconds = serde_json::from_str::<f64>(json).ok()?;
        let term = Duration::try_from_secs_f64(seconds.min(EXPIRES_IN_MAX.as_secs_f64())).ok()?;
        (!term.is_zero()).then_some(term)
    };
    optional(json, seconds).ok_or(WhoError::ExpiresIn)
}

/// `null` as absent, any other value as parsed by `read`: none where it is invalid.
fn optional<T>(json: &str, read: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    match json {
        "null" => Some(None),
        _ => read().map(Some),
    }
}

/// A string of 1 to `bytes_max` bytes.
fn text(json: &str, bytes_max: usize) -> Option<Box<str>> {
    let text: Box<str> = serde_json::from_str(json).ok()?;
    (1..=bytes_max).contains(&text.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JSON string of so many bytes.
    fn long(bytes: usize) -> String {
        format!("{:?}", "x".repeat(bytes))
    }

    #[test]
    fn a_user_is_a_text_or_a_number() {
        for (json, user_id) in [
            ("7", Some("7")),
            ("\"7\"", Some("7")),
            ("7.0", Some("7")),
            ("70e-1", Some("7")),
            ("-1.50", Some("-1.5")),
            ("12345678901234567891", Some("12345678901234567891")),
            ("\"7.0\"", Some("7.0")),
            ("\"007\"", Some("007")),
            ("\" 7\"", Some(" 7")),
            ("\"a\\u0062\"", Some("ab")),
            ("\"\"", Some("")),
            ("\"\\ud800\"", None),
            ("null", None),
            ("true", None),
            ("[7]", None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(user(json).as_deref(), user_id, "{json}");
        }
    }

    #[test]
    fn a_session_and_a_view_are_short_texts() {
        for (json, name) in [
            ("\"s-9f\\u0032a\"", Ok(Some("s-9f2a"))),
            ("null", Ok(None)),
            ("\"\"", Err(())),
            ("\"\\ud800\"", Err(())),
            ("7", Err(())),
            ("true", Err(())),
            ("[\"a\"]", Err(())),
            ("{}", Err(())),
        ] {
            let found = session(json);
            let (given, wrong) = (found.as_ref().map(Option::as_deref), WhoError::Session);
            assert_eq!(given, name.as_ref().map(|it| *it).map_err(|()| &wrong));
            let found = view(json);
            let (given, wrong) = (found.as_ref().map(Option::as_deref), WhoError::View);
            assert_eq!(given, name.as_ref().map(|it| *it).map_err(|()| &wrong));
        }
        assert!(session(&long(256)).is_ok() && view(&long(128)).is_ok());
        assert_eq!(session(&long(257)), Err(WhoError::Session));
        assert_eq!(view(&long(129)), Err(WhoError::View));
    }

    #[test]
    fn labels_are_a_set_of_short_texts() {
        for (json, expected) in [
            ("[]", &[][..]),
            ("null", &[]),
            (r#"["staff", "a", "\u0061", "staff"]"#, &["a", "staff"]),
        ] {
            let found = labels(json).unwrap();
            assert!(
                found
                    .iter()
                    .map(|label| &**label)
                    .eq(expected.iter().copied())
            );
        }
        let many = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| format!("\"{n}\"")).collect();
            format!("[{}]", all.join(","))
        };
        assert_eq!(labels(&many(32)).unwrap().len(), 32);
        let [fits, long] = [128, 129].map(|bytes| format!("[{}]", long(bytes)));
        assert_eq!(labels(&fits).unwrap().len(), 1);
        for json in ["\"a\"", "[1]", "[null]", "[\"\"]", "{}", &long, &many(33)] {
            assert_eq!(labels(json), Err(WhoError::Labels), "{json}");
        }
    }

    #[test]
    fn a_term_is_a_number_of_seconds() {
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        for (json, term) in [
            ("900", seconds(900)),
            ("9e2", seconds(900)),
            ("0.25", Ok(Some(Duration::from_millis(250)))),
            ("null", Ok(None)),
            ("31536000", Ok(Some(EXPIRES_IN_MAX))),
            ("1e300", Ok(Some(EXPIRES_IN_MAX))),
            ("99999999999999999999999", Ok(Some(EXPIRES_IN_MAX))),
        ] {
            assert_eq!(expires_in(json), term, "{json}");
        }
        for json in [
            "0", "-1", "-0.0", "1e-10", "1e400", "\"900\"", "true", "[900]", "{}",
        ] {
            assert_eq!(expires_in(json), Err(WhoError::ExpiresIn), "{json}");
        }
    }
}
