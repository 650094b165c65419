//! One packet: from the data path to the engine and back.

use datapath::{Content, Datapath, Error, Reinjection, Upcall};
use pf_engine::decision::{Decision, Exit, Generated, GeneratedExit, Handling, LogEntry, Verdict};
use pf_engine::engine::Engine;
use pf_engine::env::Env;
use pf_engine::ether::Frame;
use pf_engine::time::Instant;
use tracing::trace;

/// Bytes of the addresses of a frame.
const ADDRESSES_LEN: usize = 12;

/// Has the engine decide about `upcall` and does what it decided; returns what is to be logged.
pub(super) fn handle(
    engine: &mut Engine,
    env: &mut dyn Env,
    datapath: &mut Datapath,
    now: Instant,
    upcall: &mut Upcall,
) -> Vec<LogEntry> {
    let mut decision = match upcall.content {
        Content::Packet => engine.handle_packet(now, upcall.hook, &mut upcall.packet, env),
        Content::Departure => engine.handle_departure(now, upcall.hook, &upcall.packet, env),
        Content::Frame => engine.handle_frame(now, upcall.hook, &frame_of(upcall), env),
    };
    trace!(hook = ?upcall.hook, bytes = upcall.packet.bytes.len(), ?decision.verdict, "packet");
    carry_out(datapath, upcall, &decision);
    std::mem::take(&mut decision.logged)
}

/// What rules see of a frame without IP.
fn frame_of(upcall: &Upcall) -> Frame {
    let packet = &upcall.packet;
    let ether_type = packet.bytes.first_chunk().copied().map(u16::from_be_bytes);
    Frame {
        ether: packet.ether.unwrap_or_default(),
        ether_type: ether_type.unwrap_or_default(),
        len: packet.bytes.len().saturating_add(ADDRESSES_LEN),
        received_on: packet.received_on,
    }
}

fn carry_out(datapath: &mut Datapath, upcall: &Upcall, decision: &Decision) {
    match &decision.verdict {
        Verdict::Pass(exit) => put_back(
            datapath,
            upcall,
            &upcall.packet.bytes,
            *exit,
            decision.handling,
        ),
        Verdict::PassFragments(exit, pieces) => {
            for piece in pieces {
                put_back(datapath, upcall, piece, *exit, decision.handling);
            }
        }
        Verdict::Drop(_) | Verdict::Held => {}
    }
    for generated in &decision.generated {
        send_generated(datapath, upcall, generated);
    }
}

fn put_back(
    datapath: &mut Datapath,
    upcall: &Upcall,
    bytes: &[u8],
    exit: Exit,
    handling: Handling,
) {
    let to = Reinjection::Decided(upcall.hook, exit);
    let ether = upcall.packet.ether;
    note(&match upcall.content {
        Content::Frame => datapath.send_frame(bytes, ether, to, handling),
        Content::Packet | Content::Departure => datapath.send_with(bytes, ether, to, handling),
    });
}

fn send_generated(datapath: &mut Datapath, upcall: &Upcall, generated: &Generated) {
    let (ether, to) = match generated.exit {
        GeneratedExit::Back => (upcall.packet.ether, Reinjection::Back(upcall.hook)),
        GeneratedExit::To(exit) => {
            let to = Reinjection::Generated(upcall.hook, exit);
            (upcall.packet.ether, to)
        }
        GeneratedExit::Onward { hook, ether, exit } => (ether, Reinjection::Decided(hook, exit)),
    };
    note(&datapath.send(&generated.bytes, ether, to));
}

/// The data path counts what it could not send; a line for each packet would only make it worse.
fn note(sent: &Result<(), Error>) {
    if let Err(error) = sent {
        trace!(%error, "packet lost");
    }
}
