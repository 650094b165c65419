//! Queues: the kernel's traffic control does the queueing, we tell it how.
//!
//! What is ours is known by its major number. An interface with a queueing discipline that
//! somebody else has put there is left alone.

mod plan;

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2, TcXstats};
use pf_engine::env::IfIndex;
use pf_engine::queue::{QueueId, QueueNumbers, QueueTree};

use crate::Error;
use crate::netlink::connection::Connection;
use crate::netlink::link;
use crate::tap::Tap;

use self::plan::{CLASSES, FLAT};
pub use self::plan::{TcObject, plan};

/// Attribute of a qdisc or class that holds its options (`TCA_OPTIONS`).
const TCA_OPTIONS: u16 = 2;

/// `ENOENT`, which the kernel answers to a kind of qdisc that it does not have.
const UNKNOWN_KIND: i32 = libc::ENOENT;

/// Place of `borrows` in `struct tc_htb_xstats`, in bytes.
const HTB_BORROWS: usize = 4;

/// What the kernel counts of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Packets that were sent.
    pub packets: u64,
    /// Their bytes, frame headers included.
    pub bytes: u64,
    /// Packets that it had no room for.
    pub dropped: u64,
    /// Packets that wait.
    pub waiting: u64,
    /// How often it sent with what others left.
    pub borrows: u64,
    /// How often it had to wait for its rate.
    pub delays: u64,
}

/// The counters of all queues in force, by interface and name; a tree's own root is under its
/// [`QueueTree::root_name`].
pub type QueueStatistics = BTreeMap<(String, String), QueueCounters>;

/// What was told of one interface.
#[derive(Clone, Debug)]
struct Told {
    interface: String,
    /// The interface that has it; nothing while it is away.
    index: Option<u32>,
    objects: Vec<TcObject>,
}

/// The queues in force.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    told: Vec<Told>,
}

