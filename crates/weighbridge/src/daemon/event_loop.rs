//! The one loop around the engine: packets, requests, changes of links, signals, time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use datapath::netlink::{Monitor, WayMonitor};
use datapath::{Content, Datapath, DatapathStatistics, Upcall};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use pf_engine::decision::{Hook, Packet};
use pf_engine::engine::{Discarded, Engine, FLOWS_AT_ONCE, FlowsRead};
use pf_engine::env::{Env, IfIndex};
use pf_engine::rule::Direction;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use tracing::{info, warn};

use super::bad_states::BadStates;
use super::clock::Clock;
use super::env::LiveEnv;
use super::gateways::{Around, Gateways};
use super::keep::Keeper;
use super::limits::LimitWatch;
use super::links::LinkKeeper;
use super::links_process::LinksProcess;
use super::packets;
use super::reload::Reloader;
use super::room::Room;
use super::shares::{Shares, Turn};
use super::signals::{Signals, drain};
use super::ways::NewWays;
use crate::control::server::{ClientId, Control, Job};
use crate::control::service::{
    Answer, Desk, Effect, Handled, Ongoing, Work, handle, packets_seen, proceed,
};
use crate::pfctl::show::{LoadedBy, Lost};
use crate::pflog::writer::Logger;

/// Packets that are handled before requests get their turn: a few milliseconds' worth.
const PACKETS_PER_TURN: usize = 256;
/// Turns that leave packets behind before flows are put into the cache although packets wait: four
/// times as many packets as the TAP's queue holds.
const TURNS_WITH_MORE: u32 = 16;
/// Pieces of work for pfctl that are done before packets get their turn again.
const JOBS_PER_TURN: usize = 4;
/// How often connections in the flow cache are looked at that went on there: a short one is looked at
/// once, when it is over. Timeouts are seconds.
const FOLLOW_EACH: Duration = Duration::from_millis(20);
/// How long a flood of packets may put off the judgement of gateways.
const ANSWERS_WAIT: Duration = Duration::from_secs(1);
/// Events that are taken from the kernel at a time; there are fewer sources.
const EVENTS_MAX: usize = 16;

const TAP: Token = Token(0);
const MONITOR: Token = Token(1);
const WAKER: Token = Token(2);
const STOP: Token = Token(3);
const RELOAD: Token = Token(4);
const HAND_OVER: Token = Token(5);
const WAYS: Token = Token(6);
const CHANGES: Token = Token(7);

/// A waker for the loop that will use `poll`.
pub(super) fn waker(poll: &Poll) -> Result<Arc<Waker>> {
    let waker = Waker::new(poll.registry(), WAKER).context("cannot wait for events")?;
    Ok(Arc::new(waker))
}

/// What the loop is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) engine: Engine,
    /// Readable when connections have gone on in the flow cache, if there is one.
    pub(super) changes: Option<OwnedFd>,
    pub(super) env: LiveEnv,
    pub(super) datapath: Datapath,
    pub(super) monitor: Monitor,
    pub(super) ways: WayMonitor,
    pub(super) keeper: &'a mut LinkKeeper,
    pub(super) process: &'a mut Option<LinksProcess>,
    pub(super) control: Control,
    pub(super) logger: Logger,
    pub(super) signals: Signals,
    pub(super) reloader: Reloader,
    pub(super) clock: Clock,
    pub(super) states: Keeper,
    pub(super) loaded_by: LoadedBy,
    pub(super) dialect: Dialect,
    pub(super) filtered: Arc<[String]>,
    pub(super) gateways: Gateways,
}

/// The loop.
#[derive(Debug)]
pub(super) struct EventLoop<'a> {
    poll: Poll,
    parts: Parts<'a>,
    upcall: Upcall,
    /// The TAP had packets when we last looked; the kernel will not tell again.
    packets_left: bool,
    /// Turns after which it still had some.
    turns_with_more: u32,
    /// When connections in the flow cache are looked at, if there are any that went on.
    follow_at: Option<Instant>,
    new_ways: NewWays,
    /// The same for requests.
    jobs_left: bool,
    /// The same for notices of neighbours.
    notices_left: bool,
    /// What is to be done next of a change, and the client that it is for; nobody for a reload.
    ongoing: Option<(Option<ClientId>, Step)>,
    /// What shows what the flow cache knows, which is read in pieces first, and where the next piece
    /// begins.
    reading: Option<(Reader, FlowsRead)>,
    /// Lost packets when the counters were last zeroed.
    lost_before: Lost,
    limits: LimitWatch,
    bad_states: BadStates,
    shares: Shares,
    room: Room,
    ending: Option<Ending>,
}

