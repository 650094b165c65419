//! Debian's Nagios and Icinga run the plug-in, as their own user, and make of it what it says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::{clock, requirements};
use links::status::{LaggStatus, PortStatus, Status, VERSION};

use crate::debian;
use crate::packages::unpacked;

/// How long both may take until each has run every check.
const PATIENCE: Duration = Duration::from_mins(4);
/// A status of the future is not too old however long that takes.
const AHEAD_SECS: f64 = 3_600.0;
/// The services, with the exit status of each.
const SERVICES: [(&str, i32); 4] = [("ok", 0), ("standby", 1), ("down", 2), ("damaged", 3)];

/// Both systems, each with a service for every state; they run the plug-in as `monitor`.
const SCRIPT: &str = r#"
printf 'monitor:x:990:990::/nonexistent:/bin/false\n' >>/etc/passwd
printf 'monitor:x:990:\n' >>/etc/group
mkdir -p /run/nagios/results /run/icinga2 /var/lib/icinga2 /var/log/icinga2 /var/cache/icinga2 "$DIRECTORY/said"
chown -R 990:990 /run/nagios /run/icinga2 /var/lib/icinga2 /var/log/icinga2 /var/cache/icinga2 "$DIRECTORY/said"
cat >/run/nagios/nagios.cfg <<END
log_file=/run/nagios/nagios.log
cfg_file=/run/nagios/objects.cfg
object_cache_file=/run/nagios/objects.cache
precached_object_file=/run/nagios/objects.precache
status_file=$DIRECTORY/said/status.dat
status_update_interval=1
state_retention_file=/run/nagios/retention.dat
lock_file=/run/nagios/nagios.pid
query_socket=/run/nagios/nagios.qh
temp_file=/run/nagios/temp
temp_path=/run/nagios
check_result_path=/run/nagios/results
nagios_user=monitor
nagios_group=monitor
interval_length=1
service_inter_check_delay_method=n
use_syslog=0
check_external_commands=0
END
cat >/run/nagios/objects.cfg <<END
define timeperiod{
 timeperiod_name always
 alias always
 monday 00:00-24:00
 tuesday 00:00-24:00
 wednesday 00:00-24:00
 thursday 00:00-24:00
 friday 00:00-24:00
 saturday 00:00-24:00
 sunday 00:00-24:00
}
define contact{
 contact_name nobody
 host_notifications_enabled 0
 service_notifications_enabled 0
 host_notification_period always
 service_notification_period always
 host_notification_options n
 service_notification_options n
 host_notification_commands true
 service_notification_commands true
}
define command{
 command_name true
 command_line /bin/true
}
define host{
 host_name box
 address 127.0.0.1
 max_check_attempts 1
 check_period always
 notification_period always
 contacts nobody
}
END
cat >/run/icinga2.conf <<END
include <itl>
object IcingaApplication "app" { }
object CheckerComponent "checker" { }
object PerfdataWriter "perfdata" {
  host_perfdata_path = "/run/icinga2/host"
  service_perfdata_path = "$DIRECTORY/said/icinga"
  host_temp_path = "/run/icinga2/host.new"
  service_temp_path = "$DIRECTORY/said/service.new"
  rotation_interval = 1s
  service_format_template = "\$service.name\$\t\$service.state_id\$\t\$service.output\$\t\$service.perfdata\$"
}
object Host "box" {
  check_command = "dummy"
}
END
for state in ok standby down damaged; do
  cat >>/run/nagios/objects.cfg <<END
define command{
 command_name $state
 command_line WEIGHBRIDGE_LINKS=$DIRECTORY/$state.json $WEIGHBRIDGE check links
}
define service{
 host_name box
 service_description $state
 check_command $state
 max_check_attempts 1
 check_interval 2
 retry_interval 1
 check_period always
 notification_period always
 contacts nobody
}
END
  cat >>/run/icinga2.conf <<END
object CheckCommand "$state" {
  command = [ "$WEIGHBRIDGE", "check", "links" ]
  env.WEIGHBRIDGE_LINKS = "$DIRECTORY/$state.json"
}
object Service "$state" {
  host_name = "box"
  check_command = "$state"
  max_check_attempts = 1
  check_interval = 2s
  retry_interval = 1s
}
END
done
chown -R 990:990 /run/nagios
nagios4 /run/nagios/nagios.cfg &
export ICINGA2_USER=monitor ICINGA2_GROUP=monitor
icinga2 daemon -c /run/icinga2.conf -x information
wait
"#;

/// What a system has made of a service.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    status: i32,
    text: String,
    performance: String,
}

/// Both systems on a machine.
struct Systems {
    child: Child,
    directory: tempfile::TempDir,
    _inside: Namespace,
    _run: RunId,
}

