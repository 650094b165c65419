//! `weighbridge links` and `weighbridge ifconfig` on real interfaces: the article's examples,
//! links that fail, Open vSwitch as LACP partner, Nagios and Icinga.
//!
//! All of them need root, and say that they are skipped without it.

#[path = "links/announce.rs"]
mod announce;
#[path = "links/article.rs"]
mod article;
#[path = "links/beats.rs"]
mod beats;
#[path = "links/bonding.rs"]
mod bonding;
#[path = "links/daemon.rs"]
mod daemon;
#[path = "common/debian.rs"]
mod debian;
#[path = "links/ends.rs"]
mod ends;
#[path = "links/files.rs"]
mod files;
#[path = "links/flows.rs"]
mod flows;
#[path = "links/gate.rs"]
mod gate;
#[path = "links/inline.rs"]
mod inline;
#[path = "links/lacp.rs"]
mod lacp;
#[path = "links/monitoring.rs"]
mod monitoring;
#[path = "links/one_start.rs"]
mod one_start;
#[path = "links/open_vswitch.rs"]
mod open_vswitch;
#[path = "links/ovs.rs"]
mod ovs;
#[path = "common/packages.rs"]
mod packages;
#[path = "links/site.rs"]
mod site;
