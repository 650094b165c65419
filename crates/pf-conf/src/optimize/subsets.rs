//! Rules that match nothing that another rule of their block does not match.
//!
//! Comparing each with each would take the square of the rules. Rules are looked up by their
//! criteria instead, each in as many coarser forms as there are *shapes* in the block: which
//! criteria a rule has, and how long its prefixes are. Real rulesets have a few dozen of them.

use std::collections::HashSet;

use pf_engine::addr::{Family, Prefix, Protocol};
use pf_engine::rule::FlagsMatch;

use super::Item;
use super::criteria::{Criteria, Interner, Place};

/// Look-ups for one block. Blocks of more rules times shapes lose only their duplicates: they
/// keep rules that they could do without, and loading stays quick.
const LOOKUPS_MAX: usize = 20_000_000;

/// Which criteria a rule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    has: [bool; 9],
    flags: Option<FlagsMatch>,
    source: PlaceShape,
    destination: PlaceShape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PlaceShape {
    Any,
    Prefix(Family, u8),
    Exact,
}

/// The rules of `block` without those that are equal to one before or a subset of any other.
pub(super) fn remove(block: Vec<Item>, interner: &mut Interner) -> Vec<Item> {
    let mut seen = HashSet::new();
    let mut items = Vec::with_capacity(block.len());
    for item in block {
        let criteria = interner.criteria(&item.rule);
        if seen.insert(criteria) {
            items.push((criteria, item));
        }
    }
    let shapes = shapes(&items);
    let look_up = items.len().saturating_mul(shapes.len()) <= LOOKUPS_MAX;
    items
        .into_iter()
        .filter(|(criteria, _)| !look_up || !is_subset(criteria, &shapes, &seen))
        .map(|(_, item)| item)
        .collect()
}

/// The shapes of the rules, each once, in the order of the rules.
fn shapes(items: &[(Criteria, Item)]) -> Vec<Shape> {
    let mut known = HashSet::new();
    let mut shapes = Vec::new();
    for (criteria, _) in items {
        let shape = Shape::of(criteria);
        if known.insert(shape) {
            shapes.push(shape);
        }
    }
    shapes
}

fn is_subset(criteria: &Criteria, shapes: &[Shape], rules: &HashSet<Criteria>) -> bool {
    shapes
        .iter()
        .filter_map(|shape| criteria.widened(shape))
        .any(|wider| wider != *criteria && rules.contains(&wider))
}

impl Shape {
    fn of(criteria: &Criteria) -> Self {
        Self {
            has: [
                criteria.interface.is_some(),
                criteria.direction.is_some(),
                criteria.family.is_some(),
                criteria.protocol.is_some(),
                criteria.source_port.is_some(),
                criteria.destination_port.is_some(),
                criteria.icmp.is_some(),
                criteria.tos.is_some(),
                criteria.tagged.is_some(),
            ],
            flags: criteria.flags,
            source: PlaceShape::of(criteria.source),
            destination: PlaceShape::of(criteria.destination),
        }
    }
}

impl PlaceShape {
    const fn of(place: Place) -> Self {
        match place {
            Place::Any => Self::Any,
            Place::Prefix(prefix) => Self::Prefix(prefix.family(), prefix.prefix_len()),
            Place::Table(_) | Place::Other(_) => Self::Exact,
        }
    }
}

impl Criteria {
    /// The narrowest criteria of `shape` that hold wherever these do, if there are any.
    fn widened(&self, shape: &Shape) -> Option<Self> {
        let [
            interface,
            direction,
            family,
            protocol,
            source_port,
            destination_port,
            icmp,
            tos,
            tagged,
        ] = shape.has;
        Some(Self {
            interface: kept(self.interface, interface)?,
            direction: kept(self.direction, direction)?,
            family: kept(self.family, family)?,
            protocol: kept(self.protocol, protocol)?,
            source: self.source.widened(shape.source)?,
            destination: self.destination.widened(shape.destination)?,
            source_port: kept(self.source_port, source_port)?,
            destination_port: kept(self.destination_port, destination_port)?,
            flags: self.flags_within(shape.flags)?,
            icmp: kept(self.icmp, icmp)?,
            tos: kept(self.tos, tos)?,
            tagged: kept(self.tagged, tagged)?,
        })
    }
}

impl Criteria {
    /// Flags say nothing about packets that are not TCP.
    #[expect(clippy::option_option, reason = "the outer one is the failure")]
    fn flags_within(&self, wanted: Option<FlagsMatch>) -> Option<Option<FlagsMatch>> {
        let not_tcp = self.protocol.is_some_and(|p| p != Protocol::TCP);
        (wanted.is_none() || wanted == self.flags || not_tcp).then_some(wanted)
    }
}

/// The criterion if it is wanted, no criterion if not; nothing if it is wanted but not there.
#[expect(clippy::option_option, reason = "the outer one is the failure")]
fn kept<T>(criterion: Option<T>, wanted: bool) -> Option<Option<T>> {
    if wanted {
        criterion.map(Some)
    } else {
        Some(None)
    }
}

impl Place {
    fn widened(self, shape: PlaceShape) -> Option<Self> {
        match (self, shape) {
            (Self::Any | Self::Prefix(_) | Self::Other(_), PlaceShape::Any) => Some(Self::Any),
            (Self::Prefix(prefix), PlaceShape::Prefix(family, len))
                if prefix.family() == family && prefix.prefix_len() >= len =>
            {
                Some(Self::Prefix(Prefix::new(prefix.address(), len)?.masked()))
            }
            (Self::Table(_) | Self::Other(_), PlaceShape::Exact) => Some(self),
            (Self::Any | Self::Prefix(_) | Self::Table(_) | Self::Other(_), _) => None,
        }
    }
}
