//! `bridgename.if` (bridgename.if(5) up to OpenBSD 4.6): one brconfig(8) option list a line.

use crate::line::{self, Word, Words};
use crate::{ParseError, WantedBridge};

const KNOWN: &str = "known here: add IF, delete IF, timeout SECONDS, up, down";

/// Reads the file for bridge `name`. Lines are carried out in turn, as the start-up script does.
///
/// # Errors
/// Every word that cannot be carried out, with its place.
pub fn parse(name: &str, text: &str) -> Result<WantedBridge, Vec<ParseError>> {
    line::check_name(name).map_err(|error| vec![error])?;
    let mut bridge = WantedBridge {
        name: name.to_owned(),
        ..WantedBridge::default()
    };
    line::all_options(text, |word, words| option(&mut bridge, word, words))?;
    Ok(bridge)
}

fn option(
    bridge: &mut WantedBridge,
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<(), ParseError> {
    match word.text {
        "add" => add(bridge, line::argument(word, words, "an interface")?),
        "del" | "delete" => delete(bridge, line::argument(word, words, "an interface")?),
        "up" => {
            bridge.up = true;
            Ok(())
        }
        "down" => {
            bridge.up = false;
            Ok(())
        }
        "timeout" => {
            let seconds = line::argument(word, words, "seconds")?;
            bridge.timeout_secs = Some(line::number(seconds, "a number of seconds")?);
            Ok(())
        }
        other => Err(word.error(
            format!("not supported: '{}'", other.escape_debug()),
            Some(KNOWN),
        )),
    }
}

pub(crate) fn add(bridge: &mut WantedBridge, member: &Word<'_>) -> Result<(), ParseError> {
    let name = line::interface_name(member)?;
    if bridge.members.contains(&name) {
        return Err(member.error(format!("{name} is a member already"), None));
    }
    bridge.members.push(name);
    Ok(())
}

pub(crate) fn delete(bridge: &mut WantedBridge, member: &Word<'_>) -> Result<(), ParseError> {
    let at = bridge
        .members
        .iter()
        .position(|name| name == member.text)
        .ok_or_else(|| {
            member.error(
                format!("{} is not a member", member.text.escape_debug()),
                None,
            )
        })?;
    bridge.members.remove(at);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::faults;

    #[test]
    fn the_article_file_makes_a_bridge_of_em1_and_fxp0() {
        let bridge = parse("bridge0", "add em1\nadd fxp0\nup\n").unwrap();
        assert_eq!(bridge.members, ["em1", "fxp0"]);
        assert!(bridge.up);
    }

    #[test]
    fn a_whole_option_list_may_stand_on_one_line() {
        let bridge = parse("bridge0", "add ep0 add ep1 timeout 60 up # all at once").unwrap();
        assert_eq!(bridge.members, ["ep0", "ep1"]);
        assert_eq!(bridge.timeout_secs, Some(60));
        assert!(bridge.up);
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let text = "add em1\nadd em1\nstp em1\nadd\ntimeout soon\n";
        assert_eq!(
            faults(parse("bridge0", text)),
            [
                "2:5: em1 is a member already",
                "3:1: not supported: 'stp'",
                "4:1: 'add' needs an interface",
                "5:9: expected a number of seconds, found 'soon'",
            ]
        );
    }

    #[test]
    fn every_fault_of_a_line_is_told_and_no_argument_of_what_was_not_understood() {
        let text = "add em1 stp em1 add em1 maxaddr 50 timeout soon\n";
        assert_eq!(
            faults(parse("bridge0", text)),
            [
                "1:9: not supported: 'stp'",
                "1:21: em1 is a member already",
                "1:25: not supported: 'maxaddr'",
                "1:44: expected a number of seconds, found 'soon'",
            ]
        );
    }
}
