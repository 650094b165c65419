//! amavisd's stock client module. What it takes from the rest of amavisd is stood in for.

use std::fs;
use std::process::{Command, Stdio};

use lab::clock;

use crate::machine::{Machine, packages_for};
use crate::smtp::PATIENCE;

/// `Amavis::Conf` and `Amavis::Util`, as far as the module uses them.
const SURROUNDINGS: [(&str, &str); 2] = [
    (
        "Conf.pm",
        "package Amavis::Conf; use Exporter 'import'; use IO::Socket::INET;\n\
         our $io_socket_module_name = 'IO::Socket::INET';\n\
         our %EXPORT_TAGS = (platform => ['$io_socket_module_name']);\n\
         our @EXPORT_OK = ('$io_socket_module_name'); 1;\n",
    ),
    (
        "Util.pm",
        "package Amavis::Util; use Exporter 'import';\n\
         our @EXPORT_OK = qw(ll do_log idn_to_ascii);\n\
         sub ll { 0 } sub do_log {} sub idn_to_ascii { $_[0] } 1;\n",
    ),
];
/// Asks as amavisd does: what the answer is, or nothing.
const ASK: &str = "use Amavis::OS_Fingerprint;\n\
    my $question = Amavis::OS_Fingerprint->new('p0f:127.0.0.1:2345', 2, $ARGV[0], $ARGV[1], \
    undef, undef, 'nonce');\n\
    print $question->collect_response // 'nothing';\n";

#[test]
fn amavisds_own_module_asks_and_goes_on_alone() {
    let test = "amavisds_own_module_asks_and_goes_on_alone";
    let Some(packages) = packages_for(test, "amavis") else {
        return;
    };
    let mut machine = Machine::without_server();
    let modules = machine.site.path("perl/Amavis");
    fs::create_dir_all(&modules).expect("made");
    for (name, text) in SURROUNDINGS {
        fs::write(modules.join(name), text).expect("written");
    }
    let ask = |machine: &Machine, address: &str, port: u16| {
        let mut command = Command::new("perl");
        command
            .arg("-I")
            .arg(machine.site.path("perl"))
            .arg("-I")
            .arg(packages.join("usr/share/perl5"))
            .args(["-e", ASK, address, &port.to_string()])
            .stdout(Stdio::piped());
        let asked = machine.site.server.start(&mut command);
        let output = asked.and_then(std::process::Child::wait_with_output);
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    for (number, name) in [(0, "Plain Linux"), (1, "Odd one")] {
        let from = machine.connect(number);
        // It waits for 50 ms, and goes on without an answer.
        let mut told = String::new();
        let answered = clock::wait_until(PATIENCE, || {
            told = ask(&machine, &from.ip().to_string(), from.port());
            told != "nothing"
        });
        let is_right = told.starts_with(&format!("{name}; dist: 0"));
        assert!(answered && is_right, "{told}");
    }
    machine.kill_daemon();
    assert_eq!(ask(&machine, "10.99.0.3", 0), "nothing");
}
