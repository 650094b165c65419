//! One port: the receive, mux and churn machines (802.1AX-2008 5.4.12, 5.4.15, 5.4.17).

use std::time::Duration;

use super::pdu::{Info, LacpDu, State};
use super::transmit::Transmit;
use super::{CHURN_TIME, LONG_TIMEOUT, SHORT_TIMEOUT, Settings, WAIT_WHILE};

/// States of the receive machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receive {
    /// The link is down.
    #[default]
    PortDisabled,
    /// The link is half-duplex and cannot be aggregated.
    LacpDisabled,
    /// The partner is overdue, or has not spoken yet.
    Expired,
    /// There is no partner.
    Defaulted,
    /// The partner's information is current.
    Current,
}

/// States of the mux machine, with independent control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mux {
    /// In no aggregator.
    #[default]
    Detached,
    /// Waits for others that may join with it.
    Waiting,
    /// In its aggregator.
    Attached,
    /// Takes frames.
    Collecting,
    /// Takes and sends frames.
    Distributing,
}

/// Whether a side came to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Churn {
    /// In step.
    #[default]
    None,
    /// Out of step, not for long.
    Monitor,
    /// Out of step for [`CHURN_TIME`].
    Churned,
}

/// What was counted on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// LACPDUs received.
    pub received: u64,
    /// LACPDUs sent.
    pub sent: u64,
    /// Markers answered.
    pub markers: u64,
    /// Frames that were no PDU.
    pub malformed: u64,
    /// PDUs of this very system: the link is a loop.
    pub loops: u64,
    /// LACPDUs put off and markers unanswered, for the limits on frames in a second.
    pub limited: u64,
    /// Times that it stopped to distribute.
    pub flaps: u64,
}

/// The partner system and its key: ports with the same one can be aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LagId {
    pub(crate) priority: u16,
    pub(crate) system: [u8; 6],
    pub(crate) key: u16,
    /// The port, where one side cannot aggregate.
    pub(crate) individual: Option<u16>,
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) mac: [u8; 6],
    pub(crate) actor: Info,
    pub(crate) partner: Info,
    pub(crate) receive: Receive,
    pub(crate) mux: Mux,
    pub(crate) selected: Option<LagId>,
    pub(crate) actor_churn: Churn,
    pub(crate) partner_churn: Churn,
    pub(crate) counters: Counters,
    pub(crate) transmit: Transmit,
    /// Where it was attached last.
    last: Option<LagId>,
    current_while: Option<Duration>,
    wait_while: Option<Duration>,
    actor_out_since: Option<Duration>,
    partner_out_since: Option<Duration>,
}

impl Port {
    pub(crate) fn new(number: u16, mac: [u8; 6], settings: &Settings) -> Self {
        let mut state = State::AGGREGATION;
        state.set(State::ACTIVITY, settings.active);
        state.set(State::TIMEOUT, settings.fast);
        Self {
            mac,
            actor: Info {
                system_priority: settings.system_priority,
                system: settings.system,
                key: settings.key,
                port_priority: settings.port_priority,
                port: number,
                state,
            },
            partner: Info::default(),
            receive: Receive::default(),
            mux: Mux::default(),
            selected: None,
            actor_churn: Churn::default(),
            partner_churn: Churn::default(),
            counters: Counters::default(),
            transmit: Transmit::default(),
            last: None,
            current_while: None,
            wait_while: None,
            actor_out_since: None,
            partner_out_since: None,
        }
    }

    /// The link came up or went down.
    pub(crate) fn link(&mut self, up: bool, full_duplex: bool, settings: &Settings, now: Duration) {
        match (up, full_duplex) {
            (false, _) => self.disable(Receive::PortDisabled),
            (true, false) => {
                self.disable(Receive::LacpDisabled);
                self.record_default(settings);
            }
            (true, true)
                if matches!(self.receive, Receive::PortDisabled | Receive::LacpDisabled) =>
            {
                self.expire(now);
                self.transmit.wanted = true;
            }
            (true, true) => {}
        }
    }

    fn disable(&mut self, receive: Receive) {
        self.receive = receive;
        self.partner.state.set(State::SYNC, false);
        self.current_while = None;
        self.selected = None;
        self.transmit.stop();
    }

