//! Why the gateway ends a connection, and how its client should react.

use std::borrow::Cow;

/// Why the gateway ends a connection: a close code (RFC 6455 section 7.4) and a reason, which is
/// one short word that stays the same between releases. The word may be followed by the span, in
/// whole milliseconds, within which the client should reconnect at a random time.
///
/// The range of the code alone determines how to react: [`Advice::of`]. Violations of the WebSocket
/// protocol itself are not here: they have codes and words of their own.
///
/// ```
/// use ht_proto::close::Close;
///
/// let close = Close::RESTART.within(30_000);
/// assert_eq!((close.code(), &*close.reason()), (1012, "restart 30000"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Close {
    why: Why,
    /// 0: no span.
    within_ms: u32,
}

// Not in `Close` itself: every refused connection holds one, so it must be small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Why {
    Normal,
    Idle,
    Restart,
    Gap,
    MaxAge,
    Backend,
    Overloaded,
    SlowConsumer,
    NoPong,
    MessageTimeout,
    Permissions,
    ConnectionsPerUser,
    TenantBusy,
    Suspended,
    TooManyMessages,
    Refused,
    Authenticate,
}

impl Close {
    /// The API refused this client, which did not choose our subprotocol. 1000, no word.
    pub const NORMAL: Self = Self::new(Why::Normal);
    /// The client was idle for too long. 1000 `idle`.
    pub const IDLE: Self = Self::new(Why::Idle);
    /// The node shuts down and is replaced by another one. 1012 `restart`.
    pub const RESTART: Self = Self::new(Why::Restart);
    /// The node may have missed publications: reconnect, subscribe and fetch again. 1012 `gap`.
    pub const GAP: Self = Self::new(Why::Gap);
    /// The stream is as old as one may be: open another one. 1012 `max-age`.
    pub const MAX_AGE: Self = Self::new(Why::MaxAge);
    /// The API gave no usable answer. 1013 `backend`.
    pub const BACKEND: Self = Self::new(Why::Backend);
    /// The node is overloaded. 1013 `overloaded`.
    pub const OVERLOADED: Self = Self::new(Why::Overloaded);
    /// Slow consumer: the client reads slower than it is written to. 4000 `slow-consumer`.
    pub const SLOW_CONSUMER: Self = Self::new(Why::SlowConsumer);
    /// The client did not answer a control ping. 4001 `no-pong`.
    pub const NO_PONG: Self = Self::new(Why::NoPong);
    /// The client did not finish a message in time. 4002 `message-timeout`.
    pub const MESSAGE_TIMEOUT: Self = Self::new(Why::MessageTimeout);
    /// The client's permissions may have changed: reconnect with the current credentials. 4002
    /// `permissions`.
    pub const PERMISSIONS: Self = Self::new(Why::Permissions);
    /// The user has the maximum number of connections. 4100 `connections-per-user`.
    pub const CONNECTIONS_PER_USER: Self = Self::new(Why::ConnectionsPerUser);
    /// The clients of the tenant are sent more than it may, and this one is slow. 4101 `tenant-busy`.
    pub const TENANT_BUSY: Self = Self::new(Why::TenantBusy);
    /// The tenant that the client belongs to is not served for now. 4102 `suspended`.
    pub const SUSPENDED: Self = Self::new(Why::Suspended);
    /// The client exceeds a rate limit. 4200 `too-many-messages`.
    pub const TOO_MANY_MESSAGES: Self = Self::new(Why::TooManyMessages);
    /// The API refused this client, which chose our subprotocol. 4300 `refused`.
    pub const REFUSED: Self = Self::new(Why::Refused);
    /// The first frame, which must carry a token, is missing, late or wrong. 4301 `authenticate`.
    pub const AUTHENTICATE: Self = Self::new(Why::Authenticate);

    /// Every reason, for tests and documents.
    pub const ALL: [Self; 17] = [
        Self::NORMAL,
        Self::IDLE,
        Self::RESTART,
        Self::GAP,
        Self::MAX_AGE,
        Self::BACKEND,
        Self::OVERLOADED,
        Self::SLOW_CONSUMER,
        Self::NO_PONG,
        Self::MESSAGE_TIMEOUT,
        Self::PERMISSIONS,
        Self::CONNECTIONS_PER_USER,
        Self::TENANT_BUSY,
        Self::SUSPENDED,
        Self::TOO_MANY_MESSAGES,
        Self::REFUSED,
        Self::AUTHENTICATE,
    ];

    const fn new(why: Why) -> Self {
        Self { why, within_ms: 0 }
    }

    /// The same, with a span of so many milliseconds within which the client should reconnect at a
    /// random time. Zero: no span.
    #[must_use]
    pub const fn within(self, ms: u32) -> Self {
        Self {
            within_ms: ms,
            ..self
        }
    }

