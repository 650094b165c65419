//! What is sent through the box. The sender has the first CPU to itself where it sends as fast as
//! it can: then the whole way is walked there, and what arrives per second is what a core can do.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::counters;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::boxes::Net;

const SERVER: &str = "10.9.0.2";
/// Datagrams to it are counted and dropped where they arrive.
const SINK: u16 = 9;
const ECHO: u16 = 7;
const BULK: u16 = 5001;
const ONE_BYTE: u16 = 5002;
/// With its headers the smallest frame of Ethernet.
const PAYLOAD: [u8; 18] = [0; 18];
const BATCH: usize = 64;
const ROUND_TRIPS: usize = 5000;
const CONNECTORS: usize = 2;
const CHUNK: usize = 128 * 1024;

fn pin_to_first_cpu() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(0);
    Ok(sched_setaffinity(None, &set)?)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn clock() -> Instant {
    Instant::now()
}

/// Where packets end: at the server's interface, or at the box's.
fn sink(device: &str) -> String {
    format!(
        "table netdev sink {{
 counter arrived {{ }}
 chain end {{ type filter hook ingress device \"{device}\" priority 0;
  udp dport {SINK} counter name arrived drop
 }}
}}
"
    )
}

/// Datagrams a second that arrive, of so many flows.
pub(crate) fn datagrams(net: &Net, flows: usize, time: Duration) -> Result<f64> {
    net.server.nft(&sink("b0"))?;
    let elapsed = net.client.run(|| send(flows, time));
    let arrived = counters::named(&net.server, "netdev sink", "arrived");
    net.server.nft("delete table netdev sink\n")?;
    Ok(per_second(arrived?.packets, elapsed?))
}

/// What the generator does where its packets are dropped as they come in.
pub(crate) fn generated(net: &Net, time: Duration) -> Result<f64> {
    net.inside.nft(&sink("ma"))?;
    let sent = net.client.run(|| send(1, time));
    let arrived = counters::named(&net.inside, "netdev sink", "arrived");
    net.inside.nft("delete table netdev sink\n")?;
    Ok(per_second(arrived?.packets, sent?))
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Sends for a time, which is returned as it was.
fn send(flows: usize, time: Duration) -> Result<Duration> {
    pin_to_first_cpu()?;
    let sockets: Vec<UdpSocket> = (0..flows).map(|_| connected(SINK)).collect::<Result<_>>()?;
    let payload = [IoSlice::new(&PAYLOAD)];
    let start = clock();
    for socket in sockets.iter().cycle() {
        let mut controls: Vec<_> = (0..BATCH).map(|_| SendAncillaryBuffer::default()).collect();
        let headers = controls
            .iter_mut()
            .map(|control| MMsgHdr::new(&payload, control));
        let mut headers: Vec<_> = headers.collect();
        // A full queue is what is measured.
        let _ = sendmmsg(socket, &mut headers, SendFlags::empty());
        if start.elapsed() >= time {
            break;
        }
    }
    Ok(start.elapsed())
}

fn connected(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((SERVER, port))?;
    Ok(socket)
}

/// Bits a second of payload over so many connections.
pub(crate) fn bulk(net: &Net, streams: usize, time: Duration) -> Result<f64> {
    let listener = net.server.run(|| TcpListener::bind((SERVER, BULK)))?;
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    let server = std::thread::spawn(move || -> Result<()> {
        let readers = (0..streams).map(|_| {
            let (mut stream, _) = listener.accept()?;
            let counted = Arc::clone(&counted);
            Ok(std::thread::spawn(move || {
                let mut buffer = vec![0; CHUNK];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    counted.fetch_add(read as u64, Ordering::Relaxed);
                }
            }))
        });
        let readers: Vec<_> = readers.collect::<Result<_>>()?;
        for reader in readers {
            drop(reader.join());
        }
        Ok(())
    });
    let ends = AtomicBool::new(false);
    let open = || net.client.run(|| TcpStream::connect((SERVER, BULK)));
    let opened: Vec<_> = (0..streams)
        .map(|_| open())
        .collect::<std::io::Result<_>>()?;
    let rate = std::thread::scope(|scope| {
        for mut stream in opened {
            let ends = &ends;
            scope.spawn(move || {
                let buffer = vec![0; CHUNK];
                while !ends.load(Ordering::Relaxed) && stream.write_all(&buffer).is_ok() {}
            });
        }
        lab::clock::pause(time / 4);
        let (start, before) = (clock(), received.load(Ordering::Relaxed));
        lab::clock::pause(time);
        let bytes = received.load(Ordering::Relaxed) - before;
        let rate = per_second(bytes * 8, start.elapsed());
        ends.store(true, Ordering::Relaxed);
        rate
    });
    server.join().ok().context("the server")??;
    Ok(rate)
}

/// Connections a second: opened, a byte each way, closed by the server.
pub(crate) fn connections(net: &Net, time: Duration) -> Result<f64> {
    let listener = net.server.run(|| TcpListener::bind((SERVER, ONE_BYTE)))?;
    let ends = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&ends);
    let server = std::thread::spawn(move || {
        let mut byte = [0];
        while let Ok((mut stream, _)) = listener.accept() {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let _ = stream
                .read_exact(&mut byte)
                .and_then(|()| stream.write_all(&byte));
        }
    });
    let start = clock();
    let done: u64 = std::thread::scope(|scope| {
        let connector = || net.client.run(|| connect_for(time));
        let all: Vec<_> = (0..CONNECTORS).map(|_| scope.spawn(connector)).collect();
        all.into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum()
    });
    let elapsed = start.elapsed();
    ends.store(true, Ordering::Relaxed);
    let _ = net.client.run(|| TcpStream::connect((SERVER, ONE_BYTE)));
    server.join().ok().context("the server")?;
    Ok(per_second(done, elapsed))
}

fn connect_for(time: Duration) -> u64 {
    let (start, mut done) = (clock(), 0);
    let mut byte = [0];
    while start.elapsed() < time {
        let exchanged = TcpStream::connect((SERVER, ONE_BYTE)).and_then(|mut stream| {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            stream.read(&mut byte)
        });
        done += u64::from(exchanged.is_ok());
    }
    done
}

/// Median and 99th percentile of the time that a small datagram takes there and back, in
/// microseconds.
pub(crate) fn latency(net: &Net) -> Result<(f64, f64)> {
    let server = net.server.run(|| UdpSocket::bind((SERVER, ECHO)))?;
    server.set_read_timeout(Some(Duration::from_secs(1)))?;
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((len, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..len], from);
        }
    });
    let socket = net.client.run(|| connected(ECHO))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut buffer = [0; 64];
    for _ in 0..ROUND_TRIPS {
        let start = clock();
        socket.send(&PAYLOAD)?;
        socket.recv(&mut buffer)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    echo.join().ok().context("the server")?;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied();
    Ok((at(50).context("times")?, at(99).context("times")?))
}
