//! Frames between the devices and the ports.

use std::io::{self, IoSlice};
use std::time::Duration;

use datapath::device::{Arrival, HEADER_LEN, PortSocket};
use links::Protocol;
use links::lacp::SLOW_PROTOCOLS;
use links::lagg::frame::{ADDRESSES_LEN, ethernet_type, tag};

use super::{Keeper, KeptLagg, KeptPort, KeptVlan, report};

/// Frames that are taken from one device or port before it is the next one's turn.
pub(super) const BATCH: usize = 64;
/// A tag's VLAN number.
const VLAN_BITS: u16 = 0x0fff;
/// Bytes of a tag.
const TAG_LEN: u16 = 4;
/// A header that asks for nothing.
const NO_HEADER: [u8; HEADER_LEN] = [0; HEADER_LEN];

impl Keeper {
    /// Carries what waits.
    pub(in super::super) fn forward(&mut self) {
        let now = self.now();
        for at in 0..self.laggs.len() {
            self.up(at, now);
        }
        for kept in &mut self.laggs {
            kept.down(&mut self.buffer);
        }
        for vlan in &self.vlans {
            let mut laggs = self.laggs.iter_mut();
            let parent = laggs.find(|lagg| lagg.device.name() == vlan.settings.parent);
            vlan.down(parent, &mut self.buffer);
            vlan.up(&mut self.buffer);
        }
    }

    /// From the ports of a lagg to it and its VLANs.
    fn up(&mut self, at: usize, now: Duration) {
        let Some(kept) = self.laggs.get_mut(at) else {
            return;
        };
        for port in 0..kept.ports.len() {
            kept.control(port, &mut self.buffer, now);
            for _ in 0..BATCH {
                let Some((len, tag)) = kept.receive(port, &mut self.buffer) else {
                    break;
                };
                let frame = self.buffer.get(..len).unwrap_or_default();
                let vlan = vlan_of(tag);
                let inner = frame.get(HEADER_LEN..).unwrap_or_default();
                if kept.is_control(inner, vlan) {
                    continue;
                }
                if !kept.lagg.receive(port, inner, vlan.is_some(), now) {
                    kept.send_own();
                    continue;
                }
                kept.give(frame, vlan.and(tag), &self.vlans);
            }
        }
    }
}

impl KeptLagg {
    fn receive(&self, port: usize, buffer: &mut [u8]) -> Option<(usize, Option<u16>)> {
        let port = self.ports.get(port)?;
        receive(&port.socket, buffer, &port.name)
    }

    /// Takes what the slow protocols' own socket has, which is before everything else.
    fn control(&mut self, at: usize, buffer: &mut [u8], now: Duration) {
        for _ in 0..BATCH {
            let Some(port) = self.ports.get(at) else {
                return;
            };
            let Some(socket) = &port.control else { return };
            let Some((len, tag)) = received(socket.receive(buffer), &port.name) else {
                return;
            };
            let frame = buffer.get(..len).unwrap_or_default();
            if vlan_of(tag).is_none() {
                let _ = self.lagg.receive(at, frame, false, now);
                self.send_own();
            }
        }
    }

    /// Whether a frame has come by the slow protocols' own socket as well.
    fn is_control(&self, frame: &[u8], vlan: Option<u16>) -> bool {
        let is_slow = vlan.is_none() && ethernet_type(frame) == Some(SLOW_PROTOCOLS);
        is_slow && self.settings.protocol == Protocol::Lacp
    }

    /// Gives the machine a frame: by its VLAN if that is ours, else with its tag back in place.
    fn give(&self, frame: &[u8], tagged: Option<u16>, vlans: &[KeptVlan]) {
        let Some(tagged) = tagged else {
            return lost(
                self.device.write(&[IoSlice::new(frame)]),
                self.device.name(),
            );
        };
        let is_ours = |vlan: &&KeptVlan| {
            vlan.settings.parent == self.device.name() && vlan.settings.id == tagged & VLAN_BITS
        };
        if let Some(vlan) = vlans.iter().find(is_ours) {
            return lost(
                vlan.device.write(&[IoSlice::new(frame)]),
                vlan.device.name(),
            );
        }
        let Some((header, inner)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return;
        };
        let header = moved(*header);
        with_tag(&header, inner, tagged, |pieces| {
            lost(self.device.write(pieces), self.device.name());
        });
    }