impl Systems {
    fn start(packages: &Path, directory: tempfile::TempDir) -> Result<Self> {
        let run = RunId::new()?;
        let inside = Namespace::create(&run.namespace("monitoring"))?;
        inside.ip("link set lo up")?;
        let log = File::create(directory.path().join("log"))?;
        let child = debian::start(&inside, packages, directory.path(), SCRIPT, &log)?;
        Ok(Self {
            child,
            directory,
            _inside: inside,
            _run: run,
        })
    }

    /// What Nagios keeps in its status file.
    fn nagios(&self) -> Result<BTreeMap<String, Made>> {
        let text = fs::read_to_string(self.directory.path().join("said/status.dat"))?;
        let mut made = BTreeMap::new();
        for block in text.split("servicestatus {").skip(1) {
            let block = block.split("\n\t}").next().unwrap_or_default();
            let value = |key: &str| {
                let mut lines = block.lines().map(str::trim_start);
                lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            };
            let get = |key| value(key).with_context(|| format!("no {key} in {block}"));
            if get("has_been_checked")? == "1" {
                let one = Made {
                    status: get("current_state")?.parse()?,
                    text: get("plugin_output")?.trim_end().to_owned(),
                    performance: get("performance_data")?.to_owned(),
                };
                made.insert(get("service_description")?.to_owned(), one);
            }
        }
        Ok(made)
    }

    /// What Icinga writes for those who draw graphs.
    fn icinga(&self) -> Result<BTreeMap<String, Made>> {
        let mut made = BTreeMap::new();
        for entry in fs::read_dir(self.directory.path().join("said"))? {
            let path = entry?.path();
            if !path.display().to_string().contains("/icinga") {
                continue;
            }
            for line in fs::read_to_string(path)?.lines() {
                let mut words = line.splitn(4, '\t').map(str::to_owned);
                let mut next = || words.next().with_context(|| line.to_owned());
                let name = next()?;
                let one = Made {
                    status: next()?.parse()?,
                    text: next()?.trim_end().to_owned(),
                    performance: next()?,
                };
                made.insert(name, one);
            }
        }
        Ok(made)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Systems {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port(name: &str, link: bool, flags: u8) -> PortStatus {
    PortStatus {
        name: name.to_owned(),
        link,
        flags,
        ..PortStatus::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a status has the time of day")]
fn write_status(directory: &Path, name: &str, ports: Vec<PortStatus>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let lagg = LaggStatus {
        name: "lagg0".to_owned(),
        protocol: "failover".to_owned(),
        failovers: 3,
        ports,
        ..LaggStatus::default()
    };
    let status = Status {
        version: VERSION,
        time: now + AHEAD_SECS,
        laggs: vec![lagg],
        ..Status::default()
    };
    let text = serde_json::to_string(&status)?;
    Ok(fs::write(directory.join(format!("{name}.json")), text)?)
}

/// What the plug-in prints, cut at the bar as monitoring systems do; whether the blank before that
/// belongs to the text they do not agree on.
fn printed(directory: &Path, name: &str) -> Result<Made> {
    let output = Command::new(env!("CARGO_BIN_EXE_weighbridge"))
        .args(["check", "links"])
        .env("WEIGHBRIDGE_LINKS", directory.join(format!("{name}.json")))
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    let said = said.trim_end();
    let (text, performance) = said.split_once('|').unwrap_or((said, ""));
    Ok(Made {
        status: output.status.code().context("an exit status")?,
        text: text.trim_end().to_owned(),
        performance: performance.trim_start().to_owned(),
    })
}

#[test]
fn nagios_and_icinga_read_status_text_and_performance_data_as_they_are_printed() -> Result<()> {
    let name = "nagios_and_icinga";
    if requirements::skip_test(name) {
        return Ok(());
    }
    let Some(packages) = unpacked(name, "monitoring") else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let place = directory.path().to_owned();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    write_status(
        &place,
        "ok",
        vec![port("em0", true, 5), port("em1", true, 0)],
    )?;
    write_status(
        &place,
        "standby",
        vec![port("em0", false, 1), port("em1", true, 4)],
    )?;
    write_status(
        &place,
        "down",
        vec![port("em0", false, 1), port("em1", false, 0)],
    )?;
    fs::write(place.join("damaged.json"), "{")?;
    let mut expected = BTreeMap::new();
    for (service, status) in SERVICES {
        let made = printed(&place, service)?;
        ensure!(made.status == status, "{service}: {made:?}");
        ensure!(made.performance.is_empty() == (status == 3), "{made:?}");
        expected.insert(service.to_owned(), made);
    }
    let systems = Systems::start(&packages, directory)?;
    let same = |made: Result<BTreeMap<String, Made>>| made.is_ok_and(|made| made == expected);
    let agreed = clock::wait_until(PATIENCE, || {
        same(systems.nagios()) && same(systems.icinga())
    });
    ensure!(
        agreed,
        "printed: {expected:#?}\nNagios: {:#?}\nIcinga: {:#?}\n{}",
        systems.nagios(),
        systems.icinga(),
        systems.log()
    );
    Ok(())
}
