use buoy_ipvs::FwMark;

use super::super::listing::tests::{server, service};
use super::super::names::Names;
use super::*;

fn saved(services: &[ListedService], numeric: bool) -> String {
    let mut out = Vec::new();
    let mut names =
        Names::with_services("http 80/tcp\n").with_host("10.0.0.1", Some("web")).with_host("10.1.0.1", None);
    write_table(&mut out, services, &mut Labels::new(&mut names, numeric)).expect("memory takes everything");
    String::from_utf8(out).expect("text")
}

#[test]
fn services_are_saved_with_their_settings() {
    let flags = SchedulerFlags { flag_1: true, flag_2: true, flag_3: false };
    let persistent = ListedService { persistent: true, timeout: 60, ..service(80) };
    for (service, line) in [
        (service(80), "-A -t 10.0.0.1:80 -s wlc"),
        (
            ListedService { scheduler: "mh".to_owned(), flags, netmask: 0xffff_ff00, ..persistent.clone() },
            "-A -t 10.0.0.1:80 -s mh -p 60 -M 255.255.255.0 -b mh-fallback,mh-port",
        ),
        (
            ListedService { protocol: 17, engine: "sip".to_owned(), one_packet: true, flags, ..persistent },
            "-A -u 10.0.0.1:80 -s wlc -p 60 --pe sip -o -b flag-1,flag-2",
        ),
        (ListedService { protocol: 132, ..service(99) }, "-A --sctp-service 10.0.0.1:99 -s wlc"),
        (ListedService { mark: FwMark::new(u32::MAX), ..service(0) }, "-A -f 4294967295 -s wlc"),
        (ListedService { mark: FwMark::new(7), family: Family::V6, ..service(0) }, "-A -f 7 -6 -s wlc"),
        (
            ListedService {
                scheduler: "sh".to_owned(),
                flags: SchedulerFlags { flag_3: true, ..SchedulerFlags::NONE },
                ..service(80)
            },
            "-A -t 10.0.0.1:80 -s sh",
        ),
    ] {
        assert_eq!(saved(&[service], true), format!("{line}\n"));
    }
}

#[test]
fn servers_are_saved_with_all_they_have() {
    let gue = |checksum| Forwarding::Tunnel(Tunnel::Gue { port: 6080, checksum });
    let gre = |checksum| Forwarding::Tunnel(Tunnel::Gre { checksum });
    for (forwarding, words) in [
        (Forwarding::Masquerade, "-m -w 1"),
        (Forwarding::Direct, "-g -w 1"),
        (Forwarding::Tunnel(Tunnel::Ipip), "-i -w 1 --tun-type ipip"),
        (gue(TunnelChecksum::None), "-i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum"),
        (gue(TunnelChecksum::Full), "-i -w 1 --tun-type gue --tun-port 6080 --tun-csum"),
        (gue(TunnelChecksum::Remote), "-i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum"),
        (gre(TunnelChecksum::None), "-i -w 1 --tun-type gre --tun-nocsum"),
        (gre(TunnelChecksum::Full), "-i -w 1 --tun-type gre --tun-csum"),
    ] {
        let services = [ListedService { servers: vec![server("10.1.0.1", 80, forwarding)], ..service(80) }];
        let line = format!("-a -t 10.0.0.1:80 -r 10.1.0.1:80 {words}");
        assert_eq!(saved(&services, true).lines().nth(1), Some(line.as_str()));
    }
    let mut limited = server("10.1.0.1", 80, Forwarding::Masquerade);
    (limited.upper_threshold, limited.lower_threshold) = (100, 50);
    let services = [ListedService { servers: vec![limited], ..service(80) }];
    assert!(saved(&services, true).ends_with(" -m -w 1 -x 100 -y 50\n"));
    assert!(saved(&services, false).ends_with("-a -t web:http -r 10.1.0.1:http -m -w 1 -x 100 -y 50\n"));
}
