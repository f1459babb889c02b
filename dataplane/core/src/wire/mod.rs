//! What peers say to each other, byte by byte: control frames, asks and answers over QUIC streams.
//!
//! All integers are QUIC varints (RFC 9000 section 16). Readers take any split of their input, never hold more than one frame or
//! the bytes that were asked for, and turn everything else into a `WireError`, which has one close code each.
//!
//! ```text
//! control stream   frame*              frame   = length varint (of what follows) | type varint | body
//! ask stream  ->   ask FIN             ask     = kind varint | count varint | count x (id 32 B | len varint | from varint)
//! ask stream  <-   answer{count} FIN   answer  = 0 varint | bytes varint (= len - from) | bytes     or 1 not held, 2 busy, 3 gone,
//!                                                4 ask others: only where the ask's kind is 2 (of anyone) and not 1
//! ```

mod answer;
mod ask;
mod error;
mod exchange;
mod frame;
#[cfg(test)]
mod tests;
mod varint;

pub use answer::{AnswerEvent, AnswerHead, AnswerReader};
pub use ask::{ASK_BYTES_MAX, Ask, AskItem, AskReader, Referral};
pub use error::{CloseCode, WireError};
pub use exchange::{Event, Exchange, ExchangeLimits};
pub use frame::{ClaimState, Coming, Frame, Have, Hello, Load, PROTOCOL_VERSION, Peers};
