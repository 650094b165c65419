//! Files that cannot be carried out, and the same links for other tools.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use lab::requirements;

use super::site::Site;

fn weighbridge(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_weighbridge"))
        .args(arguments)
        .output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    ))
}

#[test]
fn faults_are_told_with_file_line_and_column_and_nothing_is_touched() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rc.conf");
    fs::write(
        &path,
        "cloned_interfaces=\"lagg0\"\nifconfig_lagg0=\"laggproto magic\"\n",
    )?;
    let file = path.display().to_string();
    for command in ["check", "diff", "apply", "run"] {
        let (status, _, told) = weighbridge(&["links", command, &file])?;
        assert_eq!(status, Some(1), "{command}");
        let expected = format!("{file}:2:27: invalid aggregation protocol: magic");
        ensure!(told.contains(&expected), "{command}: {told}");
    }
    Ok(())
}

#[test]
fn what_is_missing_is_told_before_anything_is_done() -> Result<()> {
    if requirements::skip_test("what_is_missing_is_told") {
        return Ok(());
    }
    let site = Site::new("em")?;
    let path = site.run.directory().join("rc.conf");
    fs::write(
        &path,
        "cloned_interfaces=\"bridge0\"\nifconfig_bridge0=\"addm em0 addm em7 up\"\n",
    )?;
    let run = |path: &std::path::Path| {
        site.host
            .run(|| weighbridge(&["links", "apply", &path.display().to_string()]))
    };
    let (status, _, told) = run(&path)?;
    ensure!(
        status == Some(1) && told.contains("em7, which bridge0 needs: no such interface"),
        "{told}"
    );
    ensure!(
        !site.host.ip("-br link")?.contains("bridge0"),
        "a bridge was made"
    );

    fs::write(
        &path,
        "cloned_interfaces=\"bridge0\"\nifconfig_bridge0=\"addm em0 addm em1 10.0.0.1/24 up\"\n\
         ifconfig_em0=\"mtu 1400 -tso media 100baseTX mediaopt full-duplex\"\ngateway_enable=YES\nipv6_defaultrouter=\"fe80::1%em1\"\n",
    )?;
    let (status, steps, told) = run(&path)?;
    ensure!(status == Some(0), "{told}");
    ensure!(
        steps.contains("RTM_NEWADDR bridge0: 10.0.0.1/24"),
        "{steps}"
    );
    ensure!(steps.contains("SIOCETHTOOL em0: -tso\n"), "{steps}");
    let medium = "em0: warning: media \"100baseTX mediaopt full-duplex\" is left to `ethtool -s`";
    ensure!(told.contains(medium), "{told}");
    // The router is where its member's addresses are.
    let ways = site.host.ip("-6 route show default")?;
    ensure!(ways.contains("via fe80::1 dev bridge0"), "{ways}");
    let (status, steps, told) = run(&path)?;
    assert_eq!((status, steps.as_str()), (Some(0), ""));
    ensure!(told.ends_with("all is as the files say\n"), "{told}");
    assert_eq!(site.host.read("/proc/sys/net/ipv4/ip_forward")?.trim(), "1");
    Ok(())
}

/// `net.inet.ip.forwarding=1`, as the article's bridge has it.
#[test]
fn the_articles_directory_is_made_with_its_sysctl_conf_and_ifconfig_lists_it() -> Result<()> {
    if requirements::skip_test("the_articles_directory_is_made") {
        return Ok(());
    }
    let site = Site::new("em")?;
    let directory = site.run.directory().join("etc");
    fs::create_dir_all(&directory)?;
    for (name, text) in [
        ("hostname.em0", "inet 192.168.1.64 255.255.0.0 NONE\n"),
        ("rc.conf", "pf=YES                  # Packet filter / NAT\n"),
        (
            "sysctl.conf",
            "net.inet.ip.forwarding=1\n#ddb.panic=0\nkern.bufcachepercent=20\n",
        ),
    ] {
        fs::write(directory.join(name), text)?;
    }
    let run = |arguments: &[&str]| {
        let config = directory.display().to_string();
        site.host
            .run(|| weighbridge(&[arguments, &["--config", &config]].concat()))
    };
    let (status, _, told) = run(&["links", "check"])?;
    assert_eq!(
        (status, told.as_str()),
        (
            Some(0),
            "not about links, left alone: kern.bufcachepercent\n"
        )
    );
    let (status, steps, told) = run(&["links", "apply"])?;
    ensure!(status == Some(0), "{told}");
    ensure!(steps.ends_with("net.ipv4.ip_forward = 1\n"), "{steps}");
    assert_eq!(site.host.read("/proc/sys/net/ipv4/ip_forward")?.trim(), "1");

    let ifconfig = |arguments: &[&str]| {
        let all = [&["ifconfig"], arguments].concat();
        site.host.run(|| weighbridge(&all))
    };
    let (status, all, _) = ifconfig(&["-a"])?;
    ensure!(status == Some(0) && all.contains("\nem0: flags="), "{all}");
    assert_eq!(all, ifconfig(&[])?.1);
    site.host.ip("link set em1 down")?;
    assert_eq!(ifconfig(&["-l", "-d", "em0", "em1"])?.1, "em1\n");
    assert_eq!(ifconfig(&["-lu", "em0", "em1"])?.1, "em0\n");
    Ok(())
}

#[test]
fn the_articles_lagg_is_written_for_netplan_and_as_json() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rc.conf");
    fs::write(
        &path,
        "cloned_interfaces=\"lagg0\"\nifconfig_lagg0=\"laggport em0 laggport em1 10.0.0.1/24\"\n",
    )?;
    let file = path.display().to_string();
    let (status, text, _) = weighbridge(&["links", "convert", "--to", "netplan", &file])?;
    assert_eq!(status, Some(0));
    ensure!(
        text.contains("mode: active-backup") && text.contains("- 10.0.0.1/24"),
        "{text}"
    );
    let (_, text, _) = weighbridge(&["links", "convert", "--to", "networkd", "--json", &file])?;
    let files: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(files[0]["path"], "/etc/systemd/network/60-lagg0.netdev");
    Ok(())
}

#[test]
fn the_plugin_reads_others_texts_and_takes_its_name_from_its_link() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("ifconfig");
    fs::write(
        &path,
        "lagg0: flags=8843<UP> metric 0 mtu 1500\n\tlaggproto failover\n\tlaggport: em4 flags=0<>\n\
         \tlaggport: em0 flags=1<MASTER>\n",
    )?;
    let link = directory.path().join("check_weighbridge");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weighbridge"), &link)?;
    let run = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(&link).args(arguments).output()?;
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ))
    };
    let file = path.display().to_string();
    let (status, told) = run(&["links", "--ifconfig", &file])?;
    assert_eq!(status, Some(2), "{told}");
    ensure!(
        told.starts_with("LINKS CRITICAL: lagg0 (failover)"),
        "{told}"
    );
    for wrong in [
        &["links", "-w", "20:10"][..],
        &["--help"],
        &["links", "--teamd", &file],
    ] {
        let (status, told) = run(wrong)?;
        ensure!(
            status == Some(3) && !told.is_empty(),
            "{wrong:?}: {status:?} {told}"
        );
    }
    let socket = directory.path().join("no.sock").display().to_string();
    let (status, told) = run(&["daemon", "--socket", &socket])?;
    ensure!(
        status == Some(2) && told.starts_with("DAEMON CRITICAL: "),
        "{told}"
    );
    Ok(())
}
