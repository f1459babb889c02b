//! Readers of `ares serve`: each a connection with a key of its own, on stock `quinn`; several share a socket, as behind one NAT.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ares_core::chunk::ChunkRef;
use ares_core::link::Link;
use ares_tests::keys::Keys;
use ares_tests::reader::{Over, Reader};
use quinn::Endpoint;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{Idle, Tally};
use crate::quinn_peer::{endpoint, runtime, transport};
use crate::report::parse_size;

/// What to read, and from where.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// The release.
    link: Link,
    /// Addresses of the readers' machine: one takes an eighth of what a server lets in.
    #[arg(long, value_delimiter = ',', required = true)]
    from: Vec<IpAddr>,
    /// Bytes that each reader has asked for at any time; at least one chunk.
    #[arg(long, value_parser = parse_size)]
    window: u64,
    /// MTU of the cable, bytes.
    #[arg(long)]
    mtu: u16,
}

/// Readers that ask nothing.
pub(super) struct Silent {
    runtime: Runtime,
    link: Link,
    readers: Vec<Reader>,
}

/// Connects all readers, then lets them read the release round and round, each from a place of its own.
pub(super) fn start(source: &Source, tally: &Arc<Tally>) -> Result<Runtime, Over> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let readers = gather(source, tally.readers()).await?;
        let first = readers.first().ok_or("no readers")?;
        let chunks: Arc<[ChunkRef]> = first.chunks_of(source.link.release).await?.into();
        let bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        let chunk_bytes = bytes.checked_div(chunks.len() as u64).ok_or("a release without chunks")?;
        let asks = source.window.div_ceil(chunk_bytes);
        for (number, reader) in readers.into_iter().enumerate() {
            let reader = Arc::new(reader);
            let next = Arc::new(AtomicUsize::new(number * chunks.len() / tally.readers()));
            for _ in 0..asks {
                let (reader, chunks, next, tally) = (reader.clone(), chunks.clone(), next.clone(), tally.clone());
                tokio::spawn(async move {
                    loop {
                        let chunk = chunks[next.fetch_add(1, Ordering::Relaxed) % chunks.len()];
                        match reader.chunk(chunk.id, chunk.len).await {
                            Ok(_) => tally.add(number, chunk.len.into()),
                            Err(why) => return tally.fail(number, &why),
                        }
                    }
                });
            }
        }
        Ok::<_, Over>(())
    })?;
    Ok(runtime)
}

/// Opens so many connections, an equal part from each address and each address's one after the other.
async fn gather(source: &Source, count: usize) -> Result<Vec<Reader>, Over> {
    let server = source.link.peers.first().ok_or("the link names no peer")?;
    let server = *server.addrs.first().ok_or("the link names no address")?;
    let mut parts = JoinSet::new();
    for (part, ip) in source.from.iter().enumerate() {
        let endpoint = endpoint(SocketAddr::new(*ip, 0), None, source.mtu)?;
        let (numbers, mtu) = ((part..count).step_by(source.from.len()), source.mtu);
        parts.spawn(async move {
            let mut readers = Vec::new();
            for number in numbers {
                readers.push(dial(&endpoint, number, server, mtu).await?);
            }
            Ok::<_, Over>(readers)
        });
    }
    let mut readers = Vec::new();
    while let Some(part) = parts.join_next().await {
        readers.extend(part??);
    }
    Ok(readers)
}

async fn dial(endpoint: &Endpoint, number: usize, server: SocketAddr, mtu: u16) -> Result<Reader, Over> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let mut config = Keys::from_seed(seed).client();
    config.transport_config(transport(mtu));
    let connection = endpoint.connect_with(config, server, "ares")?.await?;
    Reader::greet(connection).await
}

impl Silent {
    pub(super) fn gather(source: &Source, count: usize) -> Result<Self, Over> {
        let runtime = runtime()?;
        let readers = runtime.block_on(gather(source, count))?;
        Ok(Self {
            runtime,
            link: source.link.clone(),
            readers,
        })
    }
}

impl Idle for Silent {
    fn open(&self) -> usize {
        let open = self
            .readers
            .iter()
            .filter(|reader| reader.connection().close_reason().is_none());
        open.count()
    }

    fn ask(&mut self) -> Result<u64, Over> {
        let reader = self.readers.get(self.readers.len() / 2).ok_or("no readers")?;
        self.runtime.block_on(async {
            let chunks = reader.chunks_of(self.link.release).await?;
            let chunk = chunks.first().ok_or("a release without chunks")?;
            let chunk = reader.chunk(chunk.id, chunk.len).await?;
            Ok(chunk.bytes().len() as u64)
        })
    }
}
