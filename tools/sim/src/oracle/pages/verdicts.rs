//! Verdicts about pages: what they were rightly told, and what they are owed.

use ht_proto::cursor::Cursor;
use ht_proto::entry::Epoch;

use crate::oracle::Oracle;
use crate::oracle::pages::{Asked, Following, REMEMBERED, TOLD_WITHIN, epoch};

impl Oracle {
    pub(super) fn wrongly_recovered(
        &self,
        page: usize,
        connection: usize,
        asked: Asked,
        names: &[u64],
    ) -> Option<String> {
        let session = &self.sessions[&connection];
        let life = &self.lives[session.life];
        let (from, reading) = (asked.from.position.get(), &life.reading);
        if asked.from.epoch != self.epoch_of(session.life) {
            return Some(format!("{} is of another life, and recovered", asked.from));
        }
        if from < reading.begins && !names.is_empty() {
            return Some(format!(
                "{from} is before what the node knows, and recovered"
            ));
        }
        if !session.is_unjudged && !reading.is_anew && !names.is_empty() {
            let known = session.known(connection);
            let commands = reading.commands.range(from + 1..);
            let commands = commands.take_while(|(number, _)| **number <= asked.carried);
            let meant = commands.filter_map(|(_, trigger)| {
                let order = self.published[*trigger].order?;
                order.means(known).then_some(trigger)
            });
            if let Some(command) = meant.last() {
                return Some(format!("recovered across command {command}"));
            }
        }
        let rooms = &self.pages.pages.get(&page)?.rooms;
        let lost = life.lost.iter().find(|lost| {
            let followed = names.iter().filter_map(|name| rooms.get(name));
            let mut followed = followed.filter(|it| it.since < lost.at);
            let is_known = lost.shown.is_some_and(|shown| shown < asked.at);
            let published = &self.published[lost.number];
            is_known
                && published.is_confirmed
                && !self.retains
                && followed.any(|it| self.meets(it.of(), lost.number))
        });
        let lost = lost?.number;
        Some(format!("recovered, and publication {lost} was lost"))
    }

    pub(super) fn wrongly_refused(
        &self,
        life: usize,
        asked: Asked,
        reason: &str,
    ) -> Option<String> {
        let (reading, from) = (&self.lives[life].reading, asked.from.position.get());
        let is_own = asked.from.epoch == self.epoch_of(life);
        let is_fine = match reason {
            "epoch" => !is_own || reading.is_anew,
            "age" => {
                // Of the last entry before what it has a node knows the number alone.
                let is_there = from > reading.begins || reading.begins == 0;
                let is_new = is_there && !self.is_old(life, from, asked.at);
                self.is_forgetful || reading.is_incomplete || !is_new
            }
            // A full window loses entries of the tenant that has most.
            "trimmed" => self.is_forgetful || reading.is_incomplete,
            "ahead" => self.retains && from > asked.head,
            "permissions" => reading.commands.range(from..).next().is_some(),
            _ => false,
        };
        let head = asked.head;
        (!is_fine).then(|| format!("{from} of {head} was refused for no reason: {reason}"))
    }

    /// A publication reached a page.
    pub(crate) fn page_hears(
        &mut self,
        (page, connection): (usize, usize),
        name: u64,
        trigger: usize,
        cursor: Option<Cursor>,
    ) {
        match self.page_judges((page, connection), name, trigger, cursor) {
            Ok(()) => self.received += 1,
            Err(wrong) => self.violation(|| {
                format!(
                    "page {page} at connection {connection}, room {name}, publication {trigger}: \
                     {wrong}"
                )
            }),
        }
    }

