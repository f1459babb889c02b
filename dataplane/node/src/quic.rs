//! How QUIC is set up: windows, timers, path MTU and congestion control of every connection. Decides numbers, moves no byte.

use std::sync::Arc;
use std::time::Duration;

use ares_core::limits::{CHUNK_BYTES_MAX, FRAME_BYTES_MAX};
use ares_core::wire::ASK_BYTES_MAX;
use aws_lc_rs::hmac;
use quinn_proto::{
    Connection, EndpointConfig, HashedConnectionIdGenerator, MtuDiscoveryConfig, StreamId, TransportConfig, VarInt,
};

use crate::congestion::Chosen;

/// Streams a peer may have open at once: asks it may have outstanding, and its control stream.
pub(crate) const STREAMS_MAX: u32 = 256;

/// What a peer may send on one stream before we read: two of the largest chunks.
const STREAM_WINDOW_BYTES: u32 = 2 * CHUNK_BYTES_MAX;

/// What a peer that we ask may send on all streams of a connection before we read, and the most we keep for retransmission. About
/// twice the bandwidth-delay product of 4 Gbit/s at 16 ms; a larger one lets queues, not the link, set the time a chunk takes.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// What a peer that came by itself may send before we read, as long as we have not asked it anything: all the asks and the control
/// frame an honest one has under way at most. More is memory that a stranger could fill and leave.
const STRANGER_WINDOW_BYTES: u32 = 1 << 20;

/// What we keep for retransmission on a path that has not shown yet what it takes. A peer that acknowledges nothing holds no more.
const SEND_WINDOW_BYTES_MIN: u64 = 256 << 10;

/// A connection on which nothing arrives for this long is given up. Keep-alives keep a merely idle one far from it.
const IDLE_TIMEOUT_MS: u32 = 15_000;

/// Largest UDP payload an IPv6 or IPv4 datagram can carry: what loopback's 64 KiB MTU leaves.
const UDP_PAYLOAD_MAX: u16 = 65_527;

const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(STREAMS_MAX as usize * ASK_BYTES_MAX + FRAME_BYTES_MAX as usize <= STRANGER_WINDOW_BYTES as usize);

/// For the endpoint of a shard. `reset_secret` is the same after a restart, so that peers of the node's earlier life learn from
/// the first packet that their connections are gone (RFC 9000 section 10.3) and do not wait for a timeout.
pub(crate) fn endpoint_config(reset_secret: &[u8; 32]) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, reset_secret);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *reset_secret;
    let cid_key = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    config
        .max_udp_payload_size(UDP_PAYLOAD_MAX)
        .expect("within what RFC 9000 section 18.2 allows");
    config
}

/// For a connection over a link whose MTU is `link_mtu` bytes, whose peer may send so much before we read. Starts at 1,200 bytes of payload
/// and probes up to what the link can carry; probes above it are lost, not counted as congestion.
pub(crate) fn transport_config(link_mtu: u32, receive_window: VarInt, congestion: &Arc<Chosen>) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(payload_of(link_mtu));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(receive_window)
        .send_window(SEND_WINDOW_BYTES_MIN)
        // Chunk by chunk: the receiver hashes the first one while the next is under way, and fills few buffers at a time.
        .send_fairness(false)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .keep_alive_interval(Some(Duration::from_millis(u64::from(IDLE_TIMEOUT_MS / 3))))
        .initial_rtt(Duration::from_millis(50))
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(congestion.clone());
    Arc::new(config)
}

/// What leaves before what, on one connection. Chunk bytes come last, and among them the chunk that was begun first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// An ask, or the answer that there will be no bytes: whoever gets it can turn to somebody else.
    Short = 1,
    /// What is said of peers and releases.
    Control = 2,
}

/// What is sent on the stream leaves before all that precedes less, however long that has waited.
pub(crate) fn prefer(quic: &mut Connection, id: StreamId, precedence: Precedence) {
    // It fails only where that half has ended: nothing is left to send.
    let _ = quic.send_stream(id).set_priority(precedence as i32);
}

/// What a peer may send before we read: less where its lane has a cap, which lets it come no faster than it is read.
pub(crate) fn receive_window(is_asked: bool, ahead_bytes: Option<u64>) -> VarInt {
    let whole = if is_asked {
        CONNECTION_WINDOW_BYTES
    } else {
        STRANGER_WINDOW_BYTES
    };
    let ahead_bytes = ahead_bytes.and_then(|bytes| u32::try_from(bytes).ok());
    VarInt::from_u32(ahead_bytes.map_or(whole, |bytes| bytes.min(whole)))
}

/// What is kept for retransmission on a path with this congestion window: so much more that we never wait for ourselves, also while
/// it doubles, and nothing like the most for a peer that takes little. Where many share the memory, `share_bytes` bounds it.
pub(crate) fn send_window(congestion_window: u64, share_bytes: u64) -> u64 {
    let wanted = (4 * congestion_window).min(u64::from(CONNECTION_WINDOW_BYTES));
    wanted.min(share_bytes).max(SEND_WINDOW_BYTES_MIN)
}

/// UDP payload that fits a link's MTU: less the IPv6 and UDP headers, so that one figure serves both families.
fn payload_of(link_mtu: u32) -> u16 {
    const HEADERS_BYTES: u32 = 40 + 8;
    u16::try_from(link_mtu.saturating_sub(HEADERS_BYTES))
        .unwrap_or(u16::MAX)
        .clamp(1200, UDP_PAYLOAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_send_window_follows_the_path_within_its_bounds_and_its_share() {
        for (congestion_window, share_bytes, window) in [
            (10 << 10, u64::MAX, SEND_WINDOW_BYTES_MIN),
            (1 << 20, u64::MAX, 4 << 20),
            (1 << 30, u64::MAX, u64::from(CONNECTION_WINDOW_BYTES)),
            (1 << 20, 2 << 20, 2 << 20),
            (1 << 20, 0, SEND_WINDOW_BYTES_MIN),
        ] {
            assert_eq!(send_window(congestion_window, share_bytes), window);
        }
    }

    #[test]
    fn payload_leaves_room_for_headers_and_stays_in_bounds() {
        for (link_mtu, payload) in [
            (1500, 1452),
            (9000, 8952),
            (65_536, 65_488),
            (576, 1200),
            (u32::MAX, UDP_PAYLOAD_MAX),
        ] {
            assert_eq!(payload_of(link_mtu), payload, "link MTU {link_mtu}");
        }
    }
}
