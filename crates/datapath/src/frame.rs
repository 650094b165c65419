//! Frames on their way up and down: the two headers that bpf/weighbridge.bpf.c writes and reads.

use std::io::IoSlice;
use std::net::IpAddr;

use pf_engine::decision::{EtherAddresses, Exit, Hook};
use pf_engine::env::IfIndex;
use pf_engine::rule::Direction;

use crate::{Content, Error, Reinjection};

/// Bytes of the header in front of a frame on its way up.
pub(crate) const UPCALL_LEN: usize = 24;

/// Bytes of an Ethernet header without tags.
pub(crate) const ETHERNET_LEN: usize = 14;

/// Largest IP packet: an IPv6 header and what its 16-bit length can announce (RFC 8200 section
/// 3). Anything larger is a super-packet, which the kernel cuts up on the way into the TAP.
pub(crate) const PACKET_MAX: usize = 40 + 65_535;

/// Bytes of the trailer behind a frame on its way down.
const REINJECTION_LEN: usize = 40;

const MAGIC: u32 = 0x5742_4447;

const MARK_IN_DONE: u32 = 0x1000_0000;
const MARK_OUT_DONE: u32 = 0x2000_0000;
const MARK_GENERATED: u32 = 0x4000_0000;
const MARK_FRAME_DUE: u32 = 0x0100_0000;

const OUT: u32 = 1;
const IS_FRAME: u32 = 2;
const IS_TAGGED: u32 = 4;
const DEPARTS: u32 = 8;

/// Where the TAP writes a tag that is not in the frame.
const TAG_AT: usize = 12;
/// Bytes of a tag: what it is and its value.
pub(crate) const TAG_LEN: usize = 4;
/// Bytes of the addresses of a frame.
const ADDRESSES_LEN: usize = 12;

const TO_INGRESS: u32 = 1;
const TO_EGRESS: u32 = 2;
const TO_NEIGHBOUR: u32 = 3;

pub(crate) const AF_INET: u32 = 2;
pub(crate) const AF_INET6: u32 = 10;

const ETH_P_IP: [u8; 2] = [0x08, 0x00];
const ETH_P_IPV6: [u8; 2] = [0x86, 0xdd];

/// For a frame whose addresses the kernel writes: any unicast address will do.
const UNRESOLVED: EtherAddresses = EtherAddresses {
    source: [2, 0, 0, 0, 0, 0],
    destination: [2, 0, 0, 0, 0, 0],
};

/// What a valid frame from the TAP holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    pub(crate) hook: Hook,
    /// By which interface it came into the box.
    pub(crate) came_by: Option<IfIndex>,
    /// The priority in its frame's tag.
    pub(crate) priority: Option<u8>,
    pub(crate) ether: EtherAddresses,
    pub(crate) content: Content,
    /// The tag that was not in the frame.
    pub(crate) tag: Option<[u8; TAG_LEN]>,
    /// IP header first; of a frame without IP all that follows its addresses and that tag.
    pub(crate) packet: &'a [u8],
}

/// Takes a frame from the TAP apart; nothing if it is no upcall.
pub(crate) fn parse(frame: &[u8]) -> Option<Received<'_>> {
    let (header, rest) = frame.split_at_checked(TAG_AT)?;
    if word(header, 0)? != MAGIC {
        return None;
    }
    let kind = word(header, 8)?;
    let (tag, rest) = if kind & IS_TAGGED == 0 {
        (None, rest)
    } else {
        let (tag, rest) = rest.split_first_chunk()?;
        (Some(*tag), rest)
    };
    let (more, frame) = rest.split_at_checked(UPCALL_LEN - TAG_AT)?;
    let (direction, content) = kind_of(kind)?;
    let header_len = if content == Content::Frame {
        ADDRESSES_LEN
    } else {
        ETHERNET_LEN
    };
    // Every frame has a type, or the length in its place.
    frame.get(..ETHERNET_LEN)?;
    let (ethernet, packet) = frame.split_at_checked(header_len)?;
    let interface = IfIndex(word(header, 4)?);
    let came_by = word(more, 0).filter(|index| *index != 0);
    let priority = word(more, 4)?.checked_sub(1);
    Some(Received {
        hook: Hook {
            interface,
            direction,
        },
        came_by: came_by.map(IfIndex),
        priority: priority.and_then(|priority| u8::try_from(priority).ok()),
        ether: EtherAddresses {
            destination: ethernet.get(..6)?.try_into().ok()?,
            source: ethernet.get(6..12)?.try_into().ok()?,
        },
        content,
        tag,
        packet,
    })
}

