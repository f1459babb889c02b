//! One key that opens many connections to a server, and either asks nothing or asks much and then acknowledges nothing of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ares_core::chunk::ReleaseId;
use ares_core::limits::ASK_CHUNKS_MAX;
use ares_core::wire::{Ask, AskItem};
use quinn::{Connection, Endpoint, TransportConfig, VarInt};

use crate::datagrams::Between;
use crate::keys::Keys;
use crate::reader::{Over, Reader};

/// Longest all handshakes together may take.
const GATHER_MAX: Duration = Duration::from_secs(60);

/// Streams of a greedy connection, each with as many chunks as an ask may name. Their asks fit the first flight of packets.
const GREEDY_ASKS: usize = 4;

/// A crowd; disperses when dropped.
#[derive(Debug)]
pub struct Crowd {
    closed: Arc<Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    relay: Option<Between>,
}

impl Crowd {
    /// Opens `count` connections from `ip`, one after the other; returns when each handshake is done.
    ///
    /// # Panics
    /// Where the server lets a handshake fail.
    pub fn gather(ip: IpAddr, server: SocketAddr, count: usize) -> Self {
        Self::start(ip, server, (count, KeysOf::One), None, None)
    }

    /// The same with a key each: so many peers.
    ///
    /// # Panics
    /// As `gather`.
    pub fn gather_peers(ip: IpAddr, server: SocketAddr, count: usize) -> Self {
        Self::start(ip, server, (count, KeysOf::Each), None, None)
    }

    /// As `gather`; then each connection asks for far more than it can be sent at once, of a release that is one small file, and hears
    /// nothing of what the server sends from then on.
    ///
    /// # Panics
    /// Where the server lets a handshake fail, or the release is another.
    pub fn gather_greedy(ip: IpAddr, server: SocketAddr, count: usize, release: ReleaseId) -> Self {
        let is_deaf = Arc::new(AtomicBool::new(false));
        let hears = {
            let is_deaf = is_deaf.clone();
            move |_: &[u8]| !is_deaf.load(Ordering::Relaxed)
        };
        let relay = Between::start(ip, server, |_| {}, hears);
        let (by_way_of, greed) = (relay.address(), Some((release, is_deaf)));
        Self::start(ip, by_way_of, (count, KeysOf::One), greed, Some(relay))
    }

    fn start(
        ip: IpAddr,
        server: SocketAddr,
        who: (usize, KeysOf),
        greed: Option<(ReleaseId, Arc<AtomicBool>)>,
        relay: Option<Between>,
    ) -> Self {
        let closed = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let reasons = closed.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let gathered = gather(ip, server, who, &reasons).await;
                let done = match (&gathered, greed) {
                    (Ok(crowd), Some((release, is_deaf))) => ask_much(crowd, release, &is_deaf).await,
                    (Ok(_), None) => Ok(()),
                    (Err(error), _) => Err(error.to_string().into()),
                };
                ready.send(done).expect("the starter waits");
                let _ = stopped.await;
            });
        });
        is_ready
            .recv_timeout(GATHER_MAX)
            .expect("the crowd gathers in time")
            .expect("a crowd is let in one by one, or told why not");
        Self {
            closed,
            stop: Some(stop),
            thread: Some(thread),
            relay,
        }
    }

    /// Why connections were closed, one line each.
    ///
    /// # Panics
    /// Where the crowd's thread has panicked.
    pub fn closed(&self) -> Vec<String> {
        self.closed.lock().expect("its thread lives").clone()
    }
}

/// Whose keys the connections of a crowd have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeysOf {
    One,
    Each,
}

async fn gather(
    ip: IpAddr,
    server: SocketAddr,
    (count, keys_of): (usize, KeysOf),
    closed: &Arc<Mutex<Vec<String>>>,
) -> Result<Vec<Connection>, Over> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::MAX)
        .receive_window(VarInt::MAX)
        .max_idle_timeout(None)
        .keep_alive_interval(Some(Duration::from_secs(1)));
    let transport = Arc::new(transport);
    let config_of = |n: usize| {
        let mut seed = [200; 32];
        if keys_of == KeysOf::Each {
            seed[..8].copy_from_slice(&n.to_le_bytes());
        }
        let mut config = Keys::from_seed(seed).client();
        config.transport_config(transport.clone());
        config
    };
    let endpoint = Endpoint::client(SocketAddr::new(ip, 0))?;
    let mut crowd = Vec::new();
    for n in 0..count {
        let connection = endpoint.connect_with(config_of(n), server, "ares")?.await?;
        let (closed, watched) = (closed.clone(), connection.clone());
        tokio::spawn(async move {
            let why = watched.closed().await.to_string();
            closed.lock().expect("nobody panics with it").push(why);
        });
        crowd.push(connection);
    }
    Ok(crowd)
}

async fn ask_much(crowd: &[Connection], release: ReleaseId, is_deaf: &AtomicBool) -> Result<(), Over> {
    let mut readers = Vec::new();
    for connection in crowd {
        readers.push(Reader::greet(connection.clone()).await?);
    }
    let chunks = readers.first().ok_or("a crowd")?.chunks_of(release).await?;
    let chunk = chunks.into_iter().max_by_key(|chunk| chunk.len).ok_or("a chunk")?;
    is_deaf.store(true, Ordering::Relaxed);
    let item = AskItem {
        id: chunk.id,
        len: chunk.len,
        from: 0,
    };
    let ask = Ask::new(vec![item; ASK_CHUNKS_MAX]).encode();
    for connection in crowd {
        for _ in 0..GREEDY_ASKS {
            let (mut out, answer) = connection.open_bi().await?;
            out.write_all(&ask).await?;
            out.finish()?;
            // Dropped, it would tell the server to stop.
            std::mem::forget(answer);
        }
    }
    // What is not finished stays open as long as its connection.
    std::mem::forget(readers);
    Ok(())
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself, by a panic that the test has seen.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        drop(self.relay.take());
    }
}
