//! How the gateway closed a client's connection, as a sentence for the terminal.

use std::fmt;

use ht_proto::close::{Advice, Close};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// The gateway closed the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    /// The close code and its reason; none: there was no close frame, or an empty one.
    frame: Option<(u16, String)>,
}

impl Closed {
    /// From a close frame, or from the end of the stream.
    pub(super) fn new(frame: Option<&CloseFrame>) -> Self {
        let frame = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
        Self { frame }
    }

    /// What it means before the first message, or after one that says `is_authorized: false`: why
    /// the client was not admitted, and what to do.
    pub(super) fn before_admission(&self) -> String {
        format!("{} ({self})", self.why_not_admitted())
    }

    fn why_not_admitted(&self) -> &'static str {
        let Some((code, reason)) = &self.frame else {
            return "the connection ended before the gateway admitted this client: look at the \
                    logs of the gateway and of the proxy in front of it";
        };
        // A number behind the word is the span within which to reconnect.
        let word = reason.split(' ').next().unwrap_or_default();
        let is = |close: Close| close.code() == *code && close.word() == word;
        if is(Close::REFUSED) {
            "the API refused this client: are --token, --cookie and --header those of a user? The \
             gateway's log has the API's answer"
        } else if is(Close::NORMAL) {
            // Without our subprotocol, as in 3.1, one code has both meanings.
            "the API refused this client, or failed: are --token, --cookie and --header those of \
             a user? The gateway's log has the API's answer; `high-templar check` tests the API"
        } else if is(Close::BACKEND) {
            "the API gave no usable answer: it is down, too slow or failing, which says nothing \
             about the credentials. `high-templar check` tests it; the gateway's log has the cause"
        } else if is(Close::OVERLOADED) {
            "the gateway is overloaded, or the API did not answer within limits.handshake_timeout: \
             retry later. The gateway's log names the limit"
        } else if is(Close::RESTART) {
            "the gateway is shutting down or restarting: retry in a moment"
        } else if is(Close::GAP) {
            "the gateway may have missed publications and closes its connections so that clients \
             reconnect: retry in a moment"
        } else if is(Close::CONNECTIONS_PER_USER) {
            "the API accepts this client, but its user has limits.connections_per_user \
             connections already: close some of them, or raise the limit"
        } else if is(Close::SUSPENDED) {
            "the tenant that this client belongs to is suspended: retry later, or have the operator \
             resume it"
        } else if is(Close::AUTHENTICATE) {
            "the gateway expected a token in the first frame: give it as --token"
        } else {
            match Advice::of(*code) {
                Advice::Soon | Advice::Later => {
                    "the gateway did not admit this client for the moment: retry later"
                }
                Advice::SignIn => {
                    "the gateway does not accept these credentials: are --token, --cookie and \
                     --header those of a user?"
                }
                Advice::Never | Advice::AsYouLike => {
                    "the connection was closed before the gateway admitted this client: look at \
                     the logs of the gateway and of the proxy in front of it"
                }
            }
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway closed the connection")?;
        let Some((code, reason)) = &self.frame else {
            return Ok(());
        };
        write!(f, " with code {code}")?;
        if !reason.is_empty() {
            write!(f, ": {reason}")?;
        }
        f.write_str(match Advice::of(*code) {
            Advice::AsYouLike => "",
            Advice::Soon => "; reconnect soon",
            Advice::Later => "; retry later",
            Advice::Never => "; retrying will not help",
            Advice::SignIn => "; sign in again first",
        })
    }
}

impl std::error::Error for Closed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16, reason: &str) -> Closed {
        Closed {
            frame: Some((code, reason.to_owned())),
        }
    }

    #[test]
    fn each_close_before_admission_says_why_and_what_to_do() {
        for (code, reason, why, todo) in [
            (4300, "refused", "the API refused this client:", "--token"),
            (
                1000,
                "",
                "the API refused this client, or failed:",
                "check`",
            ),
            (
                1013,
                "backend 1000",
                "the API gave no usable answer",
                "`high-templar check`",
            ),
            (
                1013,
                "backend",
                "the API gave no usable answer",
                "the gateway's log",
            ),
            (
                1013,
                "overloaded 30000",
                "the gateway is overloaded",
                "limits.handshake_timeout",
            ),
            (
                1012,
                "restart 500",
                "the gateway is shutting down or restarting",
                "retry in a moment",
            ),
            (
                1012,
                "gap 500",
                "may have missed publications",
                "retry in a moment",
            ),
            (
                4100,
                "connections-per-user",
                "limits.connections_per_user",
                "raise the limit",
            ),
            (4102, "suspended 600000", "is suspended", "retry later"),
            (
                4301,
                "authenticate",
                "expected a token in the first frame",
                "--token",
            ),
            // Of a proxy, or of a later version.
            (1013, "", "for the moment", "retry later"),
            (
                4399,
                "other",
                "does not accept these credentials",
                "--cookie",
            ),
            (
                1000,
                "idle",
                "closed before the gateway admitted",
                "the proxy in front",
            ),
            (
                1002,
                "protocol",
                "closed before the gateway admitted",
                "the proxy in front",
            ),
            (
                1011,
                "",
                "closed before the gateway admitted",
                "the proxy in front",
            ),
        ] {
            let text = closed(code, reason).before_admission();
            assert!(
                text.contains(why) && text.contains(todo),
                "{code} {reason}: {text}"
            );
            assert!(text.contains(&format!("with code {code}")), "{text}");
        }
        let text = Closed { frame: None }.before_admission();
        assert!(text.contains("ended before the gateway admitted"), "{text}");
    }

    #[test]
    fn only_a_refusal_asks_about_the_credentials() {
        for close in Close::ALL {
            let text = closed(close.code(), &close.reason()).before_admission();
            let asks = text.contains("those of a user?");
            let is_refusal = [Close::NORMAL, Close::REFUSED].contains(&close);
            assert_eq!(asks, is_refusal, "{close:?}: {text}");
        }
    }

    #[test]
    fn a_close_has_its_code_its_reason_and_what_to_do() {
        for (code, reason, sentence) in [
            (1000, "", " with code 1000"),
            (1012, "restart", " with code 1012: restart; reconnect soon"),
            (1013, "backend 9", " with code 1013: backend 9; retry later"),
            (
                4200,
                "too-many-messages",
                " with code 4200: too-many-messages; retrying will not help",
            ),
            (
                4300,
                "refused",
                " with code 4300: refused; sign in again first",
            ),
        ] {
            let text = closed(code, reason).to_string();
            assert_eq!(text, format!("the gateway closed the connection{sentence}"));
        }
        let text = Closed { frame: None }.to_string();
        assert_eq!(text, "the gateway closed the connection");
    }
}
