//! The graceful shutdown of a node.

use std::sync::Arc;

use ht_control::drain::DrainSettings;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::drain::drain;

impl Gateway {
    /// Shuts down within `drain.delay` and `drain.timeout`; whatever is left then is aborted.
    ///
    /// For `drain.delay` the node only reports that it is not ready and serves as before, so that
    /// load balancers can route new connections elsewhere.
    /// No new connections are accepted. The open ones are closed in waves over `drain.period`, each
    /// after everything that was published before its wave, and receive and publish as before until
    /// then. Once all are closed no trigger is accepted any more; those in progress get their
    /// response, the broker its acknowledgements and the API its hooks. `hurry` ends the waves at
    /// once and leaves one more second for the rest.
    pub async fn drain(self, hurry: CancellationToken) {
        let settings = self.live.now().drain;
        let settings = DrainSettings {
            delay: settings.delay,
            period: settings.period,
            timeout: settings.timeout,
        };
        let sequencer = Arc::clone(&self.main.pipeline.sequencer);
        let others = self.own_logs.shut_down(hurry.clone());
        let is_settled = drain(self.main, settings, hurry, Some(others)).await;
        if let Some(file) = self.window_file
            && is_settled
        {
            file.end(sequencer.snapshot().await).await;
        }
    }
}
