//! Resume tickets: what lets a client in again without a call to the API.
//!
//! A ticket says what the API permitted a client, and is signed with `resume.secret`. It is worth
//! something only with a recent proof that belongs to it, and with the same credentials at the same
//! tenant: their fingerprint is in it. Whether something happened since the proof that may concern the client's
//! permissions, [`crate::public`] finds out.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ht_backend::Permissions;
use ht_core::ticket::Granted;
use ht_core::who::Who;
use ht_proto::cursor::Cursor;
use ht_proto::server::Resumption;
use ht_proto::tenant::TenantName;
use ht_proto::ticket::{
    KeyId, Proof, ProofMac, ResumeOffer, SignedTicket, TICKET_BYTES_MAX, TicketMac, TicketPayload,
    ticket,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::ResumeConfig;
use crate::counters::ResumeOutcome;

/// How far the clocks of nodes may differ, in seconds.
const CLOCKS: u32 = 5;

/// Issues tickets and verifies them.
pub(crate) struct Tickets {
    /// None: clients get no tickets, and none is accepted.
    accepted: ArcSwapOption<Accepted>,
    /// The secret of this process, where none is configured.
    own: String,
}

/// What is accepted.
struct Accepted {
    /// Tickets are signed with the first.
    keys: Vec<Key>,
    max_age: Duration,
}

struct Key {
    id: KeyId,
    mac: Hmac<Sha256>,
}

/// What a signature is for: none is valid for anything else.
#[derive(Clone, Copy)]
enum Purpose {
    Id,
    Fingerprint,
    Ticket,
    Proof,
}

/// What is remembered of a client that gets tickets.
pub(crate) struct Holder {
    /// Of its credentials.
    digest: [u8; 32],
    /// The last ticket that it was given.
    given: Option<(KeyId, TicketMac)>,
}

/// A ticket that is accepted, if nothing has happened since.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What the API permitted.
    pub(crate) permissions: Permissions,
    /// The id of the client's former connection.
    pub(crate) connection: Uuid,
    /// The permissions were up to date at this position.
    pub(crate) cursor: Cursor,
}

impl Holder {
    /// A client of a tenant with these credentials, in the form of [`ForwardRules::identity`].
    ///
    /// [`ForwardRules::identity`]: ht_backend::ForwardRules::identity
    pub(crate) fn new(tenant: &TenantName, identity: &[u8]) -> Self {
        let digest = if tenant.is_main() {
            Sha256::digest(identity).into()
        } else {
            // Nothing that is hashed for `main` has such an outer hash.
            let mac = Hmac::<Sha256>::new_from_slice(tenant.as_str().as_bytes());
            let mut mac = mac.expect("any length is a key");
            mac.update(identity);
            mac.finalize().into_bytes().into()
        };
        Self {
            digest,
            given: None,
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Purpose {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Id => b"id\0",
            Self::Fingerprint => b"fingerprint\0",
            Self::Ticket => b"ticket\0",
            Self::Proof => b"proof\0",
        }
    }
}

impl Key {
    fn new(secret: &str) -> Self {
        let mac = Hmac::new_from_slice(secret.as_bytes()).expect("any length is a key");
        let mut key = Self { id: [0; 4], mac };
        key.id = key.sign(Purpose::Id, &[]);
        key
    }

    fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(purpose.as_bytes());
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn sign<const BYTES: usize>(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; BYTES] {
        let mac = self.mac(purpose, parts).finalize().into_bytes();
        std::array::from_fn(|index| mac[index])
    }

    /// Whether a signature is valid, in a time that does not depend on where it differs.
    fn verifies(&self, purpose: Purpose, parts: &[&[u8]], signature: &[u8]) -> bool {
        let mac = self.mac(purpose, parts);
        mac.verify_truncated_left(signature).is_ok()
    }
}

impl Default for Tickets {
    fn default() -> Self {
        let tickets = Self {
            accepted: ArcSwapOption::empty(),
            own: [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()]
                .map(|part| part.to_string())
                .concat(),
        };
        tickets.set(&ResumeConfig::default());
        tickets
    }
}

impl Tickets {
    /// Puts settings in force.
    pub(crate) fn set(&self, config: &ResumeConfig) {
        let secrets = config.secrets.iter().map(|secret| &*secret.0);
        let keys: Vec<Key> = secrets.map(Key::new).collect();
        let keys = match keys.is_empty() {
            true => vec![Key::new(&self.own)],
            false => keys,
        };
        let accepted = config.enabled.then(|| {
            Arc::new(Accepted {
                keys,
                max_age: config.max_age,
            })
        });
        self.accepted.store(accepted);
    }

    /// Whether clients get tickets.
    pub(crate) fn are_given(&self) -> bool {
        self.accepted.load().is_some()
    }

    /// How long after its last proof a client is let in; none: not at all.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        let accepted = self.accepted.load();
        accepted.as_ref().map(|accepted| accepted.max_age)
    }

