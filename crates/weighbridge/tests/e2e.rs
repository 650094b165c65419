//! End to end: the daemon in the article's network, on real packets.
//!
//! Every test builds its own lab of network namespaces; all of them need root, and say that they
//! are skipped without it.

#[path = "e2e/accounts.rs"]
mod accounts;
#[path = "e2e/anchors.rs"]
mod anchors;
#[path = "e2e/article.rs"]
mod article;
#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/criteria.rs"]
mod criteria;
#[path = "e2e/criteria_v6.rs"]
mod criteria_v6;
#[path = "e2e/data_path.rs"]
mod data_path;
#[path = "e2e/drops.rs"]
mod drops;
#[path = "e2e/ether.rs"]
mod ether;
#[path = "e2e/fast_path.rs"]
mod fast_path;
#[path = "e2e/gateways.rs"]
mod gateways;
#[path = "e2e/guest.rs"]
mod guest;
#[path = "e2e/handshakes.rs"]
mod handshakes;
#[path = "e2e/interfaces.rs"]
mod interfaces;
#[path = "e2e/ipv6.rs"]
mod ipv6;
#[path = "e2e/limiters.rs"]
mod limiters;
#[path = "e2e/lines.rs"]
mod lines;
#[path = "e2e/load.rs"]
mod load;
#[path = "e2e/modulation.rs"]
mod modulation;
#[path = "e2e/mtu.rs"]
mod mtu;
#[path = "e2e/nobody_home.rs"]
mod nobody_home;
#[path = "e2e/normalization.rs"]
mod normalization;
#[path = "common/packages.rs"]
mod packages;
#[path = "e2e/pflog.rs"]
mod pflog;
#[path = "e2e/queues.rs"]
mod queues;
#[path = "e2e/security.rs"]
mod security;
#[path = "e2e/shares.rs"]
mod shares;
#[path = "e2e/soak.rs"]
mod soak;
#[path = "e2e/sources.rs"]
mod sources;
#[path = "e2e/status.rs"]
mod status;
#[path = "e2e/support.rs"]
mod support;
#[path = "e2e/systems.rs"]
mod systems;
#[path = "e2e/throttle.rs"]
mod throttle;
#[path = "e2e/top.rs"]
mod top;
#[path = "e2e/translation.rs"]
mod translation;
#[path = "e2e/vlans.rs"]
mod vlans;
