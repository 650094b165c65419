//! A model of the kernel's flow cache: it passes what it knows, and tells it when asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pf_engine::counters::Count;
use pf_engine::decision::{EtherAddresses, Exit, Hook, Packet};
use pf_engine::flow::{
    Flow, FlowBasis, FlowCache, FlowChanged, FlowExit, FlowId, FlowKey, FlowOpened, FlowProgress,
    FlowWindow,
};
use pf_engine::rule::tcp_flags;
use pf_engine::time::Instant;
use pf_engine::view::HostPort;
use pf_engine::wire::{Icmp, IcmpBody, Meta, Rewrite, Tcp, Transport};

const MAX_ACK_WINDOW: u32 = 0xffff + 1500;
/// States that the model has room for.
pub(super) const STATES_MAX: u32 = 400;
/// Connections that it opens before it tells.
pub(super) const OPENED_MAX: u32 = 8;

#[derive(Debug)]
struct Entry {
    flow: Flow,
    progress: FlowProgress,
    is_live: bool,
    /// It has a slot until it is taken.
    is_there: bool,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    by_key: HashMap<FlowKey, (usize, usize)>,
    /// Ways that were told.
    leads: HashMap<FlowKey, (FlowId, usize, FlowExit)>,
    /// Flows in which an end has gone from one state to another.
    changed: Vec<FlowChanged>,
    offers: HashMap<FlowKey, Duration>,
    opened: Vec<FlowOpened>,
    /// It does not tell of them yet.
    tells_late: bool,
    passed: u64,
    translated: u64,
    modulated: u64,
    led: u64,
    dropped: u64,
    /// How often it was asked.
    calls: u64,
}

/// What the cache did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Passed,
    /// It passed, and was sent out.
    Led(Exit),
    Dropped,
    /// It is for the engine.
    Nothing,
}

/// A cache that both the engine and the wire have.
#[derive(Clone, Debug, Default)]
pub(super) struct Model(Arc<Mutex<Inner>>);

impl FlowCache for Model {
    fn put_all(&mut self, flows: &[Flow]) -> Vec<Option<FlowId>> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        flows.iter().map(|flow| inner.put(flow)).collect()
    }

    fn lead(&mut self, flow: FlowId, way: usize, key: &FlowKey, exit: &FlowExit) -> bool {
        let leads = &mut self.0.lock().unwrap().leads;
        leads.insert(*key, (flow, way, *exit));
        true
    }

    fn read_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        let told = |flow: &FlowId| inner.entries[flow.0 as usize].progress;
        flows.iter().map(told).collect()
    }

    fn changed(&mut self) -> Vec<FlowChanged> {
        std::mem::take(&mut self.0.lock().unwrap().changed)
    }

    fn take_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
        for flow in flows {
            let entry = &mut self.0.lock().unwrap().entries[flow.0 as usize];
            assert!(entry.is_there, "it is taken once");
            (entry.is_live, entry.is_there) = (false, false);
        }
        self.read_all(flows)
    }

    fn offer(&mut self, key: &FlowKey, lifetime: Duration) -> bool {
        self.0.lock().unwrap().offers.insert(*key, lifetime);
        true
    }

    fn withdraw(&mut self, keys: &[FlowKey]) {
        let mut inner = self.0.lock().unwrap();
        for key in keys {
            assert!(inner.offers.remove(key).is_some(), "{key:?}");
        }
    }

    fn opened(&mut self) -> Vec<FlowOpened> {
        let mut inner = self.0.lock().unwrap();
        if inner.tells_late {
            return Vec::new();
        }
        std::mem::take(&mut inner.opened)
    }

    fn opened_max(&self) -> u32 {
        OPENED_MAX
    }

    fn suspend(&mut self) -> bool {
        let mut inner = self.0.lock().unwrap();
        for entry in &mut inner.entries {
            entry.is_live = false;
        }
        inner.offers.clear();
        true
    }

    fn states_max(&self) -> u32 {
        STATES_MAX
    }

    fn memory(&self) -> u64 {
        0
    }
}

