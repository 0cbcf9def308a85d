//! Marks: messages of the engine itself that show whether the stream is bound, and where it ends.

use bytes::Bytes;
use tokio::time::timeout;

use super::{Failure, MARK_TYPE, Publisher, Unconfirmed, properties};
use crate::broker::PROBE;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::wire;

impl Publisher {
    /// Publishes a mark to the stream, with this id. Returns whether the stream is bound.
    pub(in crate::rabbitmq) async fn mark(&self, id: &str) -> Result<bool, Cause> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let mut turn = timeout(wire::STEP_TIMEOUT, self.line.lock())
            .await
            .map_err(|_elapsed| Cause::Silent(wire::STEP_TIMEOUT))?;
        let line = self.line(&mut turn).await?;
        drop(turn);
        let unconfirmed = Unconfirmed(Some(&line));
        let properties = properties::message(id).with_type(MARK_TYPE.into());
        let text = Bytes::from_static(PROBE);
        let sending = self.send(&line.channel, stream.clone(), text, properties);
        let sent = timeout(wire::STEP_TIMEOUT, sending).await;
        match sent.map_err(|_elapsed| Cause::Silent(wire::STEP_TIMEOUT))? {
            Ok(()) => {
                unconfirmed.settle();
                Ok(true)
            }
            Err(Failure::Returned(_)) => {
                unconfirmed.settle();
                Ok(false)
            }
            // The exchange does not exist: that closes the channel.
            Err(Failure::Unsent(Cause::Missing(_)) | Failure::Refused(Cause::Missing(_))) => {
                Ok(false)
            }
            Err(Failure::Unsent(cause) | Failure::Refused(cause)) => Err(cause),
        }
    }
}
