//! Small packets as fast as the box takes them.
//!
//! The generator makes them in the kernel, on the CPU where the box then handles them and where
//! they end: there is one core for the whole way, and nothing is lost between. What a packet costs
//! the box is what it costs in all, less what it costs where it is dropped as it comes in.

use std::time::Duration;

use anyhow::{Context, Result};
use datapath::bench::{At, End, Generator, Order, Stream};
use lab::RawSender;
use lab::clock::{now, pause};
use rustix::time::{ClockId, clock_gettime};

use super::net::{CLIENT_CPU, FLOWS, Net, SERVER, index_of, pin};
use super::process::{cpu_time as cpu_time_of, softirq_time};

/// Datagrams to it are let through, counted and dropped where they arrive.
pub(crate) const OPEN: u16 = 9;
/// Datagrams to it are blocked.
pub(crate) const BLOCKED: u16 = 13;

/// How many tell how fast it goes.
const TRIAL: u32 = 20_000;
/// Most that are on their way while states are made: less than the TAP's queue has room for. The next ones are
/// sent when these have arrived: a queue that is never empty has a daemon hold back who sends most.
const WINDOW: u64 = 128;
/// What has not come after this time is lost: longer than a daemon does anything else between packets.
const LOST: Duration = Duration::from_millis(100);
/// What was put off while packets waited is done then.
const SETTLE: Duration = Duration::from_millis(100);
/// And after this time, if it was put off for few flows.
const SETTLE_EACH: Duration = Duration::from_micros(10);

/// Processor time for a packet that a daemon has not had.
const UNNOTICED: Duration = Duration::from_nanos(300);
/// Packets that are sent at a time of blocked flows, and how many of each flow.
const TRICKLE: u32 = 256;
const TRICKLES: u32 = 2;
/// No further ones are sent after this time, or so much for each flow.
const WARMING_MAX: Duration = Duration::from_secs(20);
const WARMING_MAX_EACH: Duration = Duration::from_micros(200);
/// Packets that each flow has by the kernel alone before anything is measured: what is learnt of its way
/// comes with the first, and what that is good for with the next ones.
const KNOWN_PASSES: u32 = 4;
/// Flows of which it is said how far warming is.
const MANY: u32 = 100_000;

/// What became of a flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// Sent a second.
    pub(crate) sent: f64,
    /// Arrived a second.
    pub(crate) arrived: f64,
    /// Nanoseconds of the first CPU for each packet sent.
    pub(crate) cost: f64,
}

/// How states come to be before anything is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warm {
    /// There are none.
    No,
    /// The kernel makes them, as fast as packets come.
    AtOnce,
    /// A daemon makes them, as fast as it can.
    ByDaemon {
        process: u32,
        /// How often each flow has a packet at most, until the daemon has none of them.
        passes: u32,
    },
}

/// A flood through the box.
pub(crate) struct Through<'a> {
    net: &'a Net,
    stream: Stream,
    end: End,
}

impl<'a> Through<'a> {
    /// Of so many flows to a port.
    pub(crate) fn new(net: &'a Net, flows: u32, port: u16) -> Result<Self> {
        net.receive_frames()?;
        let end = net.server.run(|| End::new("b0", At::Xdp, port))?;
        let stream = stream(net, flows, port)?;
        Ok(Self { net, stream, end })
    }

    /// Makes the states.
    pub(crate) fn warm(&self, how: Warm) -> Result<()> {
        match how {
            Warm::No => return Ok(()),
            Warm::AtOnce => self.passes_at_once(1)?,
            Warm::ByDaemon { process, passes } => {
                self.warm_daemon(process, passes)?;
                if passes > 1 {
                    self.passes_at_once(KNOWN_PASSES)?;
                }
            }
        }
        pause(SETTLE);
        Ok(())
    }

    /// Sends packets of each flow until a daemon has none of them, so often at most.
    fn warm_daemon(&self, process: u32, passes: u32) -> Result<()> {
        let (start, flows) = (now(), self.stream.flows);
        for pass in 1..=passes {
            let before = cpu_time_of(process)?;
            let arrived = self.each_flow()?;
            pause(SETTLE.min(SETTLE_EACH * flows));
            let used = cpu_time_of(process)?.saturating_sub(before);
            if flows >= MANY {
                let (seconds, busy) = (start.elapsed().as_secs(), used.as_secs_f64());
                eprintln!(
                    "  warming: {pass} packets of each flow after {seconds} s; {arrived} of {flows} \
                     arrived, with {busy:.1} s of the daemon"
                );
            }
            let longest = WARMING_MAX.max(WARMING_MAX_EACH * flows);
            if used < UNNOTICED * flows || start.elapsed() > longest {
                break;
            }
        }
        Ok(())
    }

