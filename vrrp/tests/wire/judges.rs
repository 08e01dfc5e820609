//! What others make of our packets: tshark, and keepalived as the backup.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use buoy_vrrp::{
    AdvertisementFrame, Authentication, Forwarding, MacAddr, OldUnicastChecksum, RouterSettings, SendSocket,
    Version, gratuitous_arp, unsolicited_na,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::{Cable, End, interface};
use crate::settings::{password, router, unicast};

const LINK_ETHERNET: u32 = 1;
const LINK_RAW_IP: u32 = 101;

/// Has tshark print fields of packets; `None`, with the reason printed, where it is not installed.
fn tshark(link: u32, packets: &[Vec<u8>], fields: &[&str]) -> Option<Vec<String>> {
    let mut pcap = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
        pcap.extend(u32::to_ne_bytes(word));
    }
    for packet in packets {
        let len = u32::try_from(packet.len()).unwrap();
        for word in [0, 0, len, len] {
            pcap.extend(u32::to_ne_bytes(word));
        }
        pcap.extend(packet);
    }
    let mut command = Command::new("tshark");
    command.args(["-r", "-", "-T", "fields"]).args(fields.iter().flat_map(|f| ["-e", f]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut tshark) = command.spawn() else {
        eprintln!("skipped: tshark is not installed");
        return None;
    };
    tshark.stdin.take().unwrap().write_all(&pcap).unwrap();
    let output = tshark.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

fn packet(settings: &RouterSettings, source: &str, destination: &str) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    AdvertisementFrame::new(settings, source, destination).unwrap().next_packet().packet.to_vec()
}

#[test]
fn tshark_finds_our_advertisements_well_formed() {
    let mut pass = router(Version::V2, 22, 102, 2.0, &["10.99.1.22", "10.99.2.22"]);
    pass.authentication = Authentication::Password(password("secret"));
    let mut signed = router(Version::V2, 23, 103, 1.0, &["10.99.1.23"]);
    signed.authentication = Authentication::AuthenticationHeader(password("k3y"));
    let mut peer = router(Version::V3, 34, 134, 0.01, &["10.99.1.34"]);
    peer.transport = unicast("10.99.0.2", 64);
    let packets = [
        packet(&pass, "10.99.0.1", "224.0.0.18"),
        packet(&signed, "10.99.0.1", "224.0.0.18"),
        packet(&router(Version::V3, 31, 131, 40.95, &["10.99.1.31"]), "10.99.0.1", "224.0.0.18"),
        packet(&peer, "10.99.0.1", "10.99.0.2"),
        packet(&router(Version::V3, 61, 161, 1.0, &["fe80::61", "2001:db8::61"]), "fe80::1", "ff02::12"),
    ];
    let fields = ["vrrp.virt_rtr_id", "vrrp.prio", "vrrp.checksum.status", "_ws.malformed", "_ws.expert"];
    let Some(seen) = tshark(LINK_RAW_IP, &packets, &fields) else { return };
    let good = |vrid, priority| format!("{vrid}\t{priority}\t1\t\t");
    assert_eq!(seen, [good(22, 102), good(23, 103), good(31, 131), good(34, 134), good(61, 161)]);
}

#[test]
fn tshark_finds_our_announcements_well_formed() {
    let mac = MacAddr(0, 0, 0x5e, 0, 1, 51);
    let six: Ipv6Addr = "2001:db8::62".parse().unwrap();
    let frames = [
        gratuitous_arp(mac, [10, 99, 1, 33].into()).to_vec(),
        unsolicited_na(mac, six, Forwarding::Router).to_vec(),
    ];
    let fields = ["arp.opcode", "icmpv6.type", "icmpv6.checksum.status", "_ws.malformed", "_ws.expert"];
    let Some(seen) = tshark(LINK_ETHERNET, &frames, &fields) else { return };
    assert_eq!(seen, ["1\t\t\t\t", "\t136\t1\t\t"].map(str::to_owned));
}

