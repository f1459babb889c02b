//! One key that opens many connections to a server and asks nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use quinn::Endpoint;

use super::Over;
use super::keys::Keys;

/// Longest all handshakes together may take.
const GATHER_MAX: Duration = Duration::from_secs(60);

/// A crowd; disperses when dropped.
#[derive(Debug)]
pub struct Crowd {
    closed: Arc<Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Opens `count` connections from `ip`, one after the other; returns when each handshake is done.
    ///
    /// # Panics
    /// Where the server lets a handshake fail.
    pub fn gather(ip: IpAddr, server: SocketAddr, count: usize) -> Self {
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
                let gathered = gather(ip, server, count, &reasons).await;
                ready.send(gathered.map(drop)).expect("the starter waits");
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

async fn gather(ip: IpAddr, server: SocketAddr, count: usize, closed: &Arc<Mutex<Vec<String>>>) -> Result<(), Over> {
    let keys = Keys::from_seed([200; 32]);
    let endpoint = Endpoint::client(SocketAddr::new(ip, 0))?;
    for _ in 0..count {
        let connection = endpoint.connect_with(keys.client(), server, "ares")?.await?;
        let closed = closed.clone();
        tokio::spawn(async move {
            let why = connection.closed().await.to_string();
            closed.lock().expect("nobody panics with it").push(why);
        });
    }
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
    }
}