    /// Sends so many packets of each flow as fast as it goes.
    fn passes_at_once(&self, passes: u32) -> Result<()> {
        let stream = self.ascending();
        self.net.client.run(|| {
            pin(CLIENT_CPU)?;
            let mut generator = Generator::new(&stream)?;
            for _ in 0..passes {
                generator.send(stream.flows)?;
                pause(SETTLE);
            }
            Ok(())
        })
    }

    /// Sends a packet of each flow, no faster than they arrive; how many have.
    pub(crate) fn each_flow(&self) -> Result<u64> {
        self.net.client.run(|| {
            pin(CLIENT_CPU)?;
            self.each_flow_from_here()
        })
    }

    fn each_flow_from_here(&self) -> Result<u64> {
        let sender = RawSender::open(&self.net.client, "a0")?;
        let begin = self.end.arrived()?;
        let mut lost = 0;
        for flow in 0..self.stream.flows {
            // A full queue is waited for below, as packets that are lost are.
            let _ = sender.send(&self.stream.frame(flow));
            let sent = u64::from(flow) + 1;
            if sent % WINDOW == 0 || flow + 1 == self.stream.flows {
                let wanted = sent.saturating_sub(lost);
                let arrived = self.wait_for(begin + wanted)? - begin;
                lost += wanted.saturating_sub(arrived);
            }
        }
        Ok(self.end.arrived()? - begin)
    }

    /// Waits until so many have arrived or no more come; how many have.
    fn wait_for(&self, wanted: u64) -> Result<u64> {
        let mut arrived = self.end.arrived()?;
        let mut since = now();
        while arrived < wanted && since.elapsed() < LOST {
            std::thread::yield_now();
            let more = self.end.arrived()?;
            if more > arrived {
                (arrived, since) = (more, now());
            }
        }
        Ok(arrived)
    }

    /// Sends packets of each flow, a few at a time: for flows of which nothing arrives.
    pub(crate) fn trickle(&self) -> Result<()> {
        let stream = self.ascending();
        let times = TRICKLES * self.stream.flows.div_ceil(TRICKLE);
        self.net.client.run(|| {
            pin(CLIENT_CPU)?;
            let mut generator = Generator::new(&stream)?;
            // Each call takes the kernel some 10 to 20 ms, in which a daemon catches up.
            for _ in 0..times {
                generator.send(TRICKLE)?;
            }
            Ok(())
        })
    }

    /// Sends for about this time.
    pub(crate) fn flood(&self, time: Duration) -> Result<Flood> {
        flood(self.net, &self.stream, &self.end, time)
    }

    /// Sends one packet of each flow as fast as it goes.
    pub(crate) fn flood_once(&self) -> Result<Flood> {
        let stream = self.ascending();
        self.net.client.run(|| {
            pin(CLIENT_CPU)?;
            let mut generator = Generator::new(&stream)?;
            burst(&mut generator, &self.end, stream.flows)
        })
    }

    fn ascending(&self) -> Stream {
        Stream {
            order: Order::Ascending,
            ..self.stream
        }
    }
}

/// What the generator does where its packets are dropped as they come in.
pub(crate) fn dropped_at_once(net: &Net, at: At, time: Duration) -> Result<Flood> {
    net.receive_frames()?;
    let end = net.inside.run(|| End::new("ma", at, OPEN))?;
    flood(net, &stream(net, 10_000, OPEN)?, &end, time)
}

fn stream(net: &Net, flows: u32, port: u16) -> Result<Stream> {
    Ok(Stream {
        out: index_of(&net.client, "a0")?,
        ether: net.ether()?,
        source: FLOWS,
        destination: SERVER,
        port,
        flows,
        order: Order::Random,
    })
}

fn flood(net: &Net, stream: &Stream, end: &End, time: Duration) -> Result<Flood> {
    net.client.run(|| {
        pin(CLIENT_CPU)?;
        let mut generator = Generator::new(stream)?;
        // The first ones find cold caches.
        burst(&mut generator, end, TRIAL)?;
        let trial = burst(&mut generator, end, TRIAL)?;
        burst(&mut generator, end, count_in(trial.sent, time))
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "so many packets as are sent in a second or a few"
)]
fn count_in(rate: f64, time: Duration) -> u32 {
    ((rate * time.as_secs_f64()) as u32).max(TRIAL)
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark")]
fn burst(generator: &mut Generator, end: &End, packets: u32) -> Result<Flood> {
    let (before, cpu) = (end.arrived()?, cpu_time()?);
    let time = generator.send(packets)?.as_secs_f64();
    let cpu = cpu_time()?.saturating_sub(cpu);
    let arrived = end.arrived()? - before;
    Ok(Flood {
        sent: f64::from(packets) / time,
        arrived: arrived as f64 / time,
        cost: cpu.as_secs_f64() * 1e9 / f64::from(packets),
    })
}

/// What this thread has used, and what the kernel put off for this CPU.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).context("a clock")?;
    let nanos = u32::try_from(time.tv_nsec).context("a clock")?;
    Ok(Duration::new(seconds, nanos) + softirq_time(CLIENT_CPU)?)
}
