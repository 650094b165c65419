//! What sockets send through the box: the client's on one CPU, the server's, and the daemon, on
//! another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock::{now, pause};

use super::net::{CLIENT_CPU, Net, SERVER, SERVER_CPU, pin};

const ECHO: u16 = 7;
const BULK: u16 = 5001;
const ONE_BYTE: u16 = 5002;
/// With its headers the smallest frame of Ethernet.
const PAYLOAD: [u8; 18] = [0; 18];
const ROUND_TRIPS: usize = 5000;
const CONNECTORS: usize = 2;
const CHUNK: usize = 128 * 1024;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Bits a second of payload over so many connections.
pub(crate) fn bulk(net: &Net, streams: usize, time: Duration) -> Result<f64> {
    let listener = net.server.run(|| TcpListener::bind((SERVER, BULK)))?;
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    let server = std::thread::spawn(move || -> Result<()> {
        pin(SERVER_CPU)?;
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
            // What does not get through any more must not be waited for.
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let ends = &ends;
            scope.spawn(move || {
                // Where it fails the figures of all are as bad.
                let _ = pin(CLIENT_CPU);
                let buffer = vec![0; CHUNK];
                while !ends.load(Ordering::Relaxed) && stream.write_all(&buffer).is_ok() {}
            });
        }
        pause(time / 4);
        let (start, before) = (now(), received.load(Ordering::Relaxed));
        pause(time);
        let bytes = received.load(Ordering::Relaxed) - before;
        let rate = per_second(bytes * 8, start.elapsed());
        ends.store(true, Ordering::Relaxed);
        rate
    });
    server.join().ok().context("the server")??;
    Ok(rate)
}

/// Connections that were made, and that failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connections {
    /// Made a second.
    pub(crate) rate: f64,
    /// That came to nothing, in all.
    pub(crate) failed: u64,
}

/// Opened, a byte each way, closed by the server.
pub(crate) fn connections(net: &Net, time: Duration) -> Result<Connections> {
    let listener = net.server.run(|| TcpListener::bind((SERVER, ONE_BYTE)))?;
    let ends = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&ends);
    let server = std::thread::spawn(move || -> Result<()> {
        pin(SERVER_CPU)?;
        let mut byte = [0];
        while let Ok((mut stream, _)) = listener.accept() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            // The client counts what fails.
            let _ = stream
                .set_read_timeout(Some(PATIENCE))
                .and_then(|()| stream.read_exact(&mut byte))
                .and_then(|()| stream.write_all(&byte));
        }
        Ok(())
    });
    let start = now();
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let connector = || net.client.run(|| connect_for(time));
        let all: Vec<_> = (0..CONNECTORS).map(|_| scope.spawn(connector)).collect();
        all.into_iter()
            .map(|thread| thread.join().ok().context("a client")?)
            .collect::<Result<_>>()
    })?;
    let elapsed = start.elapsed();
    ends.store(true, Ordering::Relaxed);
    let _ = net.server.run(|| TcpStream::connect((SERVER, ONE_BYTE)));
    server.join().ok().context("the server")??;
    let (made, failed) = counts
        .iter()
        .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    Ok(Connections {
        rate: per_second(made, elapsed),
        failed,
    })
}

fn connect_for(time: Duration) -> Result<(u64, u64)> {
    pin(CLIENT_CPU)?;
    let (start, mut made, mut failed) = (now(), 0, 0);
    let server = SocketAddr::from((SERVER, ONE_BYTE));
    let mut byte = [0];
    while start.elapsed() < time {
        let exchanged = TcpStream::connect_timeout(&server, PATIENCE).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            stream.read(&mut byte)
        });
        let count = if exchanged.is_ok() {
            &mut made
        } else {
            &mut failed
        };
        *count += 1;
    }
    Ok((made, failed))
}

/// Median and 99th percentile of the time that a small datagram takes there and back, in
/// microseconds.
pub(crate) fn latency(net: &Net) -> Result<(f64, f64)> {
    let server = net.server.run(|| UdpSocket::bind((SERVER, ECHO)))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let echo = std::thread::spawn(move || -> Result<()> {
        pin(SERVER_CPU)?;
        let mut buffer = [0; 64];
        while let Ok((len, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..len], from);
        }
        Ok(())
    });
    let times = net.client.run(round_trips);
    echo.join().ok().context("the server")??;
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied();
    Ok((at(50).context("times")?, at(99).context("times")?))
}

fn round_trips() -> Result<Vec<f64>> {
    pin(CLIENT_CPU)?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((SERVER, ECHO))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut buffer = [0; 64];
    for _ in 0..ROUND_TRIPS {
        let start = now();
        socket.send(&PAYLOAD)?;
        let len = socket.recv(&mut buffer).context("a datagram was lost")?;
        ensure!(len == PAYLOAD.len(), "an answer of {len} bytes");
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