fn kind_of(kind: u32) -> Option<(Direction, Content)> {
    let direction = if kind & OUT == 0 {
        Direction::In
    } else {
        Direction::Out
    };
    let content = match kind & !OUT {
        0 => Content::Packet,
        DEPARTS => Content::Departure,
        frame if frame & IS_FRAME != 0 && frame & !(IS_FRAME | IS_TAGGED | DEPARTS) == 0 => {
            Content::Frame
        }
        _ => return None,
    };
    Some((direction, content))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

/// What goes around a packet on its way down.
#[derive(Debug)]
pub(crate) struct Envelope {
    ethernet: [u8; ETHERNET_LEN],
    /// How much of that stands in front.
    header_len: usize,
    trailer: [u8; REINJECTION_LEN],
}

impl Envelope {
    /// The envelope for `packet`, which came in a frame with the addresses `ether`.
    /// `neighbours` tells where the neighbours of an interface are known: itself, or its bridge.
    pub(crate) fn new(
        packet: &[u8],
        content: Content,
        ether: Option<EtherAddresses>,
        to: Reinjection,
        steering: Steering,
        neighbours: impl FnOnce(IfIndex) -> IfIndex,
    ) -> Result<Self, Error> {
        let mut target = Target::new(ether, to, neighbours).ok_or(Error::NoFrameAddresses)?;
        target.steer(steering);
        let departs = matches!(
            to,
            Reinjection::Decided(_, Exit::Gateway { .. } | Exit::Wire { .. })
        );
        if departs && steering.frame_due {
            target.mark |= MARK_FRAME_DUE;
        }
        Ok(Self {
            ethernet: ethernet(target.ether, packet),
            header_len: match content {
                Content::Frame => ADDRESSES_LEN,
                Content::Packet | Content::Departure => ETHERNET_LEN,
            },
            trailer: target.trailer(),
        })
    }

    /// The frame, in pieces.
    pub(crate) fn around<'a>(&'a self, packet: &'a [u8]) -> [IoSlice<'a>; 3] {
        [
            IoSlice::new(self.ethernet.get(..self.header_len).unwrap_or_default()),
            IoSlice::new(packet),
            IoSlice::new(&self.trailer),
        ]
    }
}

/// What else the kernel is told of a frame on its way down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steering {
    /// Bits of the mark beside those that say that it was decided.
    pub(crate) mark: u32,
    /// What the frame has as `skb->priority`.
    pub(crate) priority: Option<u32>,
    /// There are rules for frames, which are asked of a frame whose addresses are not known yet.
    pub(crate) frame_due: bool,
    /// The interface of the box, and its Ethernet address, that take what must not cross a bridge.
    pub(crate) receiver: Option<(IfIndex, [u8; 6])>,
}

/// What the kernel does with a frame on its way down.
struct Target {
    action: u32,
    interface: IfIndex,
    mark: u32,
    next_hop: Option<IpAddr>,
    ether: EtherAddresses,
    priority: Option<u32>,
}

impl Target {
    /// Nothing if the frame needs addresses that are not there.
    fn new(
        ether: Option<EtherAddresses>,
        to: Reinjection,
        neighbours: impl FnOnce(IfIndex) -> IfIndex,
    ) -> Option<Self> {
        let (hook, exit, generated) = match to {
            Reinjection::Back(hook) => return Self::back(hook, ether?.reversed()),
            Reinjection::Decided(hook, exit) => (hook, exit, 0),
            Reinjection::Generated(hook, exit) => (hook, exit, MARK_GENERATED),
        };
        let mut target = match exit {
            Exit::Continue | Exit::Socket(_) => Self::behind(hook, ether?),
            Exit::Gateway {
                interface,
                next_hop,
            } => Self {
                action: TO_NEIGHBOUR,
                next_hop: Some(next_hop),
                ..Self::out_of(neighbours(interface), UNRESOLVED)
            },
            Exit::Bridge { interface } => Self::out_of(interface, ether?),
            Exit::Wire { interface, ether } => Self::out_of(interface, ether),
        };
        target.mark |= generated;
        Some(target)
    }

    /// Marks steer only what goes through the kernel's routing yet.
    fn steer(&mut self, steering: Steering) {
        self.priority = steering.priority;
        if self.action == TO_INGRESS {
            self.mark |= steering.mark;
            if let Some((interface, mac)) = steering.receiver {
                self.interface = interface;
                self.ether.destination = mac;
            }
        }
    }

