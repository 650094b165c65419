//! Ordinary traffic, each exchange checked at both ends, and attempts that must come to nothing.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;

use super::ledger::prove;
use super::rules::{Way, ports};
use super::sample::Sample;
use super::world::{Target, World, below, between, pick};
use crate::client::{download_over, upload_over};
use crate::roles::{SERVICES_V4, SERVICES_V6};
use crate::service::{HTTP, OTHER, PseudoRandom, sha256_of_bytes};
use crate::{Download, LineClient, Role, clock};

/// Sizes of transfers, in bytes: a segment, some, and many.
const SIZES: [u64; 6] = [1, 700, 1461, 20_000, 100_000, 300_000];
/// Sizes of datagrams that need no fragments, and of those that do.
const SMALL: [usize; 3] = [1, 200, 1200];
const LARGE: [usize; 3] = [1600, 3000, 6000];
/// Datagrams get lost: so many are sent before no answer means that there is none.
const ATTEMPTS: usize = 8;
/// And so long is waited for the answer to each.
const ANSWER: Duration = Duration::from_secs(2);
/// Who is not connected after this long will not be: a SYN has been repeated in it.
pub(super) const SILENCE: Duration = Duration::from_millis(1200);
/// A refusal comes at once, or to a repeated SYN when the daemon was just being replaced.
const REFUSAL: Duration = Duration::from_secs(6);
/// Who has heard nothing for this long stands still; what was lost has been repeated four times and
/// more. Less than states live without a packet, so that there is something to be looked at.
const STANDSTILL: Duration = Duration::from_secs(15);
/// Milliseconds between two things that one worker does.
const REST: (u64, u64) = (30, 250);

type Activity = fn(&World, &mut PseudoRandom, &Digests);

/// What workers do, as often as it is listed.
const ACTIVITIES: [Activity; 16] = [
    download,
    download,
    download,
    upload,
    upload,
    lines,
    lines,
    lines,
    reset,
    inbound,
    datagram,
    datagram,
    ping,
    ping,
    closed,
    refused_or_closed,
];

/// Digests of what transfers carry, by their length.
#[derive(Debug, Default)]
struct Digests(Mutex<BTreeMap<u64, String>>);

impl Digests {
    fn of(&self, bytes: u64) -> String {
        let mut known = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known
            .entry(bytes)
            .or_insert_with(|| sha256_of_bytes(bytes))
            .clone()
    }

    fn check(&self, download: &Download) -> anyhow::Result<()> {
        let right = download.sha256 == self.of(download.bytes);
        prove(right, || format!("{} bytes were damaged", download.bytes))
    }
}

/// A worker, until the soak ends.
pub(super) fn work(world: &World, seed: u64) {
    let mut random = PseudoRandom::seeded(seed);
    let digests = Digests::default();
    while !world.ledger.is_stopped() {
        pick(&mut random, &ACTIVITIES)(world, &mut random, &digests);
        world.ledger.pause(between(&mut random, REST.0, REST.1));
    }
}

/// Who speaks HTTP with whom.
fn http_target(random: &mut PseudoRandom) -> Target {
    match below(random, 8) {
        0 | 1 => Target::v6(random, HTTP),
        2 => Target::nat64(random, HTTP),
        3..=5 => Target::v4(random, Role::H99, HTTP, Way::FirstLine),
        _ => {
            let role = *pick(random, &[Role::H34, Role::H10, Role::H50]);
            Target::v4(random, role, HTTP, Way::T1)
        }
    }
}

/// Who speaks the line protocol with whom.
pub(super) fn line_target(random: &mut PseudoRandom) -> Target {
    match below(random, 9) {
        0 => Target::v6(random, OTHER),
        1 => Target::nat64(random, OTHER),
        2 | 3 => Target::v4(random, Role::H99, ports::SECOND, Way::SecondLine),
        4 | 5 => Target::v4(random, Role::H34, OTHER, Way::Pool),
        6 => Target::v4(random, Role::H99, ports::SWING, Way::Swing),
        7 => Target::v4(random, Role::H10, OTHER, Way::T1),
        _ => Target::v4(random, Role::H50, OTHER, Way::T1),
    }
}

