//! `buoy ipvsadm` beside ipvsadm: the same listings, the same tables, the same exit statuses.

mod mistakes;
mod tables;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::director::{BUOY, Director, buoy};
use crate::server::PORT;
use crate::site::{SOON, Site, Way, tc, wait_until};

with_buoy_alone!(
    listings_are_those_of_ipvsadm,
    names_are_those_of_ipvsadm,
    tables_are_sorted_as_by_ipvsadm,
    either_restores_what_the_other_saves,
    what_one_does_the_other_sees,
    sync_daemons_and_timeouts_are_those_of_ipvsadm,
);

/// Either program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Ipvsadm,
    Buoy,
}

const BOTH: [Program; 2] = [Program::Ipvsadm, Program::Buoy];

impl Program {
    fn other(self) -> Self {
        match self {
            Self::Ipvsadm => Self::Buoy,
            Self::Buoy => Self::Ipvsadm,
        }
    }

    /// Runs it on the director with the words of a line.
    fn run(self, director: &Director, line: &str) -> Output {
        self.feed(director, line, "")
    }

    /// Runs it with `input` to read.
    fn feed(self, director: &Director, line: &str, input: &str) -> Output {
        let mut command = self.command();
        command.args(line.split_whitespace());
        let input = input.to_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = director.host.run(move || {
            let mut child = command.spawn()?;
            // Who does not read its input has closed it.
            child.stdin.take().expect("a pipe").write_all(input.as_bytes()).unwrap_or_default();
            child.wait_with_output()
        });
        output.unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    fn command(self) -> Command {
        match self {
            Self::Ipvsadm => Command::new("ipvsadm"),
            Self::Buoy => {
                let mut command = Command::new(BUOY);
                command.arg("ipvsadm");
                command
            }
        }
    }

    /// What it prints.
    #[track_caller]
    fn print(self, director: &Director, line: &str) -> String {
        let output = self.run(director, line);
        assert!(output.status.success(), "{self:?} {line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// A director without a daemon, and with nothing in its table.
fn director(site: &Site) -> Director {
    let director = Director::new(site, buoy());
    Program::Ipvsadm.print(&director, "-C");
    director
}

/// Has ipvsadm carry out these lines.
#[track_caller]
fn make(director: &Director, lines: &[String]) {
    let output = Program::Ipvsadm.feed(director, "-R", &lines.join("\n"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Checks that both print the same. What moves meanwhile is looked at again.
#[track_caller]
fn compare(director: &Director, line: &str) -> String {
    let (theirs, ours) = look(line, |program| program.print(director, line));
    assert_same(line, &theirs, &ours);
    ours
}

/// Checks that both have printed the same, byte for byte.
#[track_caller]
fn assert_same(line: &str, theirs: &str, ours: &str) {
    let differing = theirs.split('\n').zip(ours.split('\n')).find(|(theirs, ours)| theirs != ours);
    assert_eq!(differing, None, "{line}: ipvsadm's line and ours");
    assert_eq!(ours, theirs, "{line}");
}

/// What either shows while what ipvsadm shows stays as it is.
#[track_caller]
fn look(line: &str, show: impl Fn(Program) -> String) -> (String, String) {
    let begun = Instant::now();
    loop {
        let (before, ours, after) = (show(Program::Ipvsadm), show(Program::Buoy), show(Program::Ipvsadm));
        if before == after {
            return (after, ours);
        }
        assert!(begun.elapsed() < SOON, "{line} never rests: {before}{after}");
    }
}

const LISTINGS: [&str; 12] = [
    "",
    "-Ln",
    "-Ln --nosort",
    "-Ln --stats",
    "-Ln --stats --exact",
    "-Ln --rate",
    "-Ln --rate --exact",
    "-Ln --thresholds",
    "-Ln --persistent-conn",
    "-Ln --tun-info",
    "-Lnc",
    "-Lnc --persistent-conn",
];

fn listings_are_those_of_ipvsadm() {
    let site = Site::new();
    let director = director(&site);
    for lines in [tables::everything(), tables::foreign(), tables::with_servers(&site.servers)] {
        make(&director, &lines);
    }
    mark(&director, Way::Ipip.vip());
    mark(&director, Way::Ipip.vip6());
    let to = |address| SocketAddr::new(address, PORT);
    let mut held = Vec::new();
    for address in [
        Way::Masquerade.vip(),
        Way::Direct.vip(),
        Way::Ipip.vip(),
        Way::Masquerade.vip6(),
        Way::Direct.vip6(),
        Way::Ipip.vip6(),
    ] {
        held.extend((0..3).map(|_| site.client.hold(to(address)).expect("a connection")));
        site.client.tally(2, to(address));
    }
    site.client.tally_datagrams(3, to(Way::Masquerade.vip()));
    site.client.tally_datagrams(3, to(Way::Masquerade.vip6()));
    call(&site, SocketAddr::new(Way::Masquerade.vip(), tables::SIP_PORT));
    // The kernel shows its counters as they were up to two seconds ago.
    let counted = || Program::Ipvsadm.print(&director, "-Ln --stats").contains(&format!("{PORT} "));
    wait_until(SOON, counted, || director.ipvsadm(&["-Ln", "--stats"]));
    for line in LISTINGS {
        compare(&director, line);
    }
    for line in [
        format!("-Ln -t {}:{PORT}", Way::Masquerade.vip()),
        format!("-Ln --stats -u {}:{PORT}", Way::Masquerade.vip()),
        format!("-Ln --rate -t [{}]:{PORT}", Way::Masquerade.vip6()),
        "-Ln -f 7".to_owned(),
        "-Ln -f 7 -6 --thresholds".to_owned(),
    ] {
        compare(&director, &line);
    }
    let connections = compare(&director, "-Lnc --persistent-conn");
    for part in ["TCP ", "UDP ", "IP  ", "ESTABLISHED", "ASSURED", "[2001:db8", "0.0.0.7:0", " sip "] {
        assert!(connections.contains(part), "{part} in {connections}");
    }
    let stats = compare(&director, "-Ln --stats --exact");
    let counters = stats.lines().filter(|line| line.starts_with("  -> 10.1.0.11:7000 ")).count();
    assert!(counters >= 4, "{stats}");
    eprintln!("{} connections are told alike", connections.lines().count() - 2);
}

/// Marks what clients send to a port of an address.
fn mark(director: &Director, address: std::net::IpAddr) {
    let protocol = if address.is_ipv4() { "ip" } else { "ipv6" };
    let words = format!("protocol {protocol} flower dst_ip {address} ip_proto tcp dst_port {PORT}");
    let qdisc = if address.is_ipv4() { "qdisc add dev eth0 clsact\n" } else { "" };
    tc(&director.host, &format!("{qdisc}filter add dev eth0 ingress {words} action skbedit mark 7\n"));
}

/// Calls by SIP, which leaves a template with what the persistence engine knows.
fn call(site: &Site, to: SocketAddr) {
    let invite = format!(
        "INVITE sip:bob@{to} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10\r\nCall-ID: a-call-0123456789@192.0.2.10\r\n\r\n"
    );
    let sent = site.client.host.run(move || UdpSocket::bind("192.0.2.10:0")?.send_to(invite.as_bytes(), to));
    sent.expect("a datagram");
}

const HOSTS: &str = "\
127.0.0.1 localhost
192.0.2.100 a.very.long.host.name.example.com
192.0.2.101 web
10.1.0.11 server.example.com
10.1.0.12 averyveryverylongservername.example.com
2001:db8::100 v6.very.long.host.name.example.com
2001:db8:1::11 a.name.that.has.so.many.characters.that.even.ipvsadm.cuts.it.off.example.com
";

fn names_are_those_of_ipvsadm() {
    let site = Site::new();
    let director = director(&site);
    let hosts = director.path("hosts");
    fs::write(&hosts, HOSTS).expect("a file");
    make(&director, &tables::with_servers(&site.servers));
    make(&director, &tables::with_names());
    let _held = site.client.hold(SocketAddr::new(Way::Masquerade.vip(), PORT)).expect("a connection");
    let _held6 = site.client.hold(SocketAddr::new(Way::Masquerade.vip6(), PORT)).expect("a connection");
    // With names of our own, in a mount namespace that ends with the program.
    let show = |program: Program, line: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(&hosts);
        let inner = program.command();
        command.arg(inner.get_program()).args(inner.get_args()).args(line.split_whitespace());
        director.host.run(move || command.output()).expect("a program")
    };
    for line in ["-L", "-L --stats", "-L --thresholds", "-L --tun-info", "-L --persistent-conn", "-Lc", "-S"]
    {
        let (theirs, ours) = look(line, |program| {
            let output = show(program, line);
            assert!(output.status.success(), "{program:?} {line}: {output:?}");
            String::from_utf8(output.stdout).expect("text")
        });
        assert_same(line, &theirs, &ours);
        assert!(ours.contains("a.very.long.host.name.exampl"), "{line}: {ours}");
    }
    // Names mean to one what they mean to the other.
    for program in BOTH {
        let output = show(program, "-a -t a.very.long.host.name.example.com:http -r web:https -m -w 3");
        assert!(output.status.success(), "{program:?}: {output:?}");
        let server = compare(&director, "-Ln -t 192.0.2.100:80");
        assert!(server.contains("  -> 192.0.2.101:443              Masq    3 "), "{program:?}: {server}");
        Program::Ipvsadm.print(&director, "-d -t 192.0.2.100:80 -r 192.0.2.101:443");
    }
}

fn tables_are_sorted_as_by_ipvsadm() {
    let site = Site::new();
    let director = director(&site);
    // The order is no order: 10 < 127 < 192 < 10. What comes out depends on how it is sorted.
    for lines in [tables::addresses_in_circles(), tables::servers_in_circles()] {
        make(&director, &lines);
        compare(&director, "-Ln");
        compare(&director, "-Ln --nosort");
        Program::Ipvsadm.print(&director, "-C");
    }
}

fn either_restores_what_the_other_saves() {
    let site = Site::new();
    let director = director(&site);
    let table = [tables::everything(), tables::with_servers(&site.servers)].concat().join("\n");
    let shown = || {
        let lists = ["-Ln", "-Ln --thresholds", "-Ln --tun-info"];
        lists.map(|line| compare(&director, line)).concat()
    };
    for made_by in BOTH {
        let output = made_by.feed(&director, "-R", &table);
        assert!(output.status.success(), "{made_by:?}: {output:?}");
        let made = shown();
        assert!(made.contains("gue:6080:r+c") && made.contains("100        50 "), "{made}");
        for saved_by in BOTH {
            let saved = saved_by.print(&director, "-S -n");
            Program::Ipvsadm.print(&director, "-C");
            let output = saved_by.other().feed(&director, "-R", &saved);
            assert!(output.status.success(), "saved by {saved_by:?}: {output:?}\n{saved}");
            if saved_by == Program::Buoy {
                assert_eq!(shown(), made, "{saved}");
            } else {
                // ipvsadm does not save thresholds.
                assert_eq!(compare(&director, "-Ln --tun-info"), last_part(&made), "{saved}");
                Program::Ipvsadm.print(&director, "-C");
                made_by.feed(&director, "-R", &table);
            }
        }
        Program::Ipvsadm.print(&director, "-C");
    }
}

/// The listing of tunnels, which is the last of those that were put together.
fn last_part(shown: &str) -> &str {
    shown.rfind("IP Virtual Server").map_or(shown, |begin| &shown[begin..])
}

fn what_one_does_the_other_sees() {
    let site = Site::new();
    let director = director(&site);
    for (lines, seen) in tables::steps() {
        let mut listings = Vec::new();
        for program in BOTH {
            for line in &lines {
                program.print(&director, line);
            }
            let listing = compare(&director, "-Ln --thresholds") + &compare(&director, "-Ln --tun-info");
            for part in &seen {
                assert!(listing.contains(part), "{program:?} {lines:?}: {part:?} in {listing}");
            }
            listings.push(listing);
            Program::Ipvsadm.print(&director, "-C");
        }
        assert_eq!(listings.first(), listings.last(), "{lines:?}");
    }
    // Zeroed counters are zero to both.
    let vip = Way::Masquerade.vip();
    let service = format!("-t {vip}:{PORT}");
    for program in BOTH {
        program.print(&director, &format!("-A {service}"));
        program.print(&director, &format!("-a {service} -r {}:{PORT} -m", site.servers[0].address));
        for scope in [service.as_str(), ""] {
            site.client.tally(3, SocketAddr::new(vip, PORT));
            let counts = || compare(&director, &format!("-Ln --stats {service}"));
            wait_until(SOON, || !counts().contains("        0        0        0        0        0"), counts);
            program.print(&director, &format!("-Z {scope}"));
            let zero = counts();
            assert_eq!(zero.matches("        0        0        0        0        0").count(), 2, "{zero}");
        }
        program.print(&director, "-C");
        assert_eq!(compare(&director, "-Ln").lines().count(), 3, "{program:?}");
    }
}

fn sync_daemons_and_timeouts_are_those_of_ipvsadm() {
    let site = Site::new();
    let director = director(&site);
    for program in BOTH {
        for (line, daemons) in [
            ("--start-daemon master", 1),
            ("--stop-daemon master", 0),
            ("--start-daemon master --mcast-interface eth1", 1),
            (
                "--start-daemon=backup --mcast-interface=eth1 --syncid 7 --sync-maxlen 1400 --mcast-group 224.0.0.99 \
                 --mcast-port 9999 --mcast-ttl 5",
                2,
            ),
            ("--stop-daemon master", 1),
            ("--start-daemon master --mcast-interface eth1 --mcast-group ff02::99 --syncid 255", 2),
            ("--stop-daemon backup", 1),
            ("--stop-daemon master", 0),
        ] {
            program.print(&director, line);
            let listed = compare(&director, "-L --daemon");
            assert_eq!(listed.lines().count(), daemons, "{program:?} {line}: {listed}");
        }
        program.print(&director, "--set 33 34 35");
        assert_eq!(compare(&director, "-L --timeout"), "Timeout (tcp tcpfin udp): 33 34 35\n");
        program.print(&director, "--set 0 0 36");
        assert_eq!(compare(&director, "-L --timeout"), "Timeout (tcp tcpfin udp): 33 34 36\n");
        program.print(&director, "--set 900 120 300");
    }
}
