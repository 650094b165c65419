//! Queues to text: as pfctl echoes a file, and as `pfctl -s queue` shows what is in force.

use pf_engine::queue::{
    Altq, AltqQueue, Bandwidth, Curve, DEFAULT_PRIORITY, DEFAULT_QLIMIT, Discipline, FlowQueue,
    QueueOptions, QueueTree, Scheduler,
};

use super::name;

/// Bytes of a packet that a token bucket is reckoned in: what PF takes for an interface whose MTU
/// it does not know.
const PACKET: u32 = 1500;

/// The words of a discipline that have no value, in the order of printing.
pub(crate) const fn flags_of(discipline: Discipline) -> &'static [&'static str] {
    match discipline {
        Discipline::Cbq => &[
            "red",
            "ecn",
            "rio",
            "codel",
            "cleardscp",
            "flowvalve",
            "borrow",
            "wrr",
            "efficient",
            "root",
            "control",
            "default",
        ],
        Discipline::Priq | Discipline::Hfsc | Discipline::Fairq => {
            &["red", "ecn", "rio", "codel", "cleardscp", "default"]
        }
        Discipline::Codel => &["ecn"],
    }
}

/// Queue number `at` of a tree as `pfctl -s queue` prints it, without newline: with its parents'
/// indentation and its children in the old grammar, with its parent in the new one. Nothing where
/// there is no such queue.
#[must_use]
pub fn print_queue(tree: &QueueTree, at: usize) -> Option<String> {
    let queue = tree.queues.get(at)?;
    match &queue.options {
        QueueOptions::Flow(options) => {
            let interface = queue.bound.then_some(tree.interface.as_str());
            let interface = interface.or(options.parent.is_none().then_some(&tree.interface));
            Some(flow_line(&queue.name, interface, options))
        }
        QueueOptions::Altq(options) => {
            let altq = tree.altq.as_ref()?;
            let level = tree.level(at) + usize::from(altq.scheduler.discipline.shares_bandwidth());
            let own = AltqQueue {
                bandwidth: Some(Bandwidth::Bits(tree.rate(at))),
                ..options.clone()
            };
            let children = own.children.clone();
            let own = AltqQueue {
                children: Vec::new(),
                ..own
            };
            let line = altq_queue_line(
                &queue.name,
                Some(&tree.interface),
                &own,
                altq.scheduler.discipline,
            );
            let line = line.replacen("queue ", &format!("queue {}", " ".repeat(level)), 1);
            Some(with_children(line, &children))
        }
    }
}

/// The queue that ALTQ puts above all others of an interface.
///
/// Nothing where the discipline has none.
#[must_use]
pub fn print_root_queue(tree: &QueueTree) -> Option<String> {
    let altq = tree.altq.as_ref()?;
    if !altq.scheduler.discipline.shares_bandwidth() {
        return None;
    }
    let discipline = altq.scheduler.discipline;
    let flags = if discipline == Discipline::Cbq {
        " cbq( wrr root )"
    } else {
        ""
    };
    let rate = altq_rate(Bandwidth::Bits(altq.bandwidth));
    let line = format!(
        "queue {} on {} bandwidth {rate} priority 0{flags} ",
        name(&tree.root_name()),
        name(&tree.interface)
    );
    Some(with_children(line, &altq.children))
}

fn with_children(line: String, children: &[String]) -> String {
    if children.is_empty() {
        return line;
    }
    let names: Vec<String> = children.iter().map(|child| name(child)).collect();
    format!("{line}{{{}}}", names.join(", "))
}

/// Behind the name of a curve, as PF does: a blank before a rate, none before parentheses.
fn curve(curve: &Curve) -> String {
    match &curve.first {
        None => format!(" {}", altq_rate(curve.rate)),
        Some((first, time)) => {
            format!("({} {time} {})", altq_rate(*first), altq_rate(curve.rate))
        }
    }
}

/// The parentheses; nothing where they would be empty. A `linkshare` that is the bandwidth is
/// not worth a word. PF prints no `buckets` and `hogs`.
fn scheduler(scheduler: &Scheduler, bandwidth: Bandwidth) -> Option<String> {
    let mut words = Vec::new();
    if scheduler.discipline == Discipline::Codel {
        words.extend(scheduler.target.map(|target| format!("target {target}")));
        words.extend(scheduler.interval.map(|time| format!("interval {time}")));
    }
    words.extend(scheduler.flags.iter().map(|flag| (*flag).to_owned()));
    let curves = [
        ("realtime", scheduler.realtime),
        ("linkshare", scheduler.linkshare),
        ("upperlimit", scheduler.upperlimit),
    ];
    for (name, given) in curves {
        let Some(given) = given else {
            continue;
        };
        let implied = name == "linkshare" && given.first.is_none() && given.rate == bandwidth;
        if !implied {
            words.push(format!("{name}{}", curve(&given)));
        }
    }
    let name = scheduler.discipline.name();
    (!words.is_empty()).then(|| format!("{name}( {} )", words.join(" ")))
}

