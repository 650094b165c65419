//! Link Aggregation Control Protocol (IEEE 802.1AX-2008 clause 5), pure: frames and the time go
//! in, frames and the set of usable links come out.
//!
//! [`Group`] is one aggregation system with its ports. It has no clock and no sockets: every call
//! that may change something takes `now`, the time since any fixed start.
//!
//! Two choices differ from what other implementations do, both so that links which fail in turn
//! never leave a group without one:
//! - a port that has lost its partner (`DEFAULTED`) goes on sending each second. The standard
//!   leaves the administrative partner's time-out bit to the administrator;
//! - a port that comes back to the partner it had does not wait two seconds for others to join.

mod group;
mod pdu;
mod port;
mod transmit;

pub use group::{Group, PortStatus, Settings};
pub use pdu::{
    FRAME_LEN, Fault, Info, LacpDu, MULTICAST, Marker, MarkerKind, Pdu, SLOW_PROTOCOLS, State,
    marker_frame,
};
pub use port::{Churn, Counters, Mux, Receive};

use std::time::Duration;

/// Time between two LACPDUs to a partner that asked for the short time-out. The standard's second
/// (`Fast_Periodic_Time`) less what a busy machine may be late.
pub const FAST_PERIOD: Duration = Duration::from_millis(950);
/// The same for the long time-out (`Slow_Periodic_Time`).
pub const SLOW_PERIOD: Duration = Duration::from_secs(30);
/// A partner that was asked to send each second is lost after this (`Short_Timeout_Time`).
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// The same where it was asked to send every 30 seconds (`Long_Timeout_Time`).
pub const LONG_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a port waits for others to join with it (`Aggregate_Wait_Time`).
pub const WAIT_WHILE: Duration = Duration::from_secs(2);
/// Time out of step after which a side is churning (`Churn_Detection_Time`).
pub const CHURN_TIME: Duration = Duration::from_mins(1);
/// LACPDUs in a second at most, on a port (802.1AX 5.4.16).
pub const MAX_LACPDUS_PER_SECOND: usize = 3;
/// Marker responses in a second at most, on a port: as many slow-protocol frames as IEEE 802.3
/// annex 57A allows in all.
pub const MAX_MARKERS_PER_SECOND: usize = 10;
/// Ports of a group at most (lagg(4), `LAGG_MAX_PORTS`).
pub const MAX_PORTS: usize = 32;