impl Inner {
    fn put(&mut self, flow: &Flow) -> Option<FlowId> {
        let of_states = |entry: &&Entry| entry.is_there && entry.flow.basis == FlowBasis::State;
        if self.entries.iter().filter(of_states).count() >= STATES_MAX as usize {
            return None;
        }
        let id = self.entries.len();
        for (way, key) in flow.keys.iter().enumerate() {
            if let Some(key) = key {
                self.by_key.insert(*key, (id, way));
            }
        }
        self.entries.push(Entry {
            flow: *flow,
            progress: FlowProgress {
                windows: flow.windows,
                ..FlowProgress::default()
            },
            is_live: true,
            is_there: true,
        });
        Some(FlowId(u32::try_from(id).unwrap()))
    }

    /// Whether a flow that is there has the key.
    fn knows(&self, key: &FlowKey) -> bool {
        let known = self.by_key.get(key);
        known.is_some_and(|(id, way)| {
            let entry = &self.entries[*id];
            entry.is_live && entry.flow.keys[*way] == Some(*key)
        })
    }

    /// Opens a connection as it was offered.
    fn open(&mut self, now: Instant, packet: &Packet, (syn, meta): (&FlowKey, &Meta)) -> Done {
        let HostPort { address, .. } = syn.source;
        let any = FlowKey {
            source: HostPort { address, port: 0 },
            ..*syn
        };
        let opener = FlowKey {
            opens: false,
            ..*syn
        };
        let (lifetime, tcp) = match (self.offers.get(&any), meta.tcp()) {
            (Some(lifetime), Some(tcp)) if meta.payload_len() == 0 => (*lifetime, tcp),
            _ => return Done::Nothing,
        };
        let scale = tcp.window_scale(&packet.bytes);
        let is_full = self.opened.len() >= OPENED_MAX as usize;
        if is_full || self.knows(&opener) || scale.is_some_and(|scale| scale > 14) {
            return Done::Nothing;
        }
        let flow = Flow {
            basis: FlowBasis::State,
            keys: [Some(opener), Some(answer_to(&opener))],
            becomes: [None; 2],
            shifts: [0; 2],
            windows: Some(behind_syn(tcp, scale)),
            refreshed: now,
            lifetime,
        };
        let Some(flow) = self.put(&flow) else {
            return Done::Nothing;
        };
        self.opened.push(FlowOpened {
            flow,
            hook: syn.hook,
            packet: packet.clone(),
            at: now,
        });
        self.passed += 1;
        Done::Passed
    }
}

/// The key of answers where a SYN has met the filter.
fn answer_to(opener: &FlowKey) -> FlowKey {
    FlowKey {
        hook: Hook {
            direction: opener.hook.direction.reverse(),
            ..opener.hook
        },
        ether: EtherAddresses {
            source: opener.ether.destination,
            destination: opener.ether.source,
        },
        source: opener.destination,
        destination: opener.source,
        ..*opener
    }
}

/// What is known of both ends behind a SYN.
fn behind_syn(tcp: &Tcp, scale: Option<u8>) -> [FlowWindow; 2] {
    let opener = FlowWindow {
        seq_lo: tcp.seq,
        seq_hi: tcp.seq.wrapping_add(2),
        max_win: u32::from(tcp.window)
            .max(1)
            .div_ceil(1 << scale.unwrap_or(0)),
        scale,
        state: SYN_SENT,
    };
    let other = FlowWindow {
        seq_hi: 1,
        max_win: 1,
        ..FlowWindow::default()
    };
    [opener, other]
}

impl Model {
    /// Connections that it has not told of yet.
    pub(super) fn untold(&self) -> usize {
        self.0.lock().unwrap().opened.len()
    }

    /// As if it were just opening them, as long as it tells late.
    pub(super) fn tell_late(&self, late: bool) {
        self.0.lock().unwrap().tells_late = late;
    }

    /// What it is offered.
    pub(super) fn offers(&self) -> usize {
        self.0.lock().unwrap().offers.len()
    }

    /// Packets that it has passed.
    pub(super) fn passed(&self) -> u64 {
        self.0.lock().unwrap().passed
    }

    /// Packets of these that it has translated.
    pub(super) fn translated(&self) -> u64 {
        self.0.lock().unwrap().translated
    }

    /// Packets whose sequence numbers it has moved.
    pub(super) fn modulated(&self) -> u64 {
        self.0.lock().unwrap().modulated
    }

    /// Packets that it has sent out by the way that it was told.
    pub(super) fn led(&self) -> u64 {
        self.0.lock().unwrap().led
    }

