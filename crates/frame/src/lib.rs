//! RFC 6455 frames and messages, RFC 7692 compression: bytes in, bytes out, no I/O.
//!
//! [`Decoder`] turns the bytes of one peer into [`Event`]s, [`put_frame`] and its siblings write
//! frames. [`PerMessageDeflate`] negotiates compression, [`Inflater`] and [`Deflater`] do it.
//! Nothing here uses a socket, a clock or a thread.
//!
//! ```
//! use ht_frame::{DecodeOptions, Decoder, Event, Input, Opcode, Role, put_masked_frame};
//!
//! let mut bytes = Vec::new();
//! put_masked_frame(&mut bytes, Opcode::Text, b"ping", [1, 2, 3, 4]);
//!
//! let options = DecodeOptions { role: Role::Server, message_bytes_max: 1 << 20 };
//! let mut decoder = Decoder::new();
//! let mut input = Input::new(&mut bytes);
//! while let Some(event) = decoder.decode(&mut input, &options)? {
//!     assert_eq!(event, Event::Text("ping"));
//! }
//! assert!(decoder.is_idle());
//! # Ok::<(), ht_frame::Violation>(())
//! ```

mod close;
mod decode;
mod deflate;
mod encode;
mod event;
mod extension;
mod header;
mod inflate;
mod input;
mod mask;
mod message;
mod partial;
mod violation;

pub use crate::close::CloseCode;
pub use crate::decode::{DecodeOptions, Decoder};
pub use crate::deflate::{DeflatedFrame, Deflater};
pub use crate::encode::{
    CLOSE_REASON_BYTES_MAX, FrameHeader, put_close, put_frame, put_masked_frame,
};
pub use crate::event::Event;
pub use crate::extension::PerMessageDeflate;
pub use crate::header::{CONTROL_BYTES_MAX, Opcode, Role};
pub use crate::inflate::Inflater;
pub use crate::input::Input;
pub use crate::violation::Violation;
