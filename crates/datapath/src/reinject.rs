//! Packets on their way down again: where they go on, with which mark and priority.

use pf_engine::decision::{EtherAddresses, Exit, Handling, Hook};
use pf_engine::env::IfIndex;
use pf_engine::rule::Direction;

use crate::frame::{Envelope, Steering};
use crate::netlink::link;
use crate::{Content, Datapath, Error, no_such_interface, queues};

/// Where a packet is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reinjection {
    /// Behind the hook it met, as its decision says. `Exit::Continue` goes on from `Upcall::hook`.
    Decided(Hook, Exit),
    /// As `Decided`, for a packet that the engine made (`GeneratedExit::To`): no hook that it
    /// meets on its way looks at it.
    Generated(Hook, Exit),
    /// Back to the sender of the packet that met `Hook` (`GeneratedExit::Back`): from an `in`
    /// hook onto the wire with reversed addresses, from an `out` hook into the interface's
    /// ingress with reversed addresses; not looked at again.
    Back(Hook),
}

impl Datapath {
    /// Puts a packet (IP header first; `packet.ether` as it came) back.
    ///
    /// # Errors
    /// When the kernel refuses it; the packet is lost and counted.
    pub fn send(
        &mut self,
        packet: &[u8],
        ether: Option<EtherAddresses>,
        to: Reinjection,
    ) -> Result<(), Error> {
        self.send_with(packet, ether, to, Handling::default())
    }

    /// As [`Datapath::send`], with a priority and a routing table.
    ///
    /// # Errors
    /// As [`Datapath::send`]; also when the kernel's routing cannot be told of the table or of a
    /// divert.
    pub fn send_with(
        &mut self,
        packet: &[u8],
        ether: Option<EtherAddresses>,
        to: Reinjection,
        handling: Handling,
    ) -> Result<(), Error> {
        self.put(packet, Content::Packet, ether, to, handling)
    }

    /// As [`Datapath::send_with`], for a frame without IP: `frame` is all that follows its
    /// addresses.
    ///
    /// # Errors
    /// As [`Datapath::send`].
    pub fn send_frame(
        &mut self,
        frame: &[u8],
        ether: Option<EtherAddresses>,
        to: Reinjection,
        handling: Handling,
    ) -> Result<(), Error> {
        self.put(frame, Content::Frame, ether, to, handling)
    }

    fn put(
        &mut self,
        packet: &[u8],
        content: Content,
        ether: Option<EtherAddresses>,
        to: Reinjection,
        handling: Handling,
    ) -> Result<(), Error> {
        let sent = self
            .steering(to, handling)
            .and_then(|steering| {
                Envelope::new(packet, content, ether, to, steering, |interface| {
                    self.neighbours(interface)
                })
            })
            .and_then(|envelope| {
                self.tap
                    .write(&envelope.around(packet))
                    .map_err(not_written)
            });
        if sent.is_err() {
            self.not_sent += 1;
        }
        sent
    }

    fn steering(&mut self, to: Reinjection, handling: Handling) -> Result<Steering, Error> {
        let mut steering = Steering {
            priority: self.priority(to, handling),
            frame_due: self.filters_frames,
            ..Steering::default()
        };
        if let Reinjection::Decided(hook, Exit::Socket(listener)) = to {
            steering.mark = self
                .steer
                .divert(listener, &self.connection, &mut self.program)?;
            steering.receiver = self.receiver(hook.interface)?;
        } else if let Some(table) = handling.routing_table {
            steering.mark = self.steer.table(table, &self.connection)?;
        }
        Ok(steering)
    }

    /// Who takes what was diverted at an interface: itself, or its bridge, which has to hand it to
    /// the socket then.
    fn receiver(&mut self, interface: IfIndex) -> Result<Option<(IfIndex, [u8; 6])>, Error> {
        let Some(attached) = self.attached.get(&interface) else {
            return Ok(None);
        };
        let (bridge, mac) = (attached.neighbours, attached.mac);
        let has_hooks = bridge == interface || self.attached.contains_key(&bridge);
        if !has_hooks && self.steer.is_new(bridge) {
            let link = link::by_index(&self.connection, bridge.0)
                .map_err(|source| no_such_interface(bridge, source))?;
            self.program.attach_divert(&link.name)?;
            self.steer.note(bridge);
        }
        Ok(mac.map(|mac| (bridge, mac)))
    }

    /// A frame has one number for its class and its priority. Where it leaves by an interface with
    /// queues that is its queue, elsewhere its priority, if it has one.
    fn priority(&self, to: Reinjection, handling: Handling) -> Option<u32> {
        let class = handling.queue.map(queues::class_of);
        let priority = handling.priority.map(u32::from);
        let leaves_by = match to {
            Reinjection::Decided(hook, Exit::Continue) if hook.direction == Direction::Out => {
                Some(hook.interface)
            }
            Reinjection::Decided(
                _,
                Exit::Bridge { interface }
                | Exit::Gateway { interface, .. }
                | Exit::Wire { interface, .. },
            ) => Some(interface),
            Reinjection::Decided(_, Exit::Continue | Exit::Socket(_))
            | Reinjection::Generated(..)
            | Reinjection::Back(_) => None,
        };
        match leaves_by {
            Some(interface) if self.queues.has(interface) => class.or(priority),
            Some(_) => priority,
            None => priority.or(class),
        }
    }
}

fn not_written(source: std::io::Error) -> Error {
    Error::kernel(
        "cannot put a packet back",
        source,
        "the machine may be out of memory, or something took the TAP device down",
    )
}
