//! What is read of files that others write or keep: logs of mail servers, and handshakes that were
//! collected.

use mail::follow::Follow;
use mail::follow::exim::EximLog;
use mail::follow::postfix::PostfixLog;
use mail::outcome::Outcome;
use mail::text::report;
use mail::time::Timestamp;
use mail::unknown::{SIGNATURES_MAX, Section, Unknown};

/// Outcomes that one line may tell: what Postfix counts of a session, in four ways.
const OUTCOMES_OF_LINE_MAX: usize = 4_000;

/// Reads lines as the logs of Exim and of Postfix.
///
/// # Panics
/// When a line tells more than it may, or an outcome cannot be reported in one line.
pub fn mail_logs(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let readers: [Box<dyn Follow>; 2] = [Box::<EximLog>::default(), Box::<PostfixLog>::default()];
    for mut reader in readers {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for line in text.split('\n') {
            outcomes.clear();
            reader.line(line, Timestamp::from_secs(1), &mut outcomes);
            assert!(outcomes.len() <= OUTCOMES_OF_LINE_MAX);
            for outcome in outcomes.iter().take(4) {
                let told = report(outcome);
                assert_eq!(told.matches('\n').count(), 1, "{told:?}");
            }
        }
    }
}

/// Reads text as handshakes that were collected.
///
/// # Panics
/// When more is kept than may be, or what is written is not read again.
pub fn unknown(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut unknown = Unknown::default();
    let _ = unknown.import(&text);
    for section in Section::ALL {
        assert!(unknown.of(section).count() <= SIGNATURES_MAX);
    }
    let mut again = Unknown::default();
    let written = unknown.export();
    assert!(again.import(&written).is_ok(), "{written}");
    assert_eq!(again.export(), written);
}
