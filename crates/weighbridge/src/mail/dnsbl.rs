//! The DNS list on its sockets: UDP and TCP.

pub mod export;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mail::connection::Peer;
use mail::dnsbl::message::QUERY_MAX;
use mail::dnsbl::rate::RateLimit;
use mail::dnsbl::service::{Identity, Permission, Served, Transport, respond};
use mail::dnsbl::{Listings, Zone};
use mail::throttle::Explanation;
use mail::time::Timestamp;
use pf_engine::addr::Prefix;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::clock;
use super::listen::{ListenError, datagrams, stream};
use super::reputation::Reputation;
use super::settings::DnsblSettings;
use super::shared::Shared;

/// How long a connection may be silent or not read (RFC 7766, section 6.2.3: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Pause after the system has refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The list with its sockets open.
#[derive(Debug)]
pub(super) struct DnsList {
    udp: std::net::UdpSocket,
    tcp: TcpListener,
    clients: usize,
    rules: Rules,
    rates: Rates,
}

/// How much one network may ask. Who is sent to TCP has not asked there yet: what others have sent in its
/// name by UDP does not count there.
#[derive(Debug)]
struct Rates {
    udp: RateLimit,
    tcp: RateLimit,
}

/// What it answers to whom.
#[derive(Debug)]
struct Rules {
    identity: Identity,
    zone: Option<Zone>,
    information: Option<Zone>,
    allow: Vec<Prefix>,
    least_rejected: f64,
    ratio: f64,
}

impl DnsList {
    /// Opens both sockets.
    pub(super) fn open(settings: &DnsblSettings) -> Result<Self, ListenError> {
        let identity = Identity::new(&settings.name_server);
        let identity = identity.ok_or_else(|| ListenError::Io {
            place: settings.name_server.clone(),
            error: io::ErrorKind::InvalidInput.into(),
        })?;
        Ok(Self {
            udp: datagrams(settings.address)?,
            tcp: stream(settings.address)?,
            clients: settings.clients,
            rules: Rules {
                identity,
                zone: settings.zone.clone(),
                information: settings.information_zone.clone(),
                allow: settings.allow.clone(),
                least_rejected: settings.least_rejected,
                ratio: settings.ratio,
            },
            rates: Rates {
                udp: RateLimit::new(settings.per_second, settings.burst),
                tcp: RateLimit::new(settings.per_second, settings.burst),
            },
        })
    }

    /// Begins to answer, in tasks of the runtime that this runs in.
    pub(super) fn start(self, shared: &Arc<Shared>, reputation: &Reputation) {
        let desk = Arc::new(Desk {
            rules: self.rules,
            rates: Mutex::new(self.rates),
            limited: Tally::default(),
            without_seat: Tally::default(),
            shared: Arc::clone(shared),
            reputation: reputation.clone(),
        });
        let (udp, clients) = (self.udp, self.clients);
        let beside = Arc::clone(&desk);
        tokio::spawn(async move { told(answer_datagrams(udp, &beside).await) });
        tokio::spawn(async move { told(answer_connections(self.tcp, clients, desk).await) });
    }
}

fn told(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, "the DNS list has ended");
    }
}

/// Who answers.
struct Desk {
    rules: Rules,
    rates: Mutex<Rates>,
    /// Questions that came too fast.
    limited: Tally,
    /// Connections that were too many.
    without_seat: Tally,
    shared: Arc<Shared>,
    reputation: Reputation,
}

impl Desk {
    fn answer(&self, message: &[u8], source: IpAddr, transport: Transport) -> Option<Vec<u8>> {
        let now = clock::now();
        let permission = self.permission(source, transport, now);
        // Every other one gets nothing at all: in a flood most senders are forged. A connection ends.
        if permission == Permission::TooOften {
            let count = self
                .limited
                .count("questions to the DNS list came too fast");
            if transport == Transport::Tcp || !count.is_multiple_of(2) {
                return None;
            }
        }
        let rules = &self.rules;
        let mut blocking = Blocking { desk: self, now };
        let mut information = Information { desk: self, now };
        let mut zones = Vec::new();
        if let Some(zone) = &rules.zone {
            let listings = &mut blocking;
            zones.push(Served { zone, listings });
        }
        if let Some(zone) = &rules.information {
            let listings = &mut information;
            zones.push(Served { zone, listings });
        }
        respond(
            message,
            transport,
            permission,
            &rules.identity,
            &mut zones,
            now,
        )
    }

    fn may_ask(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.rules.allow.iter().any(|allow| allow.contains(source))
    }

