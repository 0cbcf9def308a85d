//! One connection, which ends when it is lost.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{
    Client, Event, HeaderMap, HeaderValue, Message, Request, ServerError, StatusCode,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::line::line;
use crate::log::NewEntry;
use crate::nats::Server;
use crate::nats::cause::Cause;

/// Limit on the answer to a request to JetStream.
pub(super) const REQUEST: Duration = Duration::from_secs(5);

/// The header that names an entry for the node that appended it.
pub(super) const KEY: &str = "High-Templar-Key";

/// An open connection. Dropping it closes it.
pub(super) struct Link {
    pub(super) client: Client,
    state: Arc<State>,
}

/// What the server and the library say of a connection.
struct State {
    /// Why it is lost.
    over: watch::Sender<Option<String>>,
    /// What the server refused last.
    refused: watch::Sender<String>,
}

impl State {
    fn note(&self, event: Event) {
        match event {
            Event::ServerError(error) => {
                let text = match error {
                    ServerError::Other(text) => text,
                    ServerError::AuthorizationViolation => "authorization violation".into(),
                    ServerError::SlowConsumer(_) => return,
                };
                self.refused.send_replace(line(text));
            }
            Event::Disconnected | Event::Closed => {
                let refused = self.refused.borrow().clone();
                let text = match refused.as_str() {
                    "" => "it was closed".to_owned(),
                    refused => refused.to_owned(),
                };
                self.over.send_if_modified(|over| {
                    let first = over.is_none();
                    over.get_or_insert(text);
                    first
                });
            }
            Event::Connected
            | Event::LameDuckMode
            | Event::Draining
            | Event::SlowConsumer(_)
            | Event::ClientError(_) => {}
        }
    }
}

/// What JetStream answers instead of what it was asked for.
#[derive(Deserialize)]
struct Failure {
    error: Option<ApiError>,
}

/// An error of JetStream.
#[derive(Deserialize)]
struct ApiError {
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl ApiError {
    const NOT_ENABLED_FOR_ACCOUNT: u32 = 10_039;
    const STREAM_NOT_FOUND: u32 = 10_059;
    const SUBJECT_OVERLAP: u32 = 10_065;
    const NOT_ENABLED: u32 = 10_076;
}

impl From<ApiError> for Cause {
    fn from(error: ApiError) -> Self {
        let text = line(&error.description);
        match error.err_code {
            ApiError::STREAM_NOT_FOUND => Self::NoStream,
            ApiError::NOT_ENABLED | ApiError::NOT_ENABLED_FOR_ACCOUNT => Self::NoJetStream,
            ApiError::SUBJECT_OVERLAP => Self::Stream(text),
            _ if error.code == 503 => Self::NotYet(text),
            _ => Self::Refused(format!("{text} ({})", error.err_code)),
        }
    }
}

/// How the server answered to an entry.
pub(super) enum Acknowledged {
    /// It has this sequence number.
    At(u64),
    /// It was not stored.
    Refused(Cause),
    /// Nobody knows.
    Unknown,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

impl Link {
    /// Connects and logs in. `purpose` is shown in the server's list of connections.
    pub(super) async fn open(server: &Server, purpose: &str) -> Result<Self, Cause> {
        let servers = &server.address.servers;
        let state = Arc::new(State {
            over: watch::Sender::default(),
            refused: watch::Sender::default(),
        });
        let noting = Arc::clone(&state);
        let options = server.login.options(servers.len())?;
        let options = options.name(purpose).event_callback(move |event| {
            noting.note(event);
            std::future::ready(())
        });
        let connecting = options.connect(&servers[..]);
        let client = connecting.await.map_err(|error| Cause::of(&error))?;
        Ok(Self { client, state })
    }

    /// Whether it can be used.
    pub(super) fn is_open(&self) -> bool {
        self.state.over.borrow().is_none()
    }

    /// Waits until it is lost.
    pub(super) async fn lost(&self) -> Cause {
        let mut over = self.state.over.subscribe();
        let found = over.wait_for(Option::is_some).await;
        let text = found.ok().and_then(|text| text.clone());
        Cause::Lost(text.unwrap_or_default())
    }

    /// Waits until the server refuses something about this subject.
    async fn refused(&self, subject: &str) -> Cause {
        let mut refused = self.state.refused.subscribe();
        let quoted = format!("\"{subject}\"");
        match refused.wait_for(|text| text.contains(&quoted)).await {
            Ok(text) => Cause::Permission(text.clone()),
            Err(_gone) => Cause::Lost(String::new()),
        }
    }

    /// The answer of JetStream.
    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &Value,
    ) -> Result<T, Cause> {
        let subject = format!("$JS.API.{verb}");
        let request = Request::new().payload(body.to_string().into());
        let asking = self.client.send_request(subject.clone(), request);
        let answer = tokio::select! {
            biased;
            answer = timeout(REQUEST, asking) => answer,
            cause = self.lost() => return Err(cause),
            cause = self.refused(&subject) => return Err(cause),
        };
        let message = match answer {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(Cause::NoJetStream);
            }
            Ok(Err(error)) => return Err(Cause::Lost(line(error))),
            Err(_elapsed) => {
                let refused = self.state.refused.borrow().clone();
                // A right to receive the answer, for example.
                return Err(match refused.as_str() {
                    "" => Cause::Silent(REQUEST),
                    refused => Cause::Permission(refused.to_owned()),
                });
            }
        };
        let unreadable = |error| Cause::Refused(line(format_args!("unreadable answer: {error}")));
        let failure: Failure = serde_json::from_slice(&message.payload).map_err(unreadable)?;
        match failure.error {
            Some(error) => Err(error.into()),
            None => serde_json::from_slice(&message.payload).map_err(unreadable),
        }
    }

    /// Appends an entry, when this is polled first, and waits for the acknowledgement.
    pub(super) async fn append(&self, server: &Server, entry: &NewEntry) -> Acknowledged {
        let subject = server.names.subject_of(entry.kind);
        let mut headers = HeaderMap::new();
        if let Ok(key) = entry.key.parse::<HeaderValue>() {
            headers.insert(KEY, key);
        }
        let request = Request::new()
            .headers(headers)
            .payload(entry.body.clone())
            .timeout(None);
        let asking = self.client.send_request(subject.clone(), request);
        tokio::select! {
            biased;
            answer = asking => match answer {
                Ok(message) => acknowledged(&message),
                Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                    Acknowledged::Refused(Cause::NoStream)
                }
                Err(error) if error.kind() == RequestErrorKind::MaxPayloadExceeded => {
                    Acknowledged::Refused(Cause::Refused(line(error)))
                }
                Err(_broken) => Acknowledged::Unknown,
            },
            _ = self.lost() => Acknowledged::Unknown,
            cause = self.refused(subject) => Acknowledged::Refused(cause),
        }
    }
}

fn acknowledged(message: &Message) -> Acknowledged {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Acknowledged::Refused(Cause::NoStream);
    }
    if let Ok(stored) = serde_json::from_slice::<Stored>(&message.payload) {
        return Acknowledged::At(stored.seq);
    }
    match serde_json::from_slice::<Failure>(&message.payload) {
        Ok(Failure { error: Some(error) }) => Acknowledged::Refused(error.into()),
        Ok(Failure { error: None }) | Err(_) => Acknowledged::Unknown,
    }
}
