//! Close codes (RFC 6455 section 7.4).

use std::fmt;

/// Why a connection ends: the number in a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down, or the browser left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that cannot be accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Data that is not what its frame says, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// A message against the policy of the endpoint.
    pub const POLICY: Self = Self(1008);
    /// A message too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// The server met an unexpected condition.
    pub const INTERNAL: Self = Self(1011);
    /// The service restarts: reconnect after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The service is overloaded or a part of it is unavailable: retry later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether a close frame may carry this code: those that RFC 6455 section 7.4.1 and the IANA
    /// registry define for the wire (1000-1003, 1007-1014) and the ranges for libraries and
    /// applications (3000-4999). 1004-1006 and 1015 are defined as never sent.
    #[must_use]
    pub const fn is_allowed_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_allowed_on_the_wire() {
        let allowed = [
            1000, 1001, 1002, 1003, 1007, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
        ];
        for code in allowed {
            assert!(CloseCode(code).is_allowed_on_wire(), "{code}");
        }
        for code in [
            0,
            999,
            1004,
            1005,
            1006,
            1015,
            1016,
            1100,
            2000,
            2999,
            5000,
            u16::MAX,
        ] {
            assert!(!CloseCode(code).is_allowed_on_wire(), "{code}");
        }
    }
}
