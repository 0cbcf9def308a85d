//! How many connections each user has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Users with a connection, by their id.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<Arc<str>, u32>>);

impl Users {
    /// Takes one of at most `limit` places; 0 is no limit. All connections of a user share its id.
    pub(crate) fn take(&self, user: &str, limit: usize) -> Option<Arc<str>> {
        let mut users = self.lock();
        if let Some((known, open)) = users.get_key_value(user) {
            if limit != 0 && *open as usize >= limit {
                return None;
            }
            let (known, open) = (Arc::clone(known), open + 1);
            users.insert(Arc::clone(&known), open);
            return Some(known);
        }
        let user: Arc<str> = user.into();
        users.insert(Arc::clone(&user), 1);
        Some(user)
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self, user: &Arc<str>) {
        let mut users = self.lock();
        match users.get_mut(user) {
            Some(open) if *open > 1 => *open -= 1,
            Some(_) => drop(users.remove(user)),
            None => debug_assert!(false, "a place is given back once"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_places_as_it_may_have() {
        let users = Users::default();
        let one = users.take("one", 2).unwrap();
        let same = users.take("one", 2).unwrap();
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!(users.take("one", 2), None);
        // Another limit counts from now on; another user has places of its own.
        assert!(users.take("one", 3).is_some());
        assert!(users.take("one", 0).is_some());
        let other = users.take("other", 1).unwrap();
        for _ in 0..4 {
            users.give_back(&one);
        }
        users.give_back(&other);
        assert!(users.lock().is_empty());
        assert!(users.take("other", 1).is_some());
    }
}
