//! Asks a daemon over HTTP, by hand: no library stands between the judge and the bytes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::Node;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Status line and header fields.
    pub head: String,
    /// What follows them.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body as text.
    ///
    /// # Panics
    /// Where it is none.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("text")
    }

    /// A header field, by its name in small letters.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(known, value)| (known == name).then_some(value))
    }
}

/// Where the daemon of a machine says that it answers HTTP; `None` where none runs.
///
/// # Panics
/// Where it answers none.
pub fn address(node: &Node) -> Option<SocketAddr> {
    let outcome = node.run(node.ares(["status", "--json"]));
    let status = outcome.status.success().then(|| outcome.json())?;
    let said = status["http"].as_str().unwrap_or_else(|| panic!("no HTTP: {status}"));
    Some(said.parse().expect("an address"))
}

/// `GET target` of the daemon at `address` of this machine.
///
/// # Panics
/// Where there is no answer.
pub fn get(node: &Node, address: SocketAddr, target: &str) -> Answer {
    ask(node, address, "GET", target, &[])
}

/// As `get`, with another method and these header fields.
///
/// # Panics
/// Where there is no answer.
pub fn ask(node: &Node, address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut stream = begin(node, address, method, target, fields);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text").to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head,
        body: answer.split_off(end + 4),
    }
}

/// Asks, and leaves it to the caller to take the answer.
///
/// # Panics
/// Where nobody listens.
pub fn begin(node: &Node, address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)]) -> TcpStream {
    let mut stream = node.inside(|| TcpStream::connect(address)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    stream
}

/// The metrics of the daemon at `address` of this machine: value by series, as written.
///
/// # Panics
/// Where it gives none.
pub fn metrics(node: &Node, address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = get(node, address, "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let samples = answer.text().lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The sum over the series of a family.
///
/// # Panics
/// Where there are none.
pub fn total(metrics: &BTreeMap<String, f64>, family: &str) -> f64 {
    let of_family = |series: &str| {
        series
            .strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
    };
    let values: Vec<f64> = metrics
        .iter()
        .filter(|(series, _)| of_family(series))
        .map(|(_, value)| *value)
        .collect();
    assert!(!values.is_empty(), "no {family} among {:?}", metrics.keys());
    values.iter().sum()
}
