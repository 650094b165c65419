//! How much the daemon says: as it was configured, and as `pfctl -x` changes it.

use std::sync::OnceLock;

use pf_engine::ruleset::DebugLevel;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

use crate::config::LogLevel;

/// Changes the level of the logging that has been started.
type Change = Box<dyn Fn(LevelFilter) + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

/// Logs to standard error from now on. A second start in one process (tests) keeps the first
/// one's logging.
pub(crate) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let (filter, handle) = reload::Layer::new(level);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    let logging = tracing_subscriber::registry().with(filter).with(lines);
    if logging.try_init().is_ok() {
        // A subscriber that is gone has nothing to change.
        let _ = CHANGE.set(Box::new(move |level| drop(handle.reload(level))));
    }
}

/// `pfctl -x`: says as much as PF would.
pub(crate) fn follow(level: DebugLevel) {
    if let Some(change) = CHANGE.get() {
        change(filter_of(level));
    }
}

fn filter_of(level: DebugLevel) -> LevelFilter {
    match level.name() {
        "none" | "emerg" | "alert" | "crit" | "err" => LevelFilter::ERROR,
        "urgent" | "warning" => LevelFilter::WARN,
        "misc" | "notice" | "info" => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_of_pf_has_one_of_ours() {
        let of = |name| filter_of(DebugLevel::named(name).expect("a level"));
        assert_eq!(of("none"), LevelFilter::ERROR);
        assert_eq!(of("urgent"), LevelFilter::WARN);
        assert_eq!(of("misc"), LevelFilter::INFO);
        assert_eq!(of("loud"), LevelFilter::DEBUG);
        assert_eq!(of("debug"), LevelFilter::DEBUG);
    }
}
