//! Records what ipvsadm says to the kernel and what it answers, for `tests/golden/messages.txt`.

use netlink_packet_core::NetlinkBuffer;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::time::Duration;

use crate::bench::{empty_plane, family_number, ipvsadm, run};
use crate::machine::inside;

const COMMANDS: [&str; 18] = [
    "-A -t 10.0.0.1:80 -s rr",
    "-A -u 10.0.0.1:5060 -s wrr -p 300 -M 255.255.255.0 --pe sip -o",
    "-A -t [2001:db8::1]:443 -s mh -p 60 -M 64 -b mh-port,mh-fallback",
    "-A -f 7 -s sh",
    "-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 7 -x 100 -y 50",
    "-a -t 10.0.0.1:80 -r 10.1.0.2:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum",
    "-a -t 10.0.0.1:80 -r 10.1.0.3:80 -i -w 3 --tun-type gre --tun-csum",
    "-a -t [2001:db8::1]:443 -r [2001:db8:1::1]:443 -g -w 0",
    "-e -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 8",
    "-E -t 10.0.0.1:80 -s wlc",
    "-Ln",
    "-d -t 10.0.0.1:80 -r 10.1.0.3:80",
    "-D -f 7",
    "--set 900 120 300",
    "-Ln --timeout",
    "--start-daemon master --mcast-interface lo --syncid 7 --sync-maxlen 1400 --mcast-port 9000 --mcast-ttl 3",
    "-Ln --daemon",
    "--stop-daemon master",
];

#[test]
#[ignore = "runs in a kernel of its own"]
fn record() {
    if !inside() {
        return;
    }
    drop(empty_plane());
    run("ip", "link add nlmon0 type nlmon");
    run("ip", "link set nlmon0 up");
    const ETH_P_ALL: u16 = 3;
    let tap =
        Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ETH_P_ALL.to_be())))).unwrap();
    tap.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let family = family_number();
    for command in COMMANDS {
        println!("# ipvsadm {command}");
        ipvsadm(command);
        let mut datagram = [0; 65536];
        while let Ok(len) = (&tap).read(&mut datagram) {
            let mut rest = &datagram[..len];
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let length = message.length() as usize;
                if message.message_type() == family {
                    // The first bit of flags is that of requests.
                    let direction = if message.flags() & 1 == 1 { '>' } else { '<' };
                    let hex: String = rest[16..length].iter().map(|byte| format!("{byte:02x}")).collect();
                    println!("{direction} {hex}");
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}
