//! What a daemon tells Prometheus of itself: one page of families, as many samples whatever there is of peers, paths, releases and mounts.
//! Names end with their unit; what is counted since the daemon's start ends with `_total`.

mod process;
mod text;

use std::time::Duration;

use ares_core::knobs::Knob;
use ares_core::swarm::{Class, FetchError, SwitchCause};
use ares_fs::Op;
use ares_node::api::PathState;
use ares_node::figures::{Figures, Loss};
use ares_node::store::Totals;

use self::text::Kind::{Counter, Gauge};
use self::text::Page;
use crate::daemon::Shared;
use crate::pins::Stage;

/// What is shown beside the node's figures.
struct Around<'a> {
    store: Totals,
    quota_bytes: u64,
    /// Free for the store, and all, of its filesystem.
    disk: Option<[u64; 2]>,
    mounts: usize,
    longest_wait: Duration,
    fuse: &'a ares_fs::Figures,
    pins: Vec<Stage>,
    refused_commands: u64,
}

/// The whole page.
pub(crate) fn page(daemon: &Shared, figures: &Figures) -> String {
    let disk = rustix::fs::statvfs(&daemon.config.state).ok();
    let mounts = daemon.mounts.list();
    let around = Around {
        store: daemon.handle.store().totals(),
        quota_bytes: daemon.handle.settings().bytes(Knob::StoreQuota),
        disk: disk.map(|disk| [disk.f_bavail, disk.f_blocks].map(|blocks| blocks * disk.f_frsize)),
        mounts: mounts.len(),
        longest_wait: mounts
            .iter()
            .map(|(_, entry)| entry.mount.longest_wait())
            .max()
            .unwrap_or_default(),
        fuse: &daemon.fuse,
        pins: daemon.pins.list().iter().map(|pin| pin.state).collect(),
        refused_commands: daemon.strangers.count(),
    };
    let mut page = Page::default();
    process::write(&mut page, figures.uptime);
    render(&mut page, figures, &around);
    page.into_text()
}

fn render(page: &mut Page, figures: &Figures, around: &Around<'_>) {
    page.family(Gauge, "ares_build_info", "1, for the version.")
        .labelled("version", env!("CARGO_PKG_VERSION"), 1);
    page.one(
        Gauge,
        "ares_uptime_seconds",
        "Since the node's start, in seconds.",
        figures.uptime.as_secs_f64(),
    );
    page.one(
        Gauge,
        "ares_hub_queued_messages",
        "Messages that wait for the hub.",
        figures.queued_messages,
    );
    chunks(page, figures);
    asks(page, figures);
    wants(page, figures);
    peers(page, figures, around);
    paths(page, figures);
    store(page, figures, around);
    fuse(page, around);
}

/// One for each class.
fn by_class<V: Copy>(values: [V; Class::ALL.len()]) -> impl Iterator<Item = (&'static str, V)> {
    Class::ALL.map(Class::name).into_iter().zip(values)
}

fn chunks(page: &mut Page, figures: &Figures) {
    let counters = &figures.counters;
    let help = "Chunk bytes that came from peers, verified or not.";
    page.family(Counter, "ares_chunk_received_bytes_total", help)
        .each("class", by_class(figures.tally.came_bytes));
    let help = "Chunk bytes that came from peers and were verified.";
    page.family(Counter, "ares_chunk_verified_bytes_total", help)
        .each("class", by_class(figures.fetched_bytes));
    let help = "Bytes of chunks that were wanted here and were here.";
    page.one(Counter, "ares_chunk_reused_bytes_total", help, figures.reused_bytes);
    let help = "Chunk bytes sent to peers.";
    page.one(Counter, "ares_chunk_served_bytes_total", help, counters.served_bytes);
    let help = "Chunks that came from peers and were verified.";
    page.one(Counter, "ares_chunks_verified_total", help, counters.fetched_chunks);
    let help = "Chunks of peers that were not what their name says.";
    page.one(Counter, "ares_chunks_bad_total", help, counters.bad_chunks);
    let help = "Chunks that were fetched because peers asked this edge for them.";
    page.one(Counter, "ares_chunks_pulled_total", help, counters.pulled_chunks);
    let help = "Chunks that peers asked this edge for and that it could not, or may not, fetch.";
    page.one(Counter, "ares_pulls_refused_total", help, counters.refused_pulls);
}

