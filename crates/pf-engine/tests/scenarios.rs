//! Scenarios: packets at hooks, and after each one every counter that changed.

#[cfg(test)]
mod scenarios {
    mod anchors;
    mod article;
    mod behaviours;
    mod control;
    mod criteria;
    mod decisions;
    mod ether;
    mod flows;
    mod fragments;
    mod gateways;
    mod harness;
    mod icmp;
    mod ipv6;
    mod limiters;
    mod limits;
    mod log;
    mod nat;
    mod nat64;
    mod nat_options;
    mod options;
    mod persist;
    mod pools;
    mod random;
    mod reload;
    mod routes;
    mod scrub;
    mod sctp;
    mod sctp_multihome;
    mod segments;
    mod sources;
    mod syncookies;
    mod synproxy;
    mod systems;
    mod tables;
    mod talks;
    mod tcp;
    mod tcp_hardening;
    mod tcp_norm;
    mod udp_and_others;
}
