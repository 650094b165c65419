//! What an administrator does, and what happens to the box and its lines meanwhile.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::ledger::{Cause, prove};
use super::rules::{ANCHOR, BROKEN, KILLABLE, MAX_SOURCE_STATES, TABLE, Way, closed_door, ports};
use super::traffic::{SILENCE, check_cut_off, line_client};
use super::trips;
use super::world::{Target, World, below, between, pick};
use crate::roles::SERVICES_V4;
use crate::service::PseudoRandom;
use crate::{LineClient, Role, Weighbridge, clock};

/// How long a gateway may take to be found dead or well: the design says 3 s, the machine is busy.
const GATEWAY_LIMIT: Duration = Duration::from_secs(30);
/// How long a gateway works before it fails again: what fails within a minute of its return is
/// flapping, and has to work for longer than [`GATEWAY_LIMIT`] before it counts again.
const GATEWAY_REST: Duration = Duration::from_secs(65);
/// What is still under way when a daemon has died.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// How long a source's states may take to be gone after its connections.
const SOURCE_LIMIT: Duration = Duration::from_secs(25);
/// Milliseconds that a daemon is missed.
const DEAD: (u64, u64) = (200, 1500);

/// One thing that is done, on the controller's own thread: one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Reload,
    Broken,
    Anchor,
    Table,
    KillLabel,
    KillKey,
    LimitSources,
    Gateway,
    HandOver,
    Crash,
}

impl Action {
    /// A round; its order is drawn.
    const ROUND: [Self; 11] = [
        Self::Reload,
        Self::Reload,
        Self::Reload,
        Self::Reload,
        Self::Broken,
        Self::Anchor,
        Self::Table,
        Self::KillLabel,
        Self::KillKey,
        Self::LimitSources,
        Self::Gateway,
    ];
    /// What a round has besides in the first half: the second belongs to one process.
    const RESTARTS: [Self; 2] = [Self::HandOver, Self::Crash];

    const fn name(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Broken => "broken ruleset",
            Self::Anchor => "anchor load",
            Self::Table => "table change",
            Self::KillLabel => "kill by label",
            Self::KillKey => "kill by key",
            Self::LimitSources => "source limit",
            Self::Gateway => "gateway failure",
            Self::HandOver => "hand-over (SIGUSR2)",
            Self::Crash => "crash (kill -9)",
        }
    }

    fn run(self, world: &World, random: &mut PseudoRandom) -> anyhow::Result<()> {
        match self {
            Self::Reload => reload(world),
            Self::Broken => load_broken(world, random),
            Self::Anchor => anchor(world, random),
            Self::Table => table(world, random),
            Self::KillLabel => kill(world, random, |_, _| {
                ["label".to_owned(), KILLABLE.to_owned()]
            }),
            Self::KillKey => kill(world, random, |client, server| {
                ["key".to_owned(), format!("tcp {server} <- {client}")]
            }),
            Self::LimitSources => limit_sources(world, random),
            Self::Gateway => gateway(world),
            Self::HandOver => hand_over(world),
            Self::Crash => crash(world, random),
        }
    }
}

/// Rounds of actions until the soak ends, restarts until `restarts_until`; an error that leaves
/// the box without a daemon ends it.
pub(super) fn work(
    world: &World,
    seed: u64,
    pause: (u64, u64),
    restarts_until: Instant,
) -> anyhow::Result<()> {
    let mut random = PseudoRandom::seeded(seed);
    let mut rested = clock::now();
    while !world.ledger.is_stopped() {
        for action in round(&mut random, clock::now() < restarts_until) {
            if world.ledger.is_stopped() {
                break;
            }
            let began = clock::now();
            if action == Action::Gateway && began < rested {
                continue;
            }
            let result = action.run(world, &mut random);
            world.ledger.judge(action.name(), None, began, result);
            if action == Action::Gateway {
                rested = clock::now() + GATEWAY_REST;
            }
            ensure_daemon(world)?;
            world.ledger.pause(between(&mut random, pause.0, pause.1));
        }
    }
    Ok(())
}

fn ensure_daemon(world: &World) -> anyhow::Result<()> {
    let mut daemon = world.daemon_to_replace();
    let runs = daemon.is_running();
    ensure!(
        runs,
        "the daemon ended by itself; its log:\n{}",
        daemon.log()
    );
    Ok(())
}

