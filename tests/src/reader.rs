//! An honest peer that only reads: it proves a key, says hello, asks for chunks, and believes what hashes to what it asked. Light enough
//! that thousands of them fit into a process; keeps nothing.

use ares_core::chunk::{ChunkId, ChunkRef, LEN_UNKNOWN, ReleaseId, VerifiedChunk};
use ares_core::manifest::{Root, Walk, WalkItem, WalkStep};
use ares_core::time::Instant;
use ares_core::wire::{AnswerEvent, AnswerReader, Ask, AskItem, Exchange, ExchangeLimits, Frame, Hello, PROTOCOL_VERSION};
use quinn::{Connection, RecvStream, SendStream};

/// Why a reader got nothing.
pub type Over = Box<dyn std::error::Error + Send + Sync>;

/// Manifest nodes a reader asks for at a time.
const NODES_AHEAD: usize = 8;

/// One connection to a server.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    /// The conversation: a peer that ends it breaks the protocol.
    _control: (SendStream, RecvStream),
}

impl Reader {
    /// Says hello on a connection just opened; returns once the server's first words are here, so it has let the reader in.
    pub async fn greet(connection: Connection) -> Result<Self, Over> {
        let (mut out, mut heard) = connection.open_bi().await?;
        out.write_all(&hello("reader", None)).await?;
        heard.read_chunk(usize::MAX, true).await?.ok_or("the server said nothing")?;
        Ok(Self {
            connection,
            _control: (out, heard),
        })
    }

    /// Its connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// One chunk, verified.
    pub async fn chunk(&self, id: ChunkId, len: u32) -> Result<VerifiedChunk, Over> {
        let ask = Ask::new(vec![AskItem { id, len, from: 0 }]);
        let (mut out, mut answer) = self.connection.open_bi().await?;
        out.write_all(&ask.encode()).await?;
        out.finish()?;
        let mut reader = AnswerReader::new(&ask);
        while let Some(piece) = answer.read_chunk(usize::MAX, true).await? {
            reader.on_bytes(&piece.bytes)?;
        }
        reader.on_fin()?;
        while let Some(event) = reader.poll() {
            match event {
                AnswerEvent::Progress { .. } => {}
                AnswerEvent::Chunk { bytes, .. } => return Ok(VerifiedChunk::verify(id, bytes)?),
                refusal => return Err(format!("the server refused chunk {id:?}: {refusal:?}").into()),
            }
        }
        Err("an answer without an item".into())
    }

    /// The chunks of all files of a release that have chunks of their own, in order.
    pub async fn chunks_of(&self, release: ReleaseId) -> Result<Vec<ChunkRef>, Over> {
        let root = Root::parse(&self.chunk(release.0, LEN_UNKNOWN).await?)?;
        let mut walk = Walk::new(&root, NODES_AHEAD);
        let mut chunks = Vec::new();
        loop {
            match walk.poll()? {
                WalkStep::Node(node) => walk.on_node(self.chunk(node.id, node.len).await?),
                WalkStep::Item(WalkItem::Chunk { chunk, .. }) => chunks.push(chunk),
                WalkStep::Item(_) => {}
                WalkStep::Wait => return Err("a walk that waits for what it never asked for".into()),
                WalkStep::Done => return Ok(chunks),
            }
        }
    }
}

/// The first bytes of a control stream: a hello, and a frame right behind it.
pub(crate) fn hello(agent: &str, then: Option<Frame>) -> Vec<u8> {
    let hello = Hello {
        version: PROTOCOL_VERSION,
        features: 0,
        agent: agent.to_owned(),
        nonce: 7,
        ports: Vec::new(),
        zone: String::new(),
    };
    let mut exchange = Exchange::new(Instant::ZERO, ExchangeLimits::default(), hello);
    if let Some(frame) = &then {
        exchange.send(frame);
    }
    exchange.take_output(usize::MAX).to_vec()
}
