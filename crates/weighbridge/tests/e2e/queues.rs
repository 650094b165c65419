//! Queues: what the kernel lets through of real traffic, and what it has counted.

use anyhow::{Context, Result, ensure};
use lab::service::HTTP;
use lab::{Configuration, Role};

use crate::support::{Bench, IN_GUEST, UNSHAPED, until, until_same, with_daemon};

/// A tree that leaves one class 4 Mbit/s, and another the most of 40.
const LIMITED: &str = "\
queue top on em1 bandwidth 40M max 40M
queue slow parent top bandwidth 1M max 4M qlimit 100
queue fast parent top bandwidth 30M default qlimit 200
pass
pass in on em1 proto tcp from 216.28.123.99 to any port 80 set queue slow
";

const SLOW: f64 = 4e6;
/// How often a rate is measured that a busy machine may not come to.
const TRIES: usize = 6;

/// The best of some tries; enough is enough.
fn best_of(enough: f64, measure: impl Fn() -> Result<f64>) -> Result<f64> {
    let mut best = 0.0_f64;
    for _ in 0..TRIES {
        best = best.max(measure()?);
        if best > enough {
            break;
        }
    }
    Ok(best)
}

/// Packets, bytes and dropped packets of a queue, as pfctl shows them.
fn shown(bench: &Bench, queue: &str) -> Result<(u64, u64, u64)> {
    let text = bench.daemon.pfctl_ok(&["-v", "-sq"])?;
    let mut lines = text.lines();
    let head = format!("queue {queue} ");
    lines
        .find(|line| line.replace("  ", " ").starts_with(&head))
        .with_context(|| format!("no {queue} in\n{text}"))?;
    let counters = lines.next().context("no counters")?;
    let numbers: Vec<u64> = counters
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [packets, bytes, dropped, _] => Ok((*packets, *bytes, *dropped)),
        _ => anyhow::bail!("not understood: {counters}"),
    }
}

/// The same, of a class of the kernel.
fn counted(bench: &Bench, class: &str) -> Result<(u64, u64, u64)> {
    let text = bench.lab.namespace(Role::Box).tc("-s class show dev em1")?;
    let mut lines = text.lines();
    let head = format!("class htb {class} ");
    lines
        .find(|line| line.starts_with(&head))
        .with_context(|| format!("no {class} in\n{text}"))?;
    let sent = lines.next().context("no counters")?;
    let words: Vec<&str> = sent.split_whitespace().collect();
    // Sent N bytes N pkt (dropped N, overlimits …
    let number = |at: usize| -> Result<u64> {
        let word = words.get(at).context("too short")?;
        Ok(word.trim_end_matches(',').parse()?)
    };
    Ok((number(3)?, number(1)?, number(6)?))
}

#[test]
fn a_queue_gets_its_rate_another_the_rest_and_the_counters_are_the_kernels() -> Result<()> {
    let files = Configuration::modern(LIMITED);
    with_daemon("queues", UNSHAPED, &files, |bench| {
        let server = Bench::server(HTTP);
        let host = bench.lab.host(Role::H99);
        let share = best_of(0.85, || {
            let alone = host.download(server, 1_000_000)?;
            // The queue counts frames, the client what is in them.
            Ok(alone.rate() * (1514.0 / 1448.0) / SLOW)
        })?;
        ensure!((0.85..1.15).contains(&share), "{share} of its rate");
        let other = best_of(2.0 * SLOW, || {
            let limited = host.download_in_background(server, 400_000);
            let other = bench.lab.host(Role::H50).download(server, 2_000_000)?;
            let limited = limited.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            ensure!(limited.rate() < 1.15 * SLOW, "it had {}", limited.rate());
            Ok(other.rate())
        })?;
        ensure!(other > 2.0 * SLOW, "the other had {other}");

        let (packets, bytes, _) = shown(bench, "slow")?;
        ensure!(bytes > 1_000_000 && packets > 600, "{packets}, {bytes}");
        until_same(|| Ok((shown(bench, "slow")?, counted(bench, "5742:2")?)))?;

        // The same tree stays: its counters go on.
        bench.daemon.load(LIMITED)?;
        let (again, _, _) = shown(bench, "slow")?;
        ensure!(again >= packets, "{again} after {packets}");
        // Another one takes its place.
        bench.daemon.load(&LIMITED.replace("max 4M", "max 8M"))?;
        let classes = bench.lab.namespace(Role::Box).tc("class show dev em1")?;
        ensure!(classes.contains("ceil 8Mbit"), "{classes}");
        bench.daemon.pfctl_ok(&["-F", "queue"])?;
        assert!(!bench.daemon.pfctl_ok(&["-sq"])?.contains("slow"));
        let qdiscs = bench.lab.namespace(Role::Box).tc("qdisc show dev em1")?;
        ensure!(!qdiscs.contains("htb"), "{qdiscs}");
        Ok(())
    })
}

