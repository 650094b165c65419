//! ICMP errors: they belong to the state of the packet they quote (RFC 792, RFC 4443).

use crate::decision::DropReason;
use crate::engine::Engine;
use crate::engine::packet::{Passed, Place, Refused, Work};
use crate::env::Env;
use crate::key::{Tuple, translate};
use crate::rule::Direction;
use crate::sctp;
use crate::state::State;
use crate::tcp;
use crate::wire::{Quoted, QuotedTransport, Rewrite};

impl Engine {
    /// Nothing if no state covers the quoted packet. What cannot be read of it is of no state either,
    /// and the rules judge that.
    pub(super) fn test_error(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Option<Result<Passed, Refused>> {
        let quoted = Quoted::parse(work.bytes, &work.meta).ok()?;
        // The quoted packet went the other way.
        let tuple = Tuple::of_quoted(&quoted).reversed();
        self.catch_up(place, &tuple, env);
        let found = self.find_state(place, work, &tuple)?;
        Some(self.pass_error(found, place, quoted, work, env))
    }

    fn pass_error(
        &mut self,
        (slot, flow): (u32, Direction),
        place: Place,
        mut quoted: Quoted,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        // Errors go to the sender of what they quote. Otherwise a quotation that anyone can make
        // up would open the way to every host behind us.
        if work.meta.destination != quoted.source {
            return Err(DropReason::StateMismatch.into());
        }
        let state = self.states.get_mut(slot).ok_or(DropReason::Memory)?;
        if work.meta.has_ip_options && !state.allow_options {
            let rules = (state.rule, state.anchor);
            self.log_refusal(None, rules, place, DropReason::IpOption, work);
            return Err(DropReason::IpOption.into());
        }
        check_sequence(state, flow, &mut quoted, work)?;
        if state.changes_family() {
            let state = self.states.get(slot).ok_or(DropReason::Memory)?;
            self.cross_error(state, flow, &quoted, work, env)?;
        } else if state.wire != state.stack {
            translate_error(state, flow, &mut quoted, work)?;
        }
        self.follow_state((slot, flow), place, None, work, env)
    }
}

/// The quoted packet must be one that its sender may have sent (RFC 5927, section 4; RFC 9260,
/// section 10); the number of a segment is moved back to the sender's count.
fn check_sequence(
    state: &mut State,
    direction: Direction,
    quoted: &mut Quoted,
    work: &mut Work<'_>,
) -> Result<(), Refused> {
    let sloppy = state.sloppy;
    let (answering, sender) = state.peers(direction);
    let header = match quoted.transport {
        QuotedTransport::Tcp(header) => header,
        QuotedTransport::Sctp(header) => {
            return sctp::quoted_fits(sender, answering, header.verification_tag)
                .then_some(())
                .ok_or(DropReason::StateMismatch.into());
        }
        QuotedTransport::Udp(_)
        | QuotedTransport::Icmp(_)
        | QuotedTransport::Icmp6(_)
        | QuotedTransport::Other => return Ok(()),
    };
    let seq = header.seq.wrapping_sub(sender.seq_diff);
    if !sloppy && !tcp::quoted_fits(sender, answering, seq) {
        return Err(DropReason::StateMismatch.into());
    }
    if sender.seq_diff != 0 {
        quoted.set_tcp_seq(work.bytes, seq).map_err(|e| e.reason)?;
    }
    Ok(())
}

/// Translates what is quoted, and the addresses of the error that go with it.
fn translate_error(
    state: &State,
    direction: Direction,
    quoted: &mut Quoted,
    work: &mut Work<'_>,
) -> Result<(), Refused> {
    let old = Tuple::of_quoted(quoted);
    let new = state.translated(direction).tuple(direction).reversed();
    translate(quoted, work.bytes, &old, &new).map_err(|e| e.reason)?;
    if old.source.address != new.source.address {
        work.meta
            .set_destination(work.bytes, new.source.address)
            .map_err(|e| e.reason)?;
    }
    if old.destination.address != new.destination.address {
        work.meta
            .set_source(work.bytes, new.destination.address)
            .map_err(|e| e.reason)?;
    }
    Ok(())
}