    fn expire(&mut self, now: Duration) {
        self.receive = Receive::Expired;
        self.partner.state.set(State::SYNC, false);
        self.partner.state.set(State::TIMEOUT, true);
        self.actor.state.set(State::EXPIRED, true);
        self.current_while = Some(now + SHORT_TIMEOUT);
    }

    /// Goes on as the port did in another process, whose partner was `partner`: in use, as far as
    /// the partner was. The partner is told at once, and need not notice.
    pub(crate) fn resume(&mut self, partner: Info, now: Duration) {
        self.partner = partner;
        self.receive = Receive::Current;
        self.actor.state.set(State::DEFAULTED, false);
        self.actor.state.set(State::EXPIRED, false);
        self.heard(now);
        self.selected = Some(self.lag_id());
        self.last = self.selected;
        self.enter(Mux::Distributing);
    }

    /// Whether the link is up and LACP runs on it.
    pub(crate) fn is_enabled(&self) -> bool {
        !matches!(self.receive, Receive::PortDisabled | Receive::LacpDisabled)
    }

    /// Takes a LACPDU of a partner.
    pub(crate) fn take(&mut self, pdu: &LacpDu, now: Duration) {
        if !self.is_enabled() {
            return;
        }
        self.counters.received += 1;
        if !pdu.actor.is_same_port(&self.partner) {
            self.selected = None;
        }
        self.transmit.wanted |= self.is_misunderstood(&pdu.partner);
        self.record(pdu);
        self.receive = Receive::Current;
        self.heard(now);
    }

    fn heard(&mut self, now: Duration) {
        let short = self.actor.state.has(State::TIMEOUT);
        self.current_while = Some(now + if short { SHORT_TIMEOUT } else { LONG_TIMEOUT });
    }

    /// Whether the partner has another idea of this port than this port has (`update_NTT`).
    fn is_misunderstood(&self, echoed: &Info) -> bool {
        const BITS: State =
            State(State::ACTIVITY.0 | State::TIMEOUT.0 | State::SYNC.0 | State::AGGREGATION.0);
        !echoed.is_same_port(&self.actor) || !echoed.state.agrees(self.actor.state, BITS)
    }

    /// `recordPDU`.
    fn record(&mut self, pdu: &LacpDu) {
        let matched =
            pdu.partner.is_same_port(&self.actor) || !pdu.actor.state.has(State::AGGREGATION);
        let alive = pdu.actor.state.has(State::ACTIVITY)
            || (self.actor.state.has(State::ACTIVITY) && pdu.partner.state.has(State::ACTIVITY));
        let sync = pdu.actor.state.has(State::SYNC) && matched && alive;
        self.partner = pdu.actor;
        self.partner.state.set(State::SYNC, sync);
        self.actor.state.set(State::DEFAULTED, false);
        self.actor.state.set(State::EXPIRED, false);
    }

    /// `recordDefault`: the administrator's idea of a partner. Strict: none that could be used.
    fn record_default(&mut self, settings: &Settings) {
        let mut state = State::TIMEOUT.with(State::AGGREGATION);
        state.set(
            State::SYNC
                .with(State::COLLECTING)
                .with(State::DISTRIBUTING),
            !settings.strict,
        );
        self.partner = Info {
            state,
            ..Info::default()
        };
        self.actor.state.set(State::DEFAULTED, true);
        self.actor.state.set(State::EXPIRED, false);
    }

    /// What the passing of time does to the receive machine.
    pub(crate) fn run_receive(&mut self, settings: &Settings, now: Duration) {
        self.wait_while = self.wait_while.filter(|end| now < *end);
        if self.current_while.is_none_or(|end| now < end) {
            return;
        }
        match self.receive {
            Receive::Current => self.expire(now),
            Receive::Expired => {
                self.receive = Receive::Defaulted;
                self.record_default(settings);
                self.selected = None;
                self.current_while = None;
            }
            Receive::PortDisabled | Receive::LacpDisabled | Receive::Defaulted => {
                self.current_while = None;
            }
        }
    }

