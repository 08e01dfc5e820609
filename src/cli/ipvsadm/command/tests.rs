use buoy_ipvs::{
    Forwarding, FwMark, PersistenceEngine, Protocol, SchedulerFlags, Tunnel, TunnelChecksum, UnknownScheduler,
};

use super::*;

fn names() -> Names {
    Names::with_services("http 80/tcp\ndomain 53/udp\n")
}

fn read(line: &str) -> Result<Request, Mistake> {
    parse(line.split_whitespace().map(str::to_owned), &names())
}

#[track_caller]
fn command(line: &str) -> Command {
    match read(line) {
        Ok(Request::Do(command)) => command,
        other => panic!("{line}: {other:?}"),
    }
}

fn address(protocol: Protocol, address: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, address: address.parse().expect("an address"), port }
}

fn tcp(port: u16) -> ServiceId {
    address(Protocol::Tcp, "10.0.0.1", port)
}

fn mark(family: Family) -> ServiceId {
    ServiceId::FwMark { family, mark: FwMark::new(7).expect("not zero") }
}

fn server(address: &str, port: u16, forwarding: Forwarding) -> RealServer {
    let id = RealServerId { address: address.parse().expect("an address"), port };
    RealServer::new(id, forwarding, Weight::ONE)
}

#[test]
fn services_are_what_the_options_say() {
    let plain = |id| VirtualService::new(id, Scheduler::Wlc);
    let persistent = |seconds, prefix_len, engine| {
        Some(Persistence { timeout: Duration::from_secs(seconds), prefix_len, engine })
    };
    let flags = SchedulerFlags { flag_1: true, flag_2: true, flag_3: false };
    let of_mark = mark(Family::V6);
    for (line, service) in [
        ("-A -t 10.0.0.1:80", plain(tcp(80))),
        ("-A -t 10.0.0.1:http -s rr", VirtualService::new(tcp(80), Scheduler::Rr)),
        ("-A -t 10.0.0.1:80 -s none", VirtualService { scheduler: None, ..plain(tcp(80)) }),
        (
            "-A -t 10.0.0.1:80 -b mh-port,mh-fallback -s mh",
            VirtualService { flags, ..VirtualService::new(tcp(80), Scheduler::Mh) },
        ),
        ("-A -t 10.0.0.1 -p", VirtualService { persistence: persistent(360, 32, None), ..plain(tcp(0)) }),
        (
            "-A -M 255.255.0.0 -p 60 -t 10.0.0.1:80",
            VirtualService { persistence: persistent(60, 16, None), ..plain(tcp(80)) },
        ),
        (
            "-A -u 10.0.0.1:domain -p 9 --pe sip -o",
            VirtualService {
                persistence: persistent(9, 32, PersistenceEngine::new("sip")),
                one_packet: true,
                ..plain(address(Protocol::Udp, "10.0.0.1", 53))
            },
        ),
        (
            "-A -M 64 -p 5 -t ::1",
            VirtualService {
                persistence: persistent(5, 64, None),
                ..plain(address(Protocol::Tcp, "::1", 0))
            },
        ),
        ("-A -f 7 -6 -o", VirtualService { one_packet: true, ..plain(of_mark) }),
    ] {
        assert_eq!(command(line), Command::Change(Change::AddService(service.clone())), "{line}");
        let edit = line.replacen("-A", "-E", 1);
        assert_eq!(command(&edit), Command::Change(Change::EditService(service)), "{edit}");
    }
}