    /// From the machine to the ports.
    fn down(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok(Some(len)) = self.device.read(buffer) else {
                return;
            };
            let frame = buffer.get(..len).unwrap_or_default();
            let inner = frame.get(HEADER_LEN..).unwrap_or_default();
            for port in self.lagg.send(inner, None) {
                send(&self.ports, *port, &[IoSlice::new(frame)]);
            }
        }
    }

    /// Sends what the lagg itself has to say.
    pub(super) fn send_own(&mut self) {
        while let Some((port, frame)) = self.lagg.next_frame() {
            let control = self.ports.get(port).and_then(|port| port.control.as_ref());
            if let Some(socket) = control.filter(|_| self.is_control(&frame, None)) {
                lost(socket.send(&frame), self.device.name());
                continue;
            }
            let pieces = [IoSlice::new(&NO_HEADER), IoSlice::new(&frame)];
            send(&self.ports, port, &pieces);
        }
    }
}

/// The VLAN of a tag; 0 is none.
fn vlan_of(tag: Option<u16>) -> Option<u16> {
    tag.map(|tag| tag & VLAN_BITS).filter(|vlan| *vlan != 0)
}

impl KeptVlan {
    /// The tag of what is sent.
    fn tag(&self) -> u16 {
        (u16::from(self.settings.priority) << 13) | self.settings.id
    }

    /// From the machine to the parent.
    fn down(&self, mut parent: Option<&mut KeptLagg>, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok(Some(len)) = self.device.read(buffer) else {
                return;
            };
            let frame = buffer.get(..len).unwrap_or_default();
            let inner = frame.get(HEADER_LEN..).unwrap_or_default();
            with_tag(&NO_HEADER, inner, self.tag(), |pieces| {
                if let Some(socket) = &self.socket {
                    lost(socket.send(pieces), &self.settings.parent);
                } else if let Some(parent) = &mut parent {
                    for port in parent.lagg.send(inner, Some(self.settings.id)) {
                        send(&parent.ports, *port, pieces);
                    }
                }
            });
        }
    }

    /// From a parent that is no lagg of ours.
    fn up(&self, buffer: &mut [u8]) {
        let Some(socket) = &self.socket else { return };
        for _ in 0..BATCH {
            let Some((len, tag)) = receive(socket, buffer, &self.settings.parent) else {
                return;
            };
            if tag.is_some_and(|tag| tag & VLAN_BITS == self.settings.id) {
                let frame = buffer.get(..len).unwrap_or_default();
                lost(
                    self.device.write(&[IoSlice::new(frame)]),
                    self.device.name(),
                );
            }
        }
    }
}

fn receive(socket: &PortSocket, buffer: &mut [u8], name: &str) -> Option<(usize, Option<u16>)> {
    received(socket.receive(buffer), name)
}

fn received(arrival: io::Result<Option<Arrival>>, name: &str) -> Option<(usize, Option<u16>)> {
    match arrival {
        Ok(arrival) => arrival.map(|arrival| (arrival.len, arrival.tag)),
        Err(error) => {
            report(&error, name);
            None
        }
    }
}

/// Calls `with` on a frame with a tag put in.
fn with_tag(
    header: &[u8; HEADER_LEN],
    inner: &[u8],
    value: u16,
    with: impl FnOnce(&[IoSlice<'_>]),
) {
    let Some((addresses, rest)) = inner.split_at_checked(ADDRESSES_LEN) else {
        return;
    };
    let tag = tag(value);
    with(&[header.as_slice(), addresses, &tag, rest].map(IoSlice::new));
}

/// The header of a frame that a tag is put in: what it counts from the frame's start moves.
fn moved(mut header: [u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
    let [flags, segments, ..] = header;
    let mut add = |at: usize| {
        if let Some(place) = header.get_mut(at..at + 2)
            && let Ok(bytes) = <[u8; 2]>::try_from(&*place)
        {
            let number = u16::from_ne_bytes(bytes).saturating_add(TAG_LEN);
            place.copy_from_slice(&number.to_ne_bytes());
        }
    };
    if segments != 0 {
        add(2); // hdr_len
    }
    if flags & 1 != 0 {
        add(6); // csum_start
    }
    header
}

fn send(ports: &[KeptPort], port: usize, pieces: &[IoSlice<'_>]) {
    if let Some(port) = ports.get(port) {
        lost(port.socket.send(pieces), &port.name);
    }
}

/// A frame that cannot be sent is lost, as on any link.
fn lost(sent: io::Result<()>, name: &str) {
    if let Err(error) = sent {
        report(&error, name);
    }
}
