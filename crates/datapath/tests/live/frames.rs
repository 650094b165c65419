//! Frames through hooks, TAP and back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::support::{Lab, pass};

const TRANSFER: usize = 20_000_000;

#[test]
fn ping_and_tcp_cross_the_bridge_packet_by_packet_with_offloads_on() {
    let Some(mut lab) = Lab::new("tcp") else {
        return;
    };
    lab.bridged();
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    lab.run("a", "ping -c 3 -i 0.1 -W 2 10.0.0.2");
    let sent = pattern();
    let received = transfer(&lab, &sent);
    assert!(received == sent, "the stream is damaged");
    let statistics = daemon.stop();
    assert_eq!(statistics.upcall_failed, 0);
    assert_eq!(statistics.refused, 0);
    assert_eq!(
        statistics.reinjected + statistics.queue_full,
        statistics.upcalls
    );
    println!("{statistics:?}");
}

/// Bytes that differ wherever a segment could begin.
fn pattern() -> Vec<u8> {
    let mut x = 1_u32;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24).to_le_bytes()[0]
    };
    (0..TRANSFER).map(|_| next()).collect()
}

/// From `a` to `b`.
fn transfer(lab: &Lab, data: &[u8]) -> Vec<u8> {
    let listener = lab.within("b", || TcpListener::bind("10.0.0.2:80").expect("free"));
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the whole stream");
        received
    });
    let mut stream = lab.within("a", || TcpStream::connect("10.0.0.2:80").expect("connects"));
    stream.write_all(data).expect("the peer reads");
    drop(stream);
    reader.join().expect("the reader ends")
}
