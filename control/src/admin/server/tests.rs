//! Over a real socket: replies arrive in order, bad lines are answered, a client that leaves cancels its job, a stop is said.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use super::*;
use crate::admin::client::Client;
use crate::admin::codec::REQUEST_BYTES_MAX;
use crate::admin::proto::{Raw, WireLink};

fn cat() -> Request {
    let link = WireLink {
        link: String::new(),
        inside: Raw::default(),
    };
    Request::Cat { link }
}

/// Answers `cat` with data, `ls` by waiting for its cancellation (which it reports), and the rest with an error.
fn handler(cancelled: Sender<()>) -> Handler {
    let cancelled = Mutex::new(cancelled);
    Arc::new(move |request, caller, sink, cancel| match request {
        _ if caller != Caller::own() => Err(Failure::new(Kind::Failed, "another caller")),
        Request::Cat { .. } => {
            for n in 0..200u8 {
                let data = Bytes::from(vec![n; 3000]);
                sink.event(Event::Data { data }).map_err(|_| Failure::interrupted())?;
            }
            Ok(Outcome::Sent { bytes: 600_000 })
        }
        Request::Ls { .. } => {
            let _ = sink.event(Event::Note { text: "waiting".into() });
            assert!(cancel.wait(Duration::from_secs(30)), "nobody cancelled");
            let _ = cancelled.lock().unwrap().send(());
            Err(Failure::interrupted())
        }
        _ => Err(Failure::new(Kind::NotFound, "no such thing")),
    })
}

fn start() -> (tempfile::TempDir, Server, Receiver<()>) {
    let dir = tempfile::tempdir().unwrap();
    let (tx, rx) = channel();
    let server = Server::start(dir.path(), handler(tx), Default::default()).unwrap();
    (dir, server, rx)
}

#[derive(Default)]
struct Collect(Mutex<Vec<u8>>);

impl Sink for Collect {
    fn event(&self, event: Event) -> Result<(), Gone> {
        if let Event::Data { data } = event {
            self.0.lock().unwrap().extend_from_slice(&data);
        }
        Ok(())
    }
}

#[test]
fn data_arrives_whole_and_in_order_and_a_connection_takes_more_requests() {
    let (dir, _server, _) = start();
    let mut client = Client::connect(dir.path()).unwrap().unwrap();
    for _ in 0..2 {
        let sink = Collect::default();
        let outcome = client.run(&cat(), &sink, &Cancel::new());
        assert_eq!(outcome.ok(), Some(Outcome::Sent { bytes: 600_000 }));
        let expect: Vec<u8> = (0..200u8).flat_map(|n| vec![n; 3000]).collect();
        assert!(*sink.0.lock().unwrap() == expect);
    }
    let refused = client.run(&Request::Status, &Collect::default(), &Cancel::new());
    assert_eq!(
        refused.map_err(Failure::from),
        Err(Failure::new(Kind::NotFound, "no such thing"))
    );
}

#[test]
fn a_bad_line_is_answered_with_an_error() {
    let (dir, _server, _) = start();
    let check = |bytes: &[u8], expect: &str| {
        let mut stream = socket::connect(dir.path()).unwrap().unwrap();
        stream.write_all(bytes).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(line.contains(expect), "{line}");
    };
    check(b"GET / HTTP/1.1\r\n", "not of this protocol");
    check(b"{\"v\":99}\n", "protocol version 99");
    check(&vec![b'x'; REQUEST_BYTES_MAX + 1], "longer than");
}

#[test]
fn a_client_that_leaves_cancels_its_job() {
    let (dir, _server, cancelled) = start();
    let request = Request::Ls {
        link: WireLink {
            link: String::new(),
            inside: Raw::default(),
        },
    };
    let mut stream = socket::connect(dir.path()).unwrap().unwrap();
    stream.write_all(&crate::admin::codec::encode_request(&request)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains("waiting"), "{line}");
    // The reader and with it the stream are dropped here.
    cancelled
        .recv_timeout(Duration::from_secs(10))
        .expect("cancelled within ten seconds");
}

#[test]
fn a_stop_is_said_to_those_who_wait() {
    let (dir, mut server, cancelled) = start();
    let mut stream = socket::connect(dir.path()).unwrap().unwrap();
    let request = Request::Ls {
        link: WireLink {
            link: String::new(),
            inside: Raw::default(),
        },
    };
    stream.write_all(&crate::admin::codec::encode_request(&request)).unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().contains("waiting"));
    server.stop();
    assert!(lines.next().unwrap().unwrap().contains("shutting down"));
    cancelled.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(lines.next().is_none(), "closed");
}