    /// Selection: the aggregator that this port belongs in.
    pub(crate) fn select(&mut self, settings: &Settings) {
        let has_partner = match self.receive {
            Receive::Current => true,
            Receive::Defaulted => !settings.strict,
            Receive::Expired | Receive::PortDisabled | Receive::LacpDisabled => false,
        };
        if has_partner && self.selected.is_none() && !self.leaves() {
            self.selected = Some(self.lag_id());
        }
    }

    /// The aggregator of the present partner.
    fn lag_id(&self) -> LagId {
        let together = self.partner.state.has(State::AGGREGATION);
        LagId {
            priority: self.partner.system_priority,
            system: self.partner.system,
            key: self.partner.key,
            individual: (!together).then_some(self.actor.port),
        }
    }

    /// Whether it must leave its aggregator before it may join one.
    fn leaves(&self) -> bool {
        self.mux != Mux::Detached
    }

    /// One step of the mux machine; true if it changed. `ready`: none of the ports that want
    /// into the same aggregator still waits.
    pub(crate) fn run_mux(&mut self, ready: bool, now: Duration) -> bool {
        let next = self.next_mux(ready);
        if next == self.mux {
            return false;
        }
        if self.mux == Mux::Distributing {
            self.counters.flaps += 1;
        }
        self.enter(next);
        self.wait_while = match next {
            Mux::Waiting if self.selected == self.last => Some(now),
            Mux::Waiting => Some(now + WAIT_WHILE),
            Mux::Detached | Mux::Attached | Mux::Collecting | Mux::Distributing => None,
        };
        if next == Mux::Attached && self.selected.is_some() {
            self.last = self.selected;
        }
        true
    }

    fn enter(&mut self, mux: Mux) {
        self.mux = mux;
        let state = &mut self.actor.state;
        state.set(State::SYNC, mux >= Mux::Attached);
        state.set(State::COLLECTING, mux >= Mux::Collecting);
        state.set(State::DISTRIBUTING, mux >= Mux::Distributing);
        self.transmit.wanted = true;
    }

    fn next_mux(&self, ready: bool) -> Mux {
        let selected = self.selected.is_some();
        let sync = selected && self.partner.state.has(State::SYNC);
        let both = sync && self.partner.state.has(State::COLLECTING);
        match self.mux {
            Mux::Detached if selected => Mux::Waiting,
            Mux::Waiting | Mux::Attached if !selected => Mux::Detached,
            Mux::Waiting if ready => Mux::Attached,
            Mux::Attached if sync => Mux::Collecting,
            Mux::Collecting if !sync => Mux::Attached,
            Mux::Collecting if both => Mux::Distributing,
            Mux::Distributing if !both => Mux::Collecting,
            same @ (Mux::Detached
            | Mux::Waiting
            | Mux::Attached
            | Mux::Collecting
            | Mux::Distributing) => same,
        }
    }

    /// Whether it still waits for others at `now`.
    pub(crate) fn is_waiting(&self, now: Duration) -> bool {
        self.wait_while.is_some_and(|end| now < end)
    }

    /// Both churn machines.
    pub(crate) fn run_churn(&mut self, now: Duration) {
        let enabled = self.is_enabled();
        let watch = |out: bool, since: &mut Option<Duration>| {
            if !out || !enabled {
                *since = None;
                return Churn::None;
            }
            let since = *since.get_or_insert(now);
            if now >= since + CHURN_TIME {
                Churn::Churned
            } else {
                Churn::Monitor
            }
        };
        let actor_out = !self.actor.state.has(State::SYNC);
        let partner_out = !self.partner.state.has(State::SYNC);
        self.actor_churn = watch(actor_out, &mut self.actor_out_since);
        self.partner_churn = watch(partner_out, &mut self.partner_out_since);
    }

    /// When something will happen by itself.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let churn = |since: Option<Duration>, churn| {
            since
                .filter(|_| churn == Churn::Monitor)
                .map(|since| since + CHURN_TIME)
        };
        [
            self.current_while,
            self.wait_while,
            self.transmit.deadline(),
            churn(self.actor_out_since, self.actor_churn),
            churn(self.partner_out_since, self.partner_churn),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
