//! The HTTP gateway: the files and directories of releases that this node knows, by path, with bytes that were verified like any others'.
//! What a stranger names and nobody here has heard of is not looked for.

use std::sync::Arc;

use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::link::Link;
use ares_core::manifest::{Content, DirRef, EntryKind, File};
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LOCATION,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::range::{self, Asked};
use super::{Reply, listing};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::stream::{Part, stream};
use crate::tree::{self, Chunks as _};

/// What stands before the release in a path.
pub(super) const PREFIX: &str = "/r/";

/// Bytes asked for ahead of a reader. Each connection may have so much, and two pieces of a chunk, in memory.
const AHEAD_BYTES: u64 = 4 << 20;

/// What a release's hash names never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Files of a release must not act for whoever looks at them.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'");

/// Hands pieces of a body to whoever sends it; `Err` when nobody does any more.
pub(super) type Give<'a> = &'a mut dyn FnMut(Bytes) -> Result<(), Failure>;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    release: ReleaseId,
    /// Names joined by `/`.
    inside: Vec<u8>,
    /// It ends with `/`.
    is_dir: bool,
}

/// Answers a GET or a HEAD below `PREFIX`. Waits for manifest nodes and for the first chunk; raising `cancel` ends that.
pub(super) fn answer(daemon: &Arc<Shared>, request: &Parts, cancel: &Cancel) -> Response<Reply> {
    let Some(target) = target(request.uri.path()).filter(|target| daemon.handle.store().release_state(target.release).is_some())
    else {
        let help =
            "no such release is known here: /r/RELEASE/PATH, RELEASE in 64 hex digits as `ares content --json` lists them\n";
        return Reply::text(StatusCode::NOT_FOUND, help);
    };
    find(daemon, request, &target, cancel).unwrap_or_else(|failure| refusal(&failure))
}

fn find(daemon: &Arc<Shared>, request: &Parts, target: &Target, cancel: &Cancel) -> Result<Response<Reply>, Failure> {
    daemon.hint(&Link {
        release: target.release,
        name: String::new(),
        peers: Vec::new(),
        inside: Vec::new(),
    });
    let found = tree::find(&daemon.chunks(target.release, cancel), target.release, &target.inside)?;
    match (found.kind, target.is_dir) {
        (EntryKind::File(file), false) => file_answer(daemon, request, target, file, cancel),
        (EntryKind::Dir(dir), true) => Ok(dir_answer(daemon, request, target, dir, cancel)?),
        // So that the names in a listing are below it.
        (EntryKind::Dir(_), false) => {
            let mut moved = Reply::text(StatusCode::MOVED_PERMANENTLY, "a directory: its path ends with /\n");
            let path = HeaderValue::from_str(&format!("{}/", request.uri.path()));
            path.into_iter()
                .for_each(|path| drop(moved.headers_mut().insert(LOCATION, path)));
            Ok(moved)
        }
        (EntryKind::File(_), true) => Err(Failure::new(Kind::NotFound, "a file: its path does not end with /")),
        (EntryKind::Symlink(to), _) => {
            let message = format!("a symlink to {}: name what it leads to", tree::show(&to));
            Err(Failure::new(Kind::NotFound, message))
        }
    }
}

