//! The events of a connection that the API can be notified of.

crate::labels! {
    /// An event in the life cycle of an admitted connection. Its word is its name in the settings and in
    /// the log.
    pub enum Hook {
        /// The connection was opened.
        Connect = "connect",
        /// Its client sent `ping`.
        Ping = "ping",
        /// The connection ended, for any reason, and is not counted any more.
        Disconnect = "disconnect",
    }
}