impl Queues {
    /// Puts `trees` into force in place of those before; what is the same stays untouched. All or
    /// nothing.
    pub(crate) fn set(
        &mut self,
        trees: &[QueueTree],
        numbers: &QueueNumbers,
        connection: &Connection,
    ) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for tree in trees {
            wanted.push(self.prepare(tree, numbers, connection)?);
        }
        self.rehearse(&wanted, connection)?;
        let before = std::mem::take(&mut self.told);
        for old in before.iter().filter(|old| !is_among(old, &wanted)) {
            take_off(old, connection);
        }
        for at in 0..wanted.len() {
            let Some(new) = wanted.get(at).filter(|new| !is_among(new, &before)) else {
                continue;
            };
            if let Err(error) = put_on(new, connection) {
                // The rehearsal went well, so this is an interface that vanished or no memory.
                for undone in wanted
                    .iter()
                    .take(at + 1)
                    .filter(|new| !is_among(new, &before))
                {
                    take_off(undone, connection);
                }
                for old in before.iter().filter(|old| !is_among(old, &wanted)) {
                    let _ = put_on(old, connection);
                }
                self.told = before;
                return Err(error);
            }
        }
        self.told = wanted;
        Ok(())
    }

    fn prepare(
        &self,
        tree: &QueueTree,
        numbers: &QueueNumbers,
        connection: &Connection,
    ) -> Result<Told, Error> {
        let link = link::by_name(connection, &tree.interface).map_err(|_| Error::Queue {
            place: tree.place.0.clone(),
            what: format!("queues on {}: no such interface", tree.interface),
            hint: "`ip link` lists the interfaces of this machine",
        })?;
        let own = |told: &&Told| told.index == Some(link.index);
        if !self.told.iter().any(|told| own(&told)) {
            check_free(tree, link.index, connection)?;
        }
        Ok(Told {
            interface: tree.interface.clone(),
            index: Some(link.index),
            objects: plan(tree, numbers)?,
        })
    }

    /// Tries what is new on a device of ours: the real ones are only touched with what the kernel
    /// takes.
    fn rehearse(&self, wanted: &[Told], connection: &Connection) -> Result<(), Error> {
        for new in wanted.iter().filter(|new| !is_among(new, &self.told)) {
            let name = format!("wbq{}", std::process::id());
            let stage = Tap::create(&name, connection)?;
            for object in &new.objects {
                create(stage.index, object, connection).map_err(|e| not_taken(object, &e))?;
            }
        }
        Ok(())
    }

    /// Tells interfaces that have come back what they were told before.
    pub(crate) fn restore(&mut self, connection: &Connection) {
        for told in &mut self.told {
            let index = link::by_name(connection, &told.interface)
                .ok()
                .map(|l| l.index);
            if index == told.index {
                continue;
            }
            told.index = index;
            if index.is_none() {
                continue;
            }
            match put_on(told, connection) {
                Ok(()) => tracing::info!("{} has its queues again", told.interface),
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    /// Takes all queues off.
    pub(crate) fn release(&mut self, connection: &Connection) {
        for told in std::mem::take(&mut self.told) {
            take_off(&told, connection);
        }
    }

    /// Whether an interface has queues.
    pub(crate) fn has(&self, interface: IfIndex) -> bool {
        self.told.iter().any(|told| told.index == Some(interface.0))
    }

    /// What the kernel has counted.
    pub(crate) fn statistics(
        &self,
        numbers: &QueueNumbers,
        connection: &Connection,
    ) -> QueueStatistics {
        let mut all = QueueStatistics::new();
        for told in &self.told {
            let Some(index) = told.index else { continue };
            for message in dump(index, connection) {
                let handle = u32::from(message.header.handle);
                let name = match (handle >> 16, u16::try_from(handle & 0xffff)) {
                    (FLAT, _) => flat_name(told),
                    (CLASSES, Ok(0)) | (_, Err(_)) => None,
                    (CLASSES, Ok(u16::MAX)) => Some(format!("root_{}", told.interface)),
                    (CLASSES, Ok(minor)) => numbers.name(QueueId(minor)).map(str::to_owned),
                    _ => None,
                };
                if let Some(name) = name {
                    all.insert((told.interface.clone(), name), counters(&message));
                }
            }
        }
        all
    }
}

/// The priority by which a frame finds its class.
pub(crate) fn class_of(queue: QueueId) -> u32 {
    CLASSES << 16 | u32::from(queue.0)
}

fn is_among(one: &Told, others: &[Told]) -> bool {
    others
        .iter()
        .any(|other| other.index == one.index && same_plan(&other.objects, &one.objects))
}

/// Where in pf.conf it was written makes no difference.
fn same_plan(one: &[TcObject], other: &[TcObject]) -> bool {
    let place_less = |object: &TcObject| TcObject {
        origin: (String::new(), object.origin.1.clone()),
        ..object.clone()
    };
    one.iter().map(place_less).eq(other.iter().map(place_less))
}

/// The name of the only queue of a tree without classes.
fn flat_name(told: &Told) -> Option<String> {
    let (_, what) = &told.objects.first()?.origin;
    Some(what.strip_prefix("queue ")?.to_owned())
}

/// Only what the kernel puts there by itself has no number. What is ours was left by a dead daemon
/// and is taken off.
fn check_free(tree: &QueueTree, index: u32, connection: &Connection) -> Result<(), Error> {
    let Some((handle, kind)) = root_qdisc(index, connection) else {
        return Ok(());
    };
    match handle >> 16 {
        0 => Ok(()),
        CLASSES | FLAT => {
            let _ = remove_root(index, connection);
            Ok(())
        }
        major => Err(Error::Queue {
            place: tree.place.0.clone(),
            what: format!(
                "{} has a queueing discipline already ({kind} {major:x}:)",
                tree.interface
            ),
            hint: "`tc qdisc del dev INTERFACE root` removes it",
        }),
    }
}

/// Number and kind of an interface's own qdisc.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel tells far more than we need"
)]
fn root_qdisc(index: u32, connection: &Connection) -> Option<(u32, String)> {
    let wanted = RouteNetlinkMessage::GetQueueDiscipline(message(index, 0, 0));
    let found = connection.dump(&wanted).ok()?;
    found.into_iter().find_map(|found| {
        let RouteNetlinkMessage::NewQueueDiscipline(found) = found else {
            return None;
        };
        let here = u32::try_from(found.header.index) == Ok(index);
        let root = u32::from(found.header.parent) == TcObject::ROOT;
        let kind = found
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                TcAttribute::Kind(kind) => Some(kind.clone()),
                _ => None,
            });
        (here && root).then(|| (u32::from(found.header.handle), kind.unwrap_or_default()))
    })
}

fn put_on(told: &Told, connection: &Connection) -> Result<(), Error> {
    let Some(index) = told.index else {
        return Ok(());
    };
    for object in &told.objects {
        if let Err(error) = create(index, object, connection) {
            take_off(told, connection);
            return Err(not_taken(object, &error));
        }
    }
    Ok(())
}