fn transfer(
    world: &World,
    random: &mut PseudoRandom,
    digests: &Digests,
    what: &'static str,
    go: fn(TcpStream, u64) -> anyhow::Result<Download>,
) {
    let target = http_target(random);
    let bytes = *pick(random, &SIZES);
    let (began, reloads) = (clock::now(), world.reloads());
    let result = connect_and(world, &target, |stream| go(stream, bytes))
        .with_context(|| format!("{bytes} bytes, {} to {}", target.role.name(), target.server))
        .and_then(|download| {
            digests.check(&download)?;
            world.check_way(&target, reloads, download.server_saw)
        });
    world.ledger.judge(what, Some(target.way), began, result);
}

/// What comes of a connection; if nothing, with the evidence.
fn connect_and(
    world: &World,
    target: &Target,
    go: impl FnOnce(TcpStream) -> anyhow::Result<Download>,
) -> anyhow::Result<Download> {
    let stream = world.host(target.role).tcp_connect(target.server)?;
    let held = stream.try_clone()?;
    go(stream).or_else(|error| {
        let port = held.local_addr()?.port();
        Err(error.context(world.evidence([target.role, Role::Internet], port)))
    })
}

fn download(world: &World, random: &mut PseudoRandom, digests: &Digests) {
    transfer(world, random, digests, "download", download_over);
}

fn upload(world: &World, random: &mut PseudoRandom, digests: &Digests) {
    transfer(world, random, digests, "upload", upload_over);
}

/// Connects to the line protocol. The client speaks first: the filter repeats a call of its own
/// that was lost only when the client says something.
pub(super) fn line_client(world: &World, role: Role, to: SocketAddr) -> anyhow::Result<LineClient> {
    let stream = world.host(role).tcp_connect(to);
    let client = stream.map_err(anyhow::Error::from);
    client
        .and_then(|stream| LineClient::speaking_first(stream, "hello"))
        .with_context(|| format!("{} to {to}", role.name()))
}

/// A connection with a few lines each way; `end` ends it.
fn talk(
    world: &World,
    random: &mut PseudoRandom,
    what: &'static str,
    end: fn(LineClient) -> anyhow::Result<()>,
) {
    let target = line_target(random);
    let lines = 1 + below(random, 4);
    let (began, reloads) = (clock::now(), world.reloads());
    let result = line_client(world, target.role, target.server)
        .and_then(|mut client| {
            world.check_way(&target, reloads, client.server_saw())?;
            (0..lines).try_for_each(|_| client.exchange(&random_line(random)))?;
            end(client)
        })
        .with_context(|| format!("{} to {}", target.role.name(), target.server));
    world.ledger.judge(what, Some(target.way), began, result);
}

fn lines(world: &World, random: &mut PseudoRandom, _: &Digests) {
    talk(world, random, "lines", |_| Ok(()));
}

fn reset(world: &World, random: &mut PseudoRandom, _: &Digests) {
    talk(world, random, "lines, then RST", |client| {
        Ok(client.reset()?)
    });
}

/// Up to a segment's worth of text.
pub(super) fn random_line(random: &mut PseudoRandom) -> String {
    let words = 1 + below(random, 80);
    let words: Vec<_> = (0..words)
        .map(|_| format!("{:016x}", random.draw()))
        .collect();
    words.concat()
}

/// From the internet to the server inside.
fn inbound(world: &World, random: &mut PseudoRandom, digests: &Digests) {
    let bytes = *pick(random, &SIZES);
    let began = clock::now();
    let result = exchange_inbound(world, random, digests, bytes)
        .with_context(|| format!("{bytes} bytes, {:?}", world.variant()));
    world.ledger.judge("inbound", Some(Way::T1), began, result);
}