    /// On its way from the hook that it met.
    fn behind(hook: Hook, ether: EtherAddresses) -> Self {
        match hook.direction {
            Direction::In => Self::into(hook.interface, ether),
            Direction::Out => Self::out_of(hook.interface, ether),
        }
    }

    /// To the sender of the packet that met the hook; `ether` is reversed already.
    fn back(hook: Hook, ether: EtherAddresses) -> Option<Self> {
        let target = match hook.direction {
            Direction::In => Self::out_of(hook.interface, ether),
            Direction::Out => Self::into(hook.interface, ether),
        };
        is_unicast(ether.source).then_some(Self {
            mark: MARK_GENERATED,
            ..target
        })
    }

    fn into(interface: IfIndex, ether: EtherAddresses) -> Self {
        Self {
            action: TO_INGRESS,
            interface,
            mark: MARK_IN_DONE,
            next_hop: None,
            ether,
            priority: None,
        }
    }

    fn out_of(interface: IfIndex, ether: EtherAddresses) -> Self {
        Self {
            action: TO_EGRESS,
            interface,
            mark: MARK_OUT_DONE,
            next_hop: None,
            ether,
            priority: None,
        }
    }

    fn trailer(&self) -> [u8; REINJECTION_LEN] {
        let (family, next_hop) = next_hop(self.next_hop);
        let mut trailer = [0; REINJECTION_LEN];
        let fields = [MAGIC, self.action, self.interface.0, self.mark, family];
        for (to, field) in trailer.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_ne_bytes());
        }
        trailer[20..36].copy_from_slice(&next_hop);
        let priority = self
            .priority
            .map_or(0, |priority| priority.saturating_add(1));
        trailer[36..].copy_from_slice(&priority.to_ne_bytes());
        trailer
    }
}

/// Family and address in network byte order, as `struct bpf_redir_neigh` has them.
fn next_hop(next_hop: Option<IpAddr>) -> (u32, [u8; 16]) {
    match next_hop {
        None => (0, [0; 16]),
        Some(IpAddr::V4(address)) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            (AF_INET, bytes)
        }
        Some(IpAddr::V6(address)) => (AF_INET6, address.octets()),
    }
}

fn ethernet(ether: EtherAddresses, packet: &[u8]) -> [u8; ETHERNET_LEN] {
    let is_v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let mut header = [0; ETHERNET_LEN];
    header[..6].copy_from_slice(&ether.destination);
    header[6..12].copy_from_slice(&ether.source);
    header[12..].copy_from_slice(if is_v6 { &ETH_P_IPV6 } else { &ETH_P_IP });
    header
}

