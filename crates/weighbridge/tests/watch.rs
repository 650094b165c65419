//! `weighbridge watch` and `weighbridge os`: captures, p0f's own answers, and a mail server's
//! machine with hosts that differ; HTTP; clients that never finish.

#[path = "common/command.rs"]
mod command;
#[path = "common/reference.rs"]
mod reference;
#[path = "common/site.rs"]
mod site;

#[path = "watch/capture.rs"]
mod capture;
#[path = "watch/fingerprints.rs"]
mod fingerprints;
#[path = "watch/fleet.rs"]
mod fleet;
#[path = "watch/follow.rs"]
mod follow;
#[path = "watch/hostile.rs"]
mod hostile;
#[path = "watch/http.rs"]
mod http;
#[path = "watch/live.rs"]
mod live;
#[path = "watch/p0f.rs"]
mod p0f;
#[path = "watch/reputation.rs"]
mod reputation;
#[path = "watch/services.rs"]
mod services;
