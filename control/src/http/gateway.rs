//! The HTTP gateway: the files and directories of releases that this node has or was told to serve, by path, with bytes that were verified
//! like any others'. What a stranger names and nobody here has heard of is not looked for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::link::Link;
use ares_core::manifest::{Content, DirRef, EntryKind, File};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LOCATION,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::range::{self, Asked};
use super::{Reply, listing};
use crate::cancel::Cancel;
use crate::config::{Config, Seed};
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::stream::{Part, stream};
use crate::tree::{self, Chunks as _};

/// What stands before the release in a path.
pub(super) const PREFIX: &str = "/r/";

/// Bytes asked for ahead of all readers together, and of one: what those cost who ask for much and take little. A reader has three chunks
/// besides: the one that comes next whatever the share, and two on their way to it.
const AHEAD_BYTES: u64 = 64 << 20;
const AHEAD_BYTES_OF_ONE: u64 = 4 << 20;

/// Bodies of files at a time: a connection each, and some are left for who asks how the daemon fares.
const BODIES_MAX: u64 = 60;

const _: () = assert!(BODIES_MAX < super::CONNECTIONS_MAX as u64);

/// What a release's hash names never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Files of a release must not act for whoever looks at them.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'");

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    release: ReleaseId,
    /// Names joined by `/`.
    inside: Vec<u8>,
    /// It ends with `/`.
    is_dir: bool,
}

/// See the module.
pub(super) struct Gateway {
    daemon: Arc<Shared>,
    /// Bodies of files that are being made.
    bodies: Arc<AtomicU64>,
}

impl Gateway {
    pub(super) fn new(daemon: Arc<Shared>) -> Self {
        let bodies = Arc::default();
        Self { daemon, bodies }
    }

    /// Answers a GET or a HEAD below `PREFIX`. Waits for manifest nodes and packs; raising `cancel` ends that.
    pub(super) fn answer(&self, request: &Parts, cancel: &Cancel) -> Result<Response<Reply>, Failure> {
        let known = target(request.uri.path()).and_then(|target| Some((self.link(target.release)?, target)));
        let Some((link, target)) = known else {
            let message =
                "no such release is known here: /r/RELEASE/PATH, RELEASE in 64 hex digits as `ares content --json` lists them";
            return Err(Failure::new(Kind::NotFound, message));
        };
        self.daemon.hint(&link);
        let found = tree::find(&self.daemon.chunks(target.release, cancel), target.release, &target.inside)?;
        if self.daemon.handle.store().release_state(target.release).is_none() {
            self.daemon.adopt(&link, &found.root)?;
        }
        match (found.kind, target.is_dir) {
            (EntryKind::File(file), false) => self.file(request, &target, file, cancel),
            (EntryKind::Dir(dir), true) => Ok(self.directory(request, &target, dir, cancel)),
            // So that the names in a listing are below it.
            (EntryKind::Dir(_), false) => {
                let mut moved = Reply::text(StatusCode::MOVED_PERMANENTLY, "a directory: its path ends with /\n");
                set(&mut moved, LOCATION, &format!("{}/", request.uri.path()));
                Ok(moved)
            }
            (EntryKind::File(_), true) => Err(Failure::new(Kind::NotFound, "a file: its path does not end with /")),
            (EntryKind::Symlink(to), _) => {
                let message = format!("a symlink to {}: name what it leads to", tree::show(&to));
                Err(Failure::new(Kind::NotFound, message))
            }
        }
    }

    /// Who may have a release, if it is one that may be read here: this node takes part in it, or was told to serve it.
    fn link(&self, release: ReleaseId) -> Option<Link> {
        let Config { edge, pins, .. } = &*self.daemon.config;
        let told = edge.releases.iter().chain(pins).find(|link| link.release == release);
        let store = self.daemon.handle.store();
        let is_known = told.is_some() || store.release_state(release).is_some() || store.is_pinned(release);
        // Nobody proves a key here.
        let is_for_some = self.daemon.read_config().access.releases.contains_key(&release);
        (is_known && !is_for_some).then(|| Link {
            release,
            name: told.map_or(String::new(), |link| link.name.clone()),
            peers: told
                .into_iter()
                .flat_map(|link| link.peers.clone())
                .chain(edge.upstreams.iter().map(Seed::hint))
                .collect(),
            inside: Vec::new(),
        })
    }

