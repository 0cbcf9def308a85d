//! A client's identity, as given by its API.

use std::sync::Arc;

/// A client's identity. Compared by content; equal ones are kept once ([`crate::shard::Welcome`]
/// takes it shared), and a client without known identity has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Who {
    user: Option<Arc<str>>,
    /// Boxed, because most APIs name the user alone.
    more: Option<Box<More>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct More {
    session: Option<Arc<str>>,
    /// Sorted, none twice.
    labels: Box<[Arc<str>]>,
    view: Option<Arc<str>>,
}

/// The identity that an API gave a client, member by member, within the bounds of
/// [`ht_proto::who`].
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The user's id as text, see [`ht_proto::who::user`]: the number 7 and the text "7" are one
    /// user.
    pub user: Option<Arc<str>>,
    /// The name of one sign-in.
    pub session: Option<Arc<str>>,
    /// Labels, in any order.
    pub labels: Vec<Arc<str>>,
    /// The name of the view of the data that the client gets.
    pub view: Option<Arc<str>>,
}

impl Who {
    /// The identity with these facts; none where nothing is known.
    #[must_use]
    pub fn new(facts: Facts) -> Option<Self> {
        let Facts {
            user,
            session,
            mut labels,
            view,
        } = facts;
        labels.sort_unstable();
        labels.dedup();
        let more = More {
            session,
            labels: labels.into(),
            view,
        };
        let more = (more != More::default()).then(|| Box::new(more));
        (user.is_some() || more.is_some()).then_some(Self { user, more })
    }

    /// The same user and sign-in with other labels and another view.
    pub(crate) fn relabelled(
        who: Option<&Self>,
        labels: &[Arc<str>],
        view: Option<&Arc<str>>,
    ) -> Option<Self> {
        let more = who.and_then(|who| who.more.as_deref());
        Self::new(Facts {
            user: who.and_then(|who| who.user.clone()),
            session: more.and_then(|more| more.session.clone()),
            labels: labels.to_vec(),
            view: view.cloned(),
        })
    }

    /// The user's id, as text.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The name of the sign-in.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.more.as_ref()?.session.as_deref()
    }

    /// The labels, sorted, none twice.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        let labels = self.more.as_ref().map_or(&[][..], |more| &more.labels);
        labels.iter().map(|label| &**label)
    }

    /// The name of the view.
    #[must_use]
    pub fn view(&self) -> Option<&str> {
        self.more.as_ref()?.view.as_deref()
    }

    /// Whether it has this label.
    #[must_use]
    pub fn has_label(&self, label: &str) -> bool {
        let labels = self.more.as_ref().map_or(&[][..], |more| &more.labels);
        labels
            .binary_search_by(|known| (**known).cmp(label))
            .is_ok()
    }

    /// The names under which it is indexed, each with its kind.
    pub(crate) fn names(&self) -> impl Iterator<Item = (NameKind, &Arc<str>)> {
        let more = self.more.as_deref();
        let user = self.user.iter().map(|user| (NameKind::User, user));
        let session = more.and_then(|more| more.session.as_ref());
        let labels = more.map_or(&[][..], |more| &more.labels);
        user.chain(session.map(|session| (NameKind::Session, session)))
            .chain(labels.iter().map(|label| (NameKind::Label, label)))
    }
}

/// The kind of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NameKind {
    User,
    Session,
    Label,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Arc<str>> {
        texts.iter().map(|&text| text.into()).collect()
    }

    #[test]
    fn equal_facts_in_any_order_are_equal() {
        let who = |labels: &[&str]| {
            let facts = Facts {
                user: Some("7".into()),
                session: Some("s".into()),
                labels: texts(labels),
                view: Some("staff".into()),
            };
            Who::new(facts).unwrap()
        };
        let first = who(&["b", "a", "b"]);
        assert_eq!(first, who(&["a", "b"]));
        assert_ne!(first, who(&["a"]));
        assert_eq!(first.labels().collect::<Vec<_>>(), ["a", "b"]);
        assert!(first.has_label("b") && !first.has_label("c"));
        assert_eq!(
            (first.user(), first.session(), first.view()),
            (Some("7"), Some("s"), Some("staff"))
        );
    }

    #[test]
    fn no_facts_are_no_identity() {
        assert_eq!(Who::new(Facts::default()), None);
        let facts = Facts {
            view: Some("staff".into()),
            ..Facts::default()
        };
        assert_eq!(Who::new(facts).unwrap().names().count(), 0);
    }

    #[test]
    fn a_user_alone_takes_little() {
        assert!(size_of::<Who>() <= 24);
    }
}
