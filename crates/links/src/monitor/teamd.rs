//! The state of teamd, as `teamdctl IF state dump` prints it.

use serde_json::Value;

use super::{Bundle, BundlePort, lacp_faults};

const NOBODY: &str = "00:00:00:00:00:00";

/// Reads it. Nothing if it is no such text.
#[must_use]
pub fn read(text: &str) -> Option<Bundle> {
    let state: Value = serde_json::from_str(text).ok()?;
    let mode = state.pointer("/setup/runner_name")?.as_str()?.to_owned();
    let name = state
        .pointer("/team_device/ifinfo/ifname")
        .and_then(Value::as_str);
    let active = state.pointer("/runner/active_port").and_then(Value::as_str);
    let ports = state.get("ports")?.as_object()?;
    let lacp = mode == "lacp";
    let one_at_a_time = mode == "activebackup";
    let port = |(name, port): (&String, &Value)| {
        let truth = |at: &str| port.pointer(at).and_then(Value::as_bool).unwrap_or(false);
        let link = truth("/link/up");
        let selected = truth("/runner/selected");
        BundlePort {
            name: name.clone(),
            link,
            carries: link
                && if lacp {
                    selected
                } else {
                    !one_at_a_time || active == Some(name)
                },
            master: false,
            faults: if lacp {
                faults(port, selected)
            } else {
                Vec::new()
            },
        }
    };
    Some(Bundle {
        name: name.unwrap_or("team").to_owned(),
        mode,
        one_at_a_time,
        ports: ports.iter().map(port).collect(),
        ..Bundle::default()
    })
}

fn faults(port: &Value, selected: bool) -> Vec<String> {
    let partner = port
        .pointer("/runner/partner_lacpdu_info/system")
        .and_then(Value::as_str);
    let current = port.pointer("/runner/state").and_then(Value::as_str) == Some("current");
    let has_partner = current && partner != Some(NOBODY);
    let mut faults = lacp_faults(has_partner, false, false);
    if has_partner && !selected {
        faults.push("is not selected".to_owned());
    }
    faults
}
