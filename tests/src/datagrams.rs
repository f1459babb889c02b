//! Hands datagrams of one client on to a server and back, and may change, keep or drop them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Ends when dropped.
#[derive(Debug)]
pub struct Between {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Between {
    /// At an address of `ip`. `inward` sees what the client sends, and may change it; `outward` says whether what the server sends gets through.
    ///
    /// # Panics
    /// Where there is no port.
    pub fn start(
        ip: IpAddr,
        server: SocketAddr,
        mut inward: impl FnMut(&mut [u8]) + Send + 'static,
        mut outward: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Self {
        let bind = || {
            let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).expect("a port");
            socket.set_read_timeout(Some(LOOK)).expect("a timeout can be set");
            Arc::new(socket)
        };
        let (front, back) = (bind(), bind());
        let address = front.local_addr().expect("a bound socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let client: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let to_server = {
            let (front, back, is_over, client) = (front.clone(), back.clone(), is_over.clone(), client.clone());
            move || {
                let mut buffer = [0; 1 << 16];
                while !is_over.load(Ordering::Relaxed) {
                    let Ok((len, from)) = front.recv_from(&mut buffer) else {
                        continue;
                    };
                    *client.lock().expect("nobody panics with it") = Some(from);
                    inward(&mut buffer[..len]);
                    // Lost, like any datagram.
                    let _ = back.send_to(&buffer[..len], server);
                }
            }
        };
        let to_client = {
            let is_over = is_over.clone();
            move || {
                let mut buffer = [0; 1 << 16];
                while !is_over.load(Ordering::Relaxed) {
                    let Ok((len, _)) = back.recv_from(&mut buffer) else { continue };
                    let to = *client.lock().expect("nobody panics with it");
                    if let (Some(to), true) = (to, outward(&buffer[..len])) {
                        let _ = front.send_to(&buffer[..len], to);
                    }
                }
            }
        };
        Self {
            address,
            is_over,
            threads: vec![thread::spawn(to_server), thread::spawn(to_client)],
        }
    }

    /// Where the client is to go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