    fn permission(&self, source: IpAddr, transport: Transport, now: Timestamp) -> Permission {
        if !self.may_ask(source) {
            return Permission::Denied;
        }
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = match transport {
            Transport::Udp => &mut rates.udp,
            Transport::Tcp => &mut rates.tcp,
        };
        if rate.allows(source, now) {
            Permission::Granted
        } else {
            Permission::TooOften
        }
    }
}

/// Counts what has reached a limit.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

impl Tally {
    /// One more, which is told at 1, 2, 4, 8 and so on.
    fn count(&self, what: &str) -> u64 {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!("{count} {what}");
        }
        count
    }
}

struct Blocking<'a> {
    desk: &'a Desk,
    now: Timestamp,
}

impl Listings for Blocking<'_> {
    fn listing(&mut self, address: IpAddr) -> Option<String> {
        let known = self.desk.reputation.explain(address, self.now)?;
        let rules = &self.desk.rules;
        known
            .is_beyond(rules.least_rejected, rules.ratio)
            .then(|| why(&known))
    }
}

/// The TXT record of a listed host.
fn why(known: &Explanation) -> String {
    let total = known.accepted + known.rejected;
    format!(
        "{:.1} of {total:.1} recent messages were rejected (old ones count less)",
        known.rejected
    )
}

struct Information<'a> {
    desk: &'a Desk,
    now: Timestamp,
}

impl Listings for Information<'_> {
    fn listing(&mut self, address: IpAddr) -> Option<String> {
        let peer = Peer::address(address);
        let seen = self.desk.shared.with_world(|world| world.look_up(&peer));
        let weights = self.desk.reputation.explain(address, self.now);
        if seen.is_none() && weights.is_none() {
            return None;
        }
        let os = seen.as_ref().map(mail::answer::Answer::os_text);
        let os = os.unwrap_or_else(|| mail::answer::UNKNOWN.to_owned());
        let (accepted, rejected) =
            weights.map_or((0.0, 0.0), |known| (known.accepted, known.rejected));
        let last = seen.map(|answer| format!("; last={}", answer.last_seen.as_secs()));
        Some(format!(
            "os={os}; acc={accepted:.1}; rej={rejected:.1}{}",
            last.unwrap_or_default()
        ))
    }
}

async fn answer_datagrams(socket: std::net::UdpSocket, desk: &Desk) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut query = [0; QUERY_MAX];
    loop {
        // An error is that of an answer which nobody waited for.
        if let Ok((length, source)) = socket.recv_from(&mut query).await {
            let query = query.get(..length).unwrap_or_default();
            if let Some(answer) = desk.answer(query, source.ip(), Transport::Udp) {
                let _ = socket.send_to(&answer, source).await;
            }
        }
    }
}

