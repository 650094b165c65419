//! What benchmarks need of the kernel: a generator of small frames, their end, and the least that
//! a box between two ports can do. No part of the data path.
//!
//! Each function that takes an interface is to be called in its network namespace.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use aya::maps::{Array, DevMap, PerCpuArray};
use aya::programs::tc::TcAttachOptions;
use aya::programs::xdp::XdpMode;
use aya::programs::{
    LinkOrder, ProgramError, TcAttachType, TestRun, TestRunAttrs, TestRunOptions, Xdp,
};
use aya::{Ebpf, EbpfLoader};
use pf_engine::decision::EtherAddresses;

use crate::Error;
use crate::program::{io_error, program};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// Length of a frame without its checksum, which makes the smallest one of Ethernet, 64 bytes.
const FRAME_LEN: u32 = 60;
/// Frames that the kernel makes at a time: more overflow a veth pair's ring of 256.
const BATCH: u32 = 64;
/// `FLOWS_PER_ADDRESS` and `FIRST_PORT` of the program.
const FLOWS_PER_ADDRESS: u32 = 10;
const FIRST_PORT: u32 = 1024;

/// UDP datagrams in the smallest frames of Ethernet.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Number of the interface by which they leave.
    pub out: u32,
    /// Addresses of the frames.
    pub ether: EtherAddresses,
    /// Address of the first 1,024 flows; the next ones have the next address.
    pub source: Ipv4Addr,
    /// Where they go.
    pub destination: Ipv4Addr,
    /// And to which port.
    pub port: u16,
    /// How many flows.
    pub flows: u32,
    /// Which flow is next.
    pub order: Order,
}

/// Which flow is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Any, by chance.
    Random,
    /// The one with the next number, from 0.
    Ascending,
}

impl Stream {
    /// A frame of the flow with this number, as the generator makes it.
    #[must_use]
    pub fn frame(&self, flow: u32) -> Vec<u8> {
        let ip_len = u16::try_from(FRAME_LEN).unwrap_or(u16::MAX) - 14;
        let source = Ipv4Addr::from(u32::from(self.source) + (flow >> FLOWS_PER_ADDRESS));
        let port = FIRST_PORT + (flow & ((1 << FLOWS_PER_ADDRESS) - 1));
        let mut ip = Vec::from([0x45, 0]);
        ip.extend(ip_len.to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        ip.extend(source.octets());
        ip.extend(self.destination.octets());
        let sum: u32 = ip
            .chunks_exact(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or_default();
        ip[10..12].copy_from_slice(&(!sum).to_be_bytes());
        let mut frame = [self.ether.destination, self.ether.source].concat();
        frame.extend([0x08, 0x00]);
        frame.extend(ip);
        frame.extend(u16::try_from(port).unwrap_or_default().to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend((ip_len - 20).to_be_bytes());
        frame.resize(FRAME_LEN as usize, 0);
        frame
    }
}

/// Makes a stream's frames in the kernel (`BPF_F_TEST_XDP_LIVE_FRAMES`), with less work for each
/// than any box has. Needs `NAPI` at the other end of a veth pair: a program for XDP, or GRO.
#[derive(Debug)]
pub struct Generator(Ebpf);

impl Generator {
    /// Ready for the stream.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn new(stream: &Stream) -> Result<Self, Error> {
        let ethernet: [u8; 12] = std::array::from_fn(|at| match at {
            0..6 => stream.ether.destination[at],
            _ => stream.ether.source[at - 6],
        });
        let (source, destination) = (u32::from(stream.source), u32::from(stream.destination));
        let in_order = u32::from(stream.order == Order::Ascending);
        let ebpf = EbpfLoader::new()
            .override_global("ethernet", &ethernet, true)
            .override_global("source", &source, true)
            .override_global("destination", &destination, true)
            .override_global("length", &FRAME_LEN, true)
            .override_global("flows", &stream.flows.max(1), true)
            .override_global("in_order", &in_order, true)
            .override_global("out", &stream.out, true)
            .override_global("port", &u32::from(stream.port), true)
            .load(OBJECT)
            .map_err(|error| refused("the generator", error))?;
        let mut generator = Self(ebpf);
        xdp(&mut generator.0, "generate")?
            .load()
            .map_err(|error| refused("the generator", error))?;
        Ok(generator)
    }

    /// Sends so many packets from the thread that calls, as fast as what takes them lets it: the
    /// way behind a veth pair is walked by this thread. How long that took; the kernel needs some
    /// 10 to 20 ms besides, before it and afterwards.
    ///
    /// # Errors
    /// When the kernel refuses it, or a signal comes in between.
    pub fn send(&mut self, packets: u32) -> Result<Duration, Error> {
        let first = [0; FRAME_LEN as usize];
        let options = TestRunOptions {
            data_in: Some(&first),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let sent = xdp(&mut self.0, "generate")?
            .test_run(options)
            .map_err(|error| refused("the generator's packets", error))?;
        Ok(sent.duration * packets)
    }
}

/// What meets a packet first at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The driver, before there is an skb.
    Xdp,
    /// The first hook that has one.
    Tcx,
}

/// The end of a stream: counts its packets and drops them. Gone when it is dropped.
#[derive(Debug)]
pub struct End(Ebpf);

impl End {
    /// At the ingress of an interface, for packets to this port.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn new(interface: &str, at: At, port: u16) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new()
            .override_global("port", &u32::from(port), true)
            .load(OBJECT)
            .map_err(|error| refused("the counter", error))?;
        attach(&mut ebpf, interface, at, ["end_xdp", "end_tcx"])?;
        Ok(Self(ebpf))
    }

    /// Packets that have arrived.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn arrived(&self) -> Result<u64, Error> {
        let what = "the counter";
        let map = self.0.map("arrived").ok_or_else(|| missing(what))?;
        let map = PerCpuArray::<_, u64>::try_from(map).map_err(|error| refused(what, error))?;
        let counts = map.get(&0, 0).map_err(|error| refused(what, error))?;
        Ok(counts.iter().sum())
    }
}