    /// What a client is sent to be let in again. `anew`: it has no ticket for these permissions.
    pub(crate) fn give(
        &self,
        holder: &mut Holder,
        granted: &Granted<'_>,
        anew: bool,
        now: SystemTime,
    ) -> Resumption {
        let none = Resumption::default();
        let accepted = self.accepted.load();
        let Some(key) = accepted.as_ref().and_then(|it| it.keys.first()) else {
            return none;
        };
        let known = holder.given.filter(|(id, _)| *id == key.id && !anew);
        let (mac, ticket) = match known {
            Some((_, mac)) => (mac, None),
            None => match key.issue(holder, granted) {
                Some((mac, ticket)) => (mac, Some(ticket)),
                None => return none,
            },
        };
        holder.given = Some((key.id, mac));
        let at = seconds(now);
        let until = granted.expires_in.map(|ms| {
            let left = u32::try_from(ms / 1_000).unwrap_or(u32::MAX);
            at.saturating_add(left)
        });
        let proof = Proof { at, until };
        let signed = proof.signed(&mac, &granted.cursor.to_string());
        let signature: ProofMac = key.sign(Purpose::Proof, &[&signed]);
        Resumption {
            ticket,
            proof: Some(proof.text(signature)),
        }
    }

    /// Verifies what a client offers. None: tickets are not accepted.
    ///
    /// # Errors
    /// If it does not let the client in.
    pub(crate) fn open(
        &self,
        offer: &ResumeOffer,
        holder: &Holder,
        now: SystemTime,
    ) -> Option<Result<Opened, ResumeOutcome>> {
        let accepted = self.accepted.load();
        let accepted = accepted.as_ref()?;
        Some(accepted.open(offer, holder, seconds(now)))
    }
}

impl Key {
    /// A new ticket and its signature; none if it would be too long.
    fn issue(&self, holder: &Holder, granted: &Granted<'_>) -> Option<(TicketMac, String)> {
        let allowed_rooms = granted.allowed_rooms(TICKET_BYTES_MAX)?;
        let who = granted.who;
        let payload = TicketPayload {
            connection: granted.connection,
            fingerprint: self.sign(Purpose::Fingerprint, &[&holder.digest]),
            user: who.and_then(Who::user),
            session: who.and_then(Who::session),
            labels: who.map_or_else(Vec::new, |who| who.labels().collect()),
            view: who.and_then(Who::view),
            allowed_rooms: &allowed_rooms,
        };
        let payload = payload.encode()?;
        let mut mac = TicketMac::default();
        let text = ticket(self.id, &payload, |signed| {
            mac = self.sign(Purpose::Ticket, &[signed]);
            mac
        });
        Some((mac, text))
    }
}

impl Accepted {
    fn open(
        &self,
        offer: &ResumeOffer,
        holder: &Holder,
        now: u32,
    ) -> Result<Opened, ResumeOutcome> {
        let invalid = ResumeOutcome::Invalid;
        let (ticket, cursor_text, cursor, proof) = offer.parts().ok_or(invalid)?;
        let ticket = SignedTicket::parse(ticket).ok_or(invalid)?;
        let (proof, signature) = Proof::parse(proof).ok_or(invalid)?;
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.id == ticket.key);
        let key = key.ok_or(ResumeOutcome::Secret)?;
        let signed = proof.signed(&ticket.mac, cursor_text);
        if !key.verifies(Purpose::Ticket, &[ticket.signed], &ticket.mac)
            || !key.verifies(Purpose::Proof, &[&signed], &signature)
        {
            return Err(invalid);
        }
        let payload = TicketPayload::decode(&ticket.payload).ok_or(invalid)?;
        if !key.verifies(
            Purpose::Fingerprint,
            &[&holder.digest],
            &payload.fingerprint,
        ) {
            return Err(ResumeOutcome::Credentials);
        }
        let age = Duration::from_secs(now.saturating_sub(proof.at).into());
        if age > self.max_age || proof.at > now.saturating_add(CLOCKS) {
            return Err(ResumeOutcome::Old);
        }
        let left = proof.until.map(|until| until.saturating_sub(now));
        if left == Some(0) {
            return Err(ResumeOutcome::Expired);
        }
        Ok(Opened {
            permissions: permissions(&payload, left),
            connection: payload.connection,
            cursor,
        })
    }
}

/// What the API permitted, as in its answer.
fn permissions(payload: &TicketPayload<'_>, left: Option<u32>) -> Permissions {
    let allowed_rooms = payload.allowed_rooms.as_bytes().to_vec().into();
    Permissions {
        user_id: payload.user.map(Into::into),
        session: payload.session.map(Into::into),
        labels: payload.labels.iter().map(|&label| label.into()).collect(),
        view: payload.view.map(Into::into),
        expires_in: left.map(|left| Duration::from_secs(left.into())),
        ..Permissions::of(allowed_rooms)
    }
}

/// Seconds since 1970.
fn seconds(now: SystemTime) -> u32 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    u32::try_from(since.unwrap_or_default().as_secs()).unwrap_or(u32::MAX)
}
