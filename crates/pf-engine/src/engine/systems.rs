//! `os` in rules: what a SYN says of the system that sent it (pf.os(5)).

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::packet::{Place, Work};
use crate::engine::translate::Course;
use crate::osfp::features::Features;
use crate::osfp::pfos::{Fingerprints, System};
use crate::rule::tcp_flags;

impl Engine {
    /// The list that `os` in rules goes by (`pfctl -s osfp`): that of the main ruleset.
    #[must_use]
    pub fn fingerprints(&self) -> &Arc<Fingerprints> {
        &self.fingerprints
    }

    /// Forgets the list (`pfctl -F osfp`): every SYN is unknown until a ruleset is loaded.
    pub fn flush_fingerprints(&mut self) {
        self.fingerprints = Arc::default();
        self.advance_epoch();
    }

    /// An evaluation that begins. What a SYN shows is looked at once, and only if rules ask.
    pub(super) fn course(&self, place: Place, work: &Work<'_>) -> Course {
        let mut course = Course::new(place, work);
        if self.asks_for_system && course.flags.is_some_and(is_syn) {
            let features = Features::of(work.bytes).ok();
            course.signature = features.and_then(|features| self.fingerprints.matching(&features));
        }
        course
    }
}

/// What the packet of an evaluation may be of.
pub(super) fn systems<'a>(fingerprints: &'a Fingerprints, course: &Course) -> &'a [System] {
    let signature = course.signature;
    signature.map_or(&[], |signature| fingerprints.systems(signature))
}

/// Whether a TCP packet is the first of its connection.
const fn is_syn(flags: u8) -> bool {
    flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
}
