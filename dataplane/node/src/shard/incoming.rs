//! Connections that others open: whether a shard begins them and how, and which it ends when keys may something else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ares_core::admission::{Access, Begin, TurnedAway};
use ares_core::peer::{PathId, SocketId};
use quinn_proto::{Incoming, ServerConfig};

use super::conn::Conn;
use super::telling;
use super::{Shard, Submit};
use crate::counters::add;
use crate::mailbox::CloseReason;
use crate::quic;
use crate::tls::TlsError;

/// Handshakes of unproven addresses at once above which newcomers must first prove theirs (RFC 9000 section 8.1.2).
const HANDSHAKES_BEFORE_RETRY: usize = 64;

impl<S: Submit> Shard<S> {
    pub(super) fn on_incoming(&mut self, now: Instant, id: SocketId, incoming: Incoming) {
        self.scratch.clear();
        let remote = incoming.remote_address();
        self.make_room(now);
        let verdict = self.admission.check(remote.ip());
        if verdict.is_err() || self.stopping.is_some() {
            return self.refuse(id, incoming, verdict.err());
        }
        let is_proven = incoming.remote_address_validated();
        let mut begin = self.admission.begin(self.parts.clock.at(now), remote.ip(), is_proven);
        if self.admission.unproven() >= HANDSHAKES_BEFORE_RETRY && !is_proven {
            begin = Begin::Proof;
        }
        match begin {
            Begin::Handshake => {}
            Begin::Proof => {
                if let Ok(retry) = self.endpoint.retry(incoming, &mut self.scratch) {
                    self.respond(id, &retry);
                }
                return;
            }
            Begin::Refusal => return self.refuse(id, incoming, Some(TurnedAway::Rate)),
        }
        let server = match self.server_config(id, incoming.local_ip(), remote) {
            Ok(server) => server,
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                return self.endpoint.ignore(incoming);
            }
        };
        match self.endpoint.accept(incoming, now, &mut self.scratch, Some(server)) {
            Ok((handle, quic)) => {
                let path = self.parts.path_ids.next();
                self.admission.on_accepted(self.parts.clock.at(now), path, remote.ip());
                self.insert(now, path, id, handle, quic, None);
            }
            Err(error) => {
                telling::on_failed_handshake(&self.parts, remote, &error.cause.to_string());
                if let Some(response) = error.response {
                    self.respond(id, &response);
                }
            }
        }
    }

    /// `why`: `None` where this node is about to end.
    fn refuse(&mut self, id: SocketId, incoming: Incoming, why: Option<TurnedAway>) {
        if let Some(why) = why {
            add(&self.parts.totals.refused_connections, 1);
            tracing::debug!(remote = %incoming.remote_address(), %why, "a connection was not let in");
        }
        let refusal = self.endpoint.refuse(incoming, &mut self.scratch);
        self.respond(id, &refusal);
    }

    /// Closes an idle connection where others will soon find no place.
    fn make_room(&mut self, now: Instant) {
        let used = |path| {
            let conn = self.by_path.get(&path).and_then(|handle| self.conns.get(handle));
            conn.map_or(ares_core::time::Instant::ZERO, |conn| conn.used_at(self.parts.clock.at(now)))
        };
        let Some(idle) = self.admission.make_room(self.parts.clock.at(now), used) else {
            return;
        };
        add(&self.parts.totals.evicted_connections, 1);
        self.close(now, idle, &CloseReason::Idle);
    }

    fn server_config(&mut self, id: SocketId, local: Option<IpAddr>, remote: SocketAddr) -> Result<Arc<ServerConfig>, TlsError> {
        let mtu = (self.parts.routes.link_mtu)(local, remote);
        let configs = &mut self.sockets[usize::from(id.0)].server;
        if let Some(config) = configs.get(&mtu) {
            return Ok(config.clone());
        }
        let mut config = ServerConfig::with_crypto(Arc::new(self.parts.tls.server()?));
        config.transport_config(quic::transport_config(
            mtu,
            quic::receive_window(false, None),
            &self.congestion,
        ));
        // A path is one 4-tuple: a peer that moves opens another.
        config.migration(false);
        Ok(configs.entry(mtu).or_insert(Arc::new(config)).clone())
    }

    /// Keys may something else now.
    pub(super) fn on_access(&mut self, now: Instant, access: Access) {
        let stranger = |conn: &Conn| conn.peer().is_some_and(|peer| access.role_of(&peer).is_none());
        let strangers: Vec<PathId> = self
            .conns
            .values()
            .filter(|conn| stranger(conn))
            .map(|conn| conn.path)
            .collect();
        self.admission.set_access(access);
        let why = CloseReason::Misbehaved {
            code: ares_core::wire::CloseCode::Dropped,
            why: TurnedAway::Key.to_string(),
        };
        strangers.into_iter().for_each(|path| self.close(now, path, &why));
    }
}