    fn page_judges(
        &mut self,
        (page, connection): (usize, usize),
        name: u64,
        trigger: usize,
        cursor: Option<Cursor>,
    ) -> Result<(), String> {
        let session = self.sessions.get(&connection).ok_or("no such session")?;
        let (life, shard) = (session.life, session.shard);
        let known = self.pages.pages.get(&page).ok_or("no such page")?;
        let following = known.rooms.get(&name).ok_or("to nobody's subscription")?;
        if self.published.get(trigger).is_none() || !self.meets(following.of(), trigger) {
            return Err("for another room".into());
        }
        let (heard, is_behind) = (following.heard, following.is_behind);
        let is_incomplete = self.lives[life].reading.is_incomplete;
        if cursor.is_none() && !is_behind && !is_incomplete {
            return Err("without a cursor".into());
        }
        if following.epoch != self.epoch_of(life) {
            return match cursor {
                // It has yet to be told.
                None => Ok(()),
                // It was on its way.
                Some(cursor) if cursor.epoch == following.epoch => Ok(()),
                Some(_) => Err("of another epoch, and its page was not told".into()),
            };
        }
        let number = self.number_of(life, trigger);
        let number = number.filter(|_| !self.pages.twice.contains(&trigger));
        if number.is_some() {
            self.may_hear(connection, trigger, following.room)?;
        }
        if let Some(number) = number {
            if number <= heard {
                return Err("a second time, or out of order".into());
            }
            let missing = self.missing(following, (life, Some(shard)), number - 1);
            // Without a cursor it has yet to be told that something is missing.
            let is_whole = !following.is_left && (is_behind || cursor.is_some());
            if let Some(missing) = missing.filter(|_| is_whole) {
                return Err(format!("publication {missing} was to come before it"));
            }
            if cursor.is_some_and(|cursor| cursor.position.get() != number) {
                return Err(format!("with another cursor: {cursor:?}"));
            }
            let known = self.pages.pages.entry(page).or_default();
            if let Some(following) = known.rooms.get_mut(&name) {
                following.heard = number;
            }
        }
        Ok(())
    }

    /// Whether a page may hear a publication for a room, by what it is permitted.
    fn may_hear(&self, connection: usize, trigger: usize, room: usize) -> Result<(), String> {
        let session = self.sessions.get(&connection).ok_or("no such session")?;
        let place = self.lives[session.life].places.get(&trigger).copied();
        let end = session.disconnected.filter(|_| !session.is_unjudged);
        let wrong = match place.filter(|place| *place >= session.welcomed) {
            Some(place) if end.is_some_and(|end| end.place < place) => {
                Some("placed after the command that closed it")
            }
            Some(place) => session.forbids(place, room),
            // It missed it, and was sent it later.
            None => session.forbids_again(room),
        };
        wrong.map_or(Ok(()), |wrong| Err(wrong.into()))
    }

    /// A page got a cursor, with what it has heard so far.
    pub(crate) fn page_moves(&mut self, page: usize, connection: usize, cursor: Cursor) {
        let Some(session) = self.sessions.get(&connection) else {
            return;
        };
        let life = session.life;
        let known = self.pages.pages.entry(page).or_default();
        let number = cursor.position.get();
        let last = known.cursor.replace(cursor);
        let last = last.filter(|last| last.epoch == cursor.epoch);
        if let Some(last) = last.filter(|last| last.position.get() > number) {
            return self.violation(|| {
                format!("page {page}: its cursor went back to {cursor} from {last}")
            });
        }
        let whole = match cursor.part {
            Some(_) => number.saturating_sub(1),
            None => number,
        };
        let known = &self.pages.pages[&page];
        let rooms = known.rooms.iter();
        let rooms = rooms.filter(|(_, it)| !it.is_behind && !it.is_left);
        let missing = rooms.filter_map(|(name, following)| {
            let missing = self.missing(following, (life, None), whole);
            let missing = missing.or_else(|| self.lost_before(following, life, whole))?;
            Some((*name, missing))
        });
        if let Some((name, missing)) = { missing }.next() {
            self.violation(|| {
                format!(
                    "page {page} at connection {connection}: {cursor} is ahead of publication \
                     {missing} for room {name}"
                )
            });
        }
    }

