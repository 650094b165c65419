//! From queues to what the kernel is told: a pure function, so that what kernels with other
//! qdiscs would get can be tested on any.

use pf_engine::queue::{
    Altq, AltqQueue, Bandwidth, Curve, DEFAULT_PRIORITY, Discipline, FlowQueue, Queue, QueueId,
    QueueNumbers, QueueOptions, QueueTree, Scheduler,
};

use crate::Error;

/// The major number of qdiscs whose classes are our queues: whose they are, too. ("WB".)
pub(crate) const CLASSES: u32 = 0x5742;

/// The major number of a qdisc of ours without classes.
pub(crate) const FLAT: u32 = 0x5743;

/// The class above all queues of an `altq`.
const ROOT_CLASS: u16 = 0xffff;

/// Classes below each other (`TC_HTB_MAXDEPTH` of `linux/pkt_sched.h`).
const DEPTH_MAX: usize = 8;

/// Levels of `prio` that HTB knows (`TC_HTB_NUMPRIO`).
const HTB_PRIORITIES: usize = 8;

/// Smallest rate, in bytes a second, of a class: HTB needs one for each.
const RATE_MIN: u64 = 125;

/// Smallest and largest number of bytes that a class sends at its turn: one frame, and what
/// tc-htb(8) warns above.
const QUANTUM: (u64, u64) = (1_514, 60_000);

/// Bytes of two frames: the least that a class may send at once.
const BURST_MIN: u64 = 3_028;

/// What a class may send at once, as a share of a second: 1/100, a tick of the slowest kernel.
const BURST_PER_SECOND: u64 = 100;

/// Nanoseconds in the kernel's unit of time for token buckets (`PSCHED_SHIFT`).
const TICK: u64 = 64;

/// Average bytes of a packet that lengths of RED are reckoned in.
const RED_PACKET: u32 = 1_000;

/// Thresholds of RED in packets, and its weight as a power of two (`altq_red.c`: `TH_MIN`, `TH_MAX`,
/// `W_WEIGHT_1`).
const RED_THRESHOLDS: (u32, u32) = (5, 15);
const RED_WEIGHT: u8 = 9;
/// The steepness of its probability: log2((15 - 5) * 1000 bytes / (1/10)).
const RED_STEEPNESS: u8 = 17;

/// A qdisc or a class of the kernel's traffic control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcObject {
    /// Whether it is a class.
    pub class: bool,
    /// Major and minor number; 0 for one that the kernel chooses.
    pub handle: u32,
    /// What it hangs on; [`TcObject::ROOT`] for the interface.
    pub parent: u32,
    /// Its kind, as tc(8) calls it.
    pub kind: &'static str,
    /// Its options, as they go into `TCA_OPTIONS`.
    pub options: Vec<u8>,
    /// Where the queue was written that it is for, and what it is.
    pub origin: (String, String),
}

impl TcObject {
    /// The parent of an interface's own qdisc (`TC_H_ROOT`).
    pub const ROOT: u32 = 0xffff_ffff;
}

/// What the kernel is told of one interface, in this order.
///
/// # Errors
/// Where there is no faithful way to tell it.
pub fn plan(tree: &QueueTree, numbers: &QueueNumbers) -> Result<Vec<TcObject>, Error> {
    let plan = Plan {
        tree,
        numbers,
        objects: Vec::new(),
    };
    plan.check()?;
    match &tree.altq {
        Some(altq) => plan.altq(altq),
        None => Ok(plan.flow()),
    }
}

struct Plan<'a> {
    tree: &'a QueueTree,
    numbers: &'a QueueNumbers,
    objects: Vec<TcObject>,
}

/// Bytes in a second, and those with what others leave.
#[derive(Clone, Copy, Debug)]
struct Rates {
    rate: u64,
    ceil: u64,
}

/// The three curves of HFSC.
#[derive(Clone, Copy, Debug, Default)]
struct Curves {
    realtime: Option<Curve>,
    linkshare: Option<Curve>,
    upperlimit: Option<Curve>,
}

