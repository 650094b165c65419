//! What benchmarks rely on.

use std::net::Ipv4Addr;

use datapath::bench::{At, End, Generator, Order, Redirect, Stream};
use pf_engine::decision::EtherAddresses;

use crate::support::{Lab, TCX, is_at_least, until};

/// Each of the generator's takes a page of a socket's memory: more of them would not fit.
const FRAMES: u32 = 16;

/// From `a` to `b`; flows of two addresses.
fn stream(lab: &Lab) -> Stream {
    Stream {
        out: lab.index("a", "eth0").0,
        ether: EtherAddresses {
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, 0, 0, 0, 2],
        },
        source: Ipv4Addr::new(10, 0, 64, 255),
        destination: Ipv4Addr::new(10, 0, 0, 2),
        port: 9,
        flows: 2048,
        order: Order::Ascending,
    }
}

#[test]
fn the_generator_makes_the_frames_of_its_stream_and_the_end_counts_them() {
    if !is_at_least("gen", TCX) {
        return;
    }
    let Some(mut lab) = Lab::new("gen") else {
        return;
    };
    lab.host("a");
    lab.host("b");
    lab.cable(("a", "eth0", 1), ("b", "eth0", 2));
    lab.run("b", "ethtool -K eth0 gro on");
    let stream = stream(&lab);
    let raw = lab.raw("b", "eth0");
    // The packet socket is asked before TCX is.
    let end = lab
        .within("b", || End::new("eth0", At::Tcx, 9))
        .expect("an end");
    let elsewhere = lab
        .within("b", || End::new("eth0", At::Tcx, 10))
        .expect("an end");
    lab.within("a", || {
        let mut generator = Generator::new(&stream).expect("a generator");
        generator.send(FRAMES).expect("sends");
    });
    for flow in 0..FRAMES {
        assert_eq!(raw.receive(|_| true), stream.frame(flow), "flow {flow}");
    }
    until(|| end.arrived().expect("a count") == u64::from(FRAMES));
    assert_eq!(end.arrived().expect("a count"), u64::from(FRAMES));
    assert_eq!(elsewhere.arrived().expect("a count"), 0);
}

#[test]
fn bare_redirection_carries_every_frame_at_tcx_and_in_the_driver() {
    if !is_at_least("bare", TCX) {
        return;
    }
    let ways = [At::Tcx, At::Xdp].map(|at| [(at, None), (at, Some(FRAMES))]);
    for (at, flows) in ways.into_iter().flatten() {
        let name = format!("bare{at:?}{}", flows.map_or("", |_| "n")).to_lowercase();
        let Some(mut lab) = Lab::new(&name) else {
            return;
        };
        lab.bridged();
        lab.run("box", "ethtool -K em1 gro on");
        let other = lab.index("box", "fxp0").0;
        let redirect = lab
            .within("box", || match flows {
                Some(flows) => Redirect::counting("em1", other, at, flows),
                None => Redirect::new("em1", other, at),
            })
            .expect("redirects");
        let end = lab
            .within("b", || End::new("eth0", At::Xdp, 9))
            .expect("an end");
        let stream = stream(&lab);
        lab.within("a", || {
            let mut generator = Generator::new(&stream).expect("a generator");
            generator.send(FRAMES).expect("sends");
        });
        until(|| end.arrived().expect("a count") == u64::from(FRAMES));
        assert_eq!(end.arrived().expect("a count"), u64::from(FRAMES), "{at:?}");
        let counted = redirect.counted().expect("counts");
        assert_eq!(counted, flows.map_or(0, u64::from), "{at:?}");
    }
}
