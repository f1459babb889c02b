//! A listener on loopback, and clients that know how to behave and others that do not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as StdStream;
use std::sync::mpsc;
use std::time::Instant;

use super::*;

/// Longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn serve(handler: impl Fn(&Parts, &Cancel) -> Result<Response<Reply>, Failure> + Send + Sync + 'static) -> Server {
    Server::start(([127, 0, 0, 1], 0).into(), Arc::new(handler)).expect("a free port")
}

/// Answers with the path; panics at `/panic`.
fn echo() -> Server {
    serve(|parts, _| {
        assert_ne!(parts.uri.path(), "/panic", "asked for");
        Ok(Reply::text(StatusCode::OK, parts.uri.path()))
    })
}

fn connect(server: &Server) -> StdStream {
    let stream = StdStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends these bytes, and reads until the server closes.
fn send(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // It may close before it has read all.
    let _ = stream.write_all(bytes);
    read_all(stream)
}

fn read_all(mut stream: StdStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // What was not read of ours when it closed.
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8(answer).expect("text")
}

fn request(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: a\r\nconnection: close\r\n\r\n").into_bytes()
}

#[test]
fn what_is_no_get_and_no_head_is_refused_whatever_it_is() {
    let server = echo();
    let check = |bytes: &[u8], status: &str, end: &str| {
        let answer = send(&server, bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
        assert!(answer.ends_with(end), "{shown}: {answer}");
    };
    check(&request("GET /a?b HTTP/1.1"), "200", "\r\n\r\n/a");
    check(&request("GET /../../etc/passwd HTTP/1.1"), "200", "/../../etc/passwd");
    check(&request("HEAD /abc HTTP/1.1"), "200", "\r\n\r\n");
    assert!(send(&server, &request("HEAD /abc HTTP/1.1")).contains("content-length: 4\r\n"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "XYZZY"] {
        let target = if method == "CONNECT" { "a:1" } else { "/a" };
        let answer = send(&server, &request(&format!("{method} {target} HTTP/1.1")));
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"),
            "{method}: {answer}"
        );
    }
    check(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n", "400", "");
    check(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "400", "");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    check(many.as_bytes(), "431", "");
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(2 * HEAD_BYTES_MAX));
    check(long.as_bytes(), "431", "");
    let answer = send(&server, &request("GET /panic HTTP/1.1"));
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
}

#[test]
fn requests_may_follow_each_other_on_one_connection() {
    let server = echo();
    let mut both = b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
    both.extend(request("GET /two HTTP/1.1"));
    let answer = send(&server, &both);
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    assert!(answer.contains("/one") && answer.ends_with("/two"), "{answer}");
}

/// A client that sends a head byte by byte, so that something always comes, and others that say nothing.
#[test]
fn who_does_not_come_to_the_point_is_cut_off_and_disturbs_nobody() {
    let server = echo();
    let silent = connect(&server);
    let mut slow = connect(&server);
    slow.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let begin = Instant::now();
    let cut_off = loop {
        if slow.write_all(b"a").is_err() {
            break true;
        }
        if begin.elapsed() > PATIENCE {
            break false;
        }
        assert!(send(&server, &request("GET /a HTTP/1.1")).ends_with("/a"));
        // The pause is what is tried here: a client that is slow on purpose.
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(cut_off, "it may go on for ever");
    let took = begin.elapsed();
    assert!(took >= HEAD_TIME_MAX, "it was cut off after {took:?}");
    assert_eq!(read_all(silent), "");
}

#[test]
fn connections_are_bounded_and_who_comes_in_vain_is_told() {
    let server = echo();
    let mut held: Vec<StdStream> = (0..CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    let answer = read_all(connect(&server));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    held.pop();
    let begin = Instant::now();
    while !send(&server, &request("GET /a HTTP/1.1")).ends_with("/a") {
        assert!(begin.elapsed() < PATIENCE, "a place that was left stays taken");
    }
}

#[test]
fn it_stops_though_an_answer_is_awaited_and_connections_rest() {
    let (asked, is_asked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (asked, released) = (std::sync::Mutex::new(asked), std::sync::Mutex::new(released));
    let mut server = serve(move |_, _| {
        let asked = asked.lock().expect("no panic");
        asked.send(()).expect("the test waits");
        drop(asked);
        // Ends when the test does.
        let _ = released.lock().expect("no panic").recv();
        Ok(Reply::text(StatusCode::OK, ""))
    });
    let _resting = connect(&server);
    let mut waiting = connect(&server);
    waiting.write_all(&request("GET / HTTP/1.1")).expect("it is taken");
    is_asked.recv_timeout(PATIENCE).expect("it is asked");
    let begin = Instant::now();
    server.stop();
    assert!(begin.elapsed() < GOODBYE_MAX + PATIENCE / 2, "{:?}", begin.elapsed());
    assert_eq!(read_all(waiting), "");
    drop(release);
    let error = StdStream::connect(server.address()).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = echo();
    let again = Server::start(
        taken.address(),
        Arc::new(|_: &Parts, _: &Cancel| Ok(Reply::text(StatusCode::OK, ""))),
    );
    let failure = again.err().expect("it is taken");
    assert_eq!(failure.kind, Kind::Network);
    assert!(failure.message.contains(&taken.address().to_string()), "{}", failure.message);
}