#[test]
fn what_the_kernel_cannot_do_is_refused_by_name_and_the_rules_in_force_stay() -> Result<()> {
    let files = Configuration::modern(LIMITED);
    with_daemon("missing qdisc", UNSHAPED, &files, |bench| {
        let before = bench.daemon.pfctl_ok(&["-sr"])?;
        let rules = bench.daemon.config().join("other.conf");
        let refused = |text: &str, wanted: &str| -> Result<()> {
            std::fs::write(&rules, text)?;
            let output = bench.daemon.pfctl(&["-f", &rules.to_string_lossy()])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(!output.status.success() && said.contains(wanted), "{said}");
            assert_eq!(bench.daemon.pfctl_ok(&["-sr"])?, before);
            let classes = bench.lab.namespace(Role::Box).tc("class show dev em1")?;
            ensure!(classes.contains("ceil 4Mbit"), "{classes}");
            Ok(())
        };
        // A kernel that has these runs them: then there is nothing to refuse.
        let has = |kind: &str| {
            let netns = bench.lab.namespace(Role::Box);
            let tried = netns.tc(&format!("qdisc add dev em0 root {kind}"));
            let has = tried.is_ok();
            if has {
                let _ = netns.tc("qdisc del dev em0 root");
            }
            has
        };
        if !has("fq_codel") {
            let text = "block all\nqueue top on em1 flows 1024 bandwidth 5M default\n";
            refused(
                text,
                "other.conf:2: queue top: the kernel has no `fq_codel` qdisc",
            )?;
        }
        if !has("codel") {
            let text = "altq on em1 codel bandwidth 10Mb\nblock all\n";
            refused(text, "the kernel has no `codel` qdisc")?;
        }
        if !has("hfsc") {
            let text = "queue top on em1 bandwidth 5M burst 9M for 10ms default\n";
            refused(text, "the kernel has no `hfsc` qdisc")?;
        }
        refused(
            "queue top on em7 bandwidth 5M default\n",
            "queues on em7: no such interface",
        )?;
        // Somebody else's is left alone.
        let netns = bench.lab.namespace(Role::Box);
        netns.tc("qdisc add dev em0 root tbf rate 50mbit burst 32k limit 64k")?;
        refused(
            &format!("{LIMITED}queue o on em0 bandwidth 5M default\n"),
            "em0 has a queueing discipline already (tbf ",
        )?;
        Ok(())
    })
}

const OLD: &str = "\
altq on em1 cbq bandwidth 20Mb queue { std, web, bulk }
queue std bandwidth 10% priority 3 cbq(default)
queue web bandwidth 50% priority 7 cbq(borrow) { deep }
queue deep bandwidth 100% priority 7 qlimit 80 cbq(borrow)
queue bulk bandwidth 3Mb priority 0
pass
pass in on em1 proto tcp to any port 80 keep state queue (bulk, deep)
";

#[test]
fn altq_cbq_limits_what_may_not_borrow_and_empty_acks_take_their_own_queue() -> Result<()> {
    let files = Configuration::modern(OLD);
    with_daemon("altq", UNSHAPED, &files, |bench| {
        let server = Bench::server(HTTP);
        let share = best_of(0.8, || {
            let download = bench.lab.host(Role::H99).download(server, 700_000)?;
            Ok(download.rate() / 3e6)
        })?;
        ensure!((0.8..1.2).contains(&share), "{share} of its rate");
        let text = bench.daemon.pfctl_ok(&["-v", "-sq"])?;
        let heads: Vec<&str> = text.lines().filter(|l| l.starts_with("queue")).collect();
        assert_eq!(
            heads,
            [
                "queue root_em1 on em1 bandwidth 20Mb priority 0 cbq( wrr root ) {std, web, bulk}",
                "queue  std on em1 bandwidth 2Mb priority 3 cbq( default ) ",
                "queue  web on em1 bandwidth 10Mb priority 7 cbq( borrow ) {deep}",
                "queue   deep on em1 bandwidth 10Mb priority 7 qlimit 80 cbq( borrow ) ",
                "queue  bulk on em1 bandwidth 3Mb priority 0 ",
            ]
        );
        ensure!(text.contains("borrows:") && text.contains("suspends:"));
        ensure!(shown(bench, "bulk")?.1 > 700_000);
        // An upload is answered with empty ACKs.
        let before = shown(bench, " deep")?.0;
        // The fewer, the more comes at once.
        let acks = || -> Result<u64> {
            bench.lab.host(Role::H99).upload(server, 300_000)?;
            Ok(shown(bench, " deep")?.0 - before)
        };
        until("ACKs take their own queue", || {
            acks().is_ok_and(|acks| acks > 20)
        })
    })
}

