//! HTTP on the control side: answers, the report and the health of the daemon as JSON, and
//! outcomes from whoever speaks HTTP, rspamd for example.
//!
//! ```text
//! GET  /os/ADDRESS[/PORT[/SERVER-ADDRESS/SERVER-PORT]]
//! GET  /report[?since=7d][&by=version][&family=Windows]
//! GET  /unknown
//! GET  /health
//! POST /outcome
//! ```
//!
//! There is no password: who may ask is decided by the socket's mode, or by being on this machine.
//! `guard` keeps browsers out, whose pages could ask for others.

mod guard;
mod route;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mail::http::BODY_MAX;
use mail::statistics::render;
use mail::store::Counts;
use mail::{http as body, json};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::guard::Guard;
pub use self::route::{ReportQuery, Route, Wrong};

use super::outcomes::DATABASE;
use super::shared::Shared;
use super::storage::Storage;
use super::stream::{Seat, Stream, Talk, Way};
use super::watch::keep;
use super::{clock, fingerprints};

/// How long a client may take for the head of a request, and be silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// How long it may take for a body.
const BODY: Duration = Duration::from_secs(10);
/// How long a connection lives: one that does not read its answers goes with it.
const CONNECTION: Duration = Duration::from_mins(2);
/// Bytes that are held of what a client has sent and not been answered.
const HELD: usize = 16_384;
/// Answers that are read from the disk at the same time.
const READS: usize = 2;
/// How long one may wait for those before it.
const READ: Duration = Duration::from_secs(5);

/// What HTTP tells beside answers.
pub struct Facts {
    /// Where outcomes and unknown signatures are kept, if they are.
    pub directory: Option<PathBuf>,
    /// What the store holds now.
    pub counts: Box<dyn Fn() -> Counts + Send + Sync>,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut facts = f.debug_struct("Facts");
        facts
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

struct Site {
    guard: Guard,
    shared: Arc<Shared>,
    facts: Arc<Facts>,
    reads: Semaphore,
}

type Reply = (StatusCode, Value);

/// Talks HTTP with those whom `guard` lets in.
#[must_use]
pub fn talk(guard: Guard, shared: Arc<Shared>, facts: Arc<Facts>) -> Talk {
    let site = Arc::new(Site {
        guard,
        shared,
        facts,
        reads: Semaphore::new(READS),
    });
    Arc::new(move |stream, way, seat| Box::pin(converse(stream, way, seat, Arc::clone(&site))))
}

async fn converse(stream: Stream, way: Way, seat: Seat, site: Arc<Site>) -> io::Result<()> {
    let service = service_fn(|request| {
        seat.touch();
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(answer(request, way, &site).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HELD);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    timeout(CONNECTION, connection)
        .await?
        .map_err(io::Error::other)
}

async fn answer(request: Request<Incoming>, way: Way, site: &Site) -> Response<Full<Bytes>> {
    let (status, value) = match dispatch(request, way, site).await {
        Ok(reply) | Err(reply) => reply,
    };
    let mut response = Response::new(Full::from(json::line(&value) + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn dispatch(request: Request<Incoming>, way: Way, site: &Site) -> Result<Reply, Reply> {
    site.guard.admits(&request, way)?;
    let uri = request.uri();
    let route = Route::parse(request.method().as_str(), uri.path(), uri.query())?;
    match route {
        Route::Os(peer) => {
            let answer = site.shared.with_world(|world| world.look_up(&peer));
            Ok((StatusCode::OK, json::object(&peer, answer.as_ref())))
        }
        Route::Report(query) => report(query, site).await,
        Route::Unknown => unknown(site).await,
        Route::Health => Ok((StatusCode::OK, health(&(site.facts.counts)()))),
        Route::Outcome => outcome(request, site).await,
    }
}

fn health(counts: &Counts) -> Value {
    json!({
        "status": "ok",
        "hosts": counts.hosts,
        "connections": counts.connections,
        "hosts_evicted": counts.hosts_evicted,
        "connections_evicted": counts.connections_evicted,
        "syns": counts.syns,
        "syns_repeated": counts.repeated,
        "syn_acks": counts.syn_acks,
        "syn_acks_unasked": counts.unasked,
    })
}

async fn report(query: ReportQuery, site: &Site) -> Result<Reply, Reply> {
    let now = clock::now();
    let read = move |directory: &Path| {
        let storage = Storage::open_to_read(&directory.join(DATABASE));
        let tally = storage.and_then(|storage| storage.tally(query.since(now)));
        let tally = tally.map_err(|error| error.to_string())?;
        Ok(render::json(&tally.report(&query.grouping)))
    };
    from_disk(site, read).await
}

async fn unknown(site: &Site) -> Result<Reply, Reply> {
    let read = |directory: &Path| {
        let unknown = keep::unknown(directory)?;
        Ok(fingerprints::objects(&unknown).collect())
    };
    from_disk(site, read).await
}

/// What `read` finds in the state directory. Another thread reads: nobody else waits for the disk.
async fn from_disk(
    site: &Site,
    read: impl FnOnce(&Path) -> Result<Value, String> + Send + 'static,
) -> Result<Reply, Reply> {
    let unavailable = |why: &str| error(StatusCode::SERVICE_UNAVAILABLE, why);
    let Some(directory) = site.facts.directory.clone() else {
        return Err(unavailable("nothing is kept"));
    };
    let permit = timeout(READ, site.reads.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Err(unavailable("too much is asked for at the same time"));
    };
    let read = tokio::task::spawn_blocking(move || read(&directory));
    match read.await {
        Ok(Ok(value)) => Ok((StatusCode::OK, value)),
        Ok(Err(problem)) => Err(unavailable(&problem)),
        Err(problem) => Err(unavailable(&problem.to_string())),
    }
}

async fn outcome(request: Request<Incoming>, site: &Site) -> Result<Reply, Reply> {
    let body = Limited::new(request.into_body(), BODY_MAX).collect();
    let body = match timeout(BODY, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(problem)) => {
            return Err(error(StatusCode::PAYLOAD_TOO_LARGE, &problem.to_string()));
        }
        Err(_) => return Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    };
    let outcome = body::outcome(&body, clock::now());
    let outcome = outcome.map_err(|why| error(StatusCode::UNPROCESSABLE_ENTITY, &why))?;
    site.shared.with_world(|world| world.record(outcome));
    Ok((StatusCode::ACCEPTED, json!({"counted": true})))
}

fn error(status: StatusCode, why: &str) -> Reply {
    (status, json!({"error": why}))
}