const KEEPALIVED: &str = "
global_defs {
    vrrp_notify_priority_changes off
}
vrrp_instance v2_password {
    interface right0
    virtual_router_id 1
    authentication {
        auth_type PASS
        auth_pass secret
    }
    virtual_ipaddress {
        10.99.1.1
    }
}
vrrp_instance v2_signed {
    interface right0
    virtual_router_id 2
    authentication {
        auth_type AH
        auth_pass k3y
    }
    virtual_ipaddress {
        10.99.1.2
    }
}
vrrp_instance v3_ipv4 {
    version 3
    interface right0
    virtual_router_id 4
    virtual_ipaddress {
        10.99.1.4
    }
}
vrrp_instance v3_unicast {
    version 3
    interface right0
    virtual_router_id 5
    unicast_peer {
        10.99.0.1
    }
    virtual_ipaddress {
        10.99.1.5
    }
}
vrrp_instance v3_unicast_old {
    version 3
    interface right0
    virtual_router_id 6
    old_unicast_checksum
    unicast_peer {
        10.99.0.1
    }
    virtual_ipaddress {
        10.99.1.6
    }
}
vrrp_instance v3_ipv6 {
    version 3
    interface right0
    virtual_router_id 7
    virtual_ipaddress {
        fe80::7
    }
}
vrrp_instance v2_signed_otherwise {
    interface right0
    virtual_router_id 3
    authentication {
        auth_type AH
        auth_pass other
    }
    virtual_ipaddress {
        10.99.1.3
    }
}
";

/// One router of each kind in `KEEPALIVED`, with a priority above its 100.
fn masters() -> Vec<AdvertisementFrame> {
    let (source, link_local) = ("10.99.0.1".parse().unwrap(), "fe80::1".parse().unwrap());
    let (group, peer) = ("224.0.0.18".parse().unwrap(), "10.99.0.2".parse().unwrap());
    let mut frames = Vec::new();
    let mut add = |version, vrid, address: &str, source: IpAddr, to, change: &dyn Fn(&mut RouterSettings)| {
        let mut settings = router(version, vrid, 200, 1.0, &[address]);
        change(&mut settings);
        frames.push(AdvertisementFrame::new(&settings, source, to).unwrap());
    };
    add(Version::V2, 1, "10.99.1.1", source, group, &|s| {
        s.authentication = Authentication::Password(password("secret"));
    });
    for (vrid, address) in [(2, "10.99.1.2"), (3, "10.99.1.3")] {
        add(Version::V2, vrid, address, source, group, &|s| {
            s.authentication = Authentication::AuthenticationHeader(password("k3y"));
        });
    }
    add(Version::V3, 4, "10.99.1.4", source, group, &|_| {});
    add(Version::V3, 5, "10.99.1.5", source, peer, &|s| s.transport = unicast("10.99.0.2", 255));
    add(Version::V3, 6, "10.99.1.6", source, peer, &|s| {
        s.transport = unicast("10.99.0.2", 255);
        s.old_unicast_checksum = OldUnicastChecksum::Always;
    });
    add(Version::V3, 7, "fe80::7", link_local, "ff02::12".parse().unwrap(), &|_| {});
    frames
}

/// Sends an advertisement of every frame each second until `until`.
fn advertise(frames: &mut [AdvertisementFrame], until: Instant) {
    let on = interface("left0");
    let [four, six] = [buoy_vrrp::Family::V4, buoy_vrrp::Family::V6]
        .map(|family| SendSocket::open(family, Some(&on)).unwrap());
    let mut due = Instant::now();
    while due < until {
        for frame in &mut *frames {
            let socket = if frame.destination().is_ipv4() { &four } else { &six };
            socket.send(frame.next_packet()).unwrap();
        }
        due += Duration::from_secs(1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn log_of(mut keepalived: Child) -> String {
    kill(Pid::from_raw(i32::try_from(keepalived.id()).unwrap()), Signal::SIGTERM).unwrap();
    let mut log = String::new();
    keepalived.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    keepalived.wait().unwrap();
    log
}

#[test]
fn keepalived_stays_backup_under_our_advertisements_unless_the_key_is_another() {
    let Some(cable) = Cable::plug() else { return };
    let directory = std::env::temp_dir().join(format!("wire-keepalived-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("keepalived.conf"), KEEPALIVED).unwrap();
    cable.enter(End::Right);
    let keepalived = Command::new("keepalived")
        .args(["-n", "-l", "-P", "-f", &file("keepalived.conf"), "-p", &file("p.pid"), "-r", &file("r.pid")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(keepalived) = keepalived else {
        eprintln!("skipped: keepalived is not installed");
        return;
    };
    cable.enter(End::Left);
    advertise(&mut masters(), Instant::now() + Duration::from_secs(6));
    let log = log_of(keepalived);
    std::fs::remove_dir_all(&directory).unwrap();
    let masters: Vec<&str> = log.lines().filter(|l| l.contains("Entering MASTER STATE")).collect();
    assert!(masters.len() == 1 && masters[0].contains("(v2_signed_otherwise)"), "{log}");
}