/// Sends each frame from an interface to another and does nothing else. Gone when it is dropped.
#[derive(Debug)]
pub struct Redirect(Ebpf);

impl Redirect {
    /// From `interface` to the one with the number `to`.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn new(interface: &str, to: u32, at: At) -> Result<Self, Error> {
        Self::by((interface, to), at, 1, ["redirect_xdp", "redirect_tcx"])
    }

    /// The same, and counts each of so many flows in a line of the CPU's cache of its own: what knows flows
    /// does that at least.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn counting(interface: &str, to: u32, at: At, flows: u32) -> Result<Self, Error> {
        Self::by((interface, to), at, flows, ["count_xdp", "count_tcx"])
    }

    /// Packets that it has counted, of all flows.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn counted(&self) -> Result<u64, Error> {
        let what = "the flows' counts";
        let map = self.0.map("lines").ok_or_else(|| missing(what))?;
        let map = Array::<_, [u64; 8]>::try_from(map).map_err(|error| refused(what, error))?;
        let counts = map.iter().map(|line| line.map(|[packets, ..]| packets));
        counts
            .sum::<Result<u64, _>>()
            .map_err(|error| refused(what, error))
    }

    fn by(
        (interface, to): (&str, u32),
        at: At,
        flows: u32,
        names: [&str; 2],
    ) -> Result<Self, Error> {
        let what = "the redirection";
        let lines = flows.next_power_of_two();
        let mut ebpf = EbpfLoader::new()
            .override_global("out", &to, true)
            .override_global("lines_mask", &lines.saturating_sub(1), true)
            .map_max_entries("lines", lines)
            .load(OBJECT)
            .map_err(|error| refused(what, error))?;
        if at == At::Xdp {
            let map = ebpf.map_mut("other_port").ok_or_else(|| missing(what))?;
            let mut map = DevMap::try_from(map).map_err(|error| refused(what, error))?;
            map.set(0, to, None, 0)
                .map_err(|error| refused(what, error))?;
        }
        attach(&mut ebpf, interface, at, names)?;
        Ok(Self(ebpf))
    }
}

/// Puts one of two programs, for XDP and for TCX, on an interface.
fn attach(ebpf: &mut Ebpf, interface: &str, at: At, names: [&str; 2]) -> Result<(), Error> {
    let failed = |error| refused(interface, error);
    match at {
        At::Xdp => {
            let program = xdp(ebpf, names[0])?;
            program.load().map_err(failed)?;
            program.attach(interface, XdpMode::Driver).map_err(failed)?;
        }
        At::Tcx => {
            let program = program(ebpf, names[1])?;
            program.load().map_err(failed)?;
            let options = TcAttachOptions::TcxOrder(LinkOrder::default());
            program
                .attach_with_options(interface, TcAttachType::Ingress, options)
                .map_err(failed)?;
        }
    }
    Ok(())
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program
        .try_into()
        .map_err(|error: ProgramError| refused(name, error))
}

fn missing(what: &str) -> Error {
    refused(what, io::Error::from(io::ErrorKind::NotFound))
}

fn refused(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::kernel(
        format!("cannot use {what} of a benchmark"),
        io_error(source),
        "it needs root and a kernel with BPF, TCX (6.6) and live frames for XDP (5.18)",
    )
}
