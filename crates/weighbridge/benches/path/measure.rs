//! One contestant in one scene: set up, measured, taken down.

use std::time::Duration;

use anyhow::{Context, Result};
use datapath::bench::At;
use lab::clock::now;

use super::boxes::{Carrier, Daemon, Refused};
use super::contestants::Contestant;
use super::figures::{Better, Figures};
use super::jobs::{Job, Scene};
use super::net::Net;
use super::packets::{self, BLOCKED, Flood, OPEN, Through, Warm};
use super::process;
use super::rules::Wanted;
use super::sockets;

const FLOWS: u32 = 10_000;
const MILLION: u32 = 1_000_000;
/// Of so many flows it is measured so often, one time after the other and for as long: their states are made
/// once, and each shows what is done again of it from time to time (60 seconds at most: `exit_lives`).
pub(crate) const MILLION_TIMES: u32 = 3;
pub(crate) const MILLION_TIME: Duration = Duration::from_secs(5);
/// Percent of the packets that make a flood complete.
const COMPLETE: f64 = 99.0;
const MEANWHILE: &str = "the daemon meanwhile";
/// New flows whose first packets are measured.
const FIRST: u32 = 20_000;

/// One round's measurements.
pub(crate) struct Round<'a> {
    pub(crate) figures: &'a mut Figures,
    /// Of each measurement.
    pub(crate) time: Duration,
    /// What a packet costs that is dropped as it comes in, in nanoseconds.
    pub(crate) floor: f64,
}

impl Round<'_> {
    /// What the generator does alone.
    pub(crate) fn generator(&mut self) -> Result<()> {
        for (at, who) in [
            (At::Tcx, Contestant::DroppedAtTcx),
            (At::Xdp, Contestant::DroppedInDriver),
        ] {
            let net = Net::new(false)?;
            let flood = packets::dropped_at_once(&net, at, self.time)?;
            self.floor = flood.cost;
            let (scene, what) = (Scene::Packets, udp(FLOWS));
            let mut add = |unit, better, value| {
                self.figures.add(scene, &what, unit, better, who, value);
            };
            add("kpps", Better::More, flood.arrived / 1e3);
            add("ns in all", Better::Less, flood.cost);
        }
        Ok(())
    }

    /// Sets up, measures and takes down.
    pub(crate) fn job(&mut self, job: Job) -> Result<()> {
        let net = Net::new(job.who.routes())?;
        let million = job.scene == Scene::Million;
        let flows = if million { MILLION } else { FLOWS };
        if million && job.who == Contestant::Nftables {
            has_room(flows)?;
        }
        let wanted = Wanted {
            rules: job.rules,
            flows,
            nat: job.who.routes(),
        };
        let carrier = Carrier::set_up(&net, job.who, wanted)?;
        match job.scene {
            Scene::Packets => {
                self.packets(&net, (job.who, &carrier), 1)?;
                self.packets(&net, (job.who, &carrier), FLOWS)?;
            }
            Scene::Million => {
                self.packets(&net, (job.who, &carrier), MILLION)?;
                self.memory(job.who, &carrier)?;
            }
            Scene::Sockets => {
                self.tcp(&net, job)?;
                let (median, high) = sockets::latency(&net)?;
                self.add(job, "round trip, p50", "us", Better::Less, median);
                self.add(job, "round trip, p99", "us", Better::Less, high);
            }
            Scene::Nat => self.tcp(&net, job)?,
            Scene::Rules => self.known(&net, job, &carrier)?,
            Scene::First => self.first(&net, job, &carrier)?,
            Scene::Blocked => self.blocked(&net, job, &carrier)?,
        }
        carrier.take_down()
    }

    fn add(&mut self, job: Job, what: &str, unit: &'static str, better: Better, value: f64) {
        self.figures
            .add(job.scene, what, unit, better, job.who, value);
    }

    fn packets(
        &mut self,
        net: &Net,
        (who, carrier): (Contestant, &Carrier),
        flows: u32,
    ) -> Result<()> {
        let scene = if flows == MILLION {
            Scene::Million
        } else {
            Scene::Packets
        };
        let job = Job {
            scene,
            who,
            rules: 0,
        };
        let through = Through::new(net, flows, OPEN)?;
        through.warm(warmth(who, carrier))?;
        let (times, time) = if flows == MILLION {
            (MILLION_TIMES, self.time.max(MILLION_TIME))
        } else {
            (1, self.time)
        };
        for _ in 0..times {
            self.flood_of(job, &through, carrier, (flows, time))?;
        }
        Ok(())
    }

    fn flood_of(
        &mut self,
        job: Job,
        through: &Through<'_>,
        carrier: &Carrier,
        (flows, time): (u32, Duration),
    ) -> Result<()> {
        let who = job.who;
        let (flood, busy) = flood(through, carrier, time)?;
        let what = udp(flows);
        self.add(job, &what, "kpps", Better::More, flood.arrived / 1e3);
        let share = 100.0 * flood.arrived / flood.sent;
        // What a packet costs that is lost on the way says nothing.
        if who.is_in_kernel() && share > COMPLETE {
            let cost = flood.cost - self.floor;
            self.add(job, &what, "ns in all", Better::Less, flood.cost);
            self.add(job, &what, "ns of the box", Better::Less, cost);
        }
        self.add(job, &what, "% arrived", Better::More, share);
        if let Some(busy) = busy {
            let unit = "% of a CPU for the daemon";
            self.add(job, &what, unit, Better::Less, busy);
        }
        Ok(())
    }

    fn memory(&mut self, who: Contestant, carrier: &Carrier) -> Result<()> {
        let Some(daemon) = carrier.daemon() else {
            return Ok(());
        };
        let (resident, maps) = process::memory(daemon.process())?;
        let job = Job {
            scene: Scene::Million,
            who,
            rules: 0,
        };
        self.add(
            job,
            "memory of the daemon",
            "MB",
            Better::Less,
            megabytes(resident),
        );
        self.add(
            job,
            "memory of the maps",
            "MB",
            Better::Less,
            megabytes(maps),
        );
        Ok(())
    }

    fn tcp(&mut self, net: &Net, job: Job) -> Result<()> {
        for streams in [1, 4] {
            let rate = sockets::bulk(net, streams, self.time)?;
            let what = format!("TCP, {streams} streams").replace("1 streams", "1 stream");
            self.add(job, &what, "Gbit/s", Better::More, rate / 1e9);
        }
        let connections = sockets::connections(net, self.time)?;
        self.add(job, "new connections", "/s", Better::More, connections.rate);
        self.figures.failed(job, connections.failed);
        Ok(())
    }

    fn known(&mut self, net: &Net, job: Job, carrier: &Carrier) -> Result<()> {
        let through = Through::new(net, FLOWS, OPEN)?;
        through.warm(warmth(job.who, carrier))?;
        let flood = through.flood(self.time)?;
        let what = rules(job.rules);
        self.add(job, &what, "kpps", Better::More, flood.arrived / 1e3);
        self.add(
            job,
            &what,
            "ns of the box",
            Better::Less,
            flood.cost - self.floor,
        );
        Ok(())
    }

    /// Of the daemon its processor time, of the kernel its own.
    fn first(&mut self, net: &Net, job: Job, carrier: &Carrier) -> Result<()> {
        let through = Through::new(net, FIRST, OPEN)?;
        let cost = match carrier.daemon() {
            Some(daemon) => {
                let before = process::cpu_time(daemon.process())?;
                through.each_flow()?;
                let time = process::cpu_time(daemon.process())?.saturating_sub(before);
                time.as_secs_f64() * 1e9 / f64::from(FIRST)
            }
            None => through.flood_once()?.cost - self.floor,
        };
        self.add(job, &rules(job.rules), "ns", Better::Less, cost);
        Ok(())
    }

    fn blocked(&mut self, net: &Net, job: Job, carrier: &Carrier) -> Result<()> {
        let through = Through::new(net, FLOWS, BLOCKED)?;
        // What is remembered of blocked flows is remembered before.
        through.trickle()?;
        let (flood, share) = flood(&through, carrier, self.time)?;
        self.blocked_rows(job, &flood);
        if let Some(share) = share {
            self.add(job, MEANWHILE, "% of a CPU", Better::Less, share);
        }
        Ok(())
    }

    fn blocked_rows(&mut self, job: Job, flood: &Flood) {
        let what = "dropped";
        self.add(
            job,
            what,
            "kpps",
            Better::More,
            (flood.sent - flood.arrived) / 1e3,
        );
        self.add(
            job,
            what,
            "ns of the box",
            Better::Less,
            flood.cost - self.floor,
        );
    }
}

