//! What a daemon answers over HTTP, by path: its metrics, whether it lives, whether it serves, and where that is wanted, a page of what is going
//! on, and releases. Changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ares_node::Stopping;
use ares_node::figures::Figures;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::Reply;
use super::gateway::{self, Gateway};
use crate::cancel::Cancel;
use crate::daemon::{Role, Shared};
use crate::error::Failure;
use crate::jobs;
use crate::metrics;
use crate::render::blind;

/// The node is looked at no more often than this, whoever asks.
const LOOK_AGE_MAX: Duration = Duration::from_millis(100);

/// Prometheus' text format.
const EXPOSITION: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The page loads nothing from anywhere, and asks this listener alone.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// See the module.
pub(crate) struct Site {
    daemon: Arc<Shared>,
    /// Where that is wanted.
    gateway: Option<Gateway>,
    /// Held while the node is looked at, so that it is by one at a time.
    look: Mutex<Option<(Instant, Result<Figures, Stopping>)>>,
    /// The same of the page's figures.
    shown: Mutex<Option<(Instant, String)>>,
}

impl Site {
    /// Of this daemon.
    pub(crate) fn new(daemon: Arc<Shared>) -> Self {
        let gateway = daemon.config.http_gateway.then(|| Gateway::new(Arc::clone(&daemon)));
        Self {
            daemon,
            gateway,
            look: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// Answers a GET. Waits for the node where it is asked about it, a few seconds at most, and for what is read of a release.
    pub(crate) fn answer(&self, request: &Parts, cancel: &Cancel) -> Result<Response<Reply>, Failure> {
        Ok(match (request.uri.path(), &self.gateway) {
            ("/metrics", _) => self.metrics(),
            ("/healthz", _) => judged(self.look().map(drop).map_err(|e| e.to_string())),
            ("/readyz", _) => judged(self.ready()),
            ("/", _) if self.daemon.config.http_status => page(),
            ("/status.json", _) if self.daemon.config.http_status => self.status()?,
            (path, Some(gateway)) if path.starts_with(gateway::PREFIX) => return gateway.answer(request, cancel),
            _ => Reply::text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
        })
    }

    /// What the page shows.
    fn status(&self) -> Result<Response<Reply>, Failure> {
        // What a panic left behind is a look like any other.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |(at, _): &(Instant, String)| at.elapsed() < LOOK_AGE_MAX;
        if shown.as_ref().is_none_or(|shown| !is_fresh(shown)) {
            let mut status = jobs::status::whole(&self.daemon)?;
            blind(&mut status);
            *shown = Some((Instant::now(), status.to_string()));
        }
        let text = shown.as_ref().map_or(String::new(), |(_, text)| text.clone());
        let mut response = Reply::text(StatusCode::OK, text);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        Ok(response)
    }

    fn metrics(&self) -> Response<Reply> {
        match self.look() {
            Ok(figures) => {
                let mut response = Reply::text(StatusCode::OK, metrics::page(&self.daemon, &figures));
                response.headers_mut().insert(CONTENT_TYPE, EXPOSITION);
                response
            }
            Err(stopping) => judged(Err(stopping.to_string())),
        }
    }

    /// Whether it does what it is there for, or why not.
    fn ready(&self) -> Result<(), String> {
        self.look().map_err(|e| e.to_string())?;
        match self.daemon.role {
            Role::Mount if self.daemon.mounts.count() == 0 => Err("nothing is mounted yet".to_owned()),
            Role::Serve | Role::Mount | Role::Passing | Role::Discarding => Ok(()),
        }
    }

    fn look(&self) -> Result<Figures, Stopping> {
        // What a panic left behind is a look like any other.
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, figures)) = &*look
            && at.elapsed() < LOOK_AGE_MAX
        {
            return figures.clone();
        }
        let figures = self.daemon.handle.figures();
        *look = Some((Instant::now(), figures.clone()));
        figures
    }
}

fn page() -> Response<Reply> {
    let mut response = Reply::text(StatusCode::OK, include_str!("page.html"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// 200, or 503 with the reason.
fn judged(verdict: Result<(), String>) -> Response<Reply> {
    match verdict {
        Ok(()) => Reply::text(StatusCode::OK, "ok\n"),
        Err(why) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
