//! The wire format: rooms, grants, triggers, client and server messages, codes.
//!
//! Bytes in, values out: no I/O, no clock, no runtime.

pub mod client;
pub mod close;
pub mod code;
pub mod command;
pub mod cursor;
pub mod entry;
pub mod excerpt;
pub mod grant;
pub mod hook;
pub mod id;
pub mod label;
pub mod mark;
pub mod note;
pub mod object;
pub mod page;
pub mod record;
pub mod room;
pub mod saved;
pub mod server;
pub mod stream;
pub mod subprotocol;
pub mod tenant;
pub mod ticket;
pub mod token;
pub mod trigger;
pub mod who;

mod canonical;
mod check;
mod digest;
mod letters;
mod number;
