//! The admin socket: how a command talks to the daemon of its state directory. `proto` says what is said, `codec` how it is
//! written, `socket` where, `server` answers, `client` asks. What a request does is in `jobs`.

pub(crate) mod client;
pub(crate) mod codec;
mod mounting;
pub(crate) mod proto;
pub(crate) mod server;
pub(crate) mod socket;