    /// Packets that it has dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.lock().unwrap().dropped
    }

    /// How often it was asked.
    pub(super) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// What becomes of the packet without the engine; translates it.
    pub(super) fn meet(&self, now: Instant, hook: Hook, packet: &mut Packet) -> Done {
        let Some((key, meta)) = key_of(hook, packet) else {
            return Done::Nothing;
        };
        let mut inner = self.0.lock().unwrap();
        if let Some(lead) = inner.leads.get(&key).copied()
            && inner.entries[lead.0.0 as usize].is_live
        {
            return inner.lead((now, hook), lead, packet);
        }
        if key.opens && !inner.knows(&key) {
            return inner.open(now, packet, (&key, &meta));
        }
        match inner.by_key.get(&key).copied() {
            Some((id, way)) if inner.entries[id].flow.keys[way] == Some(key) => {
                inner.pass((now, hook), (id, way), packet)
            }
            Some(_) | None => Done::Nothing,
        }
    }
}

impl Inner {
    /// Both flows let the packet pass, or neither has seen it.
    fn lead(
        &mut self,
        at: (Instant, Hook),
        (first, way, exit): (FlowId, usize, FlowExit),
        packet: &mut Packet,
    ) -> Done {
        let mut leaving = packet.clone();
        let (before, told) = (self.entries[first.0 as usize].progress, self.changed.len());
        let mut meta = Meta::parse(&packet.bytes).unwrap();
        let is_long = meta.total_len > exit.mtu as usize;
        if is_long || meta.ttl <= exit.hops {
            return Done::Nothing;
        }
        if exit.hops > 0 {
            meta.decrement_ttl(&mut leaving.bytes).unwrap();
        }
        if self.pass(at, (first.0 as usize, way), &mut leaving) == Done::Nothing {
            return Done::Nothing;
        }
        self.passed -= 1;
        if let Some((then, way)) = exit.then
            && self.pass(at, (then.0 as usize, way), &mut leaving) == Done::Nothing
        {
            self.entries[first.0 as usize].progress = before;
            self.changed.truncate(told);
            return Done::Nothing;
        }
        self.led += 1;
        *packet = leaving;
        Done::Led(exit.exit)
    }

    /// What one flow does with the packet.
    fn pass(
        &mut self,
        (now, hook): (Instant, Hook),
        (id, way): (usize, usize),
        packet: &mut Packet,
    ) -> Done {
        let inner = self;
        let Some((key, mut meta)) = key_of(hook, packet) else {
            return Done::Nothing;
        };
        let entry = &mut inner.entries[id];
        let last = entry.progress.refreshed.unwrap_or(entry.flow.refreshed);
        let is_over = last.saturating_add(entry.flow.lifetime) <= now;
        if !entry.is_live || is_over {
            return Done::Nothing;
        }
        if let Some(tcp) = meta.tcp() {
            let segment = Segment {
                tcp,
                len: u32::try_from(meta.payload_len()).unwrap(),
                scale: tcp.window_scale(&packet.bytes),
                ack: tcp.ack.wrapping_sub(entry.flow.shifts[1 - way]),
            };
            if segment.has(tcp_flags::SYN) && entry.flow.shifts != [0; 2] {
                return Done::Nothing;
            }
            match track(&mut entry.progress.windows, way, &segment) {
                Tracked::Not => return Done::Nothing,
                Tracked::Moved => inner.changed.push(FlowChanged {
                    flow: FlowId(u32::try_from(id).unwrap()),
                    is_over: is_closed(entry.progress.windows),
                }),
                Tracked::Same => {}
            }
        }
        let bytes = u64::try_from(meta.total_len).unwrap();
        entry.progress.counts[way].add(Count::one(bytes));
        entry.progress.refreshed = Some(now);
        if entry.flow.basis == FlowBasis::Block {
            inner.dropped += 1;
            return Done::Dropped;
        }
        if let Some((source, destination)) = entry.flow.becomes[way] {
            let bytes = &mut packet.bytes;
            meta.set_source(bytes, source.address).unwrap();
            meta.set_destination(bytes, destination.address).unwrap();
            let from = (source.port != key.source.port).then_some(source.port);
            let to = (destination.port != key.destination.port).then_some(destination.port);
            meta.set_ports_or_id(bytes, from, to).unwrap();
            inner.translated += 1;
        }
        if meta.tcp().is_some() && entry.flow.shifts != [0; 2] {
            modulate(&mut meta, &mut packet.bytes, entry.flow.shifts, way);
            inner.modulated += 1;
        }
        inner.passed += 1;
        Done::Passed
    }
}