impl Curves {
    /// Whether one of them has two rates: HTB cannot do that.
    fn bends(&self) -> bool {
        let all = [self.realtime, self.linkshare, self.upperlimit];
        all.into_iter().flatten().any(|curve| curve.first.is_some())
    }
}

const fn straight(bits: u64) -> Curve {
    Curve {
        first: None,
        rate: Bandwidth::Bits(bits),
    }
}

impl Plan<'_> {
    fn check(&self) -> Result<(), Error> {
        for (at, queue) in self.tree.queues.iter().enumerate() {
            if self.tree.level(at) + 2 > DEPTH_MAX {
                let what = format!("queue {}: queues are nested too deep", queue.name);
                let hint = "the kernel has room for 8 levels of classes";
                return Err(refused(queue, what, hint));
            }
            if let QueueOptions::Altq(options) = &queue.options
                && let Some(scheduler) = &options.scheduler
            {
                check_flags(queue, scheduler)?;
            }
        }
        Ok(())
    }

    fn altq(mut self, altq: &Altq) -> Result<Vec<TcObject>, Error> {
        let bends = (0..self.tree.queues.len()).any(|at| self.curves(at).bends());
        let discipline = altq.scheduler.discipline;
        if discipline == Discipline::Hfsc && bends {
            self.hfsc_root(Some(altq));
            for at in 0..self.tree.queues.len() {
                self.hfsc_class(at);
            }
            return Ok(self.objects);
        }
        let ranks = self.ranks(discipline)?;
        let default = if self.tree.queues.is_empty() {
            ROOT_CLASS
        } else {
            self.default()
        };
        self.htb_root(default);
        let whole = bytes(altq.bandwidth);
        let rates = Rates {
            rate: whole,
            ceil: whole,
        };
        let burst = altq.tbrsize.map(u64::from);
        self.htb_class(ROOT_CLASS, None, rates, 0, burst, self.of_tree());
        for at in 0..self.tree.queues.len() {
            let Some(QueueOptions::Altq(options)) = self.options(at) else {
                continue;
            };
            let rates = Rates {
                rate: self.altq_rate(at, discipline),
                ceil: self.altq_ceil(at, altq),
            };
            let priority = htb_priority(options, discipline, &ranks);
            let parent = self.parent(at).or(Some(ROOT_CLASS));
            self.htb_class(self.minor(at), parent, rates, priority, None, self.of(at));
            self.altq_leaf(at, altq);
        }
        if self.tree.queues.is_empty() {
            let limit = altq.qlimit;
            self.scheduler_leaf(ROOT_CLASS, &altq.scheduler, limit, self.of_tree());
        }
        Ok(self.objects)
    }

    /// The priorities in use, the best first: HTB has only eight.
    fn ranks(&self, discipline: Discipline) -> Result<Vec<u32>, Error> {
        let mut used: Vec<u32> = Vec::new();
        for at in 0..self.tree.queues.len() {
            if let Some(QueueOptions::Altq(options)) = self.options(at) {
                used.push(options.priority.unwrap_or(DEFAULT_PRIORITY));
            }
        }
        used.sort_unstable_by(|a, b| b.cmp(a));
        used.dedup();
        let ranked = matches!(discipline, Discipline::Priq | Discipline::Fairq);
        if ranked && used.len() > HTB_PRIORITIES {
            return Err(Error::Queue {
                place: self.tree.place.0.clone(),
                what: format!(
                    "altq on {}: more than 8 different priorities",
                    self.tree.interface
                ),
                hint: "the kernel's HTB has 8; give some queues the same",
            });
        }
        Ok(used)
    }

    fn altq_rate(&self, at: usize, discipline: Discipline) -> u64 {
        if !discipline.shares_bandwidth() {
            return RATE_MIN;
        }
        let parent = self.tree.parent_rate(at);
        let curves = self.curves(at);
        let own = curves
            .linkshare
            .map_or(self.tree.rate(at), |curve| curve.rate.of(parent));
        let sure = curves.realtime.map_or(0, |curve| curve.rate.of(parent));
        bytes(own.max(sure))
    }

    fn altq_ceil(&self, at: usize, altq: &Altq) -> u64 {
        let discipline = altq.scheduler.discipline;
        let above = match self.tree.queues.get(at).and_then(|queue| queue.parent) {
            Some(parent) => self.altq_ceil(parent, altq),
            None => bytes(altq.bandwidth),
        };
        let Some(QueueOptions::Altq(options)) = self.options(at) else {
            return above;
        };
        let borrows = options.scheduler.as_ref().is_some_and(|s| s.has("borrow"));
        match discipline {
            Discipline::Cbq if !borrows => self.altq_rate(at, discipline),
            Discipline::Hfsc => self.curves(at).upperlimit.map_or(above, |curve| {
                let limit = bytes(curve.rate.of(self.tree.parent_rate(at)));
                limit.max(self.altq_rate(at, discipline)).min(above)
            }),
            Discipline::Cbq | Discipline::Priq | Discipline::Fairq | Discipline::Codel => above,
        }
    }

    fn altq_leaf(&mut self, at: usize, altq: &Altq) {
        if self.tree.has_children(at) {
            return;
        }
        let Some(QueueOptions::Altq(options)) = self.options(at) else {
            return;
        };
        let scheduler = options
            .scheduler
            .as_ref()
            .unwrap_or(&altq.scheduler)
            .clone();
        let limit = options.qlimit;
        self.scheduler_leaf(self.minor(at), &scheduler, limit, self.of(at));
    }

    /// What holds the packets of a class.
    fn scheduler_leaf(
        &mut self,
        class: u16,
        scheduler: &Scheduler,
        limit: Option<u32>,
        origin: (String, String),
    ) {
        let limit = limit
            .filter(|limit| *limit != 0)
            .unwrap_or(pf_engine::queue::DEFAULT_QLIMIT);
        let (kind, options) = match scheduler.discipline {
            Discipline::Fairq => ("fq_codel", fq_codel(scheduler.buckets, None, limit)),
            Discipline::Codel => ("codel", codel(scheduler, limit)),
            _ if scheduler.has("codel") => ("codel", codel(scheduler, limit)),
            _ if scheduler.has("red") => ("red", red(limit, scheduler.has("ecn"))),
            Discipline::Cbq | Discipline::Priq | Discipline::Hfsc => {
                ("pfifo", limit.to_ne_bytes().to_vec())
            }
        };
        self.leaf(class, kind, options, origin);
    }

    fn leaf(&mut self, class: u16, kind: &'static str, options: Vec<u8>, origin: (String, String)) {
        self.objects.push(TcObject {
            class: false,
            handle: 0,
            parent: CLASSES << 16 | u32::from(class),
            kind,
            options,
            origin,
        });
    }

    fn flow(mut self) -> Vec<TcObject> {
        let all = 0..self.tree.queues.len();
        if let [only] = self.tree.queues.as_slice()
            && let QueueOptions::Flow(options) = &only.options
            && options.bandwidth.is_none()
        {
            self.objects.push(TcObject {
                class: false,
                handle: FLAT << 16,
                parent: TcObject::ROOT,
                kind: "fq_codel",
                options: fq_codel(options.flows, options.quantum, only.qlimit()),
                origin: self.of(0),
            });
            return self.objects;
        }
        if all.clone().any(|at| self.curves(at).bends()) {
            self.hfsc_root(None);
            all.for_each(|at| self.hfsc_class(at));
            return self.objects;
        }
        self.htb_root(self.default());
        for at in all {
            let rates = Rates {
                rate: self.flow_rate(at),
                ceil: self.flow_ceil(at),
            };
            let parent = self.parent(at);
            self.htb_class(self.minor(at), parent, rates, 0, None, self.of(at));
            self.flow_leaf(at);
        }
        self.objects
    }

    fn flow_rate(&self, at: usize) -> u64 {
        let sure = self.curves(at).realtime;
        let sure = sure.and_then(|curve| curve.rate.absolute()).unwrap_or(0);
        bytes(self.tree.rate(at).max(sure))
    }

    fn flow_ceil(&self, at: usize) -> u64 {
        let own = self.curves(at).upperlimit;
        let own = own.and_then(|curve| curve.rate.absolute()).map(bytes);
        let parent = self.tree.queues.get(at).and_then(|queue| queue.parent);
        let above = parent.map(|parent| self.flow_ceil(parent));
        let ceil = match (own, above) {
            (Some(own), Some(above)) => own.min(above),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => self.flow_rate(at),
        };
        ceil.max(self.flow_rate(at))
    }

    fn flow_leaf(&mut self, at: usize) {
        let (Some(QueueOptions::Flow(options)), false) =
            (self.options(at), self.tree.has_children(at))
        else {
            return;
        };
        let limit = self.tree.queues.get(at).map_or(0, Queue::qlimit);
        let (kind, options) = match options.flows {
            Some(flows) => ("fq_codel", fq_codel(Some(flows), options.quantum, limit)),
            None => ("pfifo", limit.to_ne_bytes().to_vec()),
        };
        self.leaf(self.minor(at), kind, options, self.of(at));
    }

    fn htb_root(&mut self, default: u16) {
        // struct tc_htb_glob: version, rate2quantum, defcls, debug, direct_pkts.
        let mut glob = Vec::new();
        for word in [3, 10, u32::from(default), 0, 0] {
            glob.extend_from_slice(&u32::to_ne_bytes(word));
        }
        let options = nested(&[(2, glob)]);
        self.root("htb", options);
    }

    fn root(&mut self, kind: &'static str, options: Vec<u8>) {
        self.objects.push(TcObject {
            class: false,
            handle: CLASSES << 16,
            parent: TcObject::ROOT,
            kind,
            options,
            origin: self.of_tree(),
        });
    }

    fn htb_class(
        &mut self,
        minor: u16,
        parent: Option<u16>,
        rates: Rates,
        priority: u32,
        burst: Option<u64>,
        origin: (String, String),
    ) {
        self.objects.push(TcObject {
            class: true,
            handle: CLASSES << 16 | u32::from(minor),
            parent: CLASSES << 16 | u32::from(parent.unwrap_or(0)),
            kind: "htb",
            options: htb_class(rates, priority, burst),
            origin,
        });
    }

    fn hfsc_root(&mut self, altq: Option<&Altq>) {
        // struct tc_hfsc_qopt: the default class.
        let options = self.default().to_ne_bytes().to_vec();
        self.root("hfsc", options);
        if let Some(altq) = altq {
            let whole = Some(straight(altq.bandwidth));
            let curves = Curves {
                realtime: None,
                linkshare: whole,
                upperlimit: whole,
            };
            let options = hfsc_class(curves, altq.bandwidth);
            self.hfsc_object(ROOT_CLASS, 0, options, self.of_tree());
        }
    }

    fn hfsc_class(&mut self, at: usize) {
        let own = straight(self.tree.rate(at));
        let mut curves = self.curves(at);
        curves.linkshare = curves.linkshare.or(Some(own));
        if self.tree.altq.is_none() && self.parent(at).is_none() {
            curves.upperlimit = curves.upperlimit.or(Some(own));
        }
        let above = if self.tree.altq.is_some() {
            ROOT_CLASS
        } else {
            0
        };
        let parent = self.parent(at).unwrap_or(above);
        let options = hfsc_class(curves, self.tree.parent_rate(at));
        self.hfsc_object(self.minor(at), parent, options, self.of(at));
        match &self.tree.altq {
            Some(altq) => self.altq_leaf(at, altq),
            None => self.flow_leaf(at),
        }
    }

    fn hfsc_object(&mut self, minor: u16, parent: u16, options: Vec<u8>, origin: (String, String)) {
        self.objects.push(TcObject {
            class: true,
            handle: CLASSES << 16 | u32::from(minor),
            parent: CLASSES << 16 | u32::from(parent),
            kind: "hfsc",
            options,
            origin,
        });
    }

    fn curves(&self, at: usize) -> Curves {
        match self.options(at) {
            Some(QueueOptions::Altq(options)) => {
                options
                    .scheduler
                    .as_ref()
                    .map_or(Curves::default(), |s| Curves {
                        realtime: s.realtime,
                        linkshare: s.linkshare,
                        upperlimit: s.upperlimit,
                    })
            }
            Some(QueueOptions::Flow(FlowQueue {
                bandwidth,
                min,
                max,
                ..
            })) => Curves {
                realtime: *min,
                linkshare: *bandwidth,
                upperlimit: *max,
            },
            None => Curves::default(),
        }
    }

    fn options(&self, at: usize) -> Option<&QueueOptions> {
        self.tree.queues.get(at).map(|queue| &queue.options)
    }

    fn minor(&self, at: usize) -> u16 {
        let queue = self.tree.queues.get(at);
        let id = queue.and_then(|queue| self.numbers.get(&queue.name));
        id.map_or(0, |QueueId(id)| id)
    }

    fn parent(&self, at: usize) -> Option<u16> {
        let parent = self.tree.queues.get(at)?.parent?;
        Some(self.minor(parent))
    }

    fn default(&self) -> u16 {
        let at = self.tree.queues.iter().position(|queue| queue.default);
        at.map_or(0, |at| self.minor(at))
    }

    fn of(&self, at: usize) -> (String, String) {
        let queue = self.tree.queues.get(at);
        queue.map_or_else(
            || self.of_tree(),
            |queue| (queue.place.0.clone(), format!("queue {}", queue.name)),
        )
    }

    fn of_tree(&self) -> (String, String) {
        let what = format!("queues on {}", self.tree.interface);
        (self.tree.place.0.clone(), what)
    }
}