/// A flood, and the share of a CPU that a daemon had of it, in percent.
fn flood(through: &Through<'_>, carrier: &Carrier, time: Duration) -> Result<(Flood, Option<f64>)> {
    let daemon = carrier.daemon().map(Daemon::process);
    let used = || daemon.map(process::cpu_time).transpose();
    let (before, begin) = (used()?, now());
    let flood = through.flood(time)?;
    let elapsed = begin.elapsed().as_secs_f64();
    let share = |after: Duration, before: Duration| {
        100.0 * after.saturating_sub(before).as_secs_f64() / elapsed
    };
    let share = used()?
        .zip(before)
        .map(|(after, before)| share(after, before));
    Ok((flood, share))
}

/// How a contestant comes to its states.
fn warmth(who: Contestant, carrier: &Carrier) -> Warm {
    if let Some(daemon) = carrier.daemon() {
        // A flow may have to show that it lasts before the kernel remembers it.
        let passes = if who.is_in_kernel() { 16 } else { 1 };
        let process = daemon.process();
        Warm::ByDaemon { process, passes }
    } else if who == Contestant::Nftables {
        Warm::AtOnce
    } else {
        Warm::No
    }
}

pub(crate) fn udp(flows: u32) -> String {
    match flows {
        1 => "UDP, 1 flow".to_owned(),
        MILLION => "UDP, 1,000,000 flows".to_owned(),
        _ => "UDP, 10,000 flows".to_owned(),
    }
}

pub(crate) fn rules(count: u32) -> String {
    match count {
        1 => "1 rule".to_owned(),
        10_000 => "10,000 rules".to_owned(),
        _ => format!("{count} rules"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Connection tracking has one limit for the whole machine, which is not ours to change.
fn has_room(states: u32) -> Result<()> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let text = std::fs::read_to_string(path).context(path)?;
    let limit: u32 = text.trim().parse().context(path)?;
    if limit > states {
        return Ok(());
    }
    anyhow::bail!(Refused(format!(
        "connection tracking has room for {limit} connections on this machine; `sysctl -w \
         net.netfilter.nf_conntrack_max=2100000 net.netfilter.nf_conntrack_buckets=1048576` \
         before makes it comparable"
    )))
}
