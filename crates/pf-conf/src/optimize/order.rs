//! The order of rules inside a block: what asks for the same stands together, so that one failed
//! comparison skips many rules.

use std::collections::HashMap;
use std::hash::Hash;

use pf_engine::rule::Rule;

use super::criteria::{Criteria, Interner};
use super::{Feedback, Item, Optimization};

/// Criteria that the evaluation skips by.
const STEPS: usize = 8;

/// What quick rules of the ruleset in force have seen.
pub(super) struct Profile<'a> {
    packets: HashMap<&'a Rule, u64>,
}

impl<'a> Profile<'a> {
    pub(super) fn new(level: Optimization, feedback: &'a [Feedback]) -> Self {
        let used = match level {
            Optimization::None | Optimization::Basic => &[],
            Optimization::Profile => feedback,
        };
        Self {
            packets: used
                .iter()
                .map(|(rule, packets)| (rule, *packets))
                .collect(),
        }
    }
}

/// Orders the rules of `block`.
pub(super) fn arrange(
    block: Vec<Item>,
    interner: &mut Interner,
    profile: &Profile<'_>,
) -> Vec<Item> {
    let block = match by_feedback(block, profile) {
        Ok(arranged) => return arranged,
        Err(block) => block,
    };
    let criteria: Vec<Criteria> = block
        .iter()
        .map(|item| interner.criteria(&item.rule))
        .collect();
    let mut order = Vec::with_capacity(block.len());
    group(
        &criteria,
        (0..block.len()).collect(),
        [true; STEPS],
        &mut order,
    );
    let mut items: Vec<Option<Item>> = block.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|at| items.get_mut(at)?.take())
        .collect()
}

/// The busiest quick rule first, if the profile knows one of them; else the block as it was.
fn by_feedback(mut block: Vec<Item>, profile: &Profile<'_>) -> Result<Vec<Item>, Vec<Item>> {
    let packets = |item: &Item| profile.packets.get(&item.rule).copied();
    let quick = block.first().is_some_and(|item| item.rule.quick);
    if !quick || !block.iter().any(|item| packets(item).is_some()) {
        return Err(block);
    }
    block.sort_by_cached_key(|item| std::cmp::Reverse(packets(item).unwrap_or_default()));
    Ok(block)
}

/// Brings `rules` (indices) that agree in a criterion together, the criterion with the fewest
/// values first, and each such group by the criteria that are left. Larger groups come first, and
/// what is equal keeps its order.
fn group(criteria: &[Criteria], rules: Vec<usize>, open: [bool; STEPS], order: &mut Vec<usize>) {
    if rules.len() <= 2 {
        order.extend(rules);
        return;
    }
    let best = (0..STEPS)
        .filter(|step| open.get(*step).copied().unwrap_or_default())
        .map(|step| (values(criteria, &rules, step), step))
        .filter(|(values, _)| *values > 1 && *values < rules.len())
        .min();
    let Some((_, step)) = best else {
        order.extend(rules);
        return;
    };
    let mut rest = open;
    rest[step] = false;
    for rules in partition(criteria, rules, step) {
        group(criteria, rules, rest, order);
    }
}

/// The rules by the value of a criterion: the largest group first, then the one that began first.
fn partition(criteria: &[Criteria], rules: Vec<usize>, step: usize) -> Vec<Vec<usize>> {
    let mut numbers: HashMap<Value, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in rules {
        let number = *numbers
            .entry(value(&criteria[at], step))
            .or_insert(groups.len());
        match groups.get_mut(number) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

fn values(criteria: &[Criteria], rules: &[usize], step: usize) -> usize {
    let distinct: std::collections::HashSet<Value> =
        rules.iter().map(|at| value(&criteria[*at], step)).collect();
    distinct.len()
}

/// A criterion of a rule; two are only compared when they are of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Value {
    Interface(Option<u32>),
    Direction(Option<pf_engine::rule::Direction>),
    Family(Option<pf_engine::addr::Family>),
    Protocol(Option<pf_engine::addr::Protocol>),
    Place(super::criteria::Place),
    Port(Option<pf_engine::rule::PortMatch>),
}

/// The criteria in the order of the evaluation.
const fn value(criteria: &Criteria, step: usize) -> Value {
    match step {
        0 => Value::Interface(criteria.interface),
        1 => Value::Direction(criteria.direction),
        2 => Value::Family(criteria.family),
        3 => Value::Protocol(criteria.protocol),
        4 => Value::Place(criteria.source),
        5 => Value::Place(criteria.destination),
        6 => Value::Port(criteria.source_port),
        _ => Value::Port(criteria.destination_port),
    }
}