fn modulate(meta: &mut Meta, bytes: &mut [u8], shifts: [u32; 2], way: usize) {
    let tcp = *meta.tcp().unwrap();
    let (add, back) = (shifts[way], 0u32.wrapping_sub(shifts[1 - way]));
    meta.set_tcp_seq(bytes, tcp.seq.wrapping_add(add)).unwrap();
    meta.set_tcp_ack(bytes, tcp.ack.wrapping_add(back)).unwrap();
    meta.add_to_sack_edges(bytes, back).unwrap();
}

/// The key of a packet that a cache may know.
fn key_of(hook: Hook, packet: &Packet) -> Option<(FlowKey, Meta)> {
    let meta = Meta::parse(&packet.bytes).ok()?;
    let ports = match meta.transport {
        Transport::Tcp(tcp) if !has_class(tcp.flags) => return None,
        Transport::Tcp(tcp) if tcp.destination_port == 0 => return None,
        Transport::Tcp(_) if !is_clean(&packet.bytes[meta.l4_offset..]) => return None,
        Transport::Tcp(_) | Transport::Udp(_) => meta.ports()?,
        Transport::Icmp(icmp) => echo_ports(icmp, 8, 0)?,
        Transport::Icmp6(icmp) => echo_ports(icmp, 128, 129)?,
        Transport::Sctp(_) | Transport::Other | Transport::Fragment => return None,
    };
    let host = |address, port| HostPort { address, port };
    let key = FlowKey {
        hook,
        ether: packet.ether?,
        protocol: meta.protocol,
        opens: meta
            .tcp()
            .is_some_and(|tcp| tcp.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN),
        source: host(meta.source, ports.0),
        destination: host(meta.destination, ports.1),
    };
    (!meta.has_ip_options && meta.fragment.is_none()).then_some((key, meta))
}

/// Whether a segment's reserved bits and urgent pointer are zero.
fn is_clean(segment: &[u8]) -> bool {
    segment[12].trailing_zeros() >= 4 && segment[18..20] == [0; 2]
}

/// A segment with ACK and at most one other flag that matters, or one that opens a connection.
fn has_class(flags: u8) -> bool {
    if flags & (tcp_flags::PSH | tcp_flags::ACK) == tcp_flags::PSH {
        return false;
    }
    let told = flags & !(tcp_flags::PSH | 0x40 | 0x80);
    let beside = told & !tcp_flags::ACK;
    let is_one = matches!(beside, 0 | tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST);
    told == tcp_flags::SYN || (told & tcp_flags::ACK != 0 && is_one)
}

fn echo_ports(icmp: Icmp, request: u8, reply: u8) -> Option<(u16, u16)> {
    match icmp.body {
        IcmpBody::Query { id } if icmp.kind == request => Some((id, request.into())),
        IcmpBody::Query { id } if icmp.kind == reply => Some((request.into(), id)),
        IcmpBody::Query { .. } | IcmpBody::Error | IcmpBody::Other => None,
    }
}

fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// What of a segment matters.
struct Segment<'a> {
    tcp: &'a Tcp,
    len: u32,
    scale: Option<u8>,
    /// What it acknowledges, in the other end's own count.
    ack: u32,
}

impl Segment<'_> {
    fn has(&self, flag: u8) -> bool {
        self.tcp.flags & flag != 0
    }
}

/// What became of a segment.
#[derive(PartialEq)]
enum Tracked {
    /// It is not one that the cache decides about.
    Not,
    /// It fits.
    Same,
    /// It fits, and an end is in another state now.
    Moved,
}

/// Whether both ends have closed the connection.
fn is_closed(windows: Option<[FlowWindow; 2]>) -> bool {
    windows.is_some_and(|ends| ends.iter().all(|end| end.state >= FIN_WAIT_2))
}

const SYN_SENT: u8 = 2;
const ESTABLISHED: u8 = 4;
const CLOSING: u8 = 7;
const FIN_WAIT_2: u8 = 9;
const TIME_WAIT: u8 = 10;