fn check_flags(queue: &Queue, scheduler: &Scheduler) -> Result<(), Error> {
    let impossible = ["rio", "flowvalve", "cleardscp", "control", "root"];
    match impossible.into_iter().find(|flag| scheduler.has(flag)) {
        Some(flag) => {
            let what = format!("queue {}: `{flag}` has no equivalent in Linux", queue.name);
            Err(refused(queue, what, "leave it out"))
        }
        None => Ok(()),
    }
}

/// A large priority is good in PF, a small one in HTB.
fn htb_priority(options: &AltqQueue, discipline: Discipline, ranks: &[u32]) -> u32 {
    let priority = options.priority.unwrap_or(DEFAULT_PRIORITY);
    let rank = match discipline {
        Discipline::Cbq => 7u32.saturating_sub(priority),
        Discipline::Priq | Discipline::Fairq => {
            let rank = ranks.iter().position(|known| *known == priority);
            rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(7)
        }
        Discipline::Hfsc | Discipline::Codel => 0,
    };
    rank.min(7)
}

fn refused(queue: &Queue, what: String, hint: &'static str) -> Error {
    Error::Queue {
        place: queue.place.0.clone(),
        what,
        hint,
    }
}

fn bytes(bits: u64) -> u64 {
    (bits / 8).max(RATE_MIN)
}