    /// The close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self.why {
            Why::Normal | Why::Idle => 1000,
            Why::Restart | Why::Gap | Why::MaxAge => 1012,
            Why::Backend | Why::Overloaded => 1013,
            Why::SlowConsumer => 4000,
            Why::NoPong => 4001,
            Why::MessageTimeout | Why::Permissions => 4002,
            Why::ConnectionsPerUser => 4100,
            Why::TenantBusy => 4101,
            Why::Suspended => 4102,
            Why::TooManyMessages => 4200,
            Why::Refused => 4300,
            Why::Authenticate => 4301,
        }
    }

    /// The word, without a span; empty for [`Self::NORMAL`].
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self.why {
            Why::Normal => "",
            Why::Idle => "idle",
            Why::Restart => "restart",
            Why::Gap => "gap",
            Why::MaxAge => "max-age",
            Why::Backend => "backend",
            Why::Overloaded => "overloaded",
            Why::SlowConsumer => "slow-consumer",
            Why::NoPong => "no-pong",
            Why::MessageTimeout => "message-timeout",
            Why::Permissions => "permissions",
            Why::ConnectionsPerUser => "connections-per-user",
            Why::TenantBusy => "tenant-busy",
            Why::Suspended => "suspended",
            Why::TooManyMessages => "too-many-messages",
            Why::Refused => "refused",
            Why::Authenticate => "authenticate",
        }
    }

    /// The reason as it is sent in the close frame: the word, and the span if one was given. Always
    /// fits (RFC 6455 section 5.5).
    #[must_use]
    pub fn reason(self) -> Cow<'static, str> {
        match (self.word(), self.within_ms) {
            (word, 0) => Cow::Borrowed(word),
            ("", span) => Cow::Owned(span.to_string()),
            (word, span) => Cow::Owned(format!("{word} {span}")),
        }
    }
}

/// How a client should react to a close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// At the page's discretion.
    AsYouLike,
    /// Reconnect soon, with a back-off of one's own or within the given span.
    Soon,
    /// Retry later: an early retry makes it worse.
    Later,
    /// Do not reconnect: the result would be the same.
    Never,
    /// Reconnect once the user has signed in again.
    SignIn,
}

impl Advice {
    /// The advice for a close code of the gateway; 1005 and 1006, which are never sent, mean a
    /// connection without a close frame.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            1005 | 1006 | 1012 | 4000..=4099 => Self::Soon,
            1013 | 4100..=4199 => Self::Later,
            1002 | 1003 | 1007 | 1009 | 4200..=4299 => Self::Never,
            4300..=4399 => Self::SignIn,
            _ => Self::AsYouLike,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Bytes of a control frame (RFC 6455 section 5.5) less the code.
    const REASON_BYTES_MAX: usize = 123;

    #[test]
    fn every_reason_has_its_code_and_its_advice() {
        let table = [
            (1000, "", Advice::AsYouLike),
            (1000, "idle", Advice::AsYouLike),
            (1012, "restart", Advice::Soon),
            (1012, "gap", Advice::Soon),
            (1012, "max-age", Advice::Soon),
            (1013, "backend", Advice::Later),
            (1013, "overloaded", Advice::Later),
            (4000, "slow-consumer", Advice::Soon),
            (4001, "no-pong", Advice::Soon),
            (4002, "message-timeout", Advice::Soon),
            (4002, "permissions", Advice::Soon),
            (4100, "connections-per-user", Advice::Later),
            (4101, "tenant-busy", Advice::Later),
            (4102, "suspended", Advice::Later),
            (4200, "too-many-messages", Advice::Never),
            (4300, "refused", Advice::SignIn),
            (4301, "authenticate", Advice::SignIn),
        ];
        let found = Close::ALL.map(|close| (close.code(), close.word(), Advice::of(close.code())));
        assert_eq!(found, table);
        let words: BTreeSet<_> = Close::ALL.iter().map(|close| close.word()).collect();
        assert_eq!(words.len(), Close::ALL.len());
    }

    #[test]
    fn the_advice_follows_the_range() {
        for (codes, advice) in [
            (&[1005, 1006, 1012, 4000, 4099][..], Advice::Soon),
            (&[1013, 4100, 4199], Advice::Later),
            (&[1002, 1003, 1007, 1009, 4200, 4299], Advice::Never),
            (&[4300, 4399], Advice::SignIn),
            (&[0, 1000, 1001, 3000, 3999, 4400, 4999], Advice::AsYouLike),
        ] {
            for &code in codes {
                assert_eq!(Advice::of(code), advice, "{code}");
            }
        }
    }

    #[test]
    fn a_reason_is_a_word_and_perhaps_a_span() {
        for close in Close::ALL {
            let word = close.word();
            assert_eq!(close.reason(), word);
            assert_eq!(close.within(0), close);
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            for span in [1, 30_000, u32::MAX] {
                let close = close.within(span);
                let reason = close.reason();
                assert_eq!(reason, format!("{word} {span}").trim_start());
                assert!(reason.len() <= REASON_BYTES_MAX);
                assert_eq!(close.word(), word);
            }
        }
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Close>() <= 8);
    }
}
