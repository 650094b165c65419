//! `-s queue`: queues, with `-v` and what the kernel has counted.

use std::fmt::Write;

use datapath::queues::QueueCounters;
use pf_conf::{print_queue, print_root_queue};
use pf_engine::queue::{DEFAULT_QLIMIT, Discipline, Queue, QueueTree};
use pf_engine::ruleset::Dialect;

use super::{View, paged};

/// One line of the listing: a tree, and the queue in it; nothing for its root.
pub(super) type Item<'a> = (&'a QueueTree, Option<usize>);

/// Queues from number `position` on. Where there are none pfctl with ALTQ says so, unless it shows
/// `all`.
pub(super) fn page(view: &View<'_>, position: u64, all: bool) -> (String, Option<u64>) {
    let altq = view.dialect != Dialect::OpenBsd;
    if view.engine.queues().is_empty() && altq && !all {
        return ("No queue in use\n".to_owned(), None);
    }
    let items = view.engine.queues().iter().flat_map(items);
    paged(items, position, |text, item| write_queue(text, item, view))
}

pub(super) fn items(tree: &QueueTree) -> Vec<Item<'_>> {
    let mut order = vec![(tree, None)];
    depth_first(tree, None, &mut order);
    order
}

/// Each queue with what is below it, as pfctl does.
fn depth_first<'a>(tree: &'a QueueTree, parent: Option<usize>, order: &mut Vec<Item<'a>>) {
    for (at, queue) in tree.queues.iter().enumerate() {
        if queue.parent == parent {
            order.push((tree, Some(at)));
            depth_first(tree, Some(at), order);
        }
    }
}

fn write_queue(text: &mut String, (tree, at): Item<'_>, view: &View<'_>) {
    let line = match at {
        Some(at) => print_queue(tree, at),
        None => print_root_queue(tree),
    };
    let Some(line) = line else { return };
    let _ = writeln!(text, "{line}");
    if view.style.verbose == 0 {
        return;
    }
    let queue = at.and_then(|at| tree.queues.get(at));
    let name = queue.map_or_else(|| tree.root_name(), |queue| queue.name.clone());
    let counters = view.queues.get(&(tree.interface.clone(), name));
    write_counters(text, tree, queue, counters.copied().unwrap_or_default());
}

/// The kernel does not count the bytes of what it drops.
fn write_counters(
    text: &mut String,
    tree: &QueueTree,
    queue: Option<&Queue>,
    counters: QueueCounters,
) {
    let _ = writeln!(
        text,
        "  [ pkts: {:10}  bytes: {:10}  dropped pkts: {:6} bytes: {:6} ]",
        counters.packets, counters.bytes, counters.dropped, 0
    );
    let limit = queue.map_or(DEFAULT_QLIMIT, Queue::qlimit);
    let _ = write!(text, "  [ qlength: {:3}/{limit:3}", counters.waiting);
    let altq = tree.altq.as_ref();
    if altq.is_some_and(|altq| altq.scheduler.discipline == Discipline::Cbq) {
        let _ = write!(
            text,
            "  borrows: {:6}  suspends: {:6}",
            counters.borrows, counters.delays
        );
    }
    text.push_str(" ]\n");
}