fn file_answer(
    daemon: &Arc<Shared>,
    request: &Parts,
    target: &Target,
    file: File,
    cancel: &Cancel,
) -> Result<Response<Reply>, Failure> {
    // What is small is one chunk or none: it is taken whole, and its tag is the hash of its bytes.
    let small = match &file.content {
        Content::Inline(bytes) => Some(bytes.clone()),
        Content::Packed { pack, offset } => {
            let pack = daemon.chunks(target.release, cancel).node(*pack)?;
            // The manifest's codec has checked that the file lies inside its pack.
            Some(pack.bytes().slice(*offset as usize..*offset as usize + file.bytes as usize))
        }
        Content::Chunks(_) | Content::List(_) => None,
    };
    let hash = match (&small, file.blob_id()) {
        (Some(bytes), _) => ChunkId::of(bytes),
        (None, Some(blob)) => blob,
        (None, None) => return Err(Failure::new(Kind::Content, "a file without content")),
    };
    let bytes = file.bytes;
    let tag = format!("\"{hash}\"");
    let (status, range) = match range::asked(&request.headers, &tag, bytes) {
        Asked::Whole => (StatusCode::OK, 0..bytes),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Beyond => {
            let mut beyond = Reply::text(StatusCode::RANGE_NOT_SATISFIABLE, format!("it has {bytes} bytes\n"));
            set(&mut beyond, CONTENT_RANGE, &format!("bytes */{bytes}"));
            return Ok(beyond);
        }
        Asked::Known => return Ok(tagged(empty(StatusCode::NOT_MODIFIED), &tag)),
        Asked::Other => return Ok(empty(StatusCode::PRECONDITION_FAILED)),
    };
    let body = match small {
        _ if request.method == Method::HEAD || range.is_empty() => Reply::Whole(None),
        Some(small) => Reply::Whole(Some(small.slice(range.start as usize..range.end as usize))),
        None => {
            let (daemon, stop) = (Arc::clone(daemon), cancel.clone());
            let (release, range) = (target.release, range.clone());
            let job = move |give: Give<'_>| {
                let part = Part {
                    release,
                    file: &file,
                    range,
                    ahead_bytes: AHEAD_BYTES,
                };
                stream(&daemon, &part, &stop, give)
            };
            streamed(job)?
        }
    };
    let mut response = tagged(Response::new(body), &tag);
    *response.status_mut() = status;
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

fn dir_answer(
    daemon: &Arc<Shared>,
    request: &Parts,
    target: &Target,
    dir: DirRef,
    cancel: &Cancel,
) -> Result<Response<Reply>, Failure> {
    let tag = format!("\"{}\"", dir.node.id);
    let body = match range::asked(&request.headers, &tag, 0) {
        Asked::Known => return Ok(tagged(empty(StatusCode::NOT_MODIFIED), &tag)),
        Asked::Other => return Ok(empty(StatusCode::PRECONDITION_FAILED)),
        // Listings are made as they are sent, so there are no parts of one.
        _ if request.method == Method::HEAD => Reply::Whole(None),
        _ => {
            let (daemon, stop, release) = (Arc::clone(daemon), cancel.clone(), target.release);
            let title = tree::show(&target.inside);
            streamed(move |give: Give<'_>| listing::write(&daemon.chunks(release, &stop), dir, &title, give))?
        }
    };
    let mut response = tagged(Response::new(body), &tag);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// A body that `job` makes piece by piece, on a thread of its own, as fast as the client takes them. Waits for the first piece, so that what
/// cannot be had at all is told by a status.
fn streamed(job: impl FnOnce(Give<'_>) -> Result<(), Failure> + Send + 'static) -> Result<Reply, Failure> {
    let (pieces, mut coming) = mpsc::channel(1);
    let make = move || {
        let mut give = |bytes| pieces.blocking_send(Ok(bytes)).map_err(|_| Failure::interrupted());
        if let Err(failure) = job(&mut give) {
            // Nobody there to hear it: the client has gone, and that is why it ended.
            drop(pieces.blocking_send(Err(failure)));
        }
    };
    Handle::current().spawn_blocking(make);
    match coming.blocking_recv() {
        Some(Ok(first)) => Ok(Reply::Stream {
            first: Some(first),
            rest: coming,
        }),
        Some(Err(failure)) => Err(failure),
        None => Err(Failure::new(Kind::Failed, "the answer's thread died in the daemon")),
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

fn tagged(mut response: Response<Reply>, tag: &str) -> Response<Reply> {
    set(&mut response, ETAG, tag);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, FOR_EVER);
    headers.insert(CONTENT_SECURITY_POLICY, SANDBOX);
    response
}

fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(None));
    *response.status_mut() = status;
    response
}

/// `value` is made of digits and the like.
fn set(response: &mut Response<Reply>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn refusal(failure: &Failure) -> Response<Reply> {
    let status = match failure.kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Network => StatusCode::GATEWAY_TIMEOUT,
        Kind::Content => StatusCode::BAD_GATEWAY,
        Kind::Interrupted | Kind::Disk => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Failed | Kind::Usage | Kind::Mount | Kind::InputChanged => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Reply::text(status, format!("{}\n", failure.message))
}
