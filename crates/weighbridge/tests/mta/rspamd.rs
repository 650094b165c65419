//! Debian's rspamd with its stock p0f module.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use lab::clock;

use crate::machine::{Away, Machine};
use crate::site::SERVER;
use crate::smtp::{PATIENCE, SMTP};

/// rspamd with the recipe of docs/mail.md; its worker listens where mail servers do.
const SCRIPT: &str = r#"
printf '_rspamd:x:996:996::/var/lib/rspamd:/bin/false\n' >>/etc/passwd
printf '_rspamd:x:996:\n' >>/etc/group
mkdir -p /var/lib/rspamd /var/log/rspamd /run/rspamd /etc/rspamd/local.d
chown 996:996 /var/lib/rspamd /var/log/rspamd /run/rspamd
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
printf 'passwd: files\ngroup: files\nhosts: files\n' >/etc/nsswitch.conf
echo 'enabled = false;' >/etc/rspamd/local.d/fuzzy_check.conf
cat >/etc/rspamd/local.d/p0f.conf <<END
enabled = true;
socket = "$DIRECTORY/p0f.sock";
timeout = 1s;
symbol = "P0F";
patterns {
  OS_ODD = '^Odd.*';
}
END
cat >/etc/rspamd/local.d/worker-normal.inc <<END
bind_socket = "10.99.0.1:25";
count = 1;
END
echo 'enabled = false;' >/etc/rspamd/local.d/worker-proxy.inc
echo 'enabled = false;' >/etc/rspamd/local.d/worker-fuzzy.inc
mkdir -p /etc/rspamd/override.d
echo 'local_addrs = ["127.0.0.0/8"];' >/etc/rspamd/override.d/options.inc
printf 'filters = "regexp";\ndisable_hyperscan = true;\ndns {\n  timeout = 0.1s;\n  retransmits = 1;\n}\n' >>/etc/rspamd/override.d/options.inc
printf 'type = "console";\nlevel = "notice";\n' >/etc/rspamd/local.d/logging.inc
exec rspamd -f -u _rspamd -g _rspamd
"#;

/// What rspamd says of a message that `address` has sent.
fn scanned(machine: &Machine, address: &str) -> serde_json::Value {
    let to: SocketAddr = format!("{SERVER}:{SMTP}").parse().expect("an address");
    let mail = "From: alice@mx.example\r\nSubject: one\r\n\r\nHello\r\n";
    let request = format!(
        "POST /checkv2 HTTP/1.0\r\nIP: {address}\r\nContent-Length: {}\r\n\r\n{mail}",
        mail.len()
    );
    let stream = machine
        .site
        .server
        .run(|| TcpStream::connect_timeout(&to, PATIENCE));
    let mut stream = stream.expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn rspamds_own_module_asks_and_goes_on_alone() {
    let Some(mut machine) = Machine::start("rspamd", "rspamd", SCRIPT) else {
        return;
    };
    for (number, address) in [(0, "10.99.0.2"), (1, "10.99.0.3")] {
        machine.connect(number);
        let symbol = ["P0F", "OS_ODD"][number];
        let name = ["Plain Linux", "Odd one"][number];
        let mut told = serde_json::Value::Null;
        // It waits for a second, and goes on without an answer.
        let is_told = clock::wait_until(PATIENCE, || {
            told = scanned(&machine, address);
            let options = told["symbols"][symbol]["options"].to_string();
            options.contains(name)
        });
        assert!(is_told, "{told}: {}", machine.log());
        let is_odd = told["symbols"].get("OS_ODD").is_some();
        assert_eq!(is_odd, number == 1, "{told}");
    }
    for away in [Away::Killed, Away::Silent] {
        machine.lose_daemon(away);
        let told = scanned(&machine, "10.99.0.3");
        assert!(told["score"].is_number(), "{away:?}: {told}");
        assert!(told["symbols"].get("OS_ODD").is_none(), "{away:?}: {told}");
    }
}
