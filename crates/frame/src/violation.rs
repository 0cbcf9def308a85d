//! Protocol violations of a peer.

use thiserror::Error;

use crate::close::CloseCode;

/// A breach of RFC 6455, of RFC 7692, or of our own limit, by the peer. The connection cannot go on: answer
/// with a close frame of [`code`](Self::code) and [`reason`](Self::reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
#[error("{}", self.reason())]
pub enum Violation {
    /// RSV1, RSV2 or RSV3 is set and no negotiated extension uses it (section 5.2). RSV1 is used on
    /// the first frame of a message, where compression was negotiated (RFC 7692 section 6).
    ReservedBits,
    /// An opcode that RFC 6455 does not define (section 5.2).
    ReservedOpcode,
    /// A client's frame without mask (section 5.1).
    NotMasked,
    /// A server's frame with a mask (section 5.1).
    Masked,
    /// A length that fits in fewer bytes (section 5.2).
    LengthNotMinimal,
    /// A 64-bit length with the top bit set (section 5.2).
    LengthTopBit,
    /// A control frame without FIN (section 5.5).
    ControlFragmented,
    /// A control frame of more than 125 bytes (section 5.5).
    ControlTooLong,
    /// A continuation frame while no message is unfinished (section 5.4).
    UnexpectedContinuation,
    /// A new message while another one is unfinished (section 5.4).
    ExpectedContinuation,
    /// A close frame with a single byte of payload (section 5.5.1).
    ClosePayloadTooShort,
    /// A close code that is reserved and never sent (section 7.4).
    CloseCodeNotAllowed,
    /// A close reason that is not UTF-8 (section 5.5.1).
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (section 8.1).
    TextNotUtf8,
    /// A compressed message that cannot be inflated (RFC 7692 section 7.2.2).
    DeflateInvalid,
    /// A message longer than the limit, compressed or inflated.
    MessageTooBig,
}

impl Violation {
    /// The close code that names this violation: 1002, 1007 or 1009.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::TextNotUtf8 | Self::CloseReasonNotUtf8 | Self::DeflateInvalid => {
                CloseCode::INVALID_DATA
            }
            Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::NotMasked
            | Self::Masked
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::ClosePayloadTooShort
            | Self::CloseCodeNotAllowed => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// A short name that stays the same between releases: for the close frame, logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved-bits",
            Self::ReservedOpcode => "reserved-opcode",
            Self::NotMasked => "frame-not-masked",
            Self::Masked => "frame-masked",
            Self::LengthNotMinimal => "length-not-minimal",
            Self::LengthTopBit => "length-top-bit",
            Self::ControlFragmented => "control-fragmented",
            Self::ControlTooLong => "control-too-long",
            Self::UnexpectedContinuation => "unexpected-continuation",
            Self::ExpectedContinuation => "expected-continuation",
            Self::ClosePayloadTooShort => "close-payload-too-short",
            Self::CloseCodeNotAllowed => "close-code-not-allowed",
            Self::CloseReasonNotUtf8 => "close-reason-not-utf8",
            Self::TextNotUtf8 => "text-not-utf8",
            Self::DeflateInvalid => "deflate-invalid",
            Self::MessageTooBig => "message-too-big",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::encode::CLOSE_REASON_BYTES_MAX;

    #[test]
    fn reasons_are_unique_and_fit_a_close_frame() {
        let all = [
            Violation::ReservedBits,
            Violation::ReservedOpcode,
            Violation::NotMasked,
            Violation::Masked,
            Violation::LengthNotMinimal,
            Violation::LengthTopBit,
            Violation::ControlFragmented,
            Violation::ControlTooLong,
            Violation::UnexpectedContinuation,
            Violation::ExpectedContinuation,
            Violation::ClosePayloadTooShort,
            Violation::CloseCodeNotAllowed,
            Violation::CloseReasonNotUtf8,
            Violation::TextNotUtf8,
            Violation::DeflateInvalid,
            Violation::MessageTooBig,
        ];
        let reasons: BTreeSet<_> = all.iter().map(Violation::reason).collect();
        assert_eq!(reasons.len(), all.len());
        for violation in all {
            assert_eq!(violation.to_string(), violation.reason());
            assert!(violation.reason().len() <= CLOSE_REASON_BYTES_MAX);
            assert!(violation.code().is_allowed_on_wire());
        }
    }
}