pub(crate) fn altq_line(interface: &str, altq: &Altq) -> String {
    let bandwidth = Bandwidth::Bits(altq.bandwidth);
    let mut words = vec![format!("altq on {}", name(interface))];
    let discipline = altq.scheduler.discipline.name().to_owned();
    words.push(scheduler(&altq.scheduler, bandwidth).unwrap_or(discipline));
    words.push(format!("bandwidth {}", altq_rate(bandwidth)));
    if let Some(qlimit) = unusual(altq.qlimit) {
        words.push(format!("qlimit {qlimit}"));
    }
    let tbrsize = altq.tbrsize.unwrap_or_else(|| token_bucket(altq.bandwidth));
    words.push(format!("tbrsize {tbrsize}"));
    if !altq.children.is_empty() {
        words.push(format!("queue {}", braces(&altq.children)));
    }
    trailing_blank(&words, &altq.children)
}

fn unusual(qlimit: Option<u32>) -> Option<u32> {
    qlimit.filter(|qlimit| *qlimit != DEFAULT_QLIMIT)
}

/// PF ends each word of these lines with a blank; braces come last.
fn trailing_blank(words: &[String], children: &[String]) -> String {
    let blank = if children.is_empty() { " " } else { "" };
    words.join(" ") + blank
}

fn braces(children: &[String]) -> String {
    let names: Vec<String> = children.iter().map(|child| name(child)).collect();
    format!("{{ {} }}", names.join(" "))
}

pub(crate) fn altq_queue_line(
    queue: &str,
    interface: Option<&str>,
    options: &AltqQueue,
    discipline: Discipline,
) -> String {
    let mut words = vec![format!("queue {}", name(queue))];
    if let Some(interface) = interface {
        words.push(format!("on {}", name(interface)));
    }
    let whole = Bandwidth::WHOLE;
    let bandwidth = options.bandwidth.unwrap_or(whole);
    if discipline.shares_bandwidth() && bandwidth != whole {
        words.push(format!("bandwidth {}", altq_rate(bandwidth)));
    }
    let priority = options.priority;
    if let Some(priority) = priority.filter(|priority| *priority != DEFAULT_PRIORITY) {
        words.push(format!("priority {priority}"));
    }
    if let Some(qlimit) = unusual(options.qlimit) {
        words.push(format!("qlimit {qlimit}"));
    }
    let given = options.scheduler.as_ref();
    words.extend(given.and_then(|given| scheduler(given, bandwidth)));
    if !options.children.is_empty() {
        words.push(braces(&options.children));
    }
    trailing_blank(&words, &options.children)
}

/// With its interface where it has no parent, or where that has to be said.
pub(crate) fn flow_line(queue: &str, interface: Option<&str>, options: &FlowQueue) -> String {
    let mut text = format!("queue {}", name(queue));
    if let Some(interface) = interface {
        text = format!("{text} on {}", name(interface));
    }
    if let Some(parent) = &options.parent {
        text = format!("{text} parent {}", name(parent));
    }
    if let Some(flows) = options.flows {
        text = format!("{text} flows {flows}");
    }
    if let Some(quantum) = options.quantum {
        text = format!("{text} quantum {quantum}");
    }
    if let Some(rate) = &options.bandwidth {
        text = format!("{text} bandwidth {}", flow_curve(rate));
    }
    for (word, rate) in [("min", &options.min), ("max", &options.max)] {
        if let Some(rate) = rate {
            text = format!("{text}, {word} {}", flow_curve(rate));
        }
    }
    if options.default {
        text.push_str(" default");
    }
    if let Some(qlimit) = options.qlimit {
        text = format!("{text} qlimit {qlimit}");
    }
    text
}

fn flow_curve(curve: &Curve) -> String {
    let burst = curve.first.map(|(rate, time)| {
        let rate = flow_rate(rate);
        format!(" burst {rate} for {time}ms")
    });
    flow_rate(curve.rate) + &burst.unwrap_or_default()
}

/// As `altq` prints it: two digits behind the point at most.
fn altq_rate(bandwidth: Bandwidth) -> String {
    let bits = match bandwidth {
        Bandwidth::Percent(percent) => return format!("{percent}%"),
        Bandwidth::Bits(bits) => bits,
    };
    let (divisor, unit) = unit_of(bits);
    let hundredths = u128::from(bits) * 100 / u128::from(divisor);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    if rest == 0 {
        format!("{whole}{unit}b")
    } else {
        format!("{whole}.{rest:02}{unit}b")
    }
}

/// As OpenBSD's `queue` prints it: only thousands that are whole.
fn flow_rate(bandwidth: Bandwidth) -> String {
    let mut bits = match bandwidth {
        Bandwidth::Percent(percent) => return format!("{percent}%"),
        Bandwidth::Bits(bits) => bits,
    };
    let mut units = ["", "K", "M", "G"].into_iter().peekable();
    while bits >= 1000 && bits.is_multiple_of(1000) && units.len() > 1 {
        bits /= 1000;
        units.next();
    }
    format!("{bits}{}", units.next().unwrap_or_default())
}

/// `tbrsize` where it is not given: packets by speed (altq's rule of thumb).
const fn token_bucket(bits: u64) -> u32 {
    let packets = match bits {
        0..=1_000_000 => 1,
        1_000_001..=10_000_000 => 4,
        10_000_001..=200_000_000 => 8,
        200_000_001..=2_500_000_000 => 24,
        _ => 128,
    };
    packets * PACKET
}

const fn unit_of(bits: u64) -> (u64, &'static str) {
    match bits {
        0..1_000 => (1, ""),
        1_000..1_000_000 => (1_000, "K"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    }
}