/// An interface that is gone has taken them along; one that somebody else has put a queueing
/// discipline on in the meantime keeps that.
fn take_off(told: &Told, connection: &Connection) {
    let Some(index) = told.index else { return };
    let ours = root_qdisc(index, connection)
        .is_some_and(|(handle, _)| matches!(handle >> 16, CLASSES | FLAT));
    if ours && let Err(error) = remove_root(index, connection) {
        tracing::warn!(%error, "the queues of {} stay", told.interface);
    }
}

fn remove_root(index: u32, connection: &Connection) -> io::Result<()> {
    let message = message(index, 0, TcObject::ROOT);
    connection.act(RouteNetlinkMessage::DelQueueDiscipline(message), 0)
}

fn create(index: u32, object: &TcObject, connection: &Connection) -> io::Result<()> {
    let mut message = message(index, object.handle, object.parent);
    message.attributes = vec![
        TcAttribute::Kind(object.kind.to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, object.options.clone())),
    ];
    let message = if object.class {
        RouteNetlinkMessage::NewTrafficClass(message)
    } else {
        RouteNetlinkMessage::NewQueueDiscipline(message)
    };
    connection.act(message, NLM_F_CREATE | NLM_F_EXCL)
}

fn message(index: u32, handle: u32, parent: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(index).unwrap_or_default();
    message.header.handle = TcHandle::from(handle);
    message.header.parent = TcHandle::from(parent);
    message
}

fn not_taken(object: &TcObject, source: &io::Error) -> Error {
    let (place, what) = object.origin.clone();
    if source.raw_os_error() == Some(UNKNOWN_KIND) && !object.class {
        return Error::Queue {
            place,
            what: format!("{what}: the kernel has no `{}` qdisc", object.kind),
            hint: hint_of(object.kind),
        };
    }
    Error::Queue {
        place,
        what: format!("{what}: the kernel refuses its {}: {source}", object.kind),
        hint: "the kernel's log may say more",
    }
}

fn hint_of(kind: &str) -> &'static str {
    match kind {
        "htb" => "it needs CONFIG_NET_SCH_HTB; `modprobe sch_htb` where it is a module",
        "hfsc" => {
            "it needs CONFIG_NET_SCH_HFSC; `modprobe sch_hfsc` where it is a module. Without \
             bursts and with curves of one rate HTB will do"
        }
        "fq_codel" => {
            "it needs CONFIG_NET_SCH_FQ_CODEL; `modprobe sch_fq_codel` where it is a module. \
             Leave `flows` out"
        }
        "codel" => "it needs CONFIG_NET_SCH_CODEL; `modprobe sch_codel` where it is a module",
        "red" => "it needs CONFIG_NET_SCH_RED; `modprobe sch_red` where it is a module",
        _ => "it needs another kernel",
    }
}

/// The classes of an interface, and its qdisc.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel tells far more than we need"
)]
fn dump(index: u32, connection: &Connection) -> Vec<TcMessage> {
    let classes = RouteNetlinkMessage::GetTrafficClass(message(index, 0, 0));
    let qdiscs = RouteNetlinkMessage::GetQueueDiscipline(message(index, 0, 0));
    let mut all = Vec::new();
    for wanted in [classes, qdiscs] {
        let found = connection.dump(&wanted).unwrap_or_default();
        all.extend(found.into_iter().filter_map(|found| match found {
            RouteNetlinkMessage::NewTrafficClass(found)
            | RouteNetlinkMessage::NewQueueDiscipline(found) => Some(found),
            _ => None,
        }));
    }
    all.retain(|message| u32::try_from(message.header.index) == Ok(index));
    all
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel tells far more than we need"
)]
fn counters(message: &TcMessage) -> QueueCounters {
    let mut counters = QueueCounters::default();
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Stats2(all) => all.iter().for_each(|one| match one {
                TcStats2::Basic(basic) => {
                    counters.packets = basic.packets.into();
                    counters.bytes = basic.bytes;
                }
                TcStats2::Queue(queue) => {
                    counters.dropped = queue.drops.into();
                    counters.waiting = queue.qlen.into();
                    counters.delays = queue.overlimits.into();
                }
                _ => {}
            }),
            TcAttribute::Xstats(TcXstats::Other(bytes)) => {
                let borrows = bytes.get(HTB_BORROWS..HTB_BORROWS + 4);
                let borrows = borrows.and_then(|bytes| bytes.try_into().ok());
                counters.borrows = borrows.map_or(0, u32::from_ne_bytes).into();
            }
            _ => {}
        }
    }
    counters
}
