//! The stock QUIC baseline: what a careful programmer writes on `quinn` with tokio's sockets to move one file in verified chunks.
//! One stream per chunk, many at once, BLAKE3 of each checked, written where it belongs. Nothing of ours is in it.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{BenchError, Result, io};
use crate::peers::SERVER_NAME;

/// Bytes of a chunk; the last one may be shorter.
const CHUNK_BYTES: u64 = 256 << 10;

/// Chunks asked for at once: 8 MiB under way, several bandwidth-delay products of these links.
const IN_FLIGHT: usize = 32;

/// Windows of a connection, bytes: what is under way, twice.
const WINDOW_BYTES: u32 = 16 << 20;

/// Socket buffers, bytes: what Linux grants without privilege once `rmem_max` is raised; it takes less where that is lower.
const SOCKET_BYTES: usize = 4 << 20;

/// Largest UDP payload QUIC may probe for (RFC 9000 section 18.2).
const PAYLOAD_MAX: u16 = 65_527;

/// The first stream's index asks for the list: length of the file, then the hash of each chunk.
const LIST: u64 = u64::MAX;

/// Serves one file until killed.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Certificate, PEM.
    #[arg(long)]
    cert: PathBuf,
    /// Its key, PEM.
    #[arg(long)]
    key: PathBuf,
    /// MTU of the link, bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Address to bind.
    #[arg(long)]
    listen: SocketAddr,
    /// The file.
    file: PathBuf,
}

/// Fetches it.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The one certificate to accept, PEM.
    #[arg(long)]
    cert: PathBuf,
    /// MTU of the link, bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Address to dial.
    #[arg(long)]
    connect: SocketAddr,
    /// Where to write the file; without it every chunk is dropped once it is verified.
    dest: Option<PathBuf>,
}

fn quic(error: impl std::fmt::Display) -> BenchError {
    BenchError::Quic(error.to_string())
}

/// TLS 1.3 with AES-128-GCM, as the other baseline uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|s| s.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

pub(crate) fn transport(mtu: u16) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.stream_receive_window(VarInt::from_u32(2 * CHUNK_BYTES as u32));
    config.receive_window(VarInt::from_u32(WINDOW_BYTES));
    config.send_window(WINDOW_BYTES.into());
    config.max_concurrent_bidi_streams(VarInt::from_u32(4 * IN_FLIGHT as u32));
    let mut discovery = MtuDiscoveryConfig::default();
    // IPv4 and UDP headers: 28 bytes.
    discovery.upper_bound((mtu - 28).min(PAYLOAD_MAX));
    config.mtu_discovery_config(Some(discovery));
    Arc::new(config)
}

pub(crate) fn endpoint(address: SocketAddr, server: Option<ServerConfig>, mtu: u16) -> Result<Endpoint> {
    let socket = UdpSocket::bind(address).map_err(quic)?;
    for set in [
        rustix::net::sockopt::set_socket_recv_buffer_size,
        rustix::net::sockopt::set_socket_send_buffer_size,
    ] {
        set(&socket, SOCKET_BYTES).map_err(quic)?;
    }
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size((mtu - 28).min(PAYLOAD_MAX)).map_err(quic)?;
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).map_err(quic)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(quic)
}

pub(crate) fn serve(args: &Serve) -> Result<()> {
    let chain = vec![CertificateDer::from_pem_file(&args.cert).map_err(quic)?];
    let key = PrivateKeyDer::from_pem_file(&args.key).map_err(quic)?;
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(quic)?;
    let tls = tls.with_no_client_auth().with_single_cert(chain, key).map_err(quic)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(quic)?));
    config.transport_config(transport(args.mtu));

    let file = Arc::new(File::open(&args.file).map_err(io("cannot open", &args.file))?);
    let list = Arc::new(list_of(&file, &args.file)?);
    runtime()?.block_on(async {
        let endpoint = endpoint(args.listen, Some(config), args.mtu)?;
        println!("ready");
        while let Some(incoming) = endpoint.accept().await {
            let (file, list) = (file.clone(), list.clone());
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    answer_all(&connection, &file, &list).await;
                }
            });
        }
        Ok(())
    })
}