#[test]
fn servers_are_what_the_options_say() {
    let masquerade = Forwarding::Masquerade;
    let gue = Forwarding::Tunnel(Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Remote });
    let gre = Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::None });
    let mut limited = server("10.1.0.1", 80, masquerade);
    limited.weight = Weight::ZERO;
    (limited.upper_threshold, limited.lower_threshold) = (100, 50);
    for (line, service, server) in [
        ("-t 10.0.0.1:80 -r 10.1.0.1", tcp(80), server("10.1.0.1", 80, Forwarding::Direct)),
        // Direct routing and tunnels keep the port of the service.
        ("-t 10.0.0.1:80 -r 10.1.0.1:99", tcp(80), server("10.1.0.1", 80, Forwarding::Direct)),
        ("-t 10.0.0.1:80 -r 10.1.0.1:99 -m", tcp(80), server("10.1.0.1", 99, masquerade)),
        ("-t 10.0.0.1:80 -r 10.1.0.1 -m -w 0 -x 100 -y 50", tcp(80), limited),
        (
            "-t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue --tun-port 6080 --tun-remcsum",
            tcp(80),
            server("10.1.0.1", 80, gue),
        ),
        ("-t 10.0.0.1:80 -r 2001:db8::1 -i --tun-type gre", tcp(80), server("2001:db8::1", 80, gre)),
        ("-f 7 -r 10.1.0.1 -m", mark(Family::V4), server("10.1.0.1", 0, masquerade)),
        ("-f 7 -r 10.1.0.1:http -g", mark(Family::V4), server("10.1.0.1", 80, Forwarding::Direct)),
    ] {
        let added = command(&format!("-a {line}"));
        assert_eq!(added, Command::Change(Change::AddServer(service, server)), "{line}");
        let edited = command(&format!("-e {line}"));
        assert_eq!(edited, Command::Change(Change::EditServer(service, server)), "{line}");
    }
    for (line, id) in [
        ("-d -t 10.0.0.1:80 -r 10.1.0.1:99", server("10.1.0.1", 99, masquerade).id),
        ("-d -t 10.0.0.1:80 -r 10.1.0.1", server("10.1.0.1", 80, masquerade).id),
    ] {
        assert_eq!(command(line), Command::Change(Change::RemoveServer(tcp(80), id)), "{line}");
    }
}

#[test]
fn lists_are_of_one_kind() {
    let usual =
        ServiceList { only: None, columns: Columns::Usual, numeric: false, exact: false, sorted: true };
    for (line, expected) in [
        ("", Command::ListServices(usual)),
        ("-L --sort --sort", Command::ListServices(usual)),
        ("-Ln --nosort", Command::ListServices(ServiceList { numeric: true, sorted: false, ..usual })),
        (
            "-L --rate --stats --exact -t 10.0.0.1:80",
            Command::ListServices(ServiceList {
                only: Some(tcp(80)),
                columns: Columns::Stats,
                exact: true,
                ..usual
            }),
        ),
        (
            "-L --tun-info --persistent-conn --thresholds",
            Command::ListServices(ServiceList { columns: Columns::Thresholds, ..usual }),
        ),
        ("-Lcn", Command::ListConnections { numeric: true, engines: false }),
        ("-L -c --persistent-conn --exact", Command::ListConnections { numeric: false, engines: true }),
        ("-Ln --timeout", Command::ListTimeouts),
        ("-L --daemon --nosort", Command::ListDaemons),
    ] {
        assert_eq!(command(line), expected, "{line}");
    }
}

#[test]
fn other_commands_are_what_they_say() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let mut daemon = SyncDaemon::new(SyncRole::Backup, "eth9", 7);
    (daemon.max_len, daemon.port, daemon.ttl) = (Some(1400), Some(9999), Some(5));
    daemon.group = "ff02::99".parse().ok();
    for (line, expected) in [
        ("-C", Command::Flush),
        ("-S -n --sort", Command::Save { numeric: true }),
        ("-Z", Command::Zero(None)),
        ("-Z -t 10.0.0.1:80", Command::Zero(Some(tcp(80)))),
        ("-D -f 7 -6", Command::Change(Change::RemoveService(mark(Family::V6)))),
        (
            "--set 0 20 2678400",
            Command::SetTimeouts(Timeouts { tcp: None, tcp_fin: seconds(20), udp: seconds(2_678_400) }),
        ),
        ("--start-daemon master", Command::StartSync(SyncDaemon::new(SyncRole::Master, "eth0", 0))),
        (
            "--start-daemon=backup --mcast-interface=eth9 --syncid 7 --sync-maxlen 1400 --mcast-group ff02::99 \
             --mcast-port 9999 --mcast-ttl 5",
            Command::StartSync(daemon),
        ),
        ("--stop-daemon backup --syncid 7", Command::StopSync(SyncRole::Backup)),
    ] {
        assert_eq!(command(line), expected, "{line}");
    }
    assert_eq!(read("-R"), Ok(Request::Restore));
    assert_eq!(read("--help -q"), Ok(Request::Help));
    assert_eq!(read("-v"), Ok(Request::Version));
}