fn exchange_inbound(
    world: &World,
    random: &mut PseudoRandom,
    digests: &Digests,
    bytes: u64,
) -> anyhow::Result<()> {
    let stranger = world.host(Role::Internet).with_patience(STANDSTILL);
    let inside = inside_v4(Role::H50);
    let source = IpAddr::V4(*pick(random, &SERVICES_V4));
    let downloads = below(random, 2) == 0;
    let port = if downloads { HTTP } else { OTHER };
    let stream = stranger.tcp_connect_from(source, (inside, port).into())?;
    let held = stream.try_clone()?;
    let seen = if downloads {
        download_over(stream, bytes).and_then(|download| {
            digests.check(&download)?;
            Ok(download.server_saw)
        })
    } else {
        LineClient::speaking_first(stream, &random_line(random)).map(|client| client.server_saw())
    };
    let seen = seen.or_else(|error| {
        let port = held.local_addr()?.port();
        Err(error.context(world.evidence([Role::Internet, Role::H50], port)))
    })?;
    prove(seen.ip() == source, || {
        format!("the server saw {seen}, not {source}")
    })
}

fn datagram(world: &World, random: &mut PseudoRandom, _: &Digests) {
    let (what, sizes) = sizes(random, ["UDP", "UDP in fragments"]);
    let target = match below(random, 3) {
        0 => Target::v6(random, 53),
        1 => Target::nat64(random, 53),
        _ => {
            let role = *pick(random, &Role::INSIDE);
            Target::v4(random, role, 53, Way::T1)
        }
    };
    let mut payload = vec![0; *pick(random, &sizes)];
    random.fill(&mut payload);
    let host = world.host(target.role).with_patience(ANSWER);
    let (began, reloads) = (clock::now(), world.reloads());
    let answer = first_answer(|| host.udp_exchange(target.server, &payload));
    let result = answer
        .and_then(|(seen, _)| world.check_way(&target, reloads, seen))
        .with_context(|| format!("{} to {}", target.role.name(), target.server));
    world.ledger.judge(what, Some(target.way), began, result);
}

