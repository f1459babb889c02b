//! A peer that proves a key, speaks our protocol and then misbehaves in one chosen way. It owns no content: what it answers rightly it
//! fetches from an honest server, so that it can go wrong anywhere in a transfer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ares_core::link::Link;
use ares_core::peer::PeerAt;
use ares_core::peer::PeerId;
use ares_core::wire::{AnswerHead, Ask, AskReader, ClaimState, Frame};
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};

pub use self::crowd::Crowd;
use crate::keys::Keys;
use crate::reader::{Over, hello};
use crate::rng::Rng;

mod crowd;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// One bit of a chunk is another.
    WrongByte,
    /// Right lengths, random bytes, from the first ask on.
    Noise,
    /// It announces a byte more than was asked, and sends it.
    WrongLength,
    /// It announces 4 GiB.
    HugeLength,
    /// Right answers and then more bytes.
    Trailing,
    /// Half an answer, and the end of the stream.
    EndsEarly,
    /// Half an answer, and nothing more, ever.
    Stalls,
    /// The connection lives, asks are never answered.
    Silent,
    /// An answer that this protocol does not have.
    UnknownStatus,
    /// Every ask's stream is reset.
    Resets,
    /// It claims to hold all and has nothing.
    NotHeld,
    /// It is always busy.
    Busy,
    /// An answer without end.
    Endless,
    /// Control frames without end.
    FrameFlood,
    /// A control frame longer than any may be.
    HugeFrame,
    /// Random bytes as its control stream.
    ControlNoise,
    /// Streams of its own with random bytes, as many as it may open.
    StreamFlood,
    /// It closes the connection when it is asked.
    Closes,
}

/// All of them.
pub const MISDEEDS: [Misdeed; 18] = [
    Misdeed::WrongByte,
    Misdeed::Noise,
    Misdeed::WrongLength,
    Misdeed::HugeLength,
    Misdeed::Trailing,
    Misdeed::EndsEarly,
    Misdeed::Stalls,
    Misdeed::Silent,
    Misdeed::UnknownStatus,
    Misdeed::Resets,
    Misdeed::NotHeld,
    Misdeed::Busy,
    Misdeed::Endless,
    Misdeed::FrameFlood,
    Misdeed::HugeFrame,
    Misdeed::ControlNoise,
    Misdeed::StreamFlood,
    Misdeed::Closes,
];

/// Asks that are answered rightly first, where the misdeed is one of answers: the manifest's root comes through, so that the victim is
/// in the middle of a transfer.
const HONEST_ASKS: u64 = 2;