/// A step of a change. It is made when the flow cache is empty and nothing of it is left to be made up
/// for, and nothing is put into it until the last step.
#[derive(Debug)]
enum Step {
    Begin(Work),
    GoOn(Ongoing),
}

/// What the flow cache is read for.
#[derive(Debug)]
enum Reader {
    Job(Job),
    /// pf.conf is to be read again, and may ask what its rules have seen.
    Reload,
}

/// Why the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// For good: the hooks go.
    Stop,
    /// Another daemon will take over: the hooks stay.
    HandOver,
}

impl<'a> EventLoop<'a> {
    /// Registers everything that can wake it.
    pub(super) fn new(poll: Poll, mut parts: Parts<'a>) -> Result<Self> {
        let registry = poll.registry();
        let readable = Interest::READABLE;
        for (fd, token) in [
            (parts.datapath.fd().as_raw_fd(), TAP),
            (parts.monitor.fd().as_raw_fd(), MONITOR),
        ] {
            registry.register(&mut SourceFd(&fd), token, readable)?;
        }
        for fd in parts.ways.fds() {
            registry.register(&mut SourceFd(&fd.as_raw_fd()), WAYS, readable)?;
        }
        if let Some(changes) = &parts.changes {
            registry.register(&mut SourceFd(&changes.as_raw_fd()), CHANGES, readable)?;
        }
        registry.register(&mut parts.signals.stop, STOP, readable)?;
        registry.register(&mut parts.signals.hand_over, HAND_OVER, readable)?;
        registry.register(&mut parts.signals.reload, RELOAD, readable)?;
        Ok(Self {
            poll,
            parts,
            upcall: empty_upcall(),
            packets_left: true,
            turns_with_more: 0,
            follow_at: None,
            new_ways: NewWays::default(),
            jobs_left: true,
            notices_left: true,
            ongoing: None,
            reading: None,
            lost_before: Lost::default(),
            limits: LimitWatch::default(),
            bad_states: BadStates::default(),
            shares: Shares::default(),
            room: Room::start(),
            ending: None,
        })
    }

    /// Runs until a signal stops it or the data path is gone. States are kept; only an orderly
    /// stop takes the hooks off.
    pub(super) fn run(&mut self) -> Result<()> {
        let result = self.turns();
        let parts = &mut self.parts;
        parts.engine.settle_flows();
        parts.states.finish(&parts.engine, &parts.clock);
        let statistics = self.parts.datapath.statistics();
        info!(
            "{} packets came up, {} were lost on the way, {} were held back",
            statistics.upcalls,
            lost(&statistics).congested,
            statistics.held_back
        );
        let flows = self.parts.engine.flow_statistics();
        if flows.put > 0 {
            info!(
                "{} packets passed by the flow cache, {} of them at two hooks at once, and {} ended \
                 there: {} flows were put in, {} taken out, it was emptied {} times and had no \
                 room {} times",
                statistics.cached,
                2 * statistics.fused,
                statistics.blocked,
                flows.put,
                flows.taken,
                flows.emptied,
                flows.refused
            );
        }
        if result.is_ok() && self.ending == Some(Ending::Stop) {
            self.parts.keeper.release_carriers();
            self.parts.datapath.release();
            self.parts.keeper.end_claims();
        }
        self.parts.logger.finish();
        let logged = self.parts.logger.statistics();
        info!(
            "{} packets were logged, {} were lost",
            logged.written, logged.lost
        );
        result
    }

    fn turns(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.show_frames();
        // Interfaces may have changed between the snapshot and now.
        self.links_changed();
        while self.ending.is_none() {
            self.wait(&mut events)?;
            for event in &events {
                self.take(event.token())?;
            }
            let now = self.parts.clock.now();
            self.ways(now)?;
            self.packets(now)?;
            self.follow(now);
            self.jobs(now);
            self.show_frames();
            self.time(now);
        }
        Ok(())
    }

    /// Frames without IP come up as long as there are rules for them.
    fn show_frames(&mut self) {
        let wanted = self.parts.engine.filters_frames();
        if let Err(error) = self.parts.datapath.set_filters_frames(wanted) {
            warn!("{error}");
        }
    }

    fn wait(&mut self, events: &mut Events) -> Result<()> {
        match self.poll.poll(events, self.patience()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other.context("cannot wait for events"),
        }
    }

