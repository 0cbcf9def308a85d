//! The names of the log: its stream, and the subjects that its records have.

use async_nats::Subject;

use crate::log::Kind;

/// Longest name of a stream or a subject, in bytes.
const NAME_MAX: usize = 200;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The subject.
    #[error(
        "a subject has at most 200 ASCII characters, in parts that are separated by dots, without \
         blanks, * and >, and does not begin with $ or _"
    )]
    Subject,
    /// The stream.
    #[error("the name of a stream has at most 200 ASCII letters, digits, - and _")]
    Stream,
}

/// The names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    stream: String,
    subject: Subject,
    notes: Subject,
    probes: Subject,
}

impl Names {
    /// The names of the log whose publishers use this subject. Without a name for it, the stream
    /// has that of the subject, with a hyphen for each dot: another subject is another stream.
    ///
    /// ```
    /// let names = ht_broker::nats::Names::new("shop.triggers", "").unwrap();
    /// assert_eq!(names.stream(), "shop-triggers");
    /// ```
    ///
    /// # Errors
    /// When a name cannot be used.
    pub fn new(subject: &str, stream: &str) -> Result<Self, NameError> {
        let part = |part: &str| !part.is_empty() && !part.contains(['*', '>']);
        let is_subject = subject.len() <= NAME_MAX
            && subject.bytes().all(|byte| byte.is_ascii_graphic())
            && !subject.starts_with(['$', '_'])
            && subject.split('.').all(part);
        if !is_subject {
            return Err(NameError::Subject);
        }
        let stream = match stream {
            "" => subject.replace('.', "-"),
            stream => stream.to_owned(),
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if stream.len() > NAME_MAX || !stream.bytes().all(letter) {
            return Err(NameError::Stream);
        }
        Ok(Self {
            stream,
            subject: Subject::from(subject),
            notes: Subject::from(format!("{subject}.notes")),
            probes: Subject::from(format!("{subject}.probes")),
        })
    }

    /// The name of the stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The subject of triggers.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All subjects.
    pub(super) fn subjects(&self) -> [&Subject; 3] {
        [&self.subject, &self.notes, &self.probes]
    }

    /// The subject of this kind of entries.
    pub(super) fn subject_of(&self, kind: Kind) -> &Subject {
        match kind {
            Kind::Trigger => &self.subject,
            Kind::Note => &self.notes,
            Kind::Probe => &self.probes,
        }
    }

    /// The kind of a record with this subject. One of somebody else is passed over like a note that
    /// is not understood.
    pub(super) fn kind_of(&self, subject: &Subject) -> Kind {
        if *subject == self.subject {
            Kind::Trigger
        } else if *subject == self.probes {
            Kind::Probe
        } else {
            Kind::Note
        }
    }
}

/// Whether a subject of a stream, perhaps with wildcards, has this one in it.
pub(super) fn covers(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_letters_that_a_server_takes() {
        for (subject, stream, expected) in [
            ("hightemplar.triggers", "", Ok("hightemplar-triggers")),
            ("a", "LOG_1", Ok("LOG_1")),
            ("a.*", "", Err(NameError::Subject)),
            ("a.>", "", Err(NameError::Subject)),
            ("a..b", "", Err(NameError::Subject)),
            ("a b", "", Err(NameError::Subject)),
            ("ä", "", Err(NameError::Subject)),
            ("", "", Err(NameError::Subject)),
            ("$JS.API", "", Err(NameError::Subject)),
            ("_INBOX.a", "", Err(NameError::Subject)),
            ("a/b", "", Err(NameError::Stream)),
            ("a", "a.b", Err(NameError::Stream)),
            ("a", "a b", Err(NameError::Stream)),
        ] {
            let found = Names::new(subject, stream);
            let found = found.as_ref().map(Names::stream).map_err(|error| *error);
            assert_eq!(found, expected, "{subject:?} {stream:?}");
        }
        assert!(Names::new(&"a".repeat(201), "a").is_err());
        assert!(Names::new("a", &"a".repeat(201)).is_err());
    }

    #[test]
    fn kinds_have_subjects_of_their_own() {
        let names = Names::new("a.b", "").unwrap();
        for kind in [Kind::Trigger, Kind::Note, Kind::Probe] {
            assert_eq!(names.kind_of(names.subject_of(kind)), kind);
        }
        assert_eq!(names.kind_of(&Subject::from("a.c")), Kind::Note);
    }

    #[test]
    fn wildcards_of_a_stream_cover_subjects() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a.b", true),
        ] {
            assert_eq!(covers(pattern, subject), expected, "{pattern} {subject}");
        }
    }
}
