//! Who means harm: blind RSTs and SYNs into other people's connections, half-open connections,
//! floods.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pf_engine::rule::tcp_flags;
use pf_engine::wire::build;

use super::ledger::Cause;
use super::rules::FLOOD_NETWORK;
use super::world::{Session, World, below, between, pick};
use crate::capture::{RawSender, ethernet_address};
use crate::roles::{DslLine, SERVICES_V4};
use crate::service::{HTTP, PseudoRandom};
use crate::{Role, clock};

/// The TTL of forged RSTs, by which tripwires know them; a router on its way takes one off.
pub(super) const FORGED_TTL: u8 = 33;
/// That of SYNs, which are new connections where a state has just ended.
const SYN_TTL: u8 = 64;
/// Segments into one connection.
const BARRAGE: usize = 20;
/// SYNs of a flood: more than twice the states at which syncookies begin.
const FLOOD: usize = 1500;
/// SYNs of a flood between two pauses.
const VOLLEY: usize = 50;
const VOLLEY_PAUSE: Duration = Duration::from_millis(5);
/// Milliseconds between two attacks, and how many attacks there are to a flood.
const REST: (u64, u64) = (200, 900);
const ATTACKS_PER_FLOOD: usize = 60;

/// A place from which frames are forged: a sender at a port, and who is next.
struct Post {
    sender: RawSender,
    header: [u8; 14],
}

impl Post {
    fn new(
        world: &World,
        (role, port): (Role, &str),
        (next, next_port): (Role, &str),
    ) -> anyhow::Result<Self> {
        let here = world.lab.namespace(role);
        let source = ethernet_address(here, port)?;
        let destination = ethernet_address(world.lab.namespace(next), next_port)?;
        let mut header = [0; 14];
        header[..6].copy_from_slice(&destination);
        header[6..12].copy_from_slice(&source);
        header[12..].copy_from_slice(&[0x08, 0x00]);
        Ok(Self {
            sender: RawSender::open(here, port)?,
            header,
        })
    }

    /// A full queue loses frames of an attacker too.
    fn send(&self, from: SocketAddr, to: SocketAddr, random: &mut PseudoRandom, flags: u8) {
        let mut ip = build::Ip::new(from.ip(), to.ip());
        ip.ttl = if flags == tcp_flags::SYN {
            SYN_TTL
        } else {
            FORGED_TTL
        };
        let mut segment = build::Segment::new(from.port(), to.port(), flags);
        segment.seq = word(random);
        if flags & tcp_flags::ACK != 0 {
            segment.ack = word(random);
        }
        let packet = build::tcp(&ip, &segment, &[]);
        let _ = self.sender.send(&[&self.header[..], &packet].concat());
    }
}

fn word(random: &mut PseudoRandom) -> u32 {
    let [.., a, b, c, d] = random.draw().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Everywhere that an attacker can be.
struct Posts {
    /// At the Cisco, towards each inside host.
    cisco: Vec<(Role, Post)>,
    /// At the modems, towards the box.
    modems: Vec<(Ipv4Addr, Post)>,
    /// At .10, towards the Cisco.
    inside: Post,
    /// At .50, towards the Cisco.
    flooder: Post,
}

impl Posts {
    fn new(world: &World) -> anyhow::Result<Self> {
        let towards = |role| {
            Ok((
                role,
                Post::new(world, (Role::Cisco, "lan"), (role, "eth0"))?,
            ))
        };
        let at_modem = |line: &DslLine| {
            let post = Post::new(world, (line.modem, "lan"), (Role::Box, line.port))?;
            Ok((line.outside_v4, post))
        };
        Ok(Self {
            cisco: Role::INSIDE
                .into_iter()
                .map(towards)
                .collect::<anyhow::Result<_>>()?,
            modems: world
                .lab
                .dsl_lines()
                .iter()
                .map(at_modem)
                .collect::<anyhow::Result<_>>()?,
            inside: Post::new(world, (Role::H10, "eth0"), (Role::Cisco, "lan"))?,
            flooder: Post::new(world, (Role::H50, "eth0"), (Role::Cisco, "lan"))?,
        })
    }

    /// In the server's name: at the Cisco, or at the modem that the connection goes by.
    fn outside_of(&self, session: &Session) -> Option<(&Post, SocketAddr)> {
        let by_modem = self.modems.iter().zip(DslLine::ALL);
        let modem = by_modem.map(|((outside, post), line)| (*outside, post, line));
        for (outside, post, line) in modem {
            if session.seen.ip() == IpAddr::V4(outside) {
                let own = line.box_v4.split('/').next()?.parse().ok()?;
                return Some((post, SocketAddr::new(own, session.seen.port())));
            }
        }
        let is_client = |role: Role| role.inside_v4().map(IpAddr::V4) == Some(session.client.ip());
        let (_, post) = self.cisco.iter().find(|(role, _)| is_client(*role))?;
        Some((post, session.client))
    }

    /// A SYN into a connection whose state was lost opens a new one in its client's name, and
    /// RSTs into that pass before it is answered: so `syns` are for those that cannot be lost.
    fn forge(&self, world: &World, random: &mut PseudoRandom, syns: bool) {
        let Some(session) = world.any_session(random).filter(|s| s.client.is_ipv4()) else {
            return;
        };
        for _ in 0..BARRAGE {
            let flags = match below(random, 4) {
                0 if syns && !session.way.needs_second_line() => tcp_flags::SYN,
                1 => tcp_flags::RST | tcp_flags::ACK,
                _ => tcp_flags::RST,
            };
            if below(random, 2) == 0 {
                self.inside
                    .send(session.client, session.server, random, flags);
            } else if let Some((post, to)) = self.outside_of(&session) {
                post.send(session.server, to, random, flags);
            }
            world.ledger.count("forged segments");
        }
    }

    fn open_half(&self, world: &World, random: &mut PseudoRandom, times: usize) {
        for number in 0..times {
            let [network, subnet] = FLOOD_NETWORK;
            let [.., high, low] = random.draw().to_be_bytes();
            let from = SocketAddr::from(([network, subnet, high, low], 1024 + u16::from(low)));
            let to = SocketAddr::from((*pick(random, &SERVICES_V4), HTTP));
            self.flooder.send(from, to, random, tcp_flags::SYN);
            if number % VOLLEY == VOLLEY - 1 {
                clock::pause(VOLLEY_PAUSE);
            }
        }
        world
            .ledger
            .count_many("half-open connections", times as u64);
    }
}

/// The attacker, until the soak ends; the first flood comes early. From `settled` on no daemon is
/// restarted, and nobody holds a connection that was lost by one.
pub(super) fn work(world: &World, seed: u64, settled: Instant) -> anyhow::Result<()> {
    let mut random = PseudoRandom::seeded(seed);
    let posts = Posts::new(world)?;
    let mut attacks = ATTACKS_PER_FLOOD - 5;
    while !world.ledger.is_stopped() {
        attacks += 1;
        if attacks.is_multiple_of(ATTACKS_PER_FLOOD) {
            world.ledger.disturb(Cause::Flood);
            posts.open_half(world, &mut random, FLOOD);
            world.ledger.settle(Cause::Flood);
            world.ledger.count("SYN floods");
        } else if below(&mut random, 3) == 0 {
            let times = 1 + below(&mut random, 5);
            posts.open_half(world, &mut random, times);
        } else {
            posts.forge(world, &mut random, clock::now() >= settled);
        }
        world.ledger.pause(between(&mut random, REST.0, REST.1));
    }
    Ok(())
}