    /// How long to wait for events.
    fn patience(&self) -> Option<Duration> {
        let engine = &self.parts.engine;
        let is_behind = engine.has_left_flows() || engine.is_vacating();
        let has_begun = self.ongoing.is_some() || self.reading.is_some() || is_behind;
        if self.packets_left || self.jobs_left || self.notices_left || has_begun {
            return Some(Duration::ZERO);
        }
        let now = self.parts.clock.now();
        let engine = self.parts.engine.poll_timeout();
        let gateways = self.parts.gateways.deadline();
        let shares = self.shares.deadline();
        let carriers = self.parts.keeper.carrier_deadline();
        let carriers = carriers.map(Instant::from_origin);
        let process = self.parts.process.as_ref().map(LinksProcess::deadline);
        let process = process.map(Instant::from_origin);
        let states = self.parts.states.deadline();
        let follow = self.follow_at;
        let ways = self.new_ways.deadline();
        let deadlines = [
            engine, states, gateways, shares, carriers, process, follow, ways,
        ];
        let deadline = deadlines.into_iter().flatten().min()?;
        Some(deadline.saturating_since(now))
    }

    fn take(&mut self, token: Token) -> Result<()> {
        match token {
            TAP => self.packets_left = true,
            CHANGES => {
                let later = self.parts.clock.now().saturating_add(FOLLOW_EACH);
                self.follow_at.get_or_insert(later);
            }
            WAKER => self.jobs_left = true,
            WAYS => self.notices_left = true,
            MONITOR if self.parts.monitor.drain()? => self.links_changed(),
            STOP if drain(&mut self.parts.signals.stop) => self.ending = Some(Ending::Stop),
            HAND_OVER if drain(&mut self.parts.signals.hand_over) => {
                self.ending = Some(Ending::HandOver);
            }
            RELOAD if drain(&mut self.parts.signals.reload) => {
                self.parts.reloader.ask();
                self.jobs_left = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn packets(&mut self, now: Instant) -> Result<()> {
        let turn = self.take_packets(now)?;
        self.share(now, turn);
        // Whoever waits behind others must not be overtaken by the next packet of its flow; under a
        // flood, which has no end, they are put in all the same.
        self.turns_with_more = if self.packets_left {
            self.turns_with_more.saturating_add(1)
        } else {
            0
        };
        if !self.packets_left || self.turns_with_more >= TURNS_WITH_MORE {
            self.parts.engine.fill_flow_cache();
            self.turns_with_more = 0;
        }
        Ok(())
    }

    /// Connections that went on in the flow cache.
    fn follow(&mut self, now: Instant) {
        if self.follow_at.is_some_and(|at| at <= now) {
            let has_more = self.parts.engine.follow_flows();
            self.follow_at = has_more.then_some(now);
        }
    }

    /// Bounds who sends more than his share, while more comes up than can be taken. Without a flow
    /// cache all packets of all connections come up: a share of that would be one of the line.
    fn share(&mut self, now: Instant, turn: Turn) {
        if !self.parts.engine.has_flow_cache() {
            return;
        }
        let emptied = self.parts.engine.flow_statistics().emptied;
        let datapath = &mut self.parts.datapath;
        self.shares.note_emptied(emptied);
        self.shares.note(now, turn);
        let shares = self.shares.adjust(now, || datapath.held_back());
        if let Some(Err(error)) = shares.map(|shares| datapath.set_upcall_shares(shares)) {
            warn!("{error}");
        }
    }

    fn take_packets(&mut self, now: Instant) -> Result<Turn> {
        let mut turn = Turn::default();
        if !self.packets_left {
            return Ok(turn);
        }
        let parts = &mut self.parts;
        for _ in 0..PACKETS_PER_TURN {
            if !parts.datapath.receive(&mut self.upcall)? {
                self.packets_left = false;
                return Ok(turn);
            }
            turn.packets += 1;
            let came_in = self.upcall.hook.direction == Direction::In
                || self.upcall.packet.received_on.is_some();
            turn.entered += u32::from(came_in);
            // Rules know no interface of that number: what they would say of it, and the state that it would
            // leave for another of the name, are of no interface at all.
            if parts.env.interface(self.upcall.hook.interface).is_none() {
                parts.datapath.strayed();
                continue;
            }
            let around = Around {
                engine: &mut parts.engine,
                env: &mut parts.env,
                datapath: &mut parts.datapath,
                now,
            };
            let upcall = &self.upcall;
            if upcall.content == Content::Packet
                && parts
                    .gateways
                    .take_answer(upcall.hook, &upcall.packet.bytes, around)
            {
                continue;
            }
            let logged = packets::handle(
                &mut parts.engine,
                &mut parts.env,
                &mut parts.datapath,
                now,
                &mut self.upcall,
            );
            if let Some(bad) = parts.engine.take_bad_state() {
                self.bad_states.note(now, &bad);
            }
            if !logged.is_empty() {
                let by = (parts.loaded_by.uid, parts.loaded_by.pid);
                parts.logger.log(logged, parts.clock.since_1970(now), by);
            }
        }
        turn.left = true;
        Ok(turn)
    }

    fn jobs(&mut self, now: Instant) {
        if let Some((client, step)) = self.ongoing.take() {
            self.change(now, client, step);
        } else if let Some((reader, from)) = self.reading.take() {
            self.read_for(now, reader, from);
        } else {
            self.parts.engine.settle_flows_piece(FLOWS_AT_ONCE);
            if self.jobs_left {
                self.next_jobs(now);
            }
        }
        free_elsewhere(self.parts.engine.take_discarded());
    }

    fn next_jobs(&mut self, now: Instant) {
        if let Some(ruleset) = self.parts.reloader.finished() {
            let work = Work::Install(Box::new((*ruleset).into()), super::own_identity());
            self.begin(now, None, work);
        }
        for _ in 0..JOBS_PER_TURN {
            if self.ongoing.is_some() || self.reading.is_some() {
                return;
            }
            if self.parts.reloader.is_due() {
                self.read_for(now, Reader::Reload, FlowsRead::default());
                continue;
            }
            let Some(job) = self.parts.control.next_job() else {
                self.jobs_left = false;
                return;
            };
            match job.work.effect() {
                Effect::None => self.handle_job(now, job),
                Effect::Shows => self.read_for(now, Reader::Job(job), FlowsRead::default()),
                Effect::ShowsStates(from, max) => {
                    self.parts.engine.read_flows_from(from, max);
                    self.handle_job(now, job);
                }
                Effect::Changes => self.begin(now, Some(job.client), job.work),
            }
        }
    }

    /// What may change where packets are counted waits until all is made up for that the flow cache has
    /// passed.
    fn begin(&mut self, now: Instant, client: Option<ClientId>, work: Work) {
        self.parts.engine.pause_flows();
        self.change(now, client, Step::Begin(work));
    }

    fn change(&mut self, now: Instant, client: Option<ClientId>, step: Step) {
        if self.parts.engine.settle_flows_piece(FLOWS_AT_ONCE) {
            self.ongoing = Some((client, step));
            return;
        }
        let mut desk = self.desk(now);
        let handled = match step {
            Step::Begin(work) => handle(&mut desk, work),
            Step::GoOn(ongoing) => proceed(&mut desk, ongoing),
        };
        self.conclude(client, handled);
        if self.ongoing.is_none() {
            self.parts.engine.resume_flows();
        }
    }

    /// What is shown tells of packets in the cache too. A large cache is read in pieces, between
    /// packets: each flow is shown as of a moment since the question.
    fn read_for(&mut self, now: Instant, reader: Reader, from: FlowsRead) {
        let next = self.parts.engine.read_flows_piece(from, FLOWS_AT_ONCE);
        match (next, reader) {
            (Some(next), reader) => self.reading = Some((reader, next)),
            (None, Reader::Job(job)) => self.handle_job(now, job),
            (None, Reader::Reload) => self.reload(),
        }
    }

    fn handle_job(&mut self, now: Instant, job: Job) {
        let handled = handle(&mut self.desk(now), job.work);
        self.conclude(Some(job.client), handled);
    }

    /// Tells the client what came of its job, or keeps the rest of it.
    fn conclude(&mut self, client: Option<ClientId>, handled: Handled) {
        match (client, handled) {
            (client, Handled::More(ongoing)) => self.ongoing = Some((client, Step::GoOn(ongoing))),
            (Some(client), Handled::Done(answer)) => self.parts.control.answer(client, answer),
            (None, Handled::Done(Answer::Refused(message))) => warn!("{message}"),
            (None, Handled::Done(_)) => {}
        }
    }

    fn desk(&mut self, now: Instant) -> Desk<'_> {
        let parts = &mut self.parts;
        let statistics = parts.datapath.statistics();
        Desk {
            lost: lost(&statistics),
            fused: [statistics.fused, statistics.by_xdp, statistics.ridden],
            scheduler: &mut parts.datapath,
            engine: &mut parts.engine,
            now,
            origin: parts.clock.origin(),
            loaded_by: &mut parts.loaded_by,
            lost_before: &mut self.lost_before,
            interfaces: parts.env.interfaces(),
            dialect: parts.dialect,
            filtered: &parts.filtered,
            gateways: parts.gateways.monitor(),
        }
    }

    fn reload(&mut self) {
        let seed = u64::from(self.parts.env.random()) << 32 | u64::from(self.parts.env.random());
        let interfaces = self.parts.env.interfaces();
        let feedback = packets_seen(&self.parts.engine);
        self.parts.reloader.start(interfaces, seed, feedback);
    }

    fn time(&mut self, now: Instant) {
        if self.parts.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.parts.engine.handle_timeout(now);
        }
        let parts = &mut self.parts;
        self.room.work(&mut parts.engine);
        parts.states.work(&mut parts.engine, &parts.clock, now);
        self.limits.check(&parts.engine, now);
        parts.keeper.look_at_carriers(now.since_origin());
        if let Some(process) = parts.process {
            process.watch(now.since_origin());
        }
        self.gateways(now);
    }

    fn gateways(&mut self, now: Instant) {
        let parts = &mut self.parts;
        parts.gateways.vacate(&mut Around {
            engine: &mut parts.engine,
            env: &mut parts.env,
            datapath: &mut parts.datapath,
            now,
        });
        let late = parts
            .gateways
            .deadline()
            .map(|due| now.saturating_since(due));
        // Answers may be among the packets that wait.
        if self.packets_left && late.is_some_and(|late| late < ANSWERS_WAIT) {
            return;
        }
        parts.gateways.work(Around {
            engine: &mut parts.engine,
            env: &mut parts.env,
            datapath: &mut parts.datapath,
            now,
        });
    }

    /// Neighbours, or rules of what the kernel does with packets, have changed perhaps.
    fn ways(&mut self, now: Instant) -> Result<()> {
        let mut changed = false;
        if self.notices_left {
            let heard = self.parts.ways.drain()?;
            self.notices_left = heard.more;
            changed = heard.changed;
            if heard.learnt {
                self.new_ways.note(now);
            }
        }
        if changed || self.new_ways.is_due(now) {
            self.forget_ways(now);
        }
        Ok(())
    }

    /// What is learnt of fused flows' ways ends.
    fn forget_ways(&mut self, now: Instant) {
        self.new_ways.forgotten(now);
        if self.parts.engine.has_flow_cache()
            && let Err(error) = self.parts.datapath.neighbours_changed()
        {
            warn!("{error}");
        }
    }

    fn links_changed(&mut self) {
        let now = self.parts.clock.now();
        // At once: a table of routes takes its time to be read.
        self.forget_ways(now);
        // Next, for who waits at the other end of a cable.
        self.parts.keeper.carriers_changed(now.since_origin());
        match self.parts.keeper.refresh(&mut self.parts.datapath) {
            Ok(interfaces) => {
                self.parts.datapath.restore_queues();
                if self.parts.env.refresh(interfaces) {
                    self.parts.engine.handle_interface_change();
                }
            }
            Err(error) => warn!("cannot look at the interfaces: {error}"),
        }
        match self.parts.keeper.routes() {
            Ok(routes) => {
                if self.parts.env.refresh_routes(routes) {
                    self.parts.engine.handle_interface_change();
                }
            }
            Err(error) => warn!("cannot look at the routes: {error}"),
        }
        if self.parts.engine.has_flow_cache()
            && let Err(error) = self.parts.datapath.topology_changed()
        {
            warn!("{error}");
        }
    }
}

/// Large tables are freed in a thread of their own.
fn free_elsewhere(discarded: Discarded) {
    if discarded.is_empty() {
        return;
    }
    let thread = std::thread::Builder::new().name("free".into());
    // Without a thread they are freed here: the closure that was not run is dropped.
    let _ = thread.spawn(move || drop(discarded));
}

/// Packets that never came back from their way up.
const fn lost(statistics: &DatapathStatistics) -> Lost {
    Lost {
        congested: statistics.upcall_failed
            + statistics.queue_full
            + statistics.oversized
            + statistics.strayed
            + statistics.not_sent,
        held_back: statistics.held_back,
    }
}

fn empty_upcall() -> Upcall {
    Upcall {
        hook: Hook {
            interface: IfIndex(0),
            direction: Direction::In,
        },
        content: Content::default(),
        packet: Packet::default(),
    }
}
