//! What `pfctl` says about itself.

/// After a command line that makes no sense.
pub const USAGE: &str = "\
usage: pfctl [-AdeghMmNnOPqRrvz] [-a anchor] [-D macro=value] [-F modifier] [-f file]
             [-I id] [-i interface] [-K host | network [-K host | network]]
             [-k host | network | label | id | key | gateway | nat | source [-k value]]
             [-L statefile] [-o level] [-S statefile] [-s modifier]
             [-t table -T command [address ...]] [-V rdomain] [-x level]
             [--config dir] [--dialect name] [--no-dns] [--plain] [--socket path]
       pfctl --help   explains them";

/// `pfctl --help`.
pub const HELP: &str = "\
pfctl - control the packet filter of a running `weighbridge run`

Load and check rules:
  pfctl -f pf.conf           read the file and install the rules; states stay; if there is one
                             error nothing changes
  pfctl -nf pf.conf          only check it: needs neither root nor the daemon
  pfctl -nvf pf.conf         print the rules as they are understood (-vv: with their numbers)
  pfctl -f -                 read from standard input
    -a PATH                  the rules of an anchor; those of the others stay
    -N | -R | -O | -A        only its translation rules, filter rules, options, queues
    -T load                  only its tables
    -m                       leave options alone that the file does not name; and, if it has
                             nothing but options, rules, tables and queues:
                             echo 'set loginterface em0' | pfctl -mf -
    -D name=value            define a macro; wins over the file's own
    -o none|basic|profile    how much to optimize, over the file's `set ruleset-optimization`:
                             nothing; leave out what matches nothing of its own, make tables,
                             group (the default; nothing in the openbsd3 dialect); and order
                             quick rules by the packets that they have seen

Switch on and off:
  pfctl -e                   enable
  pfctl -d                   disable: everything passes

Show (any prefix of the word will do; clusters too: -vvsl is -v -v -s labels):
  pfctl -s rules             filter rules; -v: counters, -vv: numbers too
  pfctl -s nat               translation rules
  pfctl -s labels            label evaluations packets bytes [in: packets bytes, out: packets
                             bytes, states made]
  pfctl -s states            states; -v: windows, ages, counters; -vv: ids and next hops
  pfctl -s info              status and counters (every dropped packet is in one of them)
  pfctl -s Tables            tables; -v: flags, -vv: counters
  pfctl -s queue             queues; -v: counters
  pfctl -s Sources           sources that rules track; -v: their figures
  pfctl -s LimiterStates | LimiterSrcs
                             limiters of states and of sources
  pfctl -s Anchors           anchors; -v: those in them too
  pfctl -s Interfaces        interfaces and groups; -v: which are skipped, -vv: what crossed them
  pfctl -s timeouts | memory | Running | creatorids | ether | all
  pfctl -s osfp              operating systems that `os` in rules may name
    -i NAME                  this interface alone (with -s states and -s Interfaces)
    -r                       names of addresses (with -s states and -T show)
    -P                       service names the other way round (ports as numbers; in the
                             openbsd dialect as names)
    -g                       skip steps of each rule (with -sr)
    -z                       zero the counters of all rules (after showing them)

Flush:
  pfctl -F rules | nat | ethernet | queue | states | Sources | info | Tables | osfp | Reset | all
    -i NAME                  states, or counters, of this interface alone

Tables:
  pfctl -t NAME -T show                       (-v, -vv)
  pfctl -t NAME -T add 192.0.2.1 !192.0.2.0/24
  pfctl -t NAME -T delete | replace | test ADDRESS ...
  pfctl -t NAME -T replace -f FILE            one address a word, comments with #
  pfctl -t NAME -T flush | kill
  pfctl -t NAME -T zero [ADDRESS ...]         zero the counters of the table, or of addresses
  pfctl -t NAME -T reset                      zero those of the addresses that have counted
  pfctl -t NAME -T expire SECONDS             delete addresses that are older

Anchors (rulesets that `anchor`, `nat-anchor`, ... of the rules call):
  pfctl -a PATH -f FILE | -s rules | -s nat | -s Tables | -s labels | -F rules | -t NAME -T ...
  pfctl -a 'PATH/*' ...                       and all anchors in it (-s and -F)
  pfctl -a '*' -s rules                       everything, with braces

Kill states:
  pfctl -k 192.0.2.1                          those from this host or network
  pfctl -k 0.0.0.0/0 -k 198.51.100.0/24       those from the first to the second
  pfctl -k label -k LABEL                     those of the rules with this label
  pfctl -k id -k ID[/CREATORID]               as -vvss prints it
  pfctl -k key -k 'tcp 192.0.2.1:80 <- 198.51.100.1:4000'
  pfctl -k gateway -k 192.0.2.254             those that are routed there
  pfctl -k nat -k 10.0.0.9                    by the address behind the translation
    -i NAME                  only of this interface (floating ones: that made there)
    -M                       also those of the same connections at other hooks
    -V 0                     the routing domain; on Linux there is no other
  pfctl -K 192.0.2.1 [-K HOST]                source nodes, like -k
  pfctl -I ID -k source -k HOST               a source of this source limiter
  pfctl -S FILE | -L FILE    store all states in a file, load them from it

What it says:
  pfctl -x none | urgent | misc | loud        also the levels of syslog

Everywhere:
  -n   change nothing: check rules, hosts and files, say what -T would do; -d, -e, -F, -s, -x
       and -z do nothing then, as in PF
  -q   no messages but errors
  --dialect freebsd|openbsd|openbsd3   whose meaning and printing (default: the daemon's; with
       -n that of weighbridge.toml in the configuration directory, else freebsd)
  --config DIR    configuration directory [/etc/weighbridge]
  --socket PATH   the daemon's control socket [$WEIGHBRIDGE_SOCKET, that of weighbridge.toml,
                  /run/weighbridge/control.sock]
  --no-dns        names stand for no addresses (-N in the openbsd dialect, -S in FreeBSD's pfctl)
  --plain         one line for each error even on a terminal

Exit status: 0; 1 after an error, and from -s Running when the filter is disabled; 2 from -T test
when an address does not match.
";