/// How long `burst` bytes take at `rate`, in the kernel's unit.
fn ticks(burst: u64, rate: u64) -> u32 {
    let nanoseconds = u128::from(burst) * 1_000_000_000 / u128::from(rate.max(1));
    u32::try_from(nanoseconds / u128::from(TICK)).unwrap_or(u32::MAX)
}

fn htb_class(rates: Rates, priority: u32, burst: Option<u64>) -> Vec<u8> {
    let burst_of = |rate: u64| burst.unwrap_or(rate / BURST_PER_SECOND).max(BURST_MIN);
    // struct tc_htb_opt: two struct tc_ratespec, then buffer, cbuffer, quantum, level, prio.
    let mut parms = Vec::new();
    for rate in [rates.rate, rates.ceil] {
        parms.extend_from_slice(&ratespec(rate));
    }
    let (least, most) = QUANTUM;
    let quantum = (rates.rate / 10).clamp(least, most);
    let words = [
        ticks(burst_of(rates.rate), rates.rate),
        ticks(burst_of(rates.ceil), rates.ceil),
        u32::try_from(quantum).unwrap_or(u32::MAX),
        0,
        priority,
    ];
    for word in words {
        parms.extend_from_slice(&word.to_ne_bytes());
    }
    let mut attributes = vec![(1, parms)];
    for (kind, rate) in [(6, rates.rate), (7, rates.ceil)] {
        if rate > u64::from(u32::MAX) {
            attributes.push((kind, rate.to_ne_bytes().to_vec()));
        }
    }
    nested(&attributes)
}

