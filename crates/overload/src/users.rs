//! How many connections each user has.

use std::collections::HashMap;
use std::sync::Arc;

/// Minimum capacity of the table.
const KEPT: usize = 1_024;

/// Users with a connection, by their id.
#[derive(Debug, Default)]
pub struct Users(HashMap<Arc<str>, Entry>);

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    open: u32,
    /// Bytes that its connections hold.
    held: usize,
}

impl Users {
    /// Takes one of at most `limit` permits; 0 is no limit. All connections of a user share its id.
    pub fn take(&mut self, user: &str, limit: usize) -> Option<Arc<str>> {
        let users = &mut self.0;
        if let Some((known, entry)) = users.get_key_value(user) {
            if limit != 0 && entry.open as usize >= limit {
                return None;
            }
            let known = Arc::clone(known);
            users.entry(Arc::clone(&known)).or_default().open += 1;
            return Some(known);
        }
        let user: Arc<str> = user.into();
        let entry = Entry { open: 1, held: 0 };
        users.insert(Arc::clone(&user), entry);
        Some(user)
    }

    /// Releases a permit.
    pub fn give_back(&mut self, user: &Arc<str>) {
        let users = &mut self.0;
        match users.get_mut(user) {
            Some(entry) if entry.open > 1 => entry.open -= 1,
            Some(_) => {
                users.remove(user);
                if users.capacity() > KEPT && users.len() * 4 < users.capacity() {
                    let len = users.len();
                    users.shrink_to(len * 2);
                }
            }
            None => debug_assert!(false, "a permit is released once"),
        }
    }

    /// Whether no user has a connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds to the bytes that the connections of a user hold; returns the sum.
    pub fn hold(&mut self, user: &str, bytes: usize) -> usize {
        let users = &mut self.0;
        users.get_mut(user).map_or(0, |entry| {
            entry.held += bytes;
            entry.held
        })
    }

    /// Subtracts from them.
    pub fn release(&mut self, user: &str, bytes: usize) {
        if let Some(entry) = self.0.get_mut(user) {
            debug_assert!(bytes <= entry.held, "only what was held is released");
            entry.held = entry.held.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_user_are_limited() {
        let mut users = Users::default();
        let one = users.take("one", 2).unwrap();
        let same = users.take("one", 2).unwrap();
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!(users.take("one", 2), None);
        // Another limit applies from now on; another user has permits of its own.
        assert!(users.take("one", 3).is_some());
        assert!(users.take("one", 0).is_some());
        let other = users.take("other", 1).unwrap();
        for _ in 0..4 {
            users.give_back(&one);
        }
        users.give_back(&other);
        assert!(users.0.is_empty());
        assert!(users.take("other", 1).is_some());
    }
}
