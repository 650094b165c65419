//! A question to a KDC, and its answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ::doctor::kerberos::Answer;
use ::doctor::limits::MAX_MESSAGE_LEN;

use crate::mail::clock;

/// How long one attempt waits; MIT's library waits 1 s, then 2 and 4.
const PATIENCE: Duration = Duration::from_secs(2);

/// Datagrams get lost.
const DATAGRAMS: usize = 2;

/// The clock between `before` and now, in microseconds since 1970.
fn halfway(before: i64) -> i64 {
    before + (micros() - before) / 2
}

fn micros() -> i64 {
    i64::try_from(clock::now().as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn over_udp(server: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; MAX_MESSAGE_LEN];
    let mut failure = None;
    for _ in 0..DATAGRAMS {
        let before = micros();
        socket.send(request)?;
        match socket.recv(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(Answer {
                    bytes: buffer,
                    at: halfway(before),
                });
            }
            Err(error) if is_time_out(&error) => failure = Some(no_answer()),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(no_answer))
}

pub(super) fn over_tcp(server: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let attempt = || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let before = micros();
        let len = u32::try_from(request.len()).map_err(io::Error::other)?;
        stream.write_all(&[&len.to_be_bytes(), request].concat())?;
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        let at = halfway(before);
        let len = u32::from_be_bytes(len) as usize;
        if len > MAX_MESSAGE_LEN {
            return Err(io::Error::other(
                "an answer that is too long: no KDC answers there",
            ));
        }
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes)?;
        Ok(Answer { bytes, at })
    };
    attempt().map_err(|error| {
        if is_time_out(&error) {
            no_answer()
        } else {
            error
        }
    })
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn no_answer() -> io::Error {
    let seconds = PATIENCE.as_secs();
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {seconds} s"),
    )
}