fn asks(page: &mut Page, figures: &Figures) {
    let tally = &figures.tally;
    let help = "Chunks asked of peers, each time.";
    page.family(Counter, "ares_asks_total", help)
        .each("class", by_class(tally.asks));
    let help = "Asks for a chunk that was asked of another source already and had not come.";
    page.one(Counter, "ares_hedges_total", help, tally.hedges);
    let help = "Hedges that brought their chunk first.";
    page.one(Counter, "ares_hedges_won_total", help, tally.hedge_wins);
    let help = "Bytes that had come of asks when another one brought their chunk or took their place.";
    page.one(Counter, "ares_hedge_wasted_bytes_total", help, tally.wasted_bytes);
}

fn wants(page: &mut Page, figures: &Figures) {
    let help = "Wants of chunks that have not ended.";
    page.family(Gauge, "ares_wants_outstanding", help)
        .each("class", by_class(figures.outstanding.map(|of_class| of_class.wants)));
    let help = "How long the chunk that is wanted longest has been, in seconds; 0 where none is.";
    page.family(Gauge, "ares_want_oldest_seconds", help).each(
        "class",
        by_class(figures.outstanding.map(|of_class| of_class.oldest.as_secs_f64())),
    );
    let help = "Wants that ended without their chunk; `deadline` is one that did not come in time.";
    page.family(Counter, "ares_wants_failed_total", help)
        .each("cause", FetchError::CAUSES.into_iter().zip(figures.failed_wants));
}

fn peers(page: &mut Page, figures: &Figures, around: &Around<'_>) {
    let counters = &figures.counters;
    page.one(Gauge, "ares_peers_connected", "Peers that there is a path to.", figures.peers);
    let help = "Peers that are not spoken to any more, for wrong bytes or a breach of the protocol.";
    page.one(Gauge, "ares_peers_dropped", help, figures.dropped_peers);
    let help = "Connections of others that were not let in.";
    page.one(Counter, "ares_connections_refused_total", help, counters.refused_connections);
    let refused = [
        ("key", counters.refused_keys),
        ("role", counters.refused_roles),
        ("release", counters.refused_releases),
        ("handshake", counters.failed_handshakes),
        ("command", around.refused_commands),
    ];
    let help = "What others were refused: a key that is not let in, a fetch that its role has not, a release that is for others, a connection that came to no key, a command of a user who may give none.";
    page.family(Counter, "ares_refused_total", help).each("cause", refused);
    let help = "Idle connections of others that were closed for newcomers.";
    page.one(Counter, "ares_connections_evicted_total", help, counters.evicted_connections);
}

fn paths(page: &mut Page, figures: &Figures) {
    let events = &figures.path_events;
    page.family(Gauge, "ares_paths", "Open paths to peers.")
        .each("state", PathState::ALL.map(PathState::name).into_iter().zip(figures.paths));
    let help = "Paths opened.";
    page.one(Counter, "ares_paths_opened_total", help, events.opened);
    let help = "Open paths that ended.";
    page.family(Counter, "ares_paths_lost_total", help)
        .each("cause", Loss::ALL.map(Loss::name).into_iter().zip(events.lost));
    let help = "Times that a path answered no pings any more.";
    page.one(Counter, "ares_path_suspicions_total", help, events.suspected);
    let help = "Times that such a path was heard again.";
    page.one(Counter, "ares_path_recoveries_total", help, events.recovered);
    let help = "Times that what a path owed was asked of others: it was silent, it was stalled by its peer, or it was lost.";
    page.family(Counter, "ares_path_switches_total", help).each(
        "cause",
        SwitchCause::ALL
            .map(SwitchCause::name)
            .into_iter()
            .zip(figures.tally.switches),
    );
    let help = "From a switch to the first byte of what was owed, from another source, in seconds.";
    page.histogram("ares_path_switch_first_byte_seconds", help, &figures.tally.first_bytes);
    let interfaces = || figures.interfaces.iter().map(|(name, traffic)| (name.as_str(), traffic));
    let help = "UDP payload that came, about a second late.";
    page.family(Counter, "ares_udp_received_bytes_total", help)
        .each("interface", interfaces().map(|(name, traffic)| (name, traffic.rx_bytes)));
    let help = "UDP payload that went out, about a second late.";
    page.family(Counter, "ares_udp_sent_bytes_total", help)
        .each("interface", interfaces().map(|(name, traffic)| (name, traffic.tx_bytes)));
    let zones = || ["own", "other"].into_iter().zip(&figures.zones);
    let help = "Of that, what came from peers of the own zone and of others.";
    page.family(Counter, "ares_zone_received_bytes_total", help)
        .each("zone", zones().map(|(zone, traffic)| (zone, traffic.rx_bytes)));
    let help = "And what went to them.";
    page.family(Counter, "ares_zone_sent_bytes_total", help)
        .each("zone", zones().map(|(zone, traffic)| (zone, traffic.tx_bytes)));
}

