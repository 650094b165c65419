//! The services of `mail.toml` on their sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mail::amavis::{self, Style};
use mail::milter::{MilterOptions, MilterSession};
use mail::p0f_api::P0fSession;
use mail::policy::PolicySession;
use mail::text::TextSession;
use tokio::net::UdpSocket;

use super::dnsbl::DnsList;
use super::http::{self, Facts, Guard};
use super::listen::{Bound, ListenError, bind, datagrams};
use super::reputation::Reputation;
use super::settings::{CLIENTS, Listen, MailSettings};
use super::shared::Shared;
use super::stream::{NewSession, by_sessions, serve};

/// Sockets that are open, and what is spoken on them.
#[derive(Debug, Default)]
pub struct Services {
    streams: Vec<Stream>,
    amavis: Option<(std::net::UdpSocket, Style)>,
    dnsbl: Option<DnsList>,
}

struct Stream {
    name: &'static str,
    bound: Bound,
    clients: usize,
    spoken: Spoken,
}

enum Spoken {
    Sessions(NewSession),
    Http(Guard),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl Services {
    /// Opens every socket that `settings` names.
    ///
    /// # Errors
    /// The first that cannot be opened; none is open then.
    pub fn open(settings: &MailSettings) -> Result<Self, ListenError> {
        let mut services = Self::default();
        if let Some(p0f) = &settings.p0f {
            let session: NewSession = Arc::new(|| Box::new(P0fSession::default()));
            services.add("p0f", &p0f.listen, session)?;
        }
        if let Some(text) = &settings.text {
            let session: NewSession = Arc::new(|| Box::new(TextSession::default()));
            services.add("text", &text.listen, session)?;
        }
        if let Some(policy) = &settings.policy {
            let session: NewSession = Arc::new(|| Box::new(PolicySession::default()));
            services.add("policy", &policy.listen, session)?;
        }
        if let Some(milter) = &settings.milter {
            let options = MilterOptions {
                outcomes: milter.outcomes,
            };
            let session: NewSession = Arc::new(move || Box::new(MilterSession::new(options)));
            services.add("milter", &milter.listen, session)?;
        }
        if let Some(http) = &settings.http {
            let guard = Guard::new(&http.hosts);
            services.add_spoken("http", &http.listen, Spoken::Http(guard))?;
        }
        if let Some(amavis) = &settings.amavis {
            services.amavis = Some((datagrams(amavis.address)?, amavis.style.into()));
        }
        services.dnsbl = settings.dnsbl.as_ref().map(DnsList::open).transpose()?;
        Ok(services)
    }

    fn add(
        &mut self,
        name: &'static str,
        listen: &Listen,
        session: NewSession,
    ) -> Result<(), ListenError> {
        self.add_spoken(name, listen, Spoken::Sessions(session))
    }

    fn add_spoken(
        &mut self,
        name: &'static str,
        listen: &Listen,
        spoken: Spoken,
    ) -> Result<(), ListenError> {
        self.streams.push(Stream {
            name,
            bound: bind(listen)?,
            clients: listen.clients.unwrap_or(CLIENTS),
            spoken,
        });
        Ok(())
    }

    /// Begins to answer, in tasks of the runtime that this runs in.
    pub fn start(self, shared: &Arc<Shared>, facts: &Arc<Facts>, reputation: &Reputation) {
        for stream in self.streams {
            let shared = Arc::clone(shared);
            let talk = match stream.spoken {
                Spoken::Sessions(session) => by_sessions(session, shared),
                Spoken::Http(guard) => http::talk(guard, shared, Arc::clone(facts)),
            };
            tokio::spawn(async move {
                told(stream.name, serve(stream.bound, stream.clients, talk).await);
            });
        }
        if let Some(dnsbl) = self.dnsbl {
            dnsbl.start(shared, reputation);
        }
        if let Some((socket, style)) = self.amavis {
            let shared = Arc::clone(shared);
            tokio::spawn(
                async move { told("amavis", answer_amavis(socket, style, &shared).await) },
            );
        }
    }
}

fn told(service: &str, served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, service, "a service has ended");
    }
}

async fn answer_amavis(
    socket: std::net::UdpSocket,
    style: Style,
    shared: &Shared,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    // One more byte than a question has: what is longer is seen to be so.
    let mut query = [0; amavis::QUERY_MAX + 1];
    loop {
        // An error is that of an answer which nobody waited for.
        if let Ok((length, source)) = socket.recv_from(&mut query).await {
            let query = query.get(..length).unwrap_or_default();
            answer(&socket, query, source, style, shared).await;
        }
    }
}

/// A client that is gone, or a full buffer, loses the answer: it waits for 50 ms only.
async fn answer(
    socket: &UdpSocket,
    query: &[u8],
    source: SocketAddr,
    style: Style,
    shared: &Shared,
) {
    let answer = shared.with_world(|world| amavis::respond(query, source, style, world));
    if let Some(answer) = answer {
        let _ = socket.send_to(&answer, source).await;
    }
}
