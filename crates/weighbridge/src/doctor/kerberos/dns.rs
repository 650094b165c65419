//! SRV records, which the system's resolver functions do not tell.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};

use crate::random::Random;
use crate::text::reason;

/// How long a name server may take: less than the resolver's own 5 s, for there are others.
const PATIENCE: Duration = Duration::from_secs(2);

/// Name servers that are asked, as the resolver does (`MAXNS`).
const MAX_SERVERS: usize = 3;

/// Longest answer over UDP that is taken, in bytes (RFC 6891's usual size).
const MAX_ANSWER_LEN: usize = 4096;

/// The servers of a service, by priority.
pub(super) fn servers_of(service: &str) -> Result<Vec<(String, u16)>, String> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut failure = "no name server is configured".to_owned();
    for server in name_servers(&text).into_iter().take(MAX_SERVERS) {
        match ask(server, service) {
            Ok(found) => return Ok(found),
            Err(error) => failure = format!("{server}: {error}"),
        }
    }
    Err(failure)
}

/// `nameserver` lines; without one it is this machine, resolv.conf(5).
fn name_servers(text: &str) -> Vec<IpAddr> {
    let servers: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect();
    if servers.is_empty() {
        return vec![Ipv4Addr::LOCALHOST.into()];
    }
    servers
}

fn ask(server: IpAddr, service: &str) -> Result<Vec<(String, u16)>, String> {
    const DNS: u16 = 53;
    let failed = |error: std::io::Error| reason(&error);
    let mut random = Random::new().map_err(failed)?;
    let [high, low, ..] = random.next().to_be_bytes();
    let id = u16::from_be_bytes([high, low]);
    let query = query(id, service)?;
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).map_err(failed)?;
    socket
        .connect(SocketAddr::new(server, DNS))
        .map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.send(&query).map_err(failed)?;
    let mut buffer = [0; MAX_ANSWER_LEN];
    let len = socket.recv(&mut buffer).map_err(failed)?;
    read(buffer.get(..len).unwrap_or_default(), id)
}

fn query(id: u16, service: &str) -> Result<Vec<u8>, String> {
    let failed = |error: simple_dns::SimpleDnsError| format!("{service}: {error}");
    let mut packet = Packet::new_query(id);
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    let name = Name::new(service).map_err(failed)?;
    packet.questions.push(Question::new(
        name,
        QTYPE::TYPE(TYPE::SRV),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().map_err(failed)
}

/// The servers of an answer, by priority. A target of `.` says that there is none (RFC 2782).
fn read(bytes: &[u8], id: u16) -> Result<Vec<(String, u16)>, String> {
    let packet = Packet::parse(bytes).map_err(|error| format!("a malformed answer: {error}"))?;
    if packet.id() != id {
        return Err("an answer to another question".to_owned());
    }
    let mut servers = Vec::new();
    for record in &packet.answers {
        if let RData::SRV(srv) = &record.rdata {
            let target = srv.target.to_string();
            let target = target.trim_end_matches('.');
            if !target.is_empty() {
                servers.push((srv.priority, target.to_owned(), srv.port));
            }
        }
    }
    servers.sort();
    Ok(servers
        .into_iter()
        .map(|(_, host, port)| (host, port))
        .collect())
}

#[cfg(test)]
mod tests {
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;

    use super::*;

    fn record(priority: u16, target: &str) -> ResourceRecord<'_> {
        let srv = SRV {
            priority,
            weight: 0,
            port: 88,
            target: Name::new(target).expect("a name"),
        };
        let name = Name::new("_kerberos._udp.MYREALM").expect("a name");
        ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(srv))
    }

    #[test]
    fn servers_come_by_priority_and_only_from_the_answer_that_was_asked_for() {
        let mut packet = Packet::new_reply(7);
        packet.answers = vec![record(20, "b.example.org"), record(10, "a.example.org")];
        let bytes = packet.build_bytes_vec().expect("an answer");
        let expected = [
            ("a.example.org".to_owned(), 88),
            ("b.example.org".to_owned(), 88),
        ];
        assert_eq!(read(&bytes, 7).expect("servers"), expected);
        assert!(read(&bytes, 8).is_err() && read(b"x", 7).is_err());
        assert!(query(7, "_kerberos._udp.MYREALM").is_ok());
    }

    #[test]
    fn name_servers_are_those_of_resolv_conf_else_this_machine() {
        let servers = name_servers("search x\nnameserver 192.0.2.53\n nameserver\t2001:db8::53\n");
        assert_eq!(
            servers,
            [
                "192.0.2.53".parse::<IpAddr>().unwrap(),
                "2001:db8::53".parse().unwrap()
            ]
        );
        assert_eq!(name_servers(""), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