/// `struct tc_ratespec`; the frame's length counts (`TC_LINKLAYER_ETHERNET`), so no table of
/// transmission times is needed.
fn ratespec(rate: u64) -> [u8; 12] {
    let mut spec = [0; 12];
    spec[1] = 1;
    let rate = u32::try_from(rate).unwrap_or(u32::MAX);
    spec[8..].copy_from_slice(&rate.to_ne_bytes());
    spec
}

/// `struct tc_service_curve` for each curve: bytes a second, microseconds, bytes a second.
fn hfsc_class(curves: Curves, parent: u64) -> Vec<u8> {
    let word = |bits: u64| u32::try_from(bytes(bits)).unwrap_or(u32::MAX);
    let given = [
        (1, curves.realtime),
        (2, curves.linkshare),
        (3, curves.upperlimit),
    ];
    let attributes: Vec<(u16, Vec<u8>)> = given
        .into_iter()
        .filter_map(|(kind, curve)| {
            let curve = curve?;
            let (first, time) = curve.first.unwrap_or((curve.rate, 0));
            let words = [
                if time == 0 { 0 } else { word(first.of(parent)) },
                time.saturating_mul(1_000),
                word(curve.rate.of(parent)),
            ];
            Some((kind, words.into_iter().flat_map(u32::to_ne_bytes).collect()))
        })
        .collect();
    nested(&attributes)
}