/// A running hostile peer; ends when dropped.
#[derive(Debug)]
pub struct Hostile {
    /// Its key.
    pub peer: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<AtomicU64>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hostile {
    /// Starts one at `address` that gets what it answers rightly from the first peer of `honest`.
    ///
    /// # Panics
    /// Where the address is taken.
    pub fn start(address: SocketAddr, misdeed: Misdeed, honest: &Link) -> Self {
        let keys = Keys::from_seed([misdeed as u8 + 1; 32]);
        let peer = keys.peer();
        let asked = Arc::new(AtomicU64::new(0));
        let scene = Scene {
            misdeed,
            honest: honest.clone(),
            asked: asked.clone(),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let endpoint = keys.endpoint(address);
                ready.send(()).expect("the starter waits");
                tokio::select! {
                    () = scene.serve(&keys, &endpoint) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready
            .recv_timeout(Duration::from_secs(10))
            .expect("the hostile peer listens");
        Self {
            peer,
            address,
            asked,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// How many asks it has had: a test in which nobody asked it proves nothing.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Itself in a link.
    pub fn hint(&self) -> PeerAt {
        PeerAt {
            peer: self.peer,
            addrs: vec![self.address],
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself, by a panic that the test will see from its effects.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone, Debug)]
struct Scene {
    misdeed: Misdeed,
    honest: Link,
    asked: Arc<AtomicU64>,
}

impl Scene {
    async fn serve(&self, keys: &Keys, endpoint: &Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let (scene, keys, endpoint) = (self.clone(), keys.clone(), endpoint.clone());
            tokio::spawn(async move {
                if let Ok(victim) = incoming.await {
                    let _ = scene.converse(&keys, &endpoint, &victim).await;
                }
            });
        }
    }

    async fn converse(&self, keys: &Keys, endpoint: &Endpoint, victim: &Connection) -> Result<(), Over> {
        let honest = self.honest.peers.first().ok_or("a link with a peer")?;
        let dial = endpoint.connect_with(keys.client(), honest.addrs[0], "ares")?;
        let source = dial.await?;
        // An honest server may want to hear a hello before it answers.
        let (mut send, _heard) = source.open_bi().await?;
        send.write_all(&hello("hostile", None)).await?;
        let (control_out, control_in) = victim.accept_bi().await?;
        tokio::spawn(self.clone().control(control_out, control_in));
        if self.misdeed == Misdeed::StreamFlood {
            tokio::spawn(flood_streams(victim.clone()));
        }
        loop {
            let (answer, ask) = victim.accept_bi().await?;
            let (scene, victim, source) = (self.clone(), victim.clone(), source.clone());
            tokio::spawn(async move {
                let _ = scene.answer(&victim, &source, answer, ask).await;
            });
        }
    }

    async fn control(self, mut out: SendStream, mut heard: RecvStream) -> Result<(), Over> {
        let greeting = hello(
            "hostile",
            Some(Frame::Claim {
                release: self.honest.release,
                state: ClaimState::Complete,
            }),
        );
        let mut rng = Rng::new(1);
        match self.misdeed {
            Misdeed::ControlNoise => out.write_all(&rng.bytes(100_000)).await?,
            Misdeed::HugeFrame => {
                out.write_all(&greeting).await?;
                // An 8-byte varint: 2^40 bytes follow. They do, until the victim hangs up.
                out.write_all(&[0xc0, 0, 1, 0, 0, 0, 0, 0]).await?;
                loop {
                    out.write_all(&rng.bytes(1 << 16)).await?;
                }
            }
            Misdeed::FrameFlood => {
                out.write_all(&greeting).await?;
                // Length 1, type 40: unknown, so it must be skipped; each costs next to nothing to send.
                let frames = [1, 40].repeat(1 << 15);
                loop {
                    out.write_all(&frames).await?;
                }
            }
            _ => out.write_all(&greeting).await?,
        }
        // The stream stays open as long as the victim's side does.
        let mut buffer = [0; 4096];
        while heard.read(&mut buffer).await?.is_some() {}
        Ok(())
    }

    async fn answer(
        &self,
        victim: &Connection,
        source: &Connection,
        mut out: SendStream,
        mut heard: RecvStream,
    ) -> Result<(), Over> {
        let asked = heard.read_to_end(1 << 16).await?;
        let ask = AskReader::new().on_bytes(&asked)?.ok_or("a whole ask")?;
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let honest = fetch(source, &asked).await?;
        if number < HONEST_ASKS && self.misdeed != Misdeed::Noise {
            out.write_all(&honest).await?;
            out.finish()?;
            return Ok(());
        }
        self.misbehave(victim, &ask, honest, &mut out).await?;
        // What is not finished stays open until the connection ends.
        victim.closed().await;
        Ok(())
    }

    async fn misbehave(&self, victim: &Connection, ask: &Ask, mut honest: Vec<u8>, out: &mut SendStream) -> Result<(), Over> {
        let mut rng = Rng::new(honest.len() as u64);
        let (half, last) = (honest.len() / 2, honest.len() - 1);
        let wanted = ask.items()[0].wanted_bytes();
        match self.misdeed {
            Misdeed::WrongByte => honest[last] ^= 0x10,
            Misdeed::Noise => {
                // The length of an answer to an ask of unknown length is the answerer's to choose.
                let bodies = ask.items().iter().map(|item| item.wanted_bytes().max(100));
                honest = bodies
                    .flat_map(|len| [AnswerHead::Bytes(len).encode().to_vec(), rng.bytes(len as usize)].concat())
                    .collect();
            }
            Misdeed::WrongLength => {
                honest = [
                    AnswerHead::Bytes(wanted + 1).encode().to_vec(),
                    rng.bytes(wanted as usize + 1),
                ]
                .concat()
            }
            Misdeed::HugeLength => honest = [AnswerHead::Bytes(u32::MAX).encode().to_vec(), rng.bytes(1 << 20)].concat(),
            Misdeed::Trailing => honest.extend(rng.bytes(100_000)),
            Misdeed::EndsEarly => honest.truncate(half),
            Misdeed::UnknownStatus => honest = vec![0x2a],
            Misdeed::NotHeld => honest = AnswerHead::NotHeld.encode().repeat(ask.items().len()),
            Misdeed::Busy => honest = AnswerHead::Busy.encode().repeat(ask.items().len()),
            Misdeed::Stalls => {
                out.write_all(&honest[..half]).await?;
                return Ok(());
            }
            Misdeed::Silent => return Ok(()),
            Misdeed::Resets => {
                out.reset(VarInt::from_u32(1))?;
                return Ok(());
            }
            Misdeed::Endless => loop {
                out.write_all(&rng.bytes(1 << 16)).await?;
            },
            Misdeed::Closes => {
                victim.close(VarInt::from_u32(77), b"because");
                return Ok(());
            }
            // Wrong elsewhere; their answers are right.
            Misdeed::FrameFlood | Misdeed::HugeFrame | Misdeed::ControlNoise | Misdeed::StreamFlood => {}
        }
        out.write_all(&honest).await?;
        out.finish()?;
        Ok(())
    }
}

/// Hands an ask on, byte for byte, and brings back the answer.
async fn fetch(source: &Connection, ask: &[u8]) -> Result<Vec<u8>, Over> {
    const ANSWER_BYTES_MAX: usize = 65 << 20;
    let (mut send, mut answer) = source.open_bi().await?;
    send.write_all(ask).await?;
    send.finish()?;
    Ok(answer.read_to_end(ANSWER_BYTES_MAX).await?)
}

/// Opens as many streams as the victim allows, each with bytes that are no ask, without end.
async fn flood_streams(victim: Connection) -> Result<(), Over> {
    let mut rng = Rng::new(5);
    loop {
        let (mut send, _) = victim.open_bi().await?;
        send.write_all(&rng.bytes(5_000)).await?;
    }
}