/// IEEE 802 section 8.2.2: the lowest bit of the first byte marks a group.
fn is_unicast(address: [u8; 6]) -> bool {
    address[0] & 1 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Hook = Hook {
        interface: IfIndex(7),
        direction: Direction::In,
    };
    const ETHER: EtherAddresses = EtherAddresses {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
    };

    fn upcall(magic: u32, direction: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        for field in [magic, 7, direction, 3, 6, 0] {
            frame.extend(field.to_ne_bytes());
        }
        frame.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        frame.extend([0x45, 0]);
        frame
    }

    fn target(to: Reinjection) -> Target {
        Target::new(Some(ETHER), to, |_| IfIndex(9)).expect("a target")
    }

    #[test]
    fn an_upcall_is_taken_apart() {
        let frame = upcall(MAGIC, 0);
        let received = parse(&frame).expect("valid");
        assert_eq!(received.hook, HOOK);
        assert_eq!(received.ether, ETHER);
        assert_eq!(received.came_by, Some(IfIndex(3)));
        assert_eq!(received.priority, Some(5));
        assert_eq!(received.packet, [0x45, 0]);
        assert_eq!((received.content, received.tag), (Content::Packet, None));
    }

    #[test]
    fn a_frame_without_ip_is_all_that_follows_its_addresses() {
        let frame = upcall(MAGIC, IS_FRAME | OUT);
        let received = parse(&frame).expect("valid");
        assert_eq!(received.hook.direction, Direction::Out);
        assert_eq!(received.content, Content::Frame);
        assert_eq!(received.packet, [8, 0, 0x45, 0]);
        let mut tagged = upcall(MAGIC, IS_FRAME | IS_TAGGED);
        tagged.splice(TAG_AT..TAG_AT, [0x81, 0, 0, 7]);
        let received = parse(&tagged).expect("valid");
        assert_eq!(received.tag, Some([0x81, 0, 0, 7]));
        assert_eq!(received.came_by, Some(IfIndex(3)));
        assert_eq!(received.ether, ETHER);
        assert_eq!(received.packet, [8, 0, 0x45, 0]);
        let departure = upcall(MAGIC, DEPARTS | OUT);
        let received = parse(&departure).expect("valid");
        assert_eq!(received.content, Content::Departure);
    }

    #[test]
    fn the_frame_to_a_neighbour_is_due_where_frames_are_filtered() {
        let exit = Exit::Gateway {
            interface: IfIndex(3),
            next_hop: "192.168.0.1".parse().expect("an address"),
        };
        let steering = Steering {
            frame_due: true,
            ..Steering::default()
        };
        let mark = |to| {
            let content = Content::Packet;
            let envelope = Envelope::new(&[0x45], content, Some(ETHER), to, steering, |at| at);
            word(&envelope.expect("an envelope").trailer, 12)
        };
        let due = MARK_OUT_DONE | MARK_FRAME_DUE;
        assert_eq!(mark(Reinjection::Decided(HOOK, exit)), Some(due));
        let bridged = Exit::Bridge {
            interface: IfIndex(3),
        };
        assert_eq!(
            mark(Reinjection::Decided(HOOK, bridged)),
            Some(MARK_OUT_DONE)
        );
        let own = MARK_OUT_DONE | MARK_GENERATED;
        assert_eq!(mark(Reinjection::Generated(HOOK, exit)), Some(own));
    }

    #[test]
    fn what_is_no_upcall_is_refused() {
        assert_eq!(parse(&upcall(MAGIC + 1, 0)), None);
        assert_eq!(parse(&upcall(MAGIC, 16)), None);
        assert_eq!(parse(&upcall(MAGIC, IS_TAGGED)), None);
        assert_eq!(parse(&upcall(MAGIC, 0)[..37]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn a_gateway_is_looked_up_where_its_neighbours_are_known() {
        let next_hop = "192.168.0.1".parse().expect("an address");
        let exit = Exit::Gateway {
            interface: IfIndex(3),
            next_hop,
        };
        let trailer = target(Reinjection::Decided(HOOK, exit)).trailer();
        assert_eq!(word(&trailer, 4), Some(TO_NEIGHBOUR));
        assert_eq!(word(&trailer, 8), Some(9));
        assert_eq!(word(&trailer, 12), Some(MARK_OUT_DONE));
        assert_eq!(trailer[20..24], [192, 168, 0, 1]);
    }

    #[test]
    fn an_answer_goes_back_with_reversed_addresses_and_is_not_looked_at_again() {
        let back = target(Reinjection::Back(HOOK));
        assert_eq!((back.action, back.mark), (TO_EGRESS, MARK_GENERATED));
        assert_eq!(back.ether, ETHER.reversed());
    }

    #[test]
    fn only_what_comes_in_is_steered_and_everything_has_its_priority() {
        let steering = Steering {
            mark: 0x0003_0000,
            priority: Some(6),
            frame_due: false,
            receiver: Some((IfIndex(8), [2, 0, 0, 0, 0, 9])),
        };
        let mut inward = target(Reinjection::Decided(HOOK, Exit::Continue));
        inward.steer(steering);
        assert_eq!(inward.mark, MARK_IN_DONE | 0x0003_0000);
        assert_eq!(inward.ether.destination, [2, 0, 0, 0, 0, 9]);
        assert_eq!(inward.interface, IfIndex(8));
        assert_eq!(word(&inward.trailer(), 36), Some(7));
        let out = Hook {
            direction: Direction::Out,
            ..HOOK
        };
        let mut outward = target(Reinjection::Decided(out, Exit::Continue));
        outward.steer(steering);
        assert_eq!(outward.mark, MARK_OUT_DONE);
        assert_eq!(outward.ether, ETHER);
        assert_eq!(word(&outward.trailer(), 36), Some(7));
    }

    #[test]
    fn an_answer_to_a_group_has_no_sender() {
        let ether = EtherAddresses {
            destination: [0xff; 6],
            ..ETHER
        };
        assert!(Target::new(Some(ether), Reinjection::Back(HOOK), |_| IfIndex(9)).is_none());
    }

    #[test]
    fn a_generated_packet_keeps_its_mark_behind_the_hook() {
        let target = target(Reinjection::Generated(HOOK, Exit::Continue));
        assert_eq!(target.action, TO_INGRESS);
        assert_eq!(target.mark, MARK_IN_DONE | MARK_GENERATED);
    }
}