    fn file(&self, request: &Parts, target: &Target, file: File, cancel: &Cancel) -> Result<Response<Reply>, Failure> {
        // What is small is one chunk or none: it is taken whole, and its tag is the hash of its bytes.
        let small = match &file.content {
            Content::Inline(bytes) => Some(bytes.clone()),
            Content::Packed { pack, offset } => {
                let pack = self.daemon.chunks(target.release, cancel).node(*pack)?;
                // The manifest's codec has checked that the file lies inside its pack.
                Some(pack.bytes().slice(*offset as usize..*offset as usize + file.bytes as usize))
            }
            Content::Chunks(_) | Content::List(_) => None,
        };
        let hash = match (file.b3, &small, file.blob_id()) {
            (Some(hash), ..) => ChunkId::from_bytes(hash),
            (None, Some(bytes), _) => ChunkId::of(bytes),
            (None, None, Some(blob)) => blob,
            (None, None, None) => return Err(Failure::new(Kind::Content, "a file without content")),
        };
        let bytes = file.bytes;
        let tag = format!("\"{hash}\"");
        let (status, range) = match range::asked(&request.method, &request.headers, &tag, bytes) {
            Asked::Whole => (StatusCode::OK, 0..bytes),
            Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Asked::Beyond => {
                let mut beyond = Reply::text(StatusCode::RANGE_NOT_SATISFIABLE, format!("it has {bytes} bytes\n"));
                set(&mut beyond, CONTENT_RANGE, &format!("bytes */{bytes}"));
                return Ok(beyond);
            }
            Asked::Known => return Ok(tagged(StatusCode::NOT_MODIFIED, Reply::Empty, &tag)),
            Asked::Other => return Ok(tagged(StatusCode::PRECONDITION_FAILED, Reply::Empty, &tag)),
        };
        let body = match small {
            _ if request.method == Method::HEAD || range.is_empty() => Reply::Empty,
            Some(small) => Reply::Whole(small.slice(range.start as usize..range.end as usize)),
            None if self.bodies.load(Relaxed) >= BODIES_MAX => {
                let crowded = format!("{BODIES_MAX} files are read already: try again later\n");
                return Ok(Reply::text(StatusCode::SERVICE_UNAVAILABLE, crowded));
            }
            None => self.body(target.release, file, range.clone(), cancel),
        };
        let mut response = tagged(status, body, &tag);
        if status == StatusCode::PARTIAL_CONTENT {
            let within = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
            set(&mut response, CONTENT_RANGE, &within);
        }
        set(&mut response, CONTENT_LENGTH, &(range.end - range.start).to_string());
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_TYPE, kind_of(&target.inside));
        Ok(response)
    }

    fn body(&self, release: ReleaseId, file: File, range: Range<u64>, cancel: &Cancel) -> Reply {
        let (daemon, stop) = (Arc::clone(&self.daemon), cancel.clone());
        let bodies = Arc::clone(&self.bodies);
        Reply::Made(Box::new(move |give| {
            let part = Part {
                release,
                file: &file,
                range,
            };
            let body = Body::new(&bodies);
            stream(&daemon, &part, &|| body.ahead_bytes(), &stop, give)
        }))
    }

    fn directory(&self, request: &Parts, target: &Target, dir: DirRef, cancel: &Cancel) -> Response<Reply> {
        let tag = format!("\"{}\"", dir.node.id);
        let body = match range::asked(&request.method, &request.headers, &tag, 0) {
            Asked::Known => return tagged(StatusCode::NOT_MODIFIED, Reply::Empty, &tag),
            Asked::Other => return tagged(StatusCode::PRECONDITION_FAILED, Reply::Empty, &tag),
            // Listings are made as they are sent, so there are no parts of one, and no length.
            _ if request.method == Method::HEAD => Reply::Empty,
            _ => {
                let (daemon, stop, release) = (Arc::clone(&self.daemon), cancel.clone(), target.release);
                let title = tree::show(&target.inside);
                Reply::Made(Box::new(move |give| {
                    listing::write(&daemon.chunks(release, &stop), dir, &title, give)
                }))
            }
        };
        let mut response = tagged(StatusCode::OK, body, &tag);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// One body of a file that is being made.
struct Body<'a>(&'a AtomicU64);

impl<'a> Body<'a> {
    fn new(bodies: &'a AtomicU64) -> Self {
        bodies.fetch_add(1, Relaxed);
        Self(bodies)
    }

    /// Its share of what all of them may ask for ahead.
    fn ahead_bytes(&self) -> u64 {
        (AHEAD_BYTES / self.0.load(Relaxed)).min(AHEAD_BYTES_OF_ONE)
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What of the path is a name of ours; `None` where it is none that a release can have.
fn target(path: &str) -> Option<Target> {
    let rest = path.strip_prefix(PREFIX)?;
    let (release, names) = rest
        .split_once('/')
        .map_or((rest, None), |(release, names)| (release, Some(names)));
    let release = ReleaseId(ChunkId::from_hex(release)?);
    let mut names: Vec<&str> = names.map_or(Vec::new(), |names| names.split('/').collect());
    let is_dir = names.pop_if(|last| last.is_empty()).is_some();
    let names: Option<Vec<Vec<u8>>> = names.into_iter().map(name).collect();
    Some(Target {
        release,
        inside: names?.join(&b'/'),
        is_dir,
    })
}

/// One name, with its `%XX` (RFC 3986 section 2.1) decoded.
fn name(encoded: &str) -> Option<Vec<u8>> {
    let mut bytes = encoded.bytes();
    let mut name = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        name.push(if byte == b'%' {
            (digit()? << 4 | digit()?) as u8
        } else {
            byte
        });
    }
    let is_one = !matches!(name.as_slice(), b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0));
    is_one.then_some(name)
}

/// What a browser may show in place; anything else is bytes, and nothing is a program.
fn kind_of(path: &[u8]) -> HeaderValue {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let ending = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name).to_ascii_lowercase();
    HeaderValue::from_static(match ending.as_slice() {
        b"txt" | b"md" | b"log" | b"toml" | b"yaml" | b"yml" | b"html" | b"htm" | b"css" | b"js" | b"sh" => {
            "text/plain; charset=utf-8"
        }
        b"json" => "application/json",
        b"pdf" => "application/pdf",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"mp4" | b"m4v" => "video/mp4",
        b"webm" => "video/webm",
        b"mp3" => "audio/mpeg",
        _ => "application/octet-stream",
    })
}

fn tagged(status: StatusCode, body: Reply, tag: &str) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, ETAG, tag);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, FOR_EVER);
    headers.insert(CONTENT_SECURITY_POLICY, SANDBOX);
    response
}

/// `value` has no characters that a header field cannot have.
fn set(response: &mut Response<Reply>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