fn store(page: &mut Page, figures: &Figures, around: &Around<'_>) {
    let store = &around.store;
    page.one(Gauge, "ares_store_chunks", "Chunks held.", store.chunks);
    let help = "Their bytes, in files of the store and in place in those of publishers.";
    page.family(Gauge, "ares_store_bytes", help)
        .each("place", [("own", store.own_bytes), ("in-place", store.in_place_bytes)]);
    let help = "Bytes of the store's journal.";
    page.one(Gauge, "ares_store_journal_bytes", help, store.journal_bytes);
    if let Some([free, all]) = around.disk {
        let help = "Free bytes of the store's filesystem.";
        page.one(Gauge, "ares_store_filesystem_free_bytes", help, free);
        let help = "Bytes of the store's filesystem.";
        page.one(Gauge, "ares_store_filesystem_size_bytes", help, all);
    }
    let help = "Bytes in files of the store, where chunks that are there twice count twice: what the quota bounds.";
    page.one(Gauge, "ares_store_quota_used_bytes", help, store.quota_used_bytes);
    let help = "Bytes that they may be at most.";
    page.one(Gauge, "ares_store_quota_bytes", help, around.quota_bytes);
    let help = "Bytes that were taken away to make room.";
    page.one(Counter, "ares_store_evicted_bytes_total", help, store.evicted_bytes);
    let help = "1 while no more chunks are taken, since there is no room; else 0.";
    let is_stopped = u8::from(store.intake_stopped.is_some());
    page.one(Gauge, "ares_store_intake_stopped", help, is_stopped);
    let help = "Held chunks that were found bad.";
    page.one(Counter, "ares_store_bad_chunks_total", help, store.bad_chunks);
    let help = "Files of publishers that changed or vanished.";
    page.one(Counter, "ares_store_gone_files_total", help, store.gone_objects);
    let releases = [("complete", figures.complete_releases), ("partial", figures.partial_releases)];
    page.family(Gauge, "ares_releases", "Releases that something is held of.")
        .each("state", releases);
    let pinned = |stage: Stage| around.pins.iter().filter(|pin| **pin == stage).count();
    page.family(Gauge, "ares_pins", "Releases to be kept whole.")
        .each("state", Stage::ALL.map(|stage| (stage.name(), pinned(stage))));
}

fn fuse(page: &mut Page, around: &Around<'_>) {
    let fuse = around.fuse;
    page.one(Gauge, "ares_mounts", "Mounts.", around.mounts);
    let help = "Requests of the kernel to mounts.";
    page.family(Counter, "ares_fuse_requests_total", help)
        .each("operation", Op::ALL.map(|op| (op.name(), fuse.requests(op))));
    let help = "Those of them that were answered with EIO.";
    page.family(Counter, "ares_fuse_errors_total", help)
        .each("operation", Op::ALL.map(|op| (op.name(), fuse.unreadable(op))));
    let help = "Bytes of files given to the kernel.";
    page.one(Counter, "ares_fuse_read_bytes_total", help, fuse.read_bytes());
    let help = "How long requests of the kernel took, failed ones too, in seconds; an open: until the kernel has the file to read by itself.";
    let took = Op::TIMED.map(|op| (op.name(), fuse.took(op)));
    page.histograms("ares_fuse_request_seconds", help, "operation", took);
    let help = "How long the request of the kernel has waited that has waited longest, in seconds; 0 where none does.";
    page.one(
        Gauge,
        "ares_fuse_oldest_request_seconds",
        help,
        around.longest_wait.as_secs_f64(),
    );
}

#[cfg(test)]
mod tests;