async fn answer_connections(
    listener: TcpListener,
    clients: usize,
    desk: Arc<Desk>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let seats = Arc::new(Semaphore::new(clients));
    loop {
        match listener.accept().await {
            // Who may not ask takes no seat from who may.
            Ok((_, source)) if !desk.may_ask(source.ip()) => {}
            Ok((connection, source)) => {
                let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                    // Who finds no seat is cut off: it asks again.
                    desk.without_seat
                        .count("connections to the DNS list found no seat");
                    continue;
                };
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    let _ = converse(connection, source, &desk).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection to the DNS list was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Each message has its length before it (RFC 1035, section 4.2.2). An error ends the connection.
async fn converse(mut stream: TcpStream, source: SocketAddr, desk: &Desk) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut query = [0; QUERY_MAX];
    loop {
        let read = async {
            let length = usize::from(stream.read_u16().await?);
            let query = query.get_mut(..length);
            let query = query.ok_or(io::ErrorKind::InvalidData)?;
            stream.read_exact(query).await?;
            Ok::<_, io::Error>(length)
        };
        let length = timeout(IDLE, read).await.map_err(late)??;
        let query = query.get(..length).unwrap_or_default();
        let Some(answer) = desk.answer(query, source.ip(), Transport::Tcp) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).unwrap_or(0);
        let whole = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(IDLE, stream.write_all(&whole))
            .await
            .map_err(late)??;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::mail::settings::{MailSettings, parse};
    use crate::mail::testing::{Nobody, rejected};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A list on ports of its own, which knows one spammer.
    struct Site {
        udp: SocketAddr,
        tcp: SocketAddr,
    }

    impl Site {
        fn new(more: &str) -> Self {
            let settings = format!(
                "[dnsbl]\naddress = \"127.0.0.1:0\"\nzone = \"bl.example\"\n\
                 information-zone = \"os.example\"\nname-server = \"ns.example\"\n\
                 least-rejected = 2\n{more}\n"
            );
            let settings: MailSettings = parse("mail.toml", &settings).expect("it reads");
            let reputation = Reputation::new(&settings);
            reputation.record(rejected("203.0.113.66", 3, clock::now()).iter());
            let list = DnsList::open(&settings.dnsbl.expect("it is there")).expect("it opens");
            let udp = list.udp.local_addr().expect("bound");
            let tcp = list.tcp.local_addr().expect("bound");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let shared = Shared::new(Box::new(Nobody), Box::new(Nobody));
                runtime.block_on(async {
                    list.start(&Arc::new(shared), &reputation);
                    std::future::pending::<()>().await;
                });
            });
            Self { udp, tcp }
        }

        /// Code, and the whole answer.
        fn ask(&self, name: &str, kind: u8) -> (u8, Vec<u8>) {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            socket
                .send_to(&question(name, kind), self.udp)
                .expect("sent");
            let mut answer = [0; 2048];
            let length = socket.recv(&mut answer).expect("answered");
            (answer[3] & 0xf, answer[..length].to_vec())
        }
    }

    fn question(name: &str, kind: u8) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).expect("short"));
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, kind, 0, 1]);
        message
    }

    fn holds(answer: &[u8], text: &str) -> bool {
        answer
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }

    #[test]
    fn listed_hosts_and_test_entries_are_answered_and_others_are_not() {
        let site = Site::new("");
        let (code, answer) = site.ask("66.113.0.203.bl.example", 1);
        assert_eq!((code, answer.ends_with(&[127, 0, 0, 2])), (0, true));
        let (_, answer) = site.ask("66.113.0.203.BL.example", 16);
        assert!(holds(&answer, "3.0 of 3.0 recent messages were rejected"));
        let (_, answer) = site.ask("66.113.0.203.os.example", 16);
        assert!(holds(&answer, "os=Unknown; acc=0.0; rej=3.0"));
        assert_eq!(site.ask("2.0.0.127.bl.example", 1).0, 0);
        assert_eq!(site.ask("1.0.0.127.bl.example", 1).0, 3);
        assert_eq!(site.ask("67.113.0.203.bl.example", 1).0, 3);
        assert_eq!(site.ask("bl.example", 6).0, 0);
        assert_eq!(site.ask("www.example", 1).0, 5);
    }

    #[test]
    fn a_connection_carries_several_questions() {
        let site = Site::new("");
        let mut stream = std::net::TcpStream::connect(site.tcp).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut asked = Vec::new();
        for name in ["66.113.0.203.bl.example", "67.113.0.203.bl.example"] {
            let question = question(name, 1);
            asked.extend(u16::try_from(question.len()).expect("short").to_be_bytes());
            asked.extend(question);
        }
        stream.write_all(&asked).expect("sent");
        let mut codes = Vec::new();
        for _ in 0..2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("answered");
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).expect("answered");
            codes.push(answer[3] & 0xf);
        }
        assert_eq!(codes, [0, 3]);
    }

    #[test]
    fn who_is_not_on_the_access_list_is_refused() {
        let site = Site::new("allow = [\"192.0.2.0/24\"]");
        let (code, answer) = site.ask("66.113.0.203.bl.example", 1);
        assert_eq!((code, answer[7]), (5, 0));
        // By TCP without a word: it takes nobody's seat.
        let mut stream = std::net::TcpStream::connect(site.tcp).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let end = stream.read(&mut [0; 8]);
        assert!(
            matches!(end, Ok(0))
                || end.is_err_and(|error| { error.kind() == io::ErrorKind::ConnectionReset })
        );
    }

    #[test]
    fn who_asks_too_much_is_sent_to_tcp_or_not_answered() {
        let site = Site::new("per-second = 1\nburst = 1");
        assert_eq!(site.ask("66.113.0.203.bl.example", 1).1[2] & 2, 0);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        // While this is held up, one more in a second is answered in full.
        for _ in 0..20 {
            let question = question("66.113.0.203.bl.example", 1);
            socket.send_to(&question, site.udp).expect("sent");
        }
        let mut answer = [0; 512];
        while answer[2] & 2 == 0 {
            socket.recv(&mut answer).expect("one of two is answered");
        }
        assert_eq!(answer[7], 0, "truncated");
        // There it is answered, and cut when it asks too much there.
        let mut stream = std::net::TcpStream::connect(site.tcp).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let question = question("66.113.0.203.bl.example", 1);
        let length = u16::try_from(question.len()).expect("short").to_be_bytes();
        let asked = [&length, question.as_slice()].concat().repeat(200);
        // While this is held up, one more in a second is answered.
        let _ = stream.write_all(&asked);
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        assert_eq!(answers[2..][3] & 0xf, 0, "answered");
        assert!(answers.len() < 100 * question.len(), "{}", answers.len());
        assert_eq!(answers[2..][2] & 2, 0, "not truncated");
    }
}