/// One round in the order that was drawn, restarts first.
fn round(random: &mut PseudoRandom, restarts: bool) -> Vec<Action> {
    let mut all = Action::ROUND.to_vec();
    for last in (1..all.len()).rev() {
        all.swap(last, below(random, last + 1));
    }
    let front: &[Action] = if restarts { &Action::RESTARTS } else { &[] };
    front.iter().copied().chain(all).collect()
}

fn reload(world: &World) -> anyhow::Result<()> {
    let next = world.variant().other();
    world.step_reload();
    let loaded = world.daemon().load(&next.pf_conf());
    world.step_reload();
    loaded?;
    let shown = world.daemon().pfctl_ok(&["-sr"])?;
    prove(shown == world.printed[next as usize], || {
        format!("after the load of {next:?} -sr shows\n{shown}")
    })
}

/// A file for pfctl, beside the configuration.
fn file(world: &World, text: &str) -> anyhow::Result<PathBuf> {
    let file = world.lab.directory().join("load.conf");
    std::fs::write(&file, text)?;
    Ok(file)
}

fn load_broken(world: &World, random: &mut PseudoRandom) -> anyhow::Result<()> {
    let text = *pick(random, &BROKEN);
    let file = file(world, text)?;
    let daemon = world.daemon();
    let before = daemon.pfctl_ok(&["-sr"])?;
    let output = daemon.pfctl(&["-f", &file.to_string_lossy()])?;
    prove(output.status.code() == Some(1), || {
        format!("{text:?}: {output:?}")
    })?;
    let after = daemon.pfctl_ok(&["-sr"])?;
    prove(before == after, || {
        format!("{text:?} has changed the rules:\n{after}")
    })
}

/// One of the servers, which is used for nothing else at this moment on this port.
fn server(random: &mut PseudoRandom, port: u16) -> SocketAddr {
    (*pick(random, &SERVICES_V4), port).into()
}

fn reaches(world: &World, role: Role, to: SocketAddr) -> anyhow::Result<()> {
    line_client(world, role, to).map(drop)
}

fn anchor(world: &World, random: &mut PseudoRandom) -> anyhow::Result<()> {
    let server = server(random, ports::SECOND);
    let SocketAddr::V4(v4) = server else {
        bail!("not IPv4")
    };
    let file = file(world, &closed_door(*v4.ip()))?;
    let load = ["-a", ANCHOR, "-f", &file.to_string_lossy()];
    world.daemon().pfctl_ok(&load)?;
    let cut_off = check_cut_off(world, Role::H50, server);
    world.daemon().pfctl_ok(&["-a", ANCHOR, "-F", "rules"])?;
    cut_off.context("with the anchor loaded")?;
    reaches(world, Role::H50, server).context("with the anchor flushed")
}

fn table(world: &World, random: &mut PseudoRandom) -> anyhow::Result<()> {
    let server = server(random, ports::LIMITED);
    let change = |how| {
        let address = server.ip().to_string();
        world.daemon().pfctl_ok(&["-t", TABLE, "-T", how, &address])
    };
    change("add")?;
    let cut_off = check_cut_off(world, Role::H50, server);
    change("delete")?;
    cut_off.context("with the address in the table")?;
    reaches(world, Role::H50, server).context("with the address out of the table")
}

/// Connections of .10 that `pfctl` kills: their states are gone, and what they send does not pass.
fn kill(
    world: &World,
    random: &mut PseudoRandom,
    which: fn(SocketAddr, SocketAddr) -> [String; 2],
) -> anyhow::Result<()> {
    let server = server(random, ports::SWING);
    let mut client = line_client(world, Role::H10, server)?;
    let [kind, which] = which(client.local_address()?, server);
    let Output { stderr, .. } = world.daemon().pfctl(&["-k", &kind, "-k", &which])?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(said.starts_with("killed "), "{said}");
    client.set_patience(SILENCE)?;
    prove(client.exchange("after").is_err(), || {
        format!("a connection goes on whose state was killed: {said}")
    })?;
    drop(client);
    reaches(world, Role::H10, server).context("after the kill")
}

/// `max-src-states`: as many connections as are allowed, and not one more.
fn limit_sources(world: &World, random: &mut PseudoRandom) -> anyhow::Result<()> {
    let mut open = Vec::new();
    // Those of the last time may still hold their states.
    let connected = clock::wait_until(SOURCE_LIMIT, || {
        open.extend(connect_limited(world, random).ok());
        !open.is_empty()
    });
    ensure!(connected, "not connected at all");
    while open.len() <= MAX_SOURCE_STATES {
        match connect_limited(world, random) {
            Ok(client) => open.push(client),
            Err(_) => break,
        }
    }
    let count = open.len();
    open.into_iter().try_for_each(LineClient::reset)?;
    prove(count <= MAX_SOURCE_STATES, || {
        format!("{count} connections where {MAX_SOURCE_STATES} are allowed")
    })
}

