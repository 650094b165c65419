//! `make soak`: the box under seeded random traffic, reloads, packet loss, resets, floods and
//! restarts for a given time, each verdict checked, and its memory watched.
//!
//! docs/soak.md says what is checked and how to read the report.

mod attack;
mod control;
mod judge;
mod ledger;
mod readers;
mod report;
mod rules;
mod sample;
mod sessions;
mod traffic;
mod trips;
mod world;

use std::io::Write;
use std::path::PathBuf;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};

use self::judge::Evidence;
use self::rules::{LONGEST_TIMEOUT_SECONDS, Variant};
use self::sample::{Sample, Samples, total_counters};
use self::world::World;
use crate::{FastPath, Lab, LabConfig, Role, Weighbridge, clock, identity};

pub use self::judge::{EXPLAINED, SLOPE_MAX_KIB, SLOPE_SPAN_MIN, slope};
pub use self::ledger::{Tally, Wrong};
pub use self::report::Report;
pub use self::sample::Sample as SoakSample;

/// Two lines, as fast as the machine: what is soaked is the box.
const LAB: LabConfig = LabConfig {
    dsl_lines: 2,
    shaped: false,
};
/// Threads that make ordinary traffic, and threads that hold connections.
const WORKERS: u64 = 8;
const SESSION_WORKERS: u64 = 12;
/// How long after the last restart somebody may still hold a connection that was lost by it.
const SETTLED_AFTER: Duration = Duration::from_secs(45);
/// How often is told how far it is.
const PROGRESS: Duration = Duration::from_mins(1);
/// A soak shorter than this is a test: it does everything once, quickly.
const SHORT_SECONDS: u64 = 120;
/// What the hosts may still have under way when they have stopped.
const AFTERGLOW: Duration = Duration::from_mins(1);

/// How a soak is run.
#[derive(Clone, Debug)]
pub struct SoakConfig {
    /// The binary `weighbridge`.
    pub binary: PathBuf,
    /// How long traffic is made.
    pub seconds: u64,
    /// What all that is drawn comes from.
    pub seed: u64,
    /// The flow cache of the daemons; without it that of [`crate::daemon::FAST_PATH`].
    pub fast_path: Option<FastPath>,
}

impl SoakConfig {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Milliseconds between two actions of the administrator.
    fn pause(&self) -> (u64, u64) {
        if self.seconds < SHORT_SECONDS {
            (100, 400)
        } else {
            (1_000, 5_000)
        }
    }

    /// The flow cache, in words.
    fn cache(&self) -> &'static str {
        match self.fast_path {
            None => "",
            Some(FastPath::Off) => ", without a flow cache",
            Some(FastPath::On) => ", with a flow cache",
            Some(FastPath::Emptied) => ", with a flow cache that is emptied again and again",
        }
    }

    fn sample_every(&self) -> Duration {
        Duration::from_secs(if self.seconds < SHORT_SECONDS { 1 } else { 5 })
    }
}

/// Runs a soak and tells `out` how far it is. An error says why it could not be run to its end;
/// what is wrong with a soak that was is in its report.
pub fn run(config: &SoakConfig, out: &mut impl Write) -> anyhow::Result<Report> {
    for name in identity::clean()? {
        writeln!(out, "removed {name}, left behind by a run that was killed")?;
    }
    writeln!(
        out,
        "soaking for {} s, seed {}{}: two lines, NAT, pools, tables, anchors, syncookies",
        config.seconds,
        config.seed,
        config.cache()
    )?;
    let world = build(config)?;
    let base = Sample::of(&world.daemon(), Duration::ZERO)?;
    let samples = Samples::default();
    soak(config, &world, &samples, out)?;
    let end = wait_for_rest(&world, &base)?;
    control::complain_about_log(&world, &world.daemon());
    world
        .ledger
        .count_many("packets lost", trips::lost(&world.lab)?);
    let samples = samples.all();
    let evidence = Evidence {
        tallies: world.ledger.tallies(),
        events: world.ledger.events(),
        counters: total_counters(&[samples.as_slice(), std::slice::from_ref(&end)].concat()),
        samples,
        base,
        end,
    };
    Ok(Report::new(config, &evidence, world.ledger.wrongs()))
}

fn build(config: &SoakConfig) -> anyhow::Result<World> {
    let mut lab = Lab::new(LAB)?;
    lab.serve(Role::H50)?;
    // What leaks to it would be served.
    lab.serve(Role::H34)?;
    trips::lay(&lab)?;
    let daemon = Weighbridge::start(&lab, &config.binary, &Variant::Old.files(config.fast_path))?;
    let show = |variant: Variant| {
        daemon.load(&variant.pf_conf())?;
        daemon.pfctl_ok(&["-sr"])
    };
    let new = show(Variant::New)?;
    let old = show(Variant::Old)?;
    Ok(World::new(config, lab, daemon, [old, new]))
}

/// All threads, until the time is over or one of them cannot go on.
fn soak(
    config: &SoakConfig,
    world: &World,
    samples: &Samples,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let restarts_until = clock::now() + config.duration() / 2;
    std::thread::scope(|scope| {
        let seed = |number: u64| config.seed.wrapping_mul(1_000_003).wrapping_add(number);
        for number in 0..WORKERS {
            scope.spawn(move || traffic::work(world, seed(number)));
        }
        for number in WORKERS..WORKERS + SESSION_WORKERS {
            scope.spawn(move || sessions::work(world, seed(number)));
        }
        scope.spawn(|| samples.collect(world, config.sample_every()));
        scope.spawn(move || readers::work(world, seed(100)));
        let settled = restarts_until + SETTLED_AFTER;
        let vital = [
            vital(scope, world, move || {
                attack::work(world, seed(101), settled)
            }),
            vital(scope, world, || trips::watch(world)),
            vital(scope, world, move || {
                control::work(world, seed(102), config.pause(), restarts_until)
            }),
        ];
        let told = tell(config, world, samples, out);
        world.ledger.stop();
        let ends = vital.map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        ends.into_iter().collect::<anyhow::Result<()>>()?;
        told
    })
}

/// A thread without which the soak makes no sense: it ends with it.
fn vital<'scope>(
    scope: &'scope Scope<'scope, '_>,
    world: &'scope World,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'scope,
) -> ScopedJoinHandle<'scope, anyhow::Result<()>> {
    scope.spawn(move || {
        let result = work();
        if result.is_err() {
            world.ledger.stop();
        }
        result
    })
}

/// Tells how far it is until the time is over.
fn tell(
    config: &SoakConfig,
    world: &World,
    samples: &Samples,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut next, mut told) = (PROGRESS, 0);
    while world.ledger.elapsed() < config.duration() && !world.ledger.is_stopped() {
        let until = next.min(config.duration());
        world
            .ledger
            .pause(until.saturating_sub(world.ledger.elapsed()));
        let sample = samples.last().unwrap_or_default();
        report::write_progress(out, world, &sample)?;
        told += report::write_wrong(out, world.ledger.wrongs().get(told..).unwrap_or_default())?;
        next += PROGRESS;
    }
    Ok(())
}

/// Waits until states and fragments are as few as before, as long as a timeout may take.
fn wait_for_rest(world: &World, base: &Sample) -> anyhow::Result<Sample> {
    let measure = || Sample::of(&world.daemon(), world.ledger.elapsed());
    let limit = Duration::from_secs(LONGEST_TIMEOUT_SECONDS) + AFTERGLOW;
    clock::wait_until(limit, || {
        clock::pause(Duration::from_millis(500));
        measure().is_ok_and(|end| judge::is_at_rest(base, &end))
    });
    measure().context("measuring what is left")
}