    /// Everything has settled: a page that is connected has heard everything.
    pub(crate) fn page_settled(&mut self, page: usize, connection: usize, now: u64) {
        let (Some(session), Some(known)) =
            (self.sessions.get(&connection), self.pages.pages.get(&page))
        else {
            return;
        };
        let life = &self.lives[session.life];
        let of = (session.life, None);
        let wrong = known.rooms.iter().filter(|(_, it)| !it.is_left);
        let wrong = wrong.filter_map(|(name, following)| {
            if let Some(missing) = self.missing(following, of, life.reading.head) {
                return Some(format!("room {name}: publication {missing} never came"));
            }
            let lost = life.lost.iter().find(|lost| {
                let shown = lost.shown.unwrap_or(u64::MAX);
                shown.saturating_add(TOLD_WITHIN) < now
                    && following.since < lost.at
                    && self.published[lost.number].is_confirmed
                    && !self.retains
                    && self.meets(following.of(), lost.number)
            });
            let lost = lost?.number;
            Some(format!(
                "room {name} was not told of a gap: publication {lost} was lost"
            ))
        });
        if let Some(wrong) = { wrong }.next() {
            self.violation(|| format!("page {page} at connection {connection}, {wrong}"));
        }
    }

    /// A publication that a room is owed, and that its node knows to be missing before a number.
    fn lost_before(&self, following: &Following, life: usize, number: u64) -> Option<usize> {
        let life = &self.lives[life];
        let holes = life.reading.holes.iter();
        let mut holes = holes.filter(|(hole, at)| *hole <= number && following.since < *at);
        holes.find_map(|&(_, at)| {
            let lost = life.lost.iter().find(|lost| {
                following.since < lost.at
                    && lost.shown.is_some_and(|shown| shown <= at)
                    && self.published[lost.number].is_confirmed
                    && !self.retains
                    && self.meets(following.of(), lost.number)
            });
            Some(lost?.number)
        })
    }

    /// A publication that a room is owed up to a number, and that did not come; not one that the
    /// shard, if it is given, has dropped.
    fn missing(
        &self,
        following: &Following,
        of: (usize, Option<usize>),
        upto: u64,
    ) -> Option<usize> {
        let (life, shard) = (&self.lives[of.0], of.1);
        let after = following.heard.max(following.owed);
        if after >= upto || following.epoch != self.epoch_of(of.0) {
            return None;
        }
        let owed = |&trigger: &usize| {
            let place = life.places.get(&trigger);
            let dropped = shard.zip(place.copied());
            let is_dropped = dropped.is_some_and(|it| life.overflowed.contains_key(&it));
            self.published[trigger].order.is_none()
                && !is_dropped
                && !self.pages.twice.contains(&trigger)
                && self.meets(following.of(), trigger)
        };
        if self.retains {
            let log = self.pages.logs.get(life.reading.epoch as usize)?;
            let range = usize::try_from(after).ok()?..log.len().min(usize::try_from(upto).ok()?);
            return log.get(range)?.iter().flatten().copied().find(owed);
        }
        let mut given = life.reading.given.range(after + 1..=upto);
        given.find_map(|(_, trigger)| owed(trigger).then_some(*trigger))
    }

    /// The number of a trigger in the log that a life reads.
    fn number_of(&self, life: usize, trigger: usize) -> Option<u64> {
        let reading = &self.lives[life].reading;
        if self.retains {
            let log = self.pages.logs.get(reading.epoch as usize)?;
            let at = log.iter().position(|own| *own == Some(trigger))?;
            return Some(at as u64 + 1);
        }
        let mut given = reading.given.iter();
        given.find_map(|(number, own)| (*own == trigger).then_some(*number))
    }

    /// Whether what follows a number is so old that a node may have forgotten it.
    fn is_old(&self, life: usize, number: u64, now: u64) -> bool {
        let reading = &self.lives[life].reading;
        let all = reading
            .given
            .range(number + 1..)
            .chain(reading.commands.range(number + 1..));
        let mut all = all.map(|(_, trigger)| self.published[*trigger].at);
        all.any(|at| at + REMEMBERED < now)
    }

    pub(in crate::oracle) fn epoch_of(&self, life: usize) -> Epoch {
        match self.retains {
            true => epoch(self.lives[life].reading.epoch),
            false => epoch(u32::try_from(life).unwrap_or(u32::MAX)),
        }
    }
}
