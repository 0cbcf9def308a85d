//! What each client may have been sent, and whether it was.

use super::*;

impl Timeline {
    /// Whether the rights at a position permit a room.
    fn permits(&self, room: usize, at: u64) -> bool {
        let mut rights = self.rights.iter().rev();
        let (_, rights) = rights
            .find(|(since, _)| *since < at)
            .expect("the first one");
        rights.is_some_and(|rights| has(rights.rooms, room))
    }

    /// Whether what is published at a position may be missing.
    fn may_miss(&self, at: u64) -> bool {
        self.end.is_some() && self.held_since.is_some_and(|since| since < at)
    }

    /// Whether the subscriptions to a room are dropped between two positions.
    fn is_taken(&self, room: usize, after: u64, before: u64) -> bool {
        let is_between = |at: u64| after < at && at < before;
        let mut taken = self.taken.iter();
        taken.any(|&(at, rooms)| is_between(at) && has(rooms, room))
            || self.rights.iter().any(|&(at, rights)| {
                is_between(at) && rights.is_some_and(|rights| !has(rights.rooms, room))
            })
    }
}

impl Model {
    /// What a client may be sent, by the order of its shard's queue.
    pub(super) fn timeline(&self, known: &Known) -> Timeline {
        let mut timeline = Timeline::default();
        let mut rights = known.rights;
        timeline.rights.push((0, Some(rights)));
        // The position since which the API's answer is awaited, and where its query may begin.
        let mut awaits: Option<(u64, u64)> = None;
        for (turn, &queued) in self.queued[known.shard].iter().enumerate() {
            let (at, done) = match queued {
                Queued::Answer(key, asked_at, new) => {
                    if key == known.client.id
                        && let Some((since, not_before)) = awaits
                        && asked_at >= since
                    {
                        // Since then a command selected who has these rights.
                        let since_then = &self.queued[known.shard][..turn];
                        let end = since_then.iter().find_map(|queued| match *queued {
                            Queued::Command(at) if at > asked_at => match self.order[&at] {
                                Done::Disconnect(target) => {
                                    is_meant(target, known.user, new).then_some(at)
                                }
                                Done::Publication(_)
                                | Done::Permit(..)
                                | Done::Invalidate(_)
                                | Done::Unsubscribe(..) => None,
                            },
                            Queued::Command(_) | Queued::Answer(..) => None,
                        });
                        if asked_at < not_before {
                            // Another `invalidate` makes the answer void. Whether that has its turn
                            // before it depends on how far the shard is.
                            timeline.may_end = timeline.may_end.or(end);
                            continue;
                        }
                        timeline.end = end;
                        if timeline.end.is_some() {
                            break;
                        }
                        (rights, awaits) = (new, None);
                        timeline.rights.push((since, Some(new)));
                    }
                    continue;
                }
                Queued::Command(at) if at <= known.asked_at => continue,
                Queued::Command(at) => (at, &self.order[&at]),
            };
            match *done {
                Done::Permit(user, new) if user == known.user => {
                    rights = new;
                    let since = awaits.take().map_or(at, |(since, _)| since);
                    timeline.rights.push((since, Some(new)));
                }
                Done::Invalidate(user) if user == known.user => {
                    let (since, _) = *awaits.get_or_insert((at, at));
                    awaits = Some((since, at));
                    timeline.held_since.get_or_insert(since);
                    timeline.rights.push((since, None));
                }
                Done::Unsubscribe(target, rooms) if is_meant(target, known.user, rights) => {
                    timeline.taken.push((at, rooms));
                }
                Done::Disconnect(target) if is_meant(target, known.user, rights) => {
                    timeline.end = Some(at);
                    break;
                }
                Done::Publication(_)
                | Done::Permit(..)
                | Done::Invalidate(_)
                | Done::Unsubscribe(..)
                | Done::Disconnect(_) => {}
            }
        }
        timeline
    }

    /// Does all queued work, then compares.
    pub(super) fn finish(mut self) {
        loop {
            for world in &mut self.shards {
                world.begin(0);
                world.deliver();
                world.clean_up();
            }
            self.listen();
            if self.requested.is_empty() && self.queries.is_empty() {
                break;
            }
            self.query(0);
            self.respond(true);
        }
        for known in &self.clients {
            self.check(known);
        }
        for world in &self.shards {
            world.check_accounts();
        }
    }

    pub(super) fn check(&self, known: &Known) {
        let frames = known.heard.iter().filter(|line| line.contains("publish"));
        let heard: Vec<u64> = frames
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["data"].as_u64().unwrap()
            })
            .collect();
        assert!(heard.is_sorted_by(|a, b| a < b), "once each: {heard:?}");
        let mut timeline = self.timeline(known);
        let closes = known.heard.iter().filter(|line| line.starts_with("close"));
        let closes = closes.count();
        if closes > 0 {
            timeline.end = timeline.end.or(timeline.may_end);
        }
        for (&at, done) in &self.order {
            let &Done::Publication(of) = done else {
                continue;
            };
            let is_over = timeline.end.is_some_and(|end| end < at);
            if heard.binary_search(&at).is_ok() {
                assert!(!is_over, "{at} after a disconnect");
                assert!(timeline.permits(of, at), "{at} after the room was lost");
                // It subscribed since the last command that revoked the room.
                let may = |&(room, when, _): &(usize, u64, u64)| {
                    room == of && !timeline.is_taken(of, when, at)
                };
                assert!(known.subscribed.iter().any(may), "{at} was taken");
            } else if !is_over && !timeline.may_miss(at) {
                // Commands that the shard had not executed by then may have revoked it as well.
                let must = |&(room, when, done): &(usize, u64, u64)| {
                    room == of && when < at && !timeline.is_taken(of, done, at)
                };
                assert!(!known.subscribed.iter().any(must), "{at} is missing");
            }
        }
        let is_over = timeline.end.is_some();
        assert_eq!(closes, usize::from(is_over), "{:?}", known.heard);
    }
}