/// Enough for the counters to be told from chatter.
const DOWNLOAD: u64 = 100_000;
/// A tree of each kind: the queue that carries all, its rules, and what the kernel has on the interface then.
const KINDS: [(&str, &str, &[&str]); 7] = [
    (
        "web",
        "queue top on em1 bandwidth 50M max 50M burst 60M for 20ms\n\
         queue web parent top bandwidth 20M min 10M default\n",
        &["hfsc"],
    ),
    (
        "top",
        "queue top on em1 flows 1024 default\n",
        &["fq_codel"],
    ),
    (
        "web",
        "queue top on em1 bandwidth 50M max 50M\n\
         queue web parent top flows 512 bandwidth 40M default\n",
        &["htb", "fq_codel"],
    ),
    ("", "altq on em1 codel bandwidth 40Mb\n", &["codel"]),
    (
        "web",
        "altq on em1 cbq bandwidth 40Mb queue { web }\nqueue web bandwidth 90% cbq(default red)\n",
        &["htb", "red"],
    ),
    (
        "web",
        "altq on em1 priq bandwidth 40Mb queue { web, low }\n\
         queue web priority 7 priq(default)\nqueue low priority 1\n",
        &["htb"],
    ),
    (
        "web",
        "altq on em1 hfsc bandwidth 40Mb queue { web }\n\
         queue web bandwidth 20Mb hfsc(default realtime (20Mb 10 10Mb) upperlimit 35Mb)\n",
        &["hfsc"],
    ),
];

#[test]
fn queues_of_each_kind_carry_and_count() -> Result<()> {
    let files = Configuration::modern("pass\n");
    with_daemon("queues of each kind", UNSHAPED, &files, |bench| {
        let faults = KINDS.map(|(queue, text, kinds)| {
            let failed = |error: anyhow::Error| format!("{text}{error:#}");
            queues_of_kind(bench, queue, text, kinds)
                .map_err(failed)
                .err()
        });
        let faults: Vec<String> = faults.into_iter().flatten().collect();
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    })
}

/// Puts them into force, if the kernel has them, and has them carry and count a download.
fn queues_of_kind(bench: &Bench, queue: &str, text: &str, kinds: &[&str]) -> Result<()> {
    if !put_into_force(bench, &format!("{text}pass\n"), kinds)? {
        return Ok(());
    }
    let host = bench.lab.host(Role::H99);
    host.download(Bench::server(HTTP), DOWNLOAD)?;
    let there = bench
        .lab
        .namespace(Role::Box)
        .tc("-s qdisc show dev em1 root")?;
    let bytes = after(&there, "Sent ")?;
    ensure!(bytes > DOWNLOAD, "{there}");
    // A tree without a queue has none to be shown.
    if !queue.is_empty() {
        let told = bench.daemon.pfctl_ok(&["-v", "-sq"])?;
        let head = |line: &&str| line.split_whitespace().nth(1) == Some(queue);
        let lines: Vec<&str> = told.lines().skip_while(|line| !head(line)).collect();
        ensure!(after(&lines.join(" "), "bytes:")? > DOWNLOAD, "{told}");
    }
    Ok(())
}

/// The number behind a word.
fn after(text: &str, word: &str) -> Result<u64> {
    let (_, rest) = text.split_once(word).context(text.to_owned())?;
    let number = rest.split_whitespace().next().context(text.to_owned())?;
    Ok(number.parse()?)
}

/// Puts them into force; false, and a line that says so, where the kernel has no such.
#[expect(clippy::print_stdout, reason = "a test says what it leaves out")]
fn put_into_force(bench: &Bench, text: &str, kinds: &[&str]) -> Result<bool> {
    let rules = bench.daemon.config().join("kind.conf");
    std::fs::write(&rules, text)?;
    let output = bench.daemon.pfctl(&["-f", &rules.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("the kernel has no") && std::env::var_os(IN_GUEST).is_none() {
        println!("left out, for the kernel has no {kinds:?}");
        return Ok(false);
    }
    ensure!(output.status.success(), "{text}{said}");
    let netns = bench.lab.namespace(Role::Box);
    let there = netns.tc("qdisc show dev em1")?;
    for kind in kinds {
        ensure!(there.contains(&format!("qdisc {kind} ")), "{text}{there}");
    }
    Ok(true)
}