/// Length of the file and the hash of every chunk.
fn list_of(file: &File, path: &Path) -> Result<Vec<u8>> {
    let bytes = file.metadata().map_err(io("cannot look at", path))?.len();
    let mut list = bytes.to_le_bytes().to_vec();
    for index in 0..bytes.div_ceil(CHUNK_BYTES) {
        let chunk = read_chunk(file, index, bytes).map_err(io("cannot read", path))?;
        list.extend(blake3::hash(&chunk).as_bytes());
    }
    Ok(list)
}

fn read_chunk(file: &File, index: u64, bytes: u64) -> std::io::Result<Vec<u8>> {
    let offset = index * CHUNK_BYTES;
    let mut chunk = vec![0; bytes.saturating_sub(offset).min(CHUNK_BYTES) as usize];
    file.read_exact_at(&mut chunk, offset)?;
    Ok(chunk)
}

async fn answer_all(connection: &Connection, file: &Arc<File>, list: &Arc<Vec<u8>>) {
    while let Ok((mut send, mut ask)) = connection.accept_bi().await {
        let (file, list) = (file.clone(), list.clone());
        tokio::spawn(async move {
            let mut index = [0; 8];
            if ask.read_exact(&mut index).await.is_err() {
                return;
            }
            let answer = match u64::from_le_bytes(index) {
                LIST => list.to_vec(),
                // From the page cache in well under a millisecond: not worth another thread.
                index => read_chunk(&file, index, file.metadata().map_or(0, |m| m.len())).unwrap_or_default(),
            };
            // By reference: quinn copies slices, not `Bytes`. A reader that went away needs no answer.
            if send.write_chunk(answer.into()).await.is_ok() {
                let _ = send.finish();
            }
        });
    }
}

pub(crate) fn get(args: &Get) -> Result<()> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&args.cert).map_err(quic)?)
        .map_err(quic)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(quic)?;
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(quic)?));
    config.transport_config(transport(args.mtu));
    let create = |dest: &PathBuf| File::create(dest).map(Arc::new).map_err(io("cannot make", dest));
    let file = args.dest.as_ref().map(create).transpose()?;
    runtime()?.block_on(async {
        let endpoint = endpoint(SocketAddr::from(([0, 0, 0, 0], 0)), None, args.mtu)?;
        let connection = endpoint
            .connect_with(config, args.connect, SERVER_NAME)
            .map_err(quic)?
            .await
            .map_err(quic)?;
        fetch_all(&connection, file).await?;
        connection.close(VarInt::from_u32(0), b"");
        endpoint.wait_idle().await;
        Ok(())
    })
}

async fn fetch_all(connection: &Connection, file: Option<Arc<File>>) -> Result<()> {
    let list = ask(connection, LIST, usize::MAX).await?;
    let (bytes, hashes) = list.split_first_chunk::<8>().ok_or_else(|| quic("a list without a length"))?;
    let (bytes, count) = (u64::from_le_bytes(*bytes), hashes.len() / 32);
    if let Some(file) = &file {
        file.set_len(bytes).map_err(quic)?;
    }
    let (next, hashes) = (Arc::new(AtomicU64::new(0)), Arc::new(hashes.to_vec()));
    let workers = (0..IN_FLIGHT).map(|_| {
        let (connection, file, next, hashes) = (connection.clone(), file.clone(), next.clone(), hashes.clone());
        tokio::spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count as u64 {
                    return Ok(());
                }
                let chunk = ask(&connection, index, CHUNK_BYTES as usize).await?;
                let expected = &hashes[index as usize * 32..][..32];
                if blake3::hash(&chunk).as_bytes() != expected {
                    return Err(quic(format!("chunk {index} has the wrong bytes")));
                }
                if let Some(file) = &file {
                    file.write_all_at(&chunk, index * CHUNK_BYTES).map_err(quic)?;
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.map_err(quic)??;
    }
    Ok(())
}

async fn ask(connection: &Connection, index: u64, bytes_max: usize) -> Result<Vec<u8>> {
    let (mut send, mut answer) = connection.open_bi().await.map_err(quic)?;
    send.write_all(&index.to_le_bytes()).await.map_err(quic)?;
    send.finish().map_err(quic)?;
    answer.read_to_end(bytes_max).await.map_err(quic)
}