fn sizes(
    random: &mut PseudoRandom,
    [small, large]: [&'static str; 2],
) -> (&'static str, [usize; 3]) {
    if below(random, 3) == 0 {
        (large, LARGE)
    } else {
        (small, SMALL)
    }
}

/// The first of several tries that is answered, else the last one's error.
fn first_answer<T>(ask: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut answers = (0..ATTEMPTS).map(|_| ask());
    let mut last = answers.next().context("no attempt")?;
    while last.is_err() {
        match answers.next() {
            Some(answer) => last = answer,
            None => break,
        }
    }
    last
}

fn ping(world: &World, random: &mut PseudoRandom, _: &Digests) {
    let (what, sizes) = sizes(random, ["ping", "ping in fragments"]);
    let size = *pick(random, &sizes);
    let v6 = IpAddr::V6(*pick(random, &SERVICES_V6));
    let v4 = IpAddr::V4(*pick(random, &SERVICES_V4));
    let inside = *pick(random, &Role::INSIDE);
    let (from, to) = match below(random, 4) {
        0 => (inside, v6),
        1 => (inside, Target::nat64(random, 0).server.ip()),
        2 => (Role::Internet, IpAddr::V4(inside_v4(inside))),
        _ => (inside, v4),
    };
    let host = world.host(from);
    let began = clock::now();
    let result = first_answer(|| host.ping(to, size)).map(drop);
    world.ledger.judge(what, None, began, result);
}

/// What must not get through, and gets no answer.
fn closed(world: &World, random: &mut PseudoRandom, _: &Digests) {
    let inside = *pick(random, &Role::INSIDE);
    let (what, from, to) = match below(random, 3) {
        0 => {
            let server = *pick(random, &SERVICES_V4);
            ("blocked", inside, SocketAddr::from((server, ports::CLOSED)))
        }
        1 => {
            let server = *pick(random, &SERVICES_V6);
            ("blocked", inside, SocketAddr::from((server, ports::CLOSED)))
        }
        _ => {
            let port = *pick(random, &[ports::LIMITED, OTHER]);
            let inside = inside_v4(Role::H34);
            ("blocked inbound", Role::Internet, (inside, port).into())
        }
    };
    let began = clock::now();
    world
        .ledger
        .judge(what, None, began, check_cut_off(world, from, to));
}

/// That a server of the line protocol is not reached: the client hears nothing. While the filter
/// answers each SYN with a cookie, before it asks the rules, the client is connected to the
/// filter; then it hears nothing of the server, which would speak first.
pub(super) fn check_cut_off(world: &World, from: Role, to: SocketAddr) -> anyhow::Result<()> {
    let sent = cookies_sent(world)?;
    let name = from.name();
    let stream = match world.host(from).tcp_connect_within(SILENCE, to) {
        Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
        outcome => outcome.with_context(|| format!("{name} to {to} should hear nothing"))?,
    };
    stream.set_read_timeout(Some(SILENCE))?;
    let heard = loop {
        // A process that was stopped and goes on has been interrupted.
        match (&stream).read(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            heard => break heard,
        }
    };
    let silent = heard
        .as_ref()
        .is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    prove(silent, || {
        format!("{name} to {to} was connected and heard {heard:?}")
    })?;
    let cookie = cookies_sent(world)? != sent;
    prove(cookie, || {
        format!("{name} to {to} was connected, and by no cookie")
    })?;
    world.ledger.count("cookies to who is blocked");
    Ok(())
}

/// What the daemon that runs has sent.
fn cookies_sent(world: &World) -> anyhow::Result<(u32, u64)> {
    let sample = Sample::of(&world.daemon(), world.ledger.elapsed())?;
    let sent = sample.counters.get("syncookies sent").copied();
    Ok((sample.pid, sent.unwrap_or_default()))
}

fn refused_or_closed(world: &World, random: &mut PseudoRandom, _: &Digests) {
    if below(random, 2) == 0 {
        refused(world, random);
    } else {
        closed_datagram(world, random);
    }
}

/// What must not get through, and is told so: to its SYN, or when it brings back a cookie.
fn refused(world: &World, random: &mut PseudoRandom) {
    let to = SocketAddr::from((*pick(random, &SERVICES_V4), ports::SECOND));
    let began = clock::now();
    let outcome = world.host(Role::H10).tcp_connect_within(REFUSAL, to);
    let heard = outcome.and_then(|stream| (&stream).read(&mut [0; 64]));
    let told = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
    match heard {
        Err(error) if told.contains(&error.kind()) => {
            world.ledger.judge("refused", None, began, Ok(()));
        }
        Err(error) => {
            let error = anyhow::Error::from(error).context("not refused");
            world.ledger.judge("refused", None, began, Err(error));
        }
        Ok(length) => {
            let outcome = format!("h10 to {to} was connected and read {length} bytes");
            world.ledger.wrong("refused", began, outcome);
        }
    }
}

fn closed_datagram(world: &World, random: &mut PseudoRandom) {
    let target = Target::v4(random, Role::H50, ports::CLOSED_UDP, Way::T1);
    let began = clock::now();
    let answer = world
        .host(target.role)
        .with_patience(ANSWER)
        .udp_exchange(target.server, b"anybody?");
    let result = prove(answer.is_err(), || {
        format!("h50 to {} was answered", target.server)
    });
    world.ledger.judge("blocked UDP", None, began, result);
}

pub(super) fn inside_v4(role: Role) -> Ipv4Addr {
    role.inside_v4().unwrap_or(Ipv4Addr::UNSPECIFIED)
}