fn connect_limited(world: &World, random: &mut PseudoRandom) -> anyhow::Result<LineClient> {
    let host = world.lab.host(Role::H34).with_patience(SILENCE);
    let stream = host.tcp_connect(server(random, ports::LIMITED))?;
    LineClient::speaking_first(stream, "one more")
}

/// The second line dies without a sign and comes back.
fn gateway(world: &World) -> anyhow::Result<()> {
    let modem = world.lab.namespace(Role::Modem2);
    let logged =
        |line: &str| clock::wait_until(GATEWAY_LIMIT, || world.daemon().log().contains(line));
    world.daemon().forget_log();
    world.ledger.disturb(Cause::Gateway);
    modem.nft(
        "table inet dead {\n chain through { type filter hook forward priority -300; policy drop; }\n \
         chain here { type filter hook input priority -300; policy drop; }\n}\n",
    )?;
    let died = clock::now();
    let found_dead = logged("gateway 172.16.0.1 on em3 does not work");
    let detected = died.elapsed();
    let moved = if found_dead {
        pool_avoids(world)
    } else {
        Ok(())
    };
    modem.nft("delete table inet dead\n")?;
    let found_well = logged("gateway 172.16.0.1 on em3 works again");
    world.ledger.settle(Cause::Gateway);
    ensure!(
        found_dead,
        "a dead gateway was not found so in {detected:?}"
    );
    ensure!(
        found_well,
        "a gateway that is back was not found so in {GATEWAY_LIMIT:?}"
    );
    moved.context("while the gateway is known as dead")
}

/// New connections of the pool go by the first line.
fn pool_avoids(world: &World) -> anyhow::Result<()> {
    for server in SERVICES_V4 {
        let target = Target {
            role: Role::H34,
            server: (server, crate::service::OTHER).into(),
            way: Way::FirstLine,
        };
        let client = line_client(world, target.role, target.server)?;
        world.check_way(&target, world.reloads(), client.server_saw())?;
    }
    Ok(())
}

/// Starts the next daemon and puts it in the place of one that has ended.
fn succeed(world: &World, place: &mut Weighbridge) -> anyhow::Result<()> {
    complain_about_log(world, place);
    let files = world.variant().files(world.fast_path);
    *place = Weighbridge::start(&world.lab, &world.binary, &files)?;
    Ok(())
}

/// Nothing that a daemon logs may say that it has a fault.
pub(super) fn complain_about_log(world: &World, daemon: &Weighbridge) {
    let log = daemon.log();
    for line in log
        .lines()
        .filter(|line| line.contains("panicked") || line.contains("ERROR"))
    {
        world.ledger.wrong("log", clock::now(), line.to_owned());
    }
}

fn hand_over(world: &World) -> anyhow::Result<()> {
    let mut daemon = world.daemon_to_replace();
    world.ledger.disturb(Cause::HandOver);
    daemon.hand_over()?;
    let succeeded = succeed(world, &mut daemon);
    world.ledger.settle(Cause::HandOver);
    succeeded
}

/// `fail-policy` is `block`: nothing crosses the box while it has no daemon.
fn crash(world: &World, random: &mut PseudoRandom) -> anyhow::Result<()> {
    let mut daemon = world.daemon_to_replace();
    world.ledger.disturb(Cause::Crash);
    daemon.kill()?;
    clock::pause(UNDER_WAY);
    let before = trips::crossed(&world.lab)?;
    clock::pause(between(random, DEAD.0, DEAD.1));
    let crossed = trips::crossed(&world.lab)? - before;
    let succeeded = succeed(world, &mut daemon);
    world.ledger.settle(Cause::Crash);
    succeeded?;
    prove(crossed == 0, || {
        format!("{crossed} packets crossed a box without a daemon")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_everything_once_more_in_the_order_that_was_drawn() {
        let mut random = PseudoRandom::seeded(7);
        let (one, other) = (round(&mut random, true), round(&mut random, true));
        assert_eq!(one[..2], Action::RESTARTS);
        assert_ne!(one, other);
        for action in Action::ROUND {
            let times = |list: &[Action]| list.iter().filter(|a| **a == action).count();
            assert_eq!(times(&one), times(&Action::ROUND), "{action:?}");
        }
        assert_eq!(round(&mut random, false).len(), Action::ROUND.len());
    }
}