/// As the kernel's program has it.
fn track(windows: &mut Option<[FlowWindow; 2]>, way: usize, segment: &Segment<'_>) -> Tracked {
    let control = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    let Some(windows) = windows else {
        let is_plain = !segment.has(control) || segment.tcp.flags & tcp_flags::ACK == 0;
        return if is_plain {
            Tracked::Same
        } else {
            Tracked::Not
        };
    };
    let before = windows.map(|window| window.state);
    let (mut source, mut destination) = (windows[way], windows[1 - way]);
    let fits = segment.has(tcp_flags::ACK)
        && if segment.has(tcp_flags::SYN) {
            way == 1 && answers(&mut source, &mut destination, segment)
        } else {
            slides(&mut source, &mut destination, segment)
        };
    if !fits {
        return Tracked::Not;
    }
    (windows[way], windows[1 - way]) = (source, destination);
    if windows.map(|window| window.state) == before {
        Tracked::Same
    } else {
        Tracked::Moved
    }
}

/// The answer to a SYN, from somebody who was not heard before.
fn answers(source: &mut FlowWindow, destination: &mut FlowWindow, segment: &Segment<'_>) -> bool {
    let tcp = segment.tcp;
    let end = tcp.seq.wrapping_add(segment.len).wrapping_add(1);
    let acknowledges = segment.ack == destination.seq_lo.wrapping_add(1);
    let is_first = source.seq_lo == 0 && source.state == 0 && destination.state == SYN_SENT;
    if !is_first || !acknowledges || segment.scale.is_some_and(|scale| scale > 14) {
        return false;
    }
    let (mut window, mut theirs) = (u32::from(tcp.window), 0);
    let offered = destination.scale;
    match (offered, segment.scale) {
        (Some(offered), Some(scale)) => {
            source.scale = Some(scale);
            theirs = offered;
            window = window.div_ceil(1 << scale);
        }
        (Some(offered), None) => {
            destination.max_win = (destination.max_win << offered).min(0xffff);
            destination.scale = None;
        }
        (None, _) => {}
    }
    let reach = end.wrapping_add((destination.max_win << theirs).max(1));
    source.seq_lo = end;
    if source.seq_hi == 1 || !before(reach, source.seq_hi) {
        source.seq_hi = reach;
    }
    source.max_win = source.max_win.max(window);
    let announced = window
        << source
            .scale
            .filter(|_| destination.scale.is_some())
            .unwrap_or(0);
    if !before(segment.ack.wrapping_add(announced), destination.seq_hi) {
        destination.seq_hi = segment.ack.wrapping_add(announced.max(1));
    }
    source.state = SYN_SENT;
    destination.state = ESTABLISHED;
    true
}

/// A segment of a connection whose ends have both been heard.
fn slides(source: &mut FlowWindow, destination: &mut FlowWindow, segment: &Segment<'_>) -> bool {
    let tcp = segment.tcp;
    let (fin, rst) = (segment.has(tcp_flags::FIN), segment.has(tcp_flags::RST));
    let scales = source.scale.zip(destination.scale);
    let (ours, theirs) = scales.unwrap_or((0, 0));
    let mut seq = tcp.seq;
    let mut data_end = seq.wrapping_add(segment.len);
    let mut end = data_end.wrapping_add(fin.into());
    if seq == end {
        (seq, data_end, end) = (source.seq_lo, source.seq_lo, source.seq_lo);
    }
    let skew = destination.seq_lo.wrapping_sub(segment.ack).cast_signed();
    let exact = tcp.seq.wrapping_sub(source.seq_lo).wrapping_add(1) <= 2
        || segment.ack == destination.seq_lo;
    if source.seq_lo == 0
        || destination.state < SYN_SENT
        || (rst && (tcp.ack == 0 || segment.ack == 0 || !exact))
        || before(source.seq_hi, data_end)
        || before(
            seq,
            source.seq_lo.wrapping_sub(destination.max_win << theirs),
        )
        || skew < -MAX_ACK_WINDOW.cast_signed()
        || skew > (MAX_ACK_WINDOW << ours).cast_signed()
    {
        return false;
    }
    source.max_win = source.max_win.max(tcp.window.into());
    if before(source.seq_lo, end) {
        source.seq_lo = end;
    }
    let window = u32::from(tcp.window) << ours;
    if !before(segment.ack.wrapping_add(window), destination.seq_hi) {
        destination.seq_hi = segment.ack.wrapping_add(window.max(1));
    }
    if fin {
        source.state = source.state.max(CLOSING);
    }
    destination.state = match destination.state {
        SYN_SENT => ESTABLISHED,
        CLOSING => FIN_WAIT_2,
        other => other,
    };
    if rst {
        (source.state, destination.state) = (TIME_WAIT, TIME_WAIT);
    }
    true
}