#[test]
fn mistakes_are_named_with_their_status() {
    for (line, status, words) in [
        ("-n -L", 255, "the first option has to say what to do: -A, -L, -S, ..."),
        ("stray", 255, "the first option has to say what to do: -A, -L, -S, ..."),
        ("-L stray", 2, "`stray` belongs to no option"),
        ("-A -D -t 10.0.0.1:80", 2, "`-D` is a second command; there can be one"),
        ("-A", 2, "--add-service needs a virtual service (-t, -u, --sctp-service, -f)"),
        ("-a -t 10.0.0.1:80", 2, "--add-server needs a real server (-r)"),
        ("-A -t 10.0.0.1:80 -f 1", 2, "service-address is given more than once"),
        ("-a -t 10.0.0.1:80 -r 10.1.0.1 -g -m", 2, "forwarding-method is given more than once"),
        ("-A -t 10.0.0.1:80 -w 5", 2, "weight has no meaning with --add-service"),
        ("-A -t 10.0.0.1", 2, "port 0, which stands for every port, needs persistence (-p)"),
        ("-A -t 10.0.0.1:80 -o", 2, "one-packet scheduling (-o) is for UDP and marks"),
        ("-A -t 10.0.0.1:80 -b sh-port", 2, "scheduler flag `sh-port` is not one of scheduler `wlc`"),
        (
            "-A -t 10.0.0.1:80 -p 10 -M 255.0.255.0",
            2,
            "`255.0.255.0` is no netmask; masks without gaps like 255.255.255.0 are",
        ),
        ("-A -t [::1]:80 -p 10 -M 0", 2, "`0` is no netmask; prefix lengths from 1 to 128 are"),
        ("-A -u 10.0.0.1:80 --pe sip", 2, "a persistence engine (--pe) needs persistence (-p)"),
        ("-A -6 -f 7", 2, "-6 is for a mark and stands behind it: -f 7 -6"),
        ("-A -f 0", 2, "`0` is no mark; numbers from 1 to 4294967295 are"),
        (
            "-a -t 10.0.0.1:80 -r ::1",
            2,
            "only a tunnel (-i) reaches a real server of the other address family",
        ),
        ("-a -t 10.0.0.1:80 -r 10.1.0.1 --tun-csum", 2, "tun-csum is for tunnels (-i)"),
        ("-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-csum", 2, "tun-csum has no meaning for tunnel type ipip"),
        ("-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue", 2, "tunnel type gue needs --tun-port"),
        ("-L -c --stats", 2, "connection and stats exclude each other"),
        ("--set 1 2", 2, "--set needs three timeouts in seconds: tcp tcpfin udp"),
        ("--start-daemon nosuch", 2, "`nosuch` is no role; there are master and backup"),
    ] {
        let mistake = read(line).expect_err(line);
        assert_eq!((mistake.status(), mistake.to_string().as_str()), (status, words), "{line}");
    }
    let unknown = Mistake::NoScheduler(UnknownScheduler("nosuch".to_owned()));
    assert_eq!(read("-A -t 10.0.0.1:80 -s nosuch"), Err(unknown.clone()));
    assert_eq!(unknown.status(), 255);
}