fn fq_codel(flows: Option<u32>, quantum: Option<u32>, limit: u32) -> Vec<u8> {
    let mut attributes = vec![(2, limit.to_ne_bytes().to_vec())];
    attributes.extend(flows.map(|flows| (5, flows.to_ne_bytes().to_vec())));
    attributes.extend(quantum.map(|bytes| (6, bytes.to_ne_bytes().to_vec())));
    nested(&attributes)
}

/// Times are milliseconds in PF, microseconds in the kernel.
fn codel(scheduler: &Scheduler, limit: u32) -> Vec<u8> {
    let time = |ms: u32| ms.saturating_mul(1_000).to_ne_bytes().to_vec();
    let mut attributes = Vec::new();
    attributes.extend(scheduler.target.map(|target| (1, time(target))));
    attributes.push((2, limit.to_ne_bytes().to_vec()));
    attributes.extend(scheduler.interval.map(|interval| (3, time(interval))));
    let ecn = u32::from(scheduler.has("ecn"));
    attributes.push((4, ecn.to_ne_bytes().to_vec()));
    nested(&attributes)
}

/// `struct tc_red_qopt`, and a table for idle times that is not used.
fn red(limit: u32, ecn: bool) -> Vec<u8> {
    let (least, most) = RED_THRESHOLDS;
    let mut parms = Vec::new();
    for packets in [limit.max(most), least, most] {
        parms.extend_from_slice(&(packets * RED_PACKET).to_ne_bytes());
    }
    parms.extend_from_slice(&[RED_WEIGHT, RED_STEEPNESS, 0, u8::from(ecn)]);
    nested(&[(1, parms), (2, vec![0; 256])])
}

/// Attributes of netlink: length and kind, then the value, filled up to four bytes.
fn nested(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, value) in attributes {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        all.extend_from_slice(&len.to_ne_bytes());
        all.extend_from_slice(&kind.to_ne_bytes());
        all.extend_from_slice(value);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

#[cfg(test)]
mod tests;
